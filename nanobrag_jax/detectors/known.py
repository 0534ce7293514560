"""A detector of which everything is known but where it stands."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conventions import CONVENTIONS, ConventionName, beam_center_at
from ..detector import Detector
from ..effects import DetectorEffects
from ..errors import InputError
from ..panels import Panels, as_panels
from .sensor import attenuation_depth_um

Pair = tuple[float, float]


@dataclass(frozen=True)
class Tile:
    """A panel: its corner (fast, slow) in pixels of the whole, and its quarter turns from fast to slow."""

    corner: Pair
    quarter_turns: int = 0


@dataclass(frozen=True)
class Layout:
    """The geometry of a kind of detector.

    **Arguments:**

    - `pixels` (fast, slow): of the image, or of each tile;
    - `pixel_size_mm`; `material` and `thickness_um` of the sensor;
    - `modules`, `gaps` (fast, slow): of a single image made of modules: how many, and pixels between them;
    - `tiles`: of one that has a panel for each; `extent` (fast, slow): pixels of the whole, gaps included;
    - `saturation`: counts that a pixel can hold, None for as good as any number;
    - `effects`: further arguments of `DetectorEffects`.
    """

    pixels: tuple[int, int]
    pixel_size_mm: float
    material: str
    thickness_um: float
    modules: tuple[int, int] = (1, 1)
    gaps: tuple[int, int] = (0, 0)
    tiles: tuple[Tile, ...] = ()
    extent: tuple[int, int] | None = None
    saturation: float | None = None
    effects: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Pixels of the whole, gaps included."""
        if self.extent is not None:
            return self.extent
        (fast, slow), (columns, rows), (beside, below) = self.pixels, self.modules, self.gaps
        return columns * fast + (columns - 1) * beside, rows * slow + (rows - 1) * below

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """True where a pixel is, (slow, fast); None for a detector without gaps, and for tiles."""
        if self.tiles or self.modules == (1, 1):
            return None
        across, down = (
            np.arange(whole) % (module + gap) < module
            for whole, module, gap in zip(self.size, self.pixels, self.gaps, strict=True)
        )
        return down[:, None] & across[None, :]


@dataclass(frozen=True)
class KnownDetector:
    """A kind of detector at its place, for `Experiment(detector=…)`.

    An experiment takes its geometry, its mask, and the attenuation of its sensor at the beam's wavelength, which stays
    as it is where the wavelength is replaced later. `effects` are for `detect`.

    **Arguments:** `name`; `layout`; `place`: arguments of `Detector`, one set for each panel.
    """

    name: str
    layout: Layout
    place: tuple[dict[str, Any], ...] = field(repr=False)

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """True where a pixel is, (slow, fast); None where there are no gaps."""
        return self.layout.mask

    @property
    def effects(self) -> DetectorEffects:
        """Photons are counted, as far as a counter goes; pixels in gaps are dead."""
        dead = None if self.mask is None else ~self.mask
        options = {"shot_noise": True, "saturation_adu": self.layout.saturation, "dead_mask": dead}
        return DetectorEffects(**(options | self.layout.effects))

    def panels(self, wavelength_A) -> Panels:
        """Its panels, with a sensor that stops photons of a wavelength as its material does.

        **Raises** `InputError` for a wavelength at which that is not known.
        """
        layout = self.layout
        sensor = {
            "thickness_um": layout.thickness_um,
            "attenuation_depth_um": attenuation_depth_um(layout.material, wavelength_A),
            "mean_depth": True,
        }
        return as_panels([Detector(**(sensor | options)) for options in self.place])

    def __repr__(self) -> str:
        fast, slow = self.layout.size
        return (
            f"<detector {self.name}: {fast} x {slow} pixels of {self.layout.pixel_size_mm:g} mm, {len(self.place)} "
            f"panel{'s' if len(self.place) > 1 else ''}, {self.layout.thickness_um:g} um of {self.layout.material}>"
        )


def placed(
    name: str,
    layout: Layout,
    distance_mm,
    beam_center_px: Pair | None = None,
    convention: ConventionName = "mosflm",
    **more,
) -> KnownDetector:
    """A kind of detector at its place.

    **Arguments:**

    - `name`, `layout`;
    - `distance_mm`: from the sample along the beam;
    - `beam_center_px` (fast, slow): from the outer corner of the first pixel, gaps included; None for the middle;
    - `convention`: of a detector of one panel; the tiles of others stand as in mosflm;
    - `more`: further arguments of `Detector`, as tilts and sensor.

    **Raises** `InputError`.
    """
    middle = layout.size[0] / 2, layout.size[1] / 2
    center = middle if beam_center_px is None else beam_center_px
    fast, slow = layout.size if not layout.tiles else layout.pixels
    usual = {"pixels_fast": fast, "pixels_slow": slow, "pixel_size_mm": layout.pixel_size_mm}
    usual |= {"distance_mm": distance_mm} | more
    if not layout.tiles:
        at = beam_options(convention, center, layout)
        return KnownDetector(name, layout, (at | {"convention": convention} | usual,))
    if convention != "mosflm":
        raise InputError(f"the tiles of {name} stand in the convention mosflm, got {convention}")
    return KnownDetector(name, layout, tuple(_tile(tile, center, layout) | usual for tile in layout.tiles))


def beam_options(convention: ConventionName, center_px: Pair, layout: Layout) -> dict[str, Any]:
    """Arguments of `Detector` for a beam that meets it at pixels (fast, slow) from its corner."""
    point = center_px[0] * layout.pixel_size_mm, center_px[1] * layout.pixel_size_mm
    size = layout.size[0] * layout.pixel_size_mm, layout.size[1] * layout.pixel_size_mm
    options: dict[str, Any] = {"beam_center_mm": beam_center_at(convention, point, size, layout.pixel_size_mm)}
    return options | ({"close_point_mm": point} if CONVENTIONS[convention].pivot == "sample" else {})


def _tile(tile: Tile, center_px: Pair, layout: Layout) -> dict[str, Any]:
    """Arguments of `Detector` for a tile: axes, and where the beam meets its plane, from its own corner."""
    cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[tile.quarter_turns % 4]
    named = CONVENTIONS["custom"]
    across, down = np.array(named.fast, float), np.array(named.slow, float)
    toward = np.subtract(center_px, tile.corner) * layout.pixel_size_mm
    return {
        "convention": "custom",
        "fast_axis": cosine * across + sine * down,
        "slow_axis": cosine * down - sine * across,
        "beam_center_mm": (cosine * toward[0] + sine * toward[1], cosine * toward[1] - sine * toward[0]),
    }
