"""Detectors by name.

Each function gives a detector of a kind at its place, for `Experiment(detector=…)`: geometry, gaps, sensor, counter.

**Arguments:** `distance_mm`: from the sample along the beam; `beam_center_px` (fast, slow): from the outer corner of
the first pixel, gaps included, None for the middle; `convention`; `more`: further arguments of `Detector`, as
`rotations_deg`, or `thickness_um` for another sensor than the usual one.

Sources: sizes of modules and gaps as in dxtbx (`FormatPilatusHelpers`) and pyFAI (`pyFAI.detectors`), which have them
from the manufacturers; sensors are those that were sold most.
"""

from ..errors import InputError
from .known import KnownDetector, Layout, Tile, placed

_PILATUS_COUNTER = 2.0**20 - 1


def _pilatus(columns: int, rows: int) -> Layout:
    """Modules of 487 × 195 pixels, 7 and 17 apart; a counter of 20 bits; 320 µm of silicon (others: 450, 1000)."""
    return Layout((487, 195), 0.172, "Si", 320.0, (columns, rows), (7, 17), saturation=_PILATUS_COUNTER)


def _eiger(columns: int, rows: int) -> Layout:
    """Modules of 1030 × 514 pixels, 10 and 37 apart; 450 µm of silicon; counters that are added up."""
    return Layout((1030, 514), 0.075, "Si", 450.0, (columns, rows), (10, 37))


def _eiger2(columns: int, rows: int) -> Layout:
    """Modules of 1028 × 512 pixels, 12 and 38 apart; 450 µm of silicon; counters that are added up."""
    return Layout((1028, 512), 0.075, "Si", 450.0, (columns, rows), (12, 38))


def _jungfrau(columns: int, rows: int) -> Layout:
    """Modules of 1030 × 514 pixels, the wide ones between chips taken apart, 8 and 36 apart; 320 µm of silicon."""
    fast, slow, beside, below = 1030, 514, 8, 36
    tiles = [Tile((i * (fast + beside), j * (slow + below))) for j in range(rows) for i in range(columns)]
    extent = columns * (fast + beside) - beside, rows * (slow + below) - below
    return Layout((fast, slow), 0.075, "Si", 320.0, tiles=tuple(tiles), extent=extent)


def _rayonix(pixels: int, pixel_size_mm: float) -> Layout:
    """Square, without gaps, 16 bits; 40 µm of phosphor on a taper whose light spreads over about 0.1 mm."""
    spread = {"psf": "fiber", "psf_fwhm_pixels": 0.1 / pixel_size_mm, "psf_radius_pixels": 60}
    return Layout((pixels, pixels), pixel_size_mm, "Gd2O2S", 40.0, saturation=65535.0, effects=spread)


_ASIC = 194, 185
_BETWEEN_ASICS, _BETWEEN_SENSORS, _HOLE = 3, 22, 68


def _cspad() -> Layout:
    """Four quadrants of eight sensors of two chips each, turned against each other around a hole for the beam."""
    (fast, slow), gap = _ASIC, _BETWEEN_SENSORS
    sensor = 2 * fast + _BETWEEN_ASICS
    block = 2 * slow + gap  # two sensors side by side, about as high as one is long
    edge = sensor + gap + max(sensor, block)
    flat = [(x, y) for y in (0, slow + gap) for x in (0, fast + _BETWEEN_ASICS)]
    upright = [(slow + x, y) for x in (0, slow + gap) for y in (0, fast + _BETWEEN_ASICS)]
    second = sensor + gap
    quadrant = [
        *(Tile((x, y), 1) for x, y in upright),
        *(Tile((x + second, y)) for x, y in flat),
        *(Tile((x, y + second)) for x, y in flat),
        *(Tile((x + second, y + second), 1) for x, y in upright),
    ]
    left, top = _HOLE / 2 - gap - edge, -_HOLE / 2 - edge  # of the first quadrant, from the beam
    reach = _HOLE / 2 + edge
    tiles = []
    for turns in range(4):
        cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns]
        for tile in quadrant:
            x, y = tile.corner[0] + left, tile.corner[1] + top
            corner = cosine * x - sine * y + reach, sine * x + cosine * y + reach
            tiles.append(Tile(corner, tile.quarter_turns + turns))
    return Layout(_ASIC, 0.10992, "Si", 500.0, tiles=tuple(tiles), extent=(int(2 * reach), int(2 * reach)))


LAYOUTS: dict[str, Layout] = {
    "pilatus_300k": _pilatus(1, 3),
    "pilatus_1m": _pilatus(2, 5),
    "pilatus_2m": _pilatus(3, 8),
    "pilatus_6m": _pilatus(5, 12),
    "eiger_1m": _eiger(1, 2),
    "eiger_4m": _eiger(2, 4),
    "eiger_9m": _eiger(3, 6),
    "eiger_16m": _eiger(4, 8),
    "eiger2_1m": _eiger2(1, 2),
    "eiger2_4m": _eiger2(2, 4),
    "eiger2_9m": _eiger2(3, 6),
    "eiger2_16m": _eiger2(4, 8),
    "jungfrau_1m": _jungfrau(1, 2),
    "jungfrau_4m": _jungfrau(2, 4),
    "rayonix_mx225": _rayonix(3072, 0.073242),
    "rayonix_mx340": _rayonix(3840, 0.0885417),
    "cspad": _cspad(),
}
"""Kinds of detectors by the names of their functions."""

NAMES = {name.replace("_", ""): name for name in LAYOUTS}
"""Short names, as for the command's `-detector`, and the names of functions."""


