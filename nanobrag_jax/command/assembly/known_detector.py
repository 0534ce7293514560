"""What -detector brings: size, place, sensor and gaps of a detector by its name."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detectors.catalogue import LAYOUTS, NAMES, known
from ...detectors.known import Layout, beam_options
from ...detectors.sensor import attenuation_depth_um
from ...errors import InputError
from ...panels import Panels
from ..flags import find, group_of
from .asked import Asked

_SIZE = ("detpixels_f", "detpixels_s", "detsize_f_mm", "detsize_s_mm", "pixel_mm")
_SENSOR = ("detector_thick_um", "detector_abs_um", "detector_thicksteps")
_TILTS = ("detector_rotx_deg", "detector_roty_deg", "detector_rotz_deg")
_OF_TILES = ("detector_name", "distance_mm", "point_pixel", *_TILTS)
"""Settings of the detector that have an effect on one of many tiles."""


@dataclass(frozen=True)
class Named:
    """The detector that -detector names, at the photons' wavelength."""

    name: str
    layout: Layout
    asked: Asked
    wavelength_A: float

    def headers(self, headers: dict[str, float]) -> dict[str, float]:
        """What headers of images say, with its size, and the beam in its middle unless they say otherwise."""
        fast, slow = self.layout.size
        size = {"detpixels_f": fast, "detpixels_s": slow, "pixel_mm": self.layout.pixel_size_mm}
        convention = self.asked("convention").lower()
        if convention not in ("mosflm", "denzo", "adxv"):  # the others have the middle without being told
            return headers | size
        x, y = beam_options(convention, (fast / 2, slow / 2), self.layout)["beam_center_mm"]
        return {"Xbeam_mm": x, "Ybeam_mm": y} | headers | size

    def sensor(self) -> dict[str, Any]:
        """Arguments of `Detector` for its sensor; none where flags describe one."""
        if any(name in self.asked for name in _SENSOR):
            return {}
        return {
            "thickness_um": self.layout.thickness_um,
            "attenuation_depth_um": attenuation_depth_um(self.layout.material, self.wavelength_A),
            "thickness_steps": 1,
            "layer_fraction": 1.0,
            "mean_depth": True,
        }

    def tiles(self) -> Panels | None:
        """Its panels, None for a detector of one. **Raises** `InputError` for flags that they do not follow."""
        if not self.layout.tiles:
            return None
        for flag, name, value in self.asked.settings.given:
            row = find(flag)
            if group_of(row) == "Detector" and name in row.settings and name not in _OF_TILES and value != "MOSFLM":
                raise InputError(f"{flag} cannot be given beside -detector {self.name}, a detector of many panels")
        tilts = [self.asked(name) for name in _TILTS]
        place = {"rotations_deg": tilts, "point_pixel": self.asked("point_pixel")}
        return known(self.name, self.asked("distance_mm"), **place).panels(self.wavelength_A)

    def mask(self, own: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """The mask of -mask without the gaps. **Raises** `InputError` for one of another size."""
        gaps = self.layout.mask
        if gaps is None or own is None:
            return own if gaps is None else gaps
        if own.shape != gaps.shape:
            theirs, ours = (" x ".join(str(n) for n in mask.shape[::-1]) for mask in (own, gaps))
            raise InputError(f"-mask {self.asked('mask_path')} has {theirs} pixels, -detector {self.name} {ours}")
        return own & gaps


def named_detector(asked: Asked, wavelength_A: float) -> Named | None:
    """The detector that -detector names; None without it.

    **Raises** `InputError` for an unknown name, and for flags that say its size again.
    """
    name = asked("detector_name")
    if name is None:
        return None
    short = name.lower().replace("_", "").replace("-", "")
    if short not in NAMES:
        raise InputError(f"-detector {name} is unknown: known are {', '.join(NAMES)}")
    for setting in _SIZE:
        if setting in asked:
            raise InputError(f"{asked.flag_of(setting)} cannot be given beside -detector {name}, which says it")
    return Named(name, LAYOUTS[NAMES[short]], asked, wavelength_A)
