"""Random command lines.

A `Layout` is what decides the compiled program (counts, switches, shapes); many commands with other numbers, crystals,
conventions and beam centres share one.
"""

from typing import NamedTuple

import numpy as np

from .inputs import MATRICES, PIXELS


class Layout(NamedTuple):
    """The words of a command that decide its program, and what the rest has to fit."""

    words: tuple[str, ...]
    shape: str
    phi_steps: int
    automatic: bool
    """Whether sub-pixels are left to the program; spots are then few and wide."""
    header: str | None


class Draw:
    """Choices from a generator of random numbers."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def happens(self, chance: float) -> bool:
        """True with a probability."""
        return bool(self.rng.random() < chance)

    def one(self, *choices):
        """One of them."""
        return choices[int(self.rng.integers(len(choices)))]

    def number(self, low: float, high: float, digits: int = 4) -> str:
        """A number, as it is typed."""
        return f"{self.rng.uniform(low, high):.{digits}g}"


def layout(draw: Draw) -> Layout:
    """Shapes, counts and switches."""
    words = []
    shape = draw.one("square", "square", "round", "gauss", "tophat")
    flag = {"square": "-square_xtal", "round": "-round_xtal", "gauss": "-gauss_xtal"}
    if shape != "square" or draw.happens(0.2):
        words += [flag.get(shape) or draw.one("-tophat_spots", "-binary_spots")]
    automatic = draw.happens(0.1)
    if not automatic:
        words += ["-oversample", draw.one("1", "1", "2", "3")]
    words += _sources(draw)
    phi_steps = draw.one(1, 1, 2, 3, 4)
    if draw.happens(0.3):
        words += ["-mosaic_domains", draw.one("2", "3"), "-mosaic", "1"]
    if draw.happens(0.25):
        words += ["-detector_thick", draw.number(50, 600), *_absorption(draw)]
    if draw.happens(0.2):
        words += ["-detector_thicksteps", draw.one("2", "3")]
    for name, chance in (("oversample_thick", 0.1), ("oversample_polar", 0.2), ("oversample_omega", 0.15)):
        words += [f"-{name}"] if draw.happens(chance) else []
    words += ["-curved_det"] if draw.happens(0.08) else []
    words += ["-point_pixel"] if draw.happens(0.08) else []
    words += ["-nopolar"] if draw.happens(0.2) else []
    words += ["-dmin", "3"] if draw.happens(0.2) else []
    words += ["-water", draw.number(0.02, 2)] if draw.happens(0.15) else []
    if draw.happens(0.15):
        f0, s0 = int(draw.rng.integers(0, 7)), int(draw.rng.integers(0, 6))
        words += [
            "-roi",
            str(f0),
            str(int(draw.rng.integers(f0, PIXELS[0]))),
            str(s0),
            str(int(draw.rng.integers(s0, PIXELS[1]))),
        ]
    words += _amplitudes(draw)
    header = None
    if draw.happens(0.2):
        header = draw.one("full.img", "bare.img")
        words += ["-mask", header]
    return Layout(tuple(words), shape, phi_steps, automatic, header)


def _absorption(draw: Draw) -> list[str]:
    if draw.happens(0.25):
        return []
    return ["-detector_abs", draw.number(60, 500) if draw.happens(0.8) else draw.one("inf", "0")]


def _sources(draw: Draw) -> list[str]:
    kind = draw.one("none", "none", "none", "grid", "grid", "dispersed", "file")
    if kind == "file":
        return ["-sourcefile", "sources.txt"]
    if kind == "dispersed":
        return ["-dispersion", draw.number(0.5, 4), *(["-dispsteps", "3"] if draw.happens(0.6) else [])]
    if kind == "none":
        return []
    words = draw.one(
        ["-hdivrange", draw.number(3, 30), "-hdivsteps", "3"],
        ["-vdivrange", draw.number(3, 30)],
        ["-divergence", draw.number(3, 30), "-divsteps", draw.one("2", "3")],
        ["-hdivstep", draw.number(3, 20), "-vdivstep", draw.number(3, 20)],
        ["-divergence", draw.number(10, 30), "-hdivsteps", "3", "-vdivsteps", "2"],
    )
    return words + (["-square_div"] if draw.happens(0.4) else [])


def _amplitudes(draw: Draw) -> list[str]:
    words = ["-default_F", draw.number(1, 100)]
    if draw.happens(0.6):
        words += ["-hkl", "some.hkl"]
        words += draw.one([], [], ["-interpolate"], ["-nointerpolate"])
    return words


def command(draw: Draw, of: Layout, mode: str) -> list[str]:
    """A command of a layout. What spec mode refuses by design is only made for c-parity."""
    wavelength = draw.number(0.8, 1.6)
    words = [*of.words, *_beam(draw, wavelength, of), *_crystal(draw, of, mode)]
    words += _rotation(draw, of) + _placed(draw, of)
    blocks = _in_blocks(words)
    if draw.happens(0.5):  # later flags win over earlier ones, and pivots and conventions depend on the order
        draw.rng.shuffle(blocks)
    return [word for block in blocks for word in block]


def _in_blocks(words: list[str]) -> list[list[str]]:
    """Flags with their values; what the sensor is made of stays together, as the order decides there."""
    blocks: list[list[str]] = []
    for word in words:
        is_flag = word.startswith("-") and not word[1:2].isdigit() and word[1:2] != "."
        if is_flag and not (word in ("-detector_abs",) and blocks[-1][0] == "-detector_thick"):
            blocks.append([])
        blocks[-1].append(word)
    return blocks


def _beam(draw: Draw, wavelength: str, of: Layout) -> list[str]:
    words = []
    if of.header != "full.img" or draw.happens(0.5):
        words += draw.one(["-lambda", wavelength], ["-lambda", wavelength], ["-energy", draw.number(8000, 15000)])
    if "-nopolar" not in of.words and draw.happens(0.6):
        words += ["-polar", draw.number(-1, 1)]
    if draw.happens(0.2):
        words += ["-fluence", draw.number(1e24, 1e29)]
    if draw.happens(0.15):
        words += ["-flux", draw.number(1e9, 1e13), "-beamsize", draw.number(0.01, 0.3)]
        words += ["-exposure", draw.number(0.1, 3)] if draw.happens(0.5) else []
    return words


def _crystal(draw: Draw, of: Layout, mode: str) -> list[str]:
    words = []
    if draw.happens(0.5):
        name = draw.one(*MATRICES)
        words += ["-mat", name]
        if mode == "c-parity" and draw.happens(0.25):
            stretched = [f"{x * draw.rng.uniform(0.97, 1.03):.5g}" for x in MATRICES[name]]
            words += ["-cell", *stretched]
    else:
        edges = [draw.number(20, 60) for _ in range(3)]
        angles = draw.one(
            ["90", "90", "90"], ["90", draw.number(91, 115), "90"], ["84", "97", "106"], ["90", "90", "120"]
        )
        words += ["-cell", *edges, *angles] if draw.happens(0.9) else ["-cell", edges[0]]
    if draw.happens(0.7):
        words += ["-misset", *(draw.number(-180, 180) for _ in range(3))]
    elif draw.happens(0.4):
        words += ["-misset", "random", "-misset_seed", str(int(draw.rng.integers(1, 10000)))]
    low = 1 if draw.happens(0.2) else 3
    counts = [str(int(draw.rng.integers(low, 8))) for _ in range(3)]
    if of.automatic:
        counts = [str(int(x)) for x in draw.rng.integers(1, 4, 3)]
    kind = draw.one("N", "N", "Na", "size")
    if kind == "N":
        words += ["-N", counts[0]]
    elif kind == "Na":
        words += [word for x, count in zip("abc", counts, strict=True) for word in (f"-N{x}", count)]
    else:
        words += ["-samplesize", draw.number(6e-6, 2.4e-5) if not of.automatic else draw.number(4e-6, 8e-6)]
    if of.shape != "square" and draw.happens(0.7):
        words += ["-fudge", f"{10 ** draw.rng.uniform(-3.5, 0.2):.3g}"]
    if "-mosaic_domains" in of.words:
        words += ["-mosaic", draw.number(0.1, 3)]
        words += ["-mosaic_seed", str(int(draw.rng.integers(1, 10000)))] if draw.happens(0.5) else []
    if "-dmin" in of.words:
        words += ["-dmin", draw.number(2, 12)]
    return words


def _rotation(draw: Draw, of: Layout) -> list[str]:
    """φ steps; where one of them may be at zero it is so to the last bit, or not at all."""
    if of.phi_steps == 1:
        return draw.one([], [], ["-phi", draw.number(-90, 90)]) + (["-osc", "0"] if of.header == "full.img" else [])
    steps = ["-phisteps", str(of.phi_steps)]
    osc = draw.one("0.5", "1", "2", "8")
    start = draw.one(["-phi", "0"], ["-phi", "0"], ["-phi", draw.number(-90, 90)])
    if of.phi_steps in (2, 4) and draw.happens(0.3):
        return ["-phi", f"-{float(osc) / 2:g}", "-osc", osc, *steps]
    if of.phi_steps == 2 and of.header is None and draw.happens(0.4):
        return start + draw.one(["-osc", osc], ["-phistep", osc], ["-osc", osc, "-phistep", f"{float(osc) / 2:g}"])
    return [*start, "-osc", osc, *steps]


def _placed(draw: Draw, of: Layout) -> list[str]:
    """Detector: size, distance, convention, beam centre, tilts."""
    words = ["-detpixels_x", str(PIXELS[0]), "-detpixels_y", str(PIXELS[1])]
    pixel, distance = (
        (draw.number(1.5, 4, 3), draw.number(40, 90)) if not of.automatic else ("0.9", draw.number(170, 260))
    )
    words += ["-pixel", pixel]
    near = draw.happens(0.15)
    words += ["-close_distance" if near else "-distance", distance]
    convention = draw.one("mosflm", "", "xds", "adxv", "denzo", "dials", "custom")
    if convention == "custom":
        words += _custom(draw)
    elif convention:
        words += [f"-{convention}"]
    width, height = (n * float(pixel) for n in PIXELS)
    if draw.happens(0.45):
        words += ["-Xbeam", draw.number(0.2 * width, 0.8 * width), "-Ybeam", draw.number(0.2 * height, 0.8 * height)]
    elif draw.happens(0.2):
        words += ["-ORGX", draw.number(3, 11), "-ORGY", draw.number(3, 9)]
    elif draw.happens(0.1):
        words += ["-Xclose", draw.number(0.2 * width, 0.8 * width), "-Yclose", draw.number(0.2 * height, 0.8 * height)]
    if draw.happens(0.4):
        words += [w for x in "xyz" if draw.happens(0.6) for w in (f"-detector_rot{x}", draw.number(-15, 15))]
    if draw.happens(0.25):
        words += ["-twotheta", draw.number(-20, 20)]
    if draw.happens(0.2):
        words += ["-pivot", draw.one("beam", "sample")]
    return words


def _custom(draw: Draw) -> list[str]:
    tilt = draw.rng.normal(0, 0.05, 9)
    fast, slow = np.array([0, 0, 1.0]) + tilt[:3], np.array([0, -1.0, 0]) + tilt[3:6]
    slow -= (slow @ fast) / (fast @ fast) * fast
    usual = {"fdet": fast, "sdet": slow, "odet": np.cross(fast, slow), "beam": np.array([1.0, 0, 0]) + tilt[6:]}
    words = []
    for name in usual if draw.happens(0.7) else ("fdet", "sdet", "odet"):
        words += [f"-{name}_vector", *(f"{x:.6f}" for x in usual[name])]
    if draw.happens(0.5):
        words += ["-spindle_axis", *(draw.number(-1, 1) for _ in range(3))]
    if draw.happens(0.3):
        words += ["-polar_vector", draw.number(-0.1, 0.1), draw.number(-1, 1), draw.number(0.2, 1)]
    if draw.happens(0.3):
        words += ["-twotheta_axis", *draw.one(("0", "1", "0"), ("0", "0", "-1"), ("0.1", "0.9", "0.3"))]
    if draw.happens(0.3):
        scale, flag = draw.one((1e-3, "-pix0_vector"), (1.0, "-pix0_vector_mm"))
        words += [
            flag,
            *(f"{x * scale:.6g}" for x in (60 + draw.rng.normal(), 18 + draw.rng.normal(), -20 + draw.rng.normal())),
        ]
    return words
