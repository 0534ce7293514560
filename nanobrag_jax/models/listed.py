"""Amplitudes from a list of reflections in memory."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.hkl import MAX_GRID_POINTS
from .sphere import Floats, Indices, Sphere, check_repeated, expanded, load_gemmi

_NAME = "the list of reflections"


def _whole(indices: Any, count: int) -> Indices:
    """The indices (n, 3) of as many values. **Raises** `InputError` for what they are not."""
    numbers = np.asarray(indices)
    if numbers.shape != (count, 3):
        raise InputError(
            f"indices must be an array of shape ({count}, 3), as many as values, got shape {numbers.shape}"
        )
    if not count:
        raise InputError(f"{_NAME} is empty")
    if numbers.dtype.kind not in "iuf" or not np.all(np.isfinite(numbers)):
        raise InputError("indices must be whole numbers h k l")
    whole = numbers.astype(np.int64)
    if np.any(whole != numbers):
        first = " ".join(f"{x:g}" for x in numbers[np.any(whole != numbers, axis=1)][0])
        raise InputError(f"indices must be whole numbers h k l, got {first}")
    return whole


def grid_of_list(
    indices: Any, count: int
) -> tuple[tuple[int, int, int], tuple[int, int, int], tuple[Indices, ...], NDArray[np.bool_]]:
    """The grid that spans a list of reflections: least h k l, numbers of points, places of the reflections (three
    arrays), and which points are listed (h, k, l).

    **Arguments:** `indices` (n, 3); `count`: how many there have to be. **Raises** `InputError` for indices that are
    no whole numbers or come twice, and for a grid that is too large.
    """
    whole = _whole(indices, count)
    check_repeated(whole, np.ones(count, bool), _NAME)
    low, high = whole.min(axis=0).tolist(), whole.max(axis=0).tolist()
    sizes = [b - a + 1 for a, b in zip(low, high, strict=True)]
    if math.prod(sizes) > MAX_GRID_POINTS:
        ranges = ", ".join(f"{axis} {a}..{b}" for axis, a, b in zip("hkl", low, high, strict=True))
        raise InputError(f"{_NAME} spans {ranges}: a grid of more than {MAX_GRID_POINTS} points")
    place = tuple((whole - whole.min(axis=0)).T)
    given = np.zeros(sizes, bool)
    given[place] = True
    return (low[0], low[1], low[2]), (sizes[0], sizes[1], sizes[2]), place, given


def sphere_of_list(indices: Any, values: Any, space_group: str | int, cell: Any) -> Sphere:
    """The whole sphere from a list of reflections of a space group.

    **Arguments:** `indices` (n, 3); `values` (n,); `space_group`: symbol or number; `cell` (6,): edges (Å) and angles
    (degrees), None where absences are of no interest. **Raises** `InputError`.
    """
    gemmi = load_gemmi("a space group")
    group = gemmi.find_spacegroup_by_name(str(space_group))
    if isinstance(space_group, int):
        group = gemmi.find_spacegroup_by_number(space_group) if 1 <= space_group <= 230 else None
    if group is None:
        raise InputError(f"space_group {space_group!r} is unknown")
    amplitudes: Floats = np.asarray(values, float)
    whole = _whole(indices, len(amplitudes))
    check_repeated(whole, np.ones(len(whole), bool), _NAME)
    numbers = np.full(6, np.nan) if cell is None else np.asarray(cell, float)
    if numbers.shape != (6,):
        raise InputError(f"cell must be six numbers, edges and angles, got shape {numbers.shape}")
    given = None if cell is None else gemmi.UnitCell(*numbers.tolist())
    return Sphere(expanded(whole, amplitudes, None, given, group, _NAME), numbers, group.hm)