def known(name: str, distance_mm=100.0, **more) -> KnownDetector:
    """A detector by its name, as eiger16m or eiger_16m.

    **Raises** `InputError` for a name that is not in the catalogue.
    """
    short = name.lower().replace("_", "").replace(" ", "").replace("-", "")
    if short not in NAMES:
        raise InputError(f"there is no detector {name}: known are {', '.join(NAMES)}")
    return placed(NAMES[short], LAYOUTS[NAMES[short]], distance_mm, **more)


def pilatus_300k(distance_mm=100.0, **more) -> KnownDetector:
    """Dectris Pilatus 300K: 487 × 619 pixels of 0.172 mm, 1 × 3 modules, 320 µm of silicon."""
    return known("pilatus_300k", distance_mm, **more)


def pilatus_1m(distance_mm=100.0, **more) -> KnownDetector:
    """Dectris Pilatus 1M: 981 × 1043 pixels of 0.172 mm, 2 × 5 modules, 320 µm of silicon."""
    return known("pilatus_1m", distance_mm, **more)


def pilatus_2m(distance_mm=100.0, **more) -> KnownDetector:
    """Dectris Pilatus 2M: 1475 × 1679 pixels of 0.172 mm, 3 × 8 modules, 320 µm of silicon."""
    return known("pilatus_2m", distance_mm, **more)


def pilatus_6m(distance_mm=100.0, **more) -> KnownDetector:
    """Dectris Pilatus 6M: 2463 × 2527 pixels of 0.172 mm, 5 × 12 modules, 320 µm of silicon."""
    return known("pilatus_6m", distance_mm, **more)


def eiger_1m(distance_mm=100.0, **more) -> KnownDetector:
    """Dectris Eiger X 1M: 1030 × 1065 pixels of 0.075 mm, 1 × 2 modules, 450 µm of silicon."""
    return known("eiger_1m", distance_mm, **more)


def eiger_4m(distance_mm=100.0, **more) -> KnownDetector:
    """Dectris Eiger X 4M: 2070 × 2167 pixels of 0.075 mm, 2 × 4 modules, 450 µm of silicon."""
    return known("eiger_4m", distance_mm, **more)


def eiger_9m(distance_mm=100.0, **more) -> KnownDetector:
    """Dectris Eiger X 9M: 3110 × 3269 pixels of 0.075 mm, 3 × 6 modules, 450 µm of silicon."""
    return known("eiger_9m", distance_mm, **more)


def eiger_16m(distance_mm=100.0, **more) -> KnownDetector:
    """Dectris Eiger X 16M: 4150 × 4371 pixels of 0.075 mm, 4 × 8 modules, 450 µm of silicon."""
    return known("eiger_16m", distance_mm, **more)


def eiger2_1m(distance_mm=100.0, **more) -> KnownDetector:
    """Dectris Eiger2 1M: 1028 × 1062 pixels of 0.075 mm, 1 × 2 modules, 450 µm of silicon."""
    return known("eiger2_1m", distance_mm, **more)


def eiger2_4m(distance_mm=100.0, **more) -> KnownDetector:
    """Dectris Eiger2 4M: 2068 × 2162 pixels of 0.075 mm, 2 × 4 modules, 450 µm of silicon."""
    return known("eiger2_4m", distance_mm, **more)


def eiger2_9m(distance_mm=100.0, **more) -> KnownDetector:
    """Dectris Eiger2 9M: 3108 × 3262 pixels of 0.075 mm, 3 × 6 modules, 450 µm of silicon."""
    return known("eiger2_9m", distance_mm, **more)


def eiger2_16m(distance_mm=100.0, **more) -> KnownDetector:
    """Dectris Eiger2 16M: 4148 × 4362 pixels of 0.075 mm, 4 × 8 modules, 450 µm of silicon."""
    return known("eiger2_16m", distance_mm, **more)


def jungfrau_1m(distance_mm=100.0, **more) -> KnownDetector:
    """PSI Jungfrau 1M: 2 modules, each a panel of 1030 × 514 pixels of 0.075 mm, 320 µm of silicon.

    Source: for the gaps the 1M in dxtbx (`FormatNexusJungfrauHack`) and the 4M in pyFAI.
    """
    return known("jungfrau_1m", distance_mm, **more)


def jungfrau_4m(distance_mm=100.0, **more) -> KnownDetector:
    """PSI Jungfrau 4M: 2 × 4 modules, each a panel of 1030 × 514 pixels of 0.075 mm, 320 µm of silicon."""
    return known("jungfrau_4m", distance_mm, **more)


def rayonix_mx225(distance_mm=100.0, **more) -> KnownDetector:
    """Rayonix MX225: 3072 × 3072 pixels of 0.073242 mm (two by two of the CCDs' own), 40 µm of Gd2O2S.

    Source: pyFAI; the spread of its light is of the size that fibre tapers have, not measured on one of these.
    """
    return known("rayonix_mx225", distance_mm, **more)


def rayonix_mx340(distance_mm=100.0, **more) -> KnownDetector:
    """Rayonix MX340-HS: 3840 × 3840 pixels of 0.08854 mm (two by two of the CCDs' own), 40 µm of Gd2O2S.

    Source: as for `rayonix_mx225`.
    """
    return known("rayonix_mx340", distance_mm, **more)


def cspad(distance_mm=100.0, **more) -> KnownDetector:
    """A detector like the CSPAD of LCLS: 64 tiles of 194 × 185 pixels of 0.10992 mm, 500 µm of silicon.

    Sensors of two chips, in quadrants turned against each other around a hole of 7.5 mm. Sizes of chips and pixels and
    the arrangement are those of the CSPAD (G. Blaj et al., J. Synchrotron Rad. 22 (2015) 577-583); sensors are evenly
    2.4 mm apart, where those of a real one were surveyed after each assembly.
    """
    return known("cspad", distance_mm, **more)
