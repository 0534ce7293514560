"""Laue groups by their number, 1 to 14: which Miller indices are equivalent (docs/reference.md section 8)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

Operation = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]
"""Whole numbers (3, 3) that take (h, k, l) as a column to its equivalent."""

_TWO_ALONG_A: Operation = ((1, 0, 0), (0, -1, 0), (0, 0, -1))
_TWO_ALONG_B: Operation = ((-1, 0, 0), (0, 1, 0), (0, 0, -1))
_TWO_ALONG_C: Operation = ((-1, 0, 0), (0, -1, 0), (0, 0, 1))
_TWO_ALONG_SUM: Operation = ((0, 1, 0), (1, 0, 0), (0, 0, -1))
_TWO_ALONG_DIFFERENCE: Operation = ((0, -1, 0), (-1, 0, 0), (0, 0, -1))
_FOUR: Operation = ((0, 1, 0), (-1, 0, 0), (0, 0, 1))
_THREE: Operation = ((0, 1, 0), (-1, -1, 0), (0, 0, 1))
_SIX: Operation = ((1, 1, 0), (-1, 0, 0), (0, 0, 1))
_THREE_ALONG_DIAGONAL: Operation = ((0, 1, 0), (0, 0, 1), (1, 0, 0))

LAUE_GROUPS: dict[int, tuple[str, tuple[Operation, ...]]] = {
    1: ("-1", ()),
    2: ("2/m along c", (_TWO_ALONG_C,)),
    3: ("2/m", (_TWO_ALONG_B,)),
    4: ("2/m along a", (_TWO_ALONG_A,)),
    5: ("mmm", (_TWO_ALONG_B, _TWO_ALONG_C)),
    6: ("4/m", (_FOUR,)),
    7: ("4/mmm", (_FOUR, _TWO_ALONG_B)),
    8: ("-3", (_THREE,)),
    9: ("-3m1", (_THREE, _TWO_ALONG_SUM)),
    10: ("-31m", (_THREE, _TWO_ALONG_DIFFERENCE)),
    11: ("6/m", (_SIX,)),
    12: ("6/mmm", (_SIX, _TWO_ALONG_SUM)),
    13: ("m-3", (_TWO_ALONG_B, _TWO_ALONG_C, _THREE_ALONG_DIAGONAL)),
    14: ("m-3m", (_FOUR, _TWO_ALONG_B, _THREE_ALONG_DIAGONAL)),
}
"""Number → symbol, and rotations that make the group together with the inversion."""


def group_made_by(generators: list[NDArray[np.integer]]) -> list[NDArray[np.integer]]:
    """All products of matrices (3, 3) of whole numbers, the identity among them, in one order."""
    found = {tuple(np.eye(3, dtype=int).reshape(-1))}
    new = list(found)
    while new:
        products = {tuple((g @ np.reshape(m, (3, 3))).reshape(-1)) for m in new for g in generators}
        new = list(products - found)
        found |= products
    return [np.reshape(m, (3, 3)) for m in sorted(found)]


def rotations_of(laue_group: int) -> NDArray[np.integer]:
    """The group's proper rotations of Miller indices, (operations, 3, 3). No inversions."""
    generators = LAUE_GROUPS[laue_group][1]
    return np.stack(group_made_by([np.array(operation) for operation in generators]))


def laue_group_number(group: int | str) -> int:
    """The number of a Laue group: of its number, its symbol, or a space group's symbol, for which gemmi is needed.

    **Raises** `InputError` for what is neither, and for a setting whose axes are not those of a Laue group here (a
    rhombohedral cell, say).
    """
    allowed = f"laue_group must be 1 to 14, or the symbol of a Laue or space group, got {group!r}"
    if not isinstance(group, str):
        if isinstance(group, bool) or group not in LAUE_GROUPS:
            raise InputError(allowed)
        return int(group)
    numbers = {symbol: number for number, (symbol, _) in LAUE_GROUPS.items()}
    if group in numbers:
        return numbers[group]
    from .models.sphere import load_gemmi

    found = load_gemmi(f"laue_group {group!r}").find_spacegroup_by_name(group)
    if found is None:
        raise InputError(allowed)
    number = laue_group_of_operations(found.operations())
    if number is None:
        raise InputError(f"laue_group {group!r}: the axes of this setting are those of no Laue group from 1 to 14")
    return number


def laue_group_of_operations(operations: Any) -> int | None:
    """The number of the Laue group of gemmi's operators of a space group; None for a setting that has none."""
    coordinates = [np.array(operator.rot) // operator.DEN for operator in operations.sym_ops]
    proper = [round(float(np.linalg.det(rotation))) * rotation for rotation in coordinates]
    indices = {rotation.T.tobytes() for rotation in proper}  # of a group, transposed as well as transposed-inverse
    for number in LAUE_GROUPS:
        if {rotation.tobytes() for rotation in rotations_of(number)} == indices:
            return number
    return None
