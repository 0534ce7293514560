"""Which reflections share an amplitude: Laue groups as groups of a parameter."""

import numpy as np

from ..errors import InputError
from ..structure_factors import StructureFactors

_TWO_ALONG_B = ((-1, 0, 0), (0, 1, 0), (0, 0, -1))
_TWO_ALONG_C = ((-1, 0, 0), (0, -1, 0), (0, 0, 1))
_TWO_ALONG_SUM = ((0, 1, 0), (1, 0, 0), (0, 0, -1))
_TWO_ALONG_DIFFERENCE = ((0, -1, 0), (-1, 0, 0), (0, 0, -1))
_FOUR = ((0, 1, 0), (-1, 0, 0), (0, 0, 1))
_THREE = ((0, 1, 0), (-1, -1, 0), (0, 0, 1))
_SIX = ((1, 1, 0), (-1, 0, 0), (0, 0, 1))
_THREE_ALONG_DIAGONAL = ((0, 1, 0), (0, 0, 1), (1, 0, 0))
_GENERATORS: dict[str, tuple] = {
    "1": (),
    "-1": (),
    "2/m": (_TWO_ALONG_B,),
    "mmm": (_TWO_ALONG_B, _TWO_ALONG_C),
    "4/m": (_FOUR,),
    "4/mmm": (_FOUR, _TWO_ALONG_B),
    "-3": (_THREE,),
    "-3m1": (_THREE, _TWO_ALONG_SUM),
    "-31m": (_THREE, _TWO_ALONG_DIFFERENCE),
    "6/m": (_SIX,),
    "6/mmm": (_SIX, _TWO_ALONG_SUM),
    "m-3": (_TWO_ALONG_B, _TWO_ALONG_C, _THREE_ALONG_DIAGONAL),
    "m-3m": (_FOUR, _TWO_ALONG_B, _THREE_ALONG_DIAGONAL),
}


def laue_operations(group: str) -> list[np.ndarray]:
    """Matrices (3, 3) that take (h, k, l) as a column to its equivalents; "1" for no symmetry, not even Friedel's."""
    if group not in _GENERATORS:
        raise InputError(f"the Laue group must be one of {', '.join(_GENERATORS)}, got {group!r}")
    generators = [np.array(g) for g in _GENERATORS[group]]
    if group != "1":
        generators.append(-np.eye(3, dtype=int))
    found = {tuple(np.eye(3, dtype=int).reshape(-1))}
    new = list(found)
    while new:
        products = {tuple((g @ np.reshape(m, (3, 3))).reshape(-1)) for m in new for g in generators}
        new = list(products - found)
        found |= products
    return [np.reshape(m, (3, 3)) for m in sorted(found)]


def reflection_groups(factors: StructureFactors, laue_group: str = "1", *, only=None) -> np.ndarray:
    """Numbers for `Parameter("structure_factors.amplitudes", groups=…)`: equivalent reflections share one.

    **Arguments:** `only` (n, 3): refine just these reflections and their equivalents, None for all that are given.

    **Returns** whole numbers in the shape of the amplitudes, −1 for reflections that stay. **Raises** `InputError`.
    """
    if factors.amplitudes is None:
        raise InputError("these structure factors have no table of amplitudes to refine")
    shape = factors.amplitudes.shape
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    hkl = grid + np.array(factors.hkl_min)
    wanted = np.ones(len(hkl), bool) if factors.given is None else np.asarray(factors.given).reshape(-1)
    key = _representative(hkl, laue_group)
    if only is not None:
        chosen = _representative(np.asarray(only, int).reshape(-1, 3), laue_group)
        wanted = wanted & np.isin(key, chosen)
    groups = np.full(len(hkl), -1)
    groups[wanted] = np.unique(key[wanted], return_inverse=True)[1].reshape(-1)
    return groups.reshape(shape)


def _representative(hkl: np.ndarray, laue_group: str) -> np.ndarray:
    """One number for each reflection, the same for equivalent ones."""
    keys = []
    for operation in laue_operations(laue_group):
        h, k, l = (hkl @ operation.T + 1024).T.astype(np.int64)
        keys.append((h * 2048 + k) * 2048 + l)
    return np.max(keys, axis=0)
