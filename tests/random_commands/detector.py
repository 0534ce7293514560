"""Where pixels are (docs/reference.md section 3)."""

import math
from typing import NamedTuple

import numpy as np

from .counts import RAD, completed
from .draws import rotation
from .line import Settings

TABLE = {  # beam, fast, slow, normal, two-theta axis, polarisation, spindle, pivot
    "mosflm": ("100", "001", "0-00", "100", "00-", "001", "001", "beam"),
    "denzo": ("100", "001", "0-00", "100", "00-", "001", "001", "beam"),
    "adxv": ("001", "100", "0-00", "001", "-00", "100", "100", "beam"),
    "xds": ("001", "100", "010", "001", "100", "100", "100", "sample"),
    "dials": ("001", "100", "010", "001", "010", "010", "010", "sample"),
}
"""Axes as digits, - for −1."""
MM = 1000.0
"""In a metre. The reference divides: round_direct_beam, where the last bit decides, is black only so."""
VECTORS = ("beam", "fdet", "sdet", "odet", "twotheta", "polar", "spindle")


class Detector(NamedTuple):
    """Lengths in metres, directions in the lab."""

    pixels: tuple[int, int]
    """(slow, fast)."""
    pixel: float
    fast: np.ndarray
    slow: np.ndarray
    normal: np.ndarray
    beam: np.ndarray
    polar: np.ndarray
    spindle: np.ndarray
    pix0: np.ndarray
    close_distance: float
    distance: float
    layers: int
    layer: float
    """Thickness of a layer; 0 for a sensor without thickness."""
    mu: float


def _axis(digits: str) -> np.ndarray:
    signs = {"1": 1.0, "0": 0.0, "-": -1.0}
    return np.array([signs[x] for x in digits[:3]])


def unit(v: np.ndarray) -> np.ndarray:
    """A vector of length one."""
    return v / np.linalg.norm(v)


def lab_rotation(angles) -> np.ndarray:
    """About lab x, then y, then z; radians."""
    turns = [rotation(axis, angle) for axis, angle in zip(np.eye(3), angles, strict=True)]
    return turns[2] @ turns[1] @ turns[0]


def vectors(settings: Settings) -> dict[str, np.ndarray]:
    """Directions of the convention, or those given, of unit length but for the two-theta axis."""
    convention = settings["convention"]
    named = TABLE["mosflm" if convention == "custom" else convention]
    found = {name: _axis(digits) for name, digits in zip(VECTORS, named, strict=False)}
    if convention == "custom":
        found["twotheta"] = np.array([0.0, 1.0, 0.0])
        for name in VECTORS:
            given = settings[f"{name}_vector"]
            found[name] = found[name] if given is None else given
    normal_length = np.linalg.norm(found["odet"])
    found |= {name: unit(v) for name, v in found.items() if name != "twotheta" and v.any()}
    if normal_length != 1.0:
        found["odet"] = unit(np.cross(found["fdet"], found["sdet"]))
    return found


def detector_of(settings: Settings, slips: bool) -> Detector:
    """The detector that a command describes; `slips`: with those of the reference."""
    pixel = settings["pixel"] / MM
    counts, sizes = [], []
    for way in "fs":
        given = settings[f"detpixels_{way}"]
        size = pixel * given if given is not None else settings[f"detsize_{way}"] / MM
        sizes.append(size)
        counts.append(math.ceil(size / pixel - 0.5))
    axes = vectors(settings)
    beam, fast, slow, normal = (axes[name] for name in ("beam", "fdet", "sdet", "odet"))
    tilt = lab_rotation([settings[f"detector_rot{x}"] / RAD for x in "xyz"])
    swing = rotation_about(axes["twotheta"], settings["twotheta"] / RAD)
    ratio = float(beam @ (tilt @ normal)) or 2.2250738585072014e-308
    close = settings["close_distance"]
    close = abs(ratio * settings["distance"] / MM) if close is None else close / MM
    foot, spot, pivot = _centres(settings, pixel, sizes, slips)
    turned = [swing @ (tilt @ v) for v in (fast, slow, normal)]
    if pivot == "sample":
        pix0 = swing @ (tilt @ (-foot[0] * fast - foot[1] * slow + close * normal))
    else:
        pix0 = -spot[0] * turned[0] - spot[1] * turned[1] + close / ratio * beam
    if not slips and (corner := _honoured_corner(settings)) is not None:
        pix0 = corner
    close = float(pix0 @ turned[2])
    layers, mu, thickness = _layers(settings, slips)
    size = counts[1], counts[0]
    around = beam, axes["polar"], axes["spindle"]
    return Detector(size, pixel, *turned, *around, pix0, close, close / ratio, layers, thickness, mu)


def rotation_about(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' formula about an axis of any length, as the reference applies it."""
    c, s = math.cos(angle), math.sin(angle)
    crossed = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return c * np.eye(3) + s * crossed + (1 - c) * np.outer(axis, axis)


def _centres(settings: Settings, pixel: float, sizes: list[float], slips: bool):
    """(Fclose, Sclose), (Fbeam, Sbeam) and the pivot."""
    convention = settings["convention"]
    origin = [settings["ORGX"], settings["ORGY"]]
    foot = [size / 2 if o is None else (o - 0.5) * pixel for o, size in zip(origin, sizes, strict=True)]
    near = [f if settings[n] is None else settings[n] / MM for n, f in zip(("Xclose", "Yclose"), foot, strict=True)]
    size_f, size_s = sizes
    usual = {
        "mosflm": [(size_s + pixel) / 2, (size_f + pixel) / 2],
        "denzo": [(size_s + pixel) / 2, (size_f + pixel) / 2],
        "adxv": [(size_f + pixel) / 2, (size_s - pixel) / 2],
    }.get(convention, near)
    x, y = (u if settings[n] is None else settings[n] / MM for n, u in zip(("Xbeam", "Ybeam"), usual, strict=True))
    spot = {
        "mosflm": (y + pixel / 2, x + pixel / 2),
        "denzo": (y, x),
        "adxv": (x, size_s - y),
    }.get(convention, (x, y))
    if convention == "custom":
        return (x, y), spot, settings["pivot"]
    pivot = TABLE[convention][-1]
    asked = settings["pivot_asked"]
    if not slips and asked and asked != pivot:
        if asked == "sample" and origin == [None, None]:
            foot = spot
        pivot = asked
    return foot, spot, pivot


def _honoured_corner(settings: Settings) -> np.ndarray | None:
    """-pix0_vector in metres where spec mode uses it."""
    given = settings["pix0_vector"]
    others = ("Xbeam", "Ybeam", "Xclose", "Yclose", "ORGX", "ORGY")
    if given is None or settings["convention"] != "custom" or any(settings[name] is not None for name in others):
        return None
    return given * (1e-3 if settings["pix0_in_mm"] else 1.0)


def _layers(settings: Settings, slips: bool) -> tuple[int, float, float]:
    """(layers, absorption in 1/m, thickness of a layer)."""
    count = settings["detector_thicksteps"]
    layers, whole, layer = completed(count, settings["detector_thick"] * 1e-6, None, kind="thickness")
    mu = settings["mu"]
    if mu is None:
        mu = 1.0 / whole if whole > 0 else 0.0
    if mu == 0.0 and not slips:
        return 1, 0.0, 0.0
    return layers, mu, layer
