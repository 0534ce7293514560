"""What a DIALS experiment list says, as plain frozen records: lengths in mm, wavelengths in Å, angles in degrees.

The lab frame is the file's own: right-handed, and nothing in it says where the beam goes.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..constants import LARGEST_COUNT

Floats = NDArray[np.floating]

TRUSTED_RANGE = (-0.5, LARGEST_COUNT - 0.5)
"""Counts to be believed where a panel does not say."""


@dataclass(frozen=True, eq=False)
class ExptPanel:
    """One panel in the lab frame, its place in the hierarchy resolved.

    `origin_mm` (3,): outer corner of the first pixel; `fast_axis`, `slow_axis` (3,): unit vectors; `pixels`: counts
    (fast, slow); `pixel_size_mm`: (fast, slow). `mu_per_mm`: attenuation of the sensor; `parallax`: whether DIALS
    corrects for the depth at which photons stop. `trusted_range`: least and largest count to be believed. `mask`:
    rectangles (x0, y0, x1, y1) of pixels not to be believed.
    """

    origin_mm: Floats
    fast_axis: Floats
    slow_axis: Floats
    pixels: tuple[int, int]
    pixel_size_mm: tuple[float, float]
    name: str = "Panel"
    type: str = "SENSOR_PAD"
    thickness_mm: float = 0.0
    mu_per_mm: float = 0.0
    material: str = ""
    parallax: bool = False
    gain: float = 1.0
    pedestal: float = 0.0
    trusted_range: tuple[float, float] = TRUSTED_RANGE
    raw_image_offset: tuple[int, int] = (0, 0)
    mask: tuple[tuple[int, int, int, int], ...] = ()
    identifier: str = ""

    @property
    def normal(self) -> Floats:
        """Unit vector fast × slow."""
        cross = np.cross(self.fast_axis, self.slow_axis)
        return cross / np.linalg.norm(cross)


@dataclass(frozen=True, eq=False)
class ExptBeam:
    """The beam. `source_direction` (3,): unit vector from the sample to the source.

    `wavelength_A` is None for a polychromatic (Laue) beam, whose limits are then in `wavelength_range_A`. The electric
    field is perpendicular to `polarization_normal` (3,) for `polarization_fraction` of the photons.
    `s0_at_scan_points` (n, 3): vectors along the beam, 1/Å, where the beam was refined to move.
    """

    source_direction: Floats
    wavelength_A: float | None
    wavelength_range_A: tuple[float, float] | None = None
    polarization_normal: Floats = field(default_factory=lambda: np.array([0.0, 1.0, 0.0]))
    polarization_fraction: float = 0.999
    divergence_deg: float = 0.0
    sigma_divergence_deg: float = 0.0
    flux: float = 0.0
    transmission: float = 1.0
    probe: str = "x-ray"
    s0_at_scan_points: Floats | None = None


@dataclass(frozen=True, eq=False)
class ExptCrystal:
    """The crystal at the goniometer's zero. `real_space_A` (3, 3): rows a, b, c.

    `hall_symbol`: of the space group; `A_at_scan_points` (n, 3, 3): reciprocal matrices (columns a*, b*, c*, 1/Å) at
    the start of each image and the end of the last.
    """

    real_space_A: Floats
    hall_symbol: str = " P 1"
    A_at_scan_points: Floats | None = None
    mosaicity_deg: float | None = None
    half_mosaicity_deg: float | None = None
    domain_size_A: float | None = None


@dataclass(frozen=True, eq=False)
class ExptGoniometer:
    """The goniometer: at angle φ a crystal vector x stands at setting · R(axis, φ) · fixed · x."""

    rotation_axis: Floats
    fixed_rotation: Floats = field(default_factory=lambda: np.eye(3))
    setting_rotation: Floats = field(default_factory=lambda: np.eye(3))
    setting_at_scan_points: Floats | None = None


@dataclass(frozen=True, eq=False)
class ExptScan:
    """The images of a scan. `start_deg`, `width_deg`, `exposure_s` (images,); all widths are 0 for stills."""

    first_image: int
    start_deg: Floats
    width_deg: Floats
    exposure_s: Floats

    @property
    def num_images(self) -> int:
        """How many."""
        return len(self.start_deg)


@dataclass(frozen=True, eq=False)
class ExptExperiment:
    """One experiment; None stands for a model that it lacks. `imageset`: that entry of the file as it is."""

    beam: ExptBeam | None
    detector: tuple[ExptPanel, ...] | None
    goniometer: ExptGoniometer | None = None
    scan: ExptScan | None = None
    crystal: ExptCrystal | None = None
    identifier: str = ""
    imageset: dict | None = None
