"""Which reflections share an amplitude: Laue groups as groups of a parameter."""

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ..laue_groups import LAUE_GROUPS, group_made_by
from ..structure_factors import StructureFactors

_GENERATORS = {"1": ()} | {symbol: operations for symbol, operations in LAUE_GROUPS.values() if "along" not in symbol}


def laue_operations(group: str) -> list[np.ndarray]:
    """Matrices (3, 3) that take (h, k, l) as a column to its equivalents; "1" for no symmetry, not even Friedel's.

    **Raises** `InputError` for a group that is no Laue group.
    """
    if group not in _GENERATORS:
        raise InputError(f"the Laue group must be one of {', '.join(_GENERATORS)}, got {group!r}")
    generators = [np.array(g) for g in _GENERATORS[group]]
    if group != "1":
        generators.append(-np.eye(3, dtype=int))
    return group_made_by(generators)


def reflection_groups(factors: StructureFactors, laue_group: str = "1", *, only: ArrayLike | None = None) -> np.ndarray:
    """Numbers for `Parameter("structure_factors.amplitudes", groups=…)`: equivalent reflections share one.

    **Arguments:** `only` (n, 3): refine just these reflections and their equivalents, None for all that are given.

    **Returns** whole numbers in the shape of the amplitudes, −1 for reflections that stay.

    **Raises** `InputError` for amplitudes that are no table, and a group that is no Laue group.
    """
    if factors.amplitudes is None:
        raise InputError("these structure factors have no table of amplitudes to refine")
    if factors.channel_wavelengths_A is not None:
        raise InputError("amplitudes of several channels follow from f' and f'': refine these, not the amplitudes")
    shape = factors.amplitudes.shape
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    hkl = grid + np.array(factors.hkl_min)
    wanted = np.ones(len(hkl), bool) if factors.given is None else np.asarray(factors.given).reshape(-1)
    others = np.zeros((0, 3), int) if only is None else np.asarray(only, int).reshape(-1, 3)
    numbers = row_numbers(representatives(np.concatenate([hkl, others]), laue_group))
    numbers, chosen = numbers[: len(hkl)], numbers[len(hkl) :]
    if only is not None:
        wanted = wanted & np.isin(numbers, chosen)
    groups = np.full(len(hkl), -1)
    groups[wanted] = np.unique(numbers[wanted], return_inverse=True)[1].reshape(-1)
    return groups.reshape(shape)


def representatives(hkl: np.ndarray, laue_group: str) -> np.ndarray:
    """Of each row the equivalent that comes last in the order of h, k, l: the same for equivalent reflections."""
    rows = np.arange(len(hkl))
    last = hkl
    for operation in laue_operations(laue_group):
        other = hkl @ operation.T
        column = np.argmax(other != last, axis=1)  # the first that differs; any, where none does
        later = other[rows, column] > last[rows, column]
        last = np.where(later[:, None], other, last)
    return last


def row_numbers(rows: np.ndarray) -> np.ndarray:
    """One number for each row, the same for the same row, in the order of rows. However large, rows are compared as
    they are.
    """
    order = np.lexsort(rows.T[::-1])
    ordered = rows[order]
    new = np.any(ordered[1:] != ordered[:-1], axis=1)
    numbers = np.zeros(len(rows), int)
    numbers[order[1:]] = np.cumsum(new)
    return numbers
