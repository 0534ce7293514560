"""How two images, or two traces, differ. Knows numpy only; pictures and some file formats import more when used."""

from ..formats.read import read_image as read_image
from .bundle import Bundle as Bundle
from .images import ImageComparison as ImageComparison
from .images import Thresholds as Thresholds
from .images import compare_images as compare_images
from .peaks import PeakMatch as PeakMatch
from .peaks import find_peaks as find_peaks
from .peaks import match_peaks as match_peaks
from .traces import TraceComparison as TraceComparison
from .traces import compare_traces as compare_traces
