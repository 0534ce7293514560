"""Crystal vectors, amplitudes and lattice factors (docs/reference.md sections 4, 5 and 8)."""

import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .counts import RAD
from .detector import lab_rotation
from .draws import random_misset
from .line import Settings

ROUND = 0.723601254558268


class Crystal(NamedTuple):
    """Rows a, b, c in metres; rows a*, b*, c* in 1/Å, both before any φ; cells along each."""

    real: np.ndarray
    star: np.ndarray
    cells: tuple[float, float, float]
    volume: float
    """Of the unit cell, Å³."""


def crystal_of(settings: Settings, folder: Path, slips: bool) -> Crystal:
    """The crystal that a command describes."""
    cell = settings["cell"]
    if settings["mat"]:
        columns = np.array((folder / settings["mat"]).read_text().split()[:9], float).reshape(3, 3)
        star = columns.T * (1e-10 / (settings["wavelength"] * 1e-10))
        cell = cell if slips else None
    else:
        star = standard_setting(cell, slips)
    misset = settings["misset"]
    misset = random_misset(int(settings["misset_seed"])) if misset == "random" else [x / RAD for x in misset]
    star = star @ lab_rotation(misset).T
    crossed = np.array([np.cross(star[1], star[2]), np.cross(star[2], star[0]), np.cross(star[0], star[1])])
    volume = 1.0 / float(star[0] @ crossed[0])
    if cell is not None:
        volume = cell_volume(cell)
        crossed = crossed / np.linalg.norm(crossed, axis=1)[:, None] * (np.array(cell[:3]) / volume)[:, None]
    real = crossed * volume
    star = np.array([np.cross(real[1], real[2]), np.cross(real[2], real[0]), np.cross(real[0], real[1])]) / volume
    real = real * 1e-10
    return Crystal(real, star, _cells(settings, np.linalg.norm(real, axis=1)), abs(volume))


def cell_volume(cell) -> float:
    """Volume of six cell parameters, Å³."""
    alpha, beta, gamma = (x / RAD for x in cell[3:])
    half = (alpha + beta + gamma) / 2
    product = math.sin(half) * math.sin(half - alpha) * math.sin(half - beta) * math.sin(half - gamma)
    return 2 * cell[0] * cell[1] * cell[2] * math.sqrt(abs(product))


def standard_setting(cell, slips: bool) -> np.ndarray:
    """Rows a*, b*, c* in 1/Å, a* along x."""
    a, b, c = cell[:3]
    angles = [x / RAD for x in cell[3:]]
    volume = cell_volume(cell)
    (ca, cb, cg), (sa, sb, sg) = ([f(x) for x in angles] for f in (math.cos, math.sin))
    a_star, b_star, c_star = b * c * sa / volume, c * a * sb / volume, a * b * sg / volume
    cos_a, cos_b, cos_g = (
        min(1.0, max(-1.0, x))
        for x in ((cb * cg - ca) / (sb * sg), (cg * ca - cb) / (sg * sa), (ca * cb - cg) / (sa * sb))
    )
    sin_g = c / (volume * a_star * b_star)
    height = c_star * volume / (a * b * c * sin_g) if slips else 1 / (volume * a_star * b_star * sin_g)
    return np.array(
        [
            [a_star, 0.0, 0.0],
            [b_star * cos_g, b_star * sin_g, 0.0],
            [c_star * cos_b, c_star * (cos_a - cos_b * cos_g) / sin_g, height],
        ]
    )


def _cells(settings: Settings, edges) -> tuple[float, float, float]:
    found = []
    for axis, name, edge in zip("xyz", ("Na", "Nb", "Nc"), edges, strict=True):
        count, size = max(1.0, math.floor(settings[name])), (settings[f"sample_{axis}"] or 0.0) * 1e-3
        if axis != "x":
            size = min(size, settings["beamsize"] * 1e-3)
        found.append(max(1.0, math.ceil(size / edge)) if size > 0 else count)
    return tuple(found)


