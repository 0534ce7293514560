"""Step counts and other whole numbers that follow from the settings: settled when an experiment is built.

Pure functions of Python numbers in metres and radians, None for what was not given; no jax. The order of the
arithmetic is the reference's, so that a ceil() falls on the same side. Source: docs/reference.md sections 3, 4 and 6.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .constants import DEG_PER_RAD
from .errors import InputError

FALLBACK_RANGE = {"divergence": 1.0, "dispersion": 1.0, "thickness": 0.5e-6}  # radians, fraction, metres
MOST_STEPS = 2**31 - 1


def radians(degrees: float) -> float:
    """Radians, rounded as in the reference: division by 180 * (1/pi)."""
    return degrees / DEG_PER_RAD


def _count_of(range_: float, step: float, what: str) -> int:
    """ceil(range/step), refused when no machine could take that many steps."""
    ratio = range_ / step if step else math.inf
    if not ratio <= MOST_STEPS:
        raise InputError(f"the {what} step {step:g} is too small for the range {range_:g}: too many steps")
    return math.ceil(ratio)


def complete_steps(count: int | None, range_: float | None, step: float | None, kind: str) -> tuple[int, float, float]:
    """(count, range, step) of a divergence, dispersion or thickness from whichever of the three were given.

    `kind` is "divergence" (radians; once each for horizontal and vertical), "dispersion" (fraction of the wavelength)
    or "thickness" (metres). A count or step of 0 counts as not given, and so does a range of 0, except for a
    divergence. Anything that ends up not positive gives (1, 0, 0). **Raises** `InputError` for absurdly many steps.
    """
    no_range = range_ is None or range_ < 0 or (range_ == 0 and kind != "divergence")
    no_step = step is None or step <= 0
    size, pace = (0.0 if range_ is None else range_), (0.0 if step is None else step)
    if count is None or count <= 0:
        if no_range:
            count, size, pace = (1, 0.0, 0.0) if no_step else (2, pace, pace)
        elif no_step:
            count, pace = 2, (size / 2 if kind == "thickness" else size)
        else:
            count = _count_of(size, pace, kind)
    elif no_range:
        if no_step:
            size = FALLBACK_RANGE[kind]
            pace = size / count
        else:
            count, size = 2, pace
    elif no_step:
        count = max(count, 2)
        pace = size / (count - 1)
    return (count, size, pace) if size > 0 and pace > 0 and count > 0 else (1, 0.0, 0.0)


def complete_phi(count: int | None, osc: float | None, step: float | None) -> tuple[int, float, float]:
    """(count, range, step) of the rotation, radians: step i starts at phi + step*i.

    A given range of 0 counts as given; a step of 0 does not. **Raises** `InputError` for an absurd number of steps.
    """
    no_step = step is None or step <= 0
    pace = 0.0 if step is None else step
    if count is None:
        if osc is None:
            return (1, 0.0, 0.0) if no_step else (2, pace, pace)
        return (2, osc, osc / 2.0) if no_step else (max(_count_of(osc, pace, "phi"), 1), osc, pace)
    count = max(count, 1)
    if osc is None:
        osc = 1.0 / DEG_PER_RAD
        return (count, osc, osc / count) if no_step else (2, pace, pace)
    return (count, osc, osc / count) if no_step else (count, osc, pace)


def mosaic_domain_count(count: int | None, spread: float | None) -> tuple[int, float, str | None]:
    """(domains, spread, note or None); the spread keeps its unit, whichever it is."""
    if not spread:
        note = f"{count} mosaic domains without a mosaic spread: 1 is taken" if count and count > 1 else None
        return 1, 0.0, note
    if not count:
        return 10, spread, "a mosaic spread without a number of domains: 10 are taken"
    return count, spread, None


def divergence_grid(
    horizontal: tuple[int, float, float], vertical: tuple[int, float, float], round_div: bool = True
) -> list[tuple[float, float]]:
    """(hdiv, vdiv) of each source, radians, horizontal outer; `horizontal`, `vertical` are (count, range, step).

    With `round_div` the corners are cut. Without divergence in a direction its term is 0/0, which cuts nothing.
    """
    points = []
    for i in range(horizontal[0]):
        h = horizontal[2] * i - horizontal[1] / 2.0
        for j in range(vertical[0]):
            v = vertical[2] * j - vertical[1] / 2.0
            radius2 = 4.0 * (_round_term(h, *horizontal) + _round_term(v, *vertical))
            if not (round_div and radius2 > 1.1):
                points.append((h, v))
    return points


def grid_fractions(
    horizontal: tuple[int, float, float], vertical: tuple[int, float, float], round_div: bool = True
) -> NDArray[np.float64]:
    """`divergence_grid` in units of the ranges, (directions, 2)."""
    ranges = np.array([horizontal[1], vertical[1]])
    pairs = np.array(divergence_grid(horizontal, vertical, round_div)).reshape(-1, 2)
    return np.asarray(pairs / np.where(ranges > 0, ranges, 1.0), float)


def spectrum_fractions(dispersion: tuple[int, float, float]) -> NDArray[np.floating]:
    """The wavelengths of (count, range, step) in units of the range, from its middle, (wavelengths,)."""
    count, range_, step = dispersion
    return step * np.arange(count) / range_ - 0.5 if range_ > 0 else np.zeros(1)


def _round_term(angle: float, count: int, range_: float, step: float) -> float:
    if range_ == 0:
        return math.nan
    return (angle * angle - step * step / 4.0 * (1 - count % 2)) / range_ / range_


def dispersed_wavelengths(wavelength: float, dispersion: tuple[int, float, float]) -> list[float]:
    """Wavelengths of each source direction, in the unit given; `dispersion` is (count, range, step)."""
    count, range_, step = dispersion
    return [wavelength * (1.0 + step * i - range_ / 2.0) for i in range(count)]


def layer_attenuation(abs_um: float | None, thickness_m: float) -> tuple[float, str | None]:
    """(attenuation coefficient in 1/m, note or None) from a depth in micrometres: infinite gives 0.

    A sensor with a thickness but no depth takes its own thickness as the depth.

    **Raises** `InputError` for no depth at all.
    """
    if abs_um is None:
        if thickness_m <= 0:
            return 0.0, None
        return 1.0 / thickness_m, "a sensor thickness without an attenuation depth: the depth is the thickness"
    if abs_um * 1e-6 <= 0:
        raise InputError(f"-detector_abs must be larger, got {abs_um:g} um")
    return (0.0 if abs_um == math.inf else 1.0 / (abs_um * 1e-6)), None


def fluence(flux: float, exposure_s: float, beamsize_m: float, given: float) -> float:
    """Photons/m^2: flux*exposure/beamsize^2 if there is a flux (photons/s) and an exposure, else `given`.

    **Raises** `InputError` for a flux through a beam of no size.
    """
    if flux == 0 or exposure_s <= 0 or beamsize_m < 0:
        return given
    photons_per_m2 = flux * exposure_s / beamsize_m / beamsize_m if beamsize_m * beamsize_m > 0 else math.inf
    if math.isinf(photons_per_m2):
        raise InputError(f"-flux {flux:g} through a -beamsize of {beamsize_m * 1e3:g} mm: the fluence is infinite")
    return photons_per_m2


def cells_from_sample_size(
    sample_m: Sequence[float | None], edges_m: Iterable[float], n_cells: Sequence[int], beamsize_m: float
) -> tuple[tuple[int, int, int], list[str]]:
    """((Na, Nb, Nc), notes) from the crystal's edges along a, b and c (metres; None or 0: keep N) and |a|, |b|, |c|.

    The second and third edge are clipped to the beam first. **Raises** `InputError` for an absurd number of cells.
    """
    notes, cells = [], []
    for axis, size, edge, n in zip("xyz", sample_m, edges_m, n_cells, strict=True):
        if size is not None and axis != "x" and size > beamsize_m >= 0:
            notes.append(f"sample_{axis} is clipped from {size * 1e3:g} mm to the beam size of {beamsize_m * 1e3:g} mm")
            size = beamsize_m
        cells.append(max(1, _count_of(size, edge, "unit cell") if size else n))
    return (cells[0], cells[1], cells[2]), notes


def auto_oversample(crystal_m: float, wavelength_m: float, distance_m: float, pixel_m: float) -> int:
    """Sub-pixels along each edge of a pixel that resolve the spots of a crystal of that size: three a spot, at least 1.

    `distance_m` is the distance after all pivots and rotations. **Raises** `InputError` for an absurd number.
    """
    return max(1, _count_of(3.0 * crystal_m, wavelength_m * distance_m / pixel_m, "sub-pixel"))


def choose_oversample(given: int | None, auto: int) -> tuple[int, str | None]:
    """(sub-pixels along an edge, note or None): what was given is kept, even if it is too coarse for the spots."""
    if given is None:
        return auto, None
    return given, f"-oversample {given} is kept, though the spots need {auto}" if given < auto else None


def use_interpolation(given: bool | None, n_cells: Sequence[float]) -> bool:
    """Whether F is interpolated: as given, else for crystals of 2 cells or fewer on any axis.

    `n_cells` are Na, Nb, Nc of the flags, before sample sizes are turned into counts.
    """
    return given if given is not None else min(n_cells) <= 2


def pixel_count(pixels: int | None, size_m: float, pixel_m: float) -> tuple[int, float]:
    """(pixels, size in metres) of one detector axis: a pixel count wins over the size.

    **Raises** `InputError` when not even one pixel fits, or far too many do.
    """
    size_m = pixel_m * pixels if pixels is not None else size_m
    ratio = size_m / pixel_m - 0.5 if pixel_m > 0 else math.inf
    if not 0 < ratio <= MOST_STEPS:
        raise InputError(f"a detector of {size_m * 1e3:g} mm cannot have pixels of {pixel_m * 1e3:g} mm")
    return math.ceil(ratio), size_m
