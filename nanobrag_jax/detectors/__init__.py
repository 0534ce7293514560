"""Detectors by name: `nb.detectors.eiger_16m(distance_mm=200)` (docs/detector.md)."""

from .catalogue import cspad as cspad
from .catalogue import eiger2_1m as eiger2_1m
from .catalogue import eiger2_4m as eiger2_4m
from .catalogue import eiger2_9m as eiger2_9m
from .catalogue import eiger2_16m as eiger2_16m
from .catalogue import eiger_1m as eiger_1m
from .catalogue import eiger_4m as eiger_4m
from .catalogue import eiger_9m as eiger_9m
from .catalogue import eiger_16m as eiger_16m
from .catalogue import jungfrau_1m as jungfrau_1m
from .catalogue import jungfrau_4m as jungfrau_4m
from .catalogue import known as known
from .catalogue import pilatus_1m as pilatus_1m
from .catalogue import pilatus_2m as pilatus_2m
from .catalogue import pilatus_6m as pilatus_6m
from .catalogue import pilatus_300k as pilatus_300k
from .catalogue import rayonix_mx225 as rayonix_mx225
from .catalogue import rayonix_mx340 as rayonix_mx340
from .known import KnownDetector as KnownDetector
from .sensor import attenuation_depth_um as attenuation_depth_um