class Amplitudes:
    """F by index: of a file, else a default."""

    def __init__(self, settings: Settings, folder: Path):
        self.default = settings["default_F"]
        self.values: dict[tuple[int, int, int], float] = {}
        if settings["hkl"]:
            self.values = read_hkl(folder / settings["hkl"])
            self.low = [min(x) for x in zip(*self.values, strict=True)]
            self.high = [max(x) for x in zip(*self.values, strict=True)]

    def __bool__(self) -> bool:
        return bool(self.values)

    def nearest(self, index) -> float:
        """F of whole indices."""
        return self.values.get((int(index[0]), int(index[1]), int(index[2])), self.default)

    def surrounded(self, hkl) -> bool:
        """Whether the 4 × 4 × 4 points around fractional indices are on the grid, as the reference asks."""
        return all(
            x - low + 3 <= high - low + 1 and x - 2 >= low
            for x, low, high in zip(hkl, self.low, self.high, strict=True)
        )

    def interpolated(self, hkl) -> float:
        """F at fractional indices by cubic Lagrange polynomials."""
        corner = [math.floor(x) - 1 for x in hkl]
        weights = [_lagrange(x - low) for x, low in zip(hkl, corner, strict=True)]
        total = 0.0
        for i in range(4):
            for j in range(4):
                for k in range(4):
                    value = self.nearest((corner[0] + i, corner[1] + j, corner[2] + k))
                    total += weights[0][i] * weights[1][j] * weights[2][k] * value
        return total


def _lagrange(x: float) -> list[float]:
    """Weights of the points 0, 1, 2, 3 at x."""
    return [math.prod((x - m) / (n - m) for m in range(4) if m != n) for n in range(4)]


@cache
def read_hkl(path: Path) -> dict[tuple[int, int, int], float]:
    """F of the records of a file."""
    numbers = np.array(path.read_text().split(), float)
    numbers = numbers[: len(numbers) // 4 * 4].reshape(-1, 4)
    return {(int(h), int(k), int(l)): float(f) for h, k, l, f in numbers}


def lattice_factor(crystal: Crystal, shape: str, fudge: float, hkl, index, slips: bool) -> float:
    """F_latt at fractional indices, `index` being the nearest whole ones."""
    n_a, n_b, n_c = crystal.cells
    if shape == "square":
        return grating(hkl[0], n_a) * grating(hkl[1], n_b) * grating(hkl[2], n_c)
    d_h, d_k, d_l = (x - whole for x, whole in zip(hkl, index, strict=True))
    cells = n_a * n_b * n_c
    if shape == "round":
        x = math.pi * math.sqrt(((d_h * n_a) ** 2 + (d_k * n_b) ** 2 + (d_l * n_c) ** 2) * fudge)
        return cells * ROUND * sphere(x, slips)
    star = crystal.star
    offset = [d_h * star[0][i] + d_k * star[1][i] + d_l * star[2][i] for i in range(3)]
    scale = cells if slips else (cells * crystal.volume) ** (1 / 3)
    r_sqr = (offset[0] ** 2 + offset[1] ** 2 + offset[2] ** 2) * scale * scale
    if shape == "gauss":
        return cells * math.exp(-r_sqr * fudge / 0.63)
    return cells if r_sqr * fudge < 0.3969 else 0.0


def hangs_on_rounding(crystal: Crystal, shape: str, fudge: float, hkl, index, slips: bool) -> bool:
    """Whether the last digits of a sample's indices decide what it gives.

    So it is half-way between two lattice points, at the edge of a top-hat spot, and in the middle of a round one of
    the reference's, where 3(sin x/x − cos x)/x² is one at zero, zero beside it and noise a little further out.
    """
    if any(abs(abs(x - whole) - 0.5) < 1e-10 for x, whole in zip(hkl, index, strict=True)):
        return True
    if shape == "round" and slips:
        return sum(((x - i) * n) ** 2 for x, i, n in zip(hkl, index, crystal.cells, strict=True)) * fudge < 1e-10
    if shape == "tophat":
        nearer, farther = (lattice_factor(crystal, shape, fudge * x, hkl, index, slips) for x in (1 - 1e-9, 1 + 1e-9))
        return nearer != farther
    return False


def grating(h: float, n: float) -> float:
    """sin(πNh)/sin(πh), N at its poles."""
    if n == 1:
        return 1.0
    x = math.pi * h
    below = math.sin(x)
    return n if below == 0.0 else math.sin(n * x) / below


def sphere(x: float, slips: bool) -> float:
    """3(sin x/x − cos x)/x²; `slips`: as it stands, else by its series where it cancels."""
    if x == 0.0:
        return 1.0
    if not slips and x < 0.05:
        y = x * x
        return 1 - y / 10 + y * y / 280 - y**3 / 15120
    return 3.0 * (math.sin(x) / x - math.cos(x)) / (x * x)
