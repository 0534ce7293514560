"""Structure factors of the whole sphere in P1: symmetry mates, Friedel mates and absences filled in."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from types import ModuleType
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.hkl import MAX_GRID_POINTS, HklTable
from ..io.text import check_regular, one_line

Floats = NDArray[np.floating]
Indices = NDArray[np.integer]

P = ParamSpec("P")
Found = TypeVar("Found")
_OF_DAMAGED_FILES = (RuntimeError, ValueError, OSError, LookupError, TypeError, ArithmeticError, MemoryError)

_SURE_POINTS, _POINTS_PER_REFLECTION = 4_000_000, 2000
"""A grid of more points, and of more for each reflection than the symmetry of any crystal makes, comes from damage."""

_SHORTEST_EDGE_A, _LONGEST_EDGE_A = 0.1, 1e5


@dataclass(frozen=True, eq=False)
class Sphere:
    """Amplitudes on a grid of indices in P1, with what the file says of the crystal.

    `table`: the grid, `given` False where nothing is known; `cell` (6,): edges in Å, angles in degrees, NaN where the
    file does not say; `space_group`: its symbol.
    """

    table: HklTable
    cell: Floats
    space_group: str


def load_gemmi(wanted_for: str) -> ModuleType:
    """The gemmi module. Raises InputError if it is not installed."""
    try:
        import gemmi
    except ImportError:
        raise InputError(f"{wanted_for} needs the gemmi package: pip install nanobrag_jax[formats]") from None
    return gemmi


def naming(kind: str) -> Callable[[Callable[P, Found]], Callable[P, Found]]:
    """Decorates a reader: what gemmi and numpy raise over a damaged file is an `InputError` that names kind and path.

    The path is the reader's first argument.
    """

    def decorated(read: Callable[P, Found]) -> Callable[P, Found]:
        @wraps(read)
        def reader(*args: P.args, **kwargs: P.kwargs) -> Found:
            try:
                return read(*args, **kwargs)
            except InputError:
                raise
            except _OF_DAMAGED_FILES as error:
                raise InputError(f"cannot read {kind} {os.fspath(cast(str, args[0]))!r}: {one_line(error)}") from error

        return reader

    return decorated


def check_readable(path: str | os.PathLike[str], name: str) -> None:
    """Raise InputError, with the reason, for anything but a regular file that can be opened."""
    check_regular(path, name)


def check_cell(cell: Any, name: str) -> None:
    """Raise InputError for a cell that is not said, and for one with which gemmi would not come to an end."""
    if not cell.is_crystal():
        raise InputError(f"{name} does not say its unit cell")
    edges, angles = np.array(cell.parameters[:3]), np.array(cell.parameters[3:])
    sound = np.all(np.isfinite(cell.parameters)) and np.all((edges > _SHORTEST_EDGE_A) & (edges < _LONGEST_EDGE_A))
    if not (sound and np.all((angles > 0) & (angles < 180)) and cell.volume > 0):
        raise InputError(f"{name} has an impossible unit cell: {' '.join(f'{x:g}' for x in cell.parameters)}")


def box_indices(most: list[int]) -> Indices:
    """All indices (n, 3) from -most to most, l fastest."""
    axes = [np.arange(-n, n + 1, dtype=np.int32) for n in most]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def check_box(most: list[int], name: str) -> tuple[int, int, int]:
    """Numbers of points along each axis of the box from -most to most; InputError if it would not fit into memory."""
    shape = 2 * most[0] + 1, 2 * most[1] + 1, 2 * most[2] + 1
    points = math.prod(shape)
    if points > MAX_GRID_POINTS:
        raise InputError(
            f"{name}: indices up to {' '.join(str(n) for n in most)} make a grid of {points} points, "
            f"where at most {MAX_GRID_POINTS} are allowed"
        )
    return shape


def with_F000(table: HklTable, F000: float) -> HklTable:
    """The table with another F(000); the same one where its grid does not reach to 0 0 0."""
    place = tuple(-low for low in table.hkl_min)
    if not all(0 <= i < count for i, count in zip(place, table.values.shape, strict=True)):
        return table
    values, given = table.values.copy(), table.given.copy()
    values[place], given[place] = F000, True
    return replace(table, values=values, given=given)


def check_repeated(hkl: Indices, known: NDArray[np.bool_], name: str) -> None:
    """Raise `InputError`, with the number of them, for indices that have more than one value: data are unmerged."""
    listed, counts = np.unique(np.asarray(hkl)[known], axis=0, return_counts=True)
    if np.any(counts > 1):
        first = " ".join(str(x) for x in listed[counts > 1][0])
        more = int(np.count_nonzero(counts > 1))
        raise InputError(f"{name} is unmerged: {more} reflections, the first of them {first}, have several values")


def expanded(hkl: Indices, plus: Floats, minus: Floats | None, cell: Any, group: Any, name: str) -> HklTable:
    """The whole sphere from the reflections of a file.

    **Arguments:** `hkl` (n, 3); `plus` (n,): amplitude of (h, k, l), NaN where missing; `minus` (n,): that of
    (-h, -k, -l), None where the file does not keep them apart; `cell`, `group`: gemmi's unit cell, None for a
    symmetry without absences, and space group.

    A Friedel mate that is nowhere given takes its mate's amplitude. Systematic absences inside the file's resolution
    are 0 and count as given. Raises InputError where nothing is given or the indices make no reasonable grid.
    """
    operations = group.operations()
    rotations = np.unique([np.array(op.rot) // op.DEN for op in operations.sym_ops], axis=0)
    known = np.isfinite(plus) if minus is None else np.isfinite(plus) | np.isfinite(minus)
    hkl, plus = hkl[known].astype(np.int64), plus[known]
    if not len(hkl):
        raise InputError(f"{name} holds no values")
    other = np.full(len(plus), np.nan) if minus is None else minus[known]
    mates = np.concatenate([hkl @ rotation for rotation in rotations])
    most = np.abs(mates).max(axis=0).tolist()
    shape = check_box(most, name)
    if math.prod(shape) > max(_SURE_POINTS, _POINTS_PER_REFLECTION * len(hkl)):
        raise InputError(
            f"{name}: indices up to {' '.join(str(n) for n in most)} make a grid of {math.prod(shape)} points "
            f"for {len(hkl)} reflections"
        )
    values, given = np.zeros(shape), np.zeros(shape, bool)
    count = len(rotations)
    # In order of trust, the last assignment stays: a mate's amplitude, then what the file says of the index itself.
    for indices, amplitudes in ((-mates, plus), (mates, other), (-mates, other), (mates, plus)):
        repeated = np.tile(amplitudes, count)
        finite = np.isfinite(repeated)
        place = tuple((indices[finite] + most).T)
        values[place], given[place] = repeated[finite], True
    _fill_absences(values, given, hkl, most, operations, cell)
    return HklTable((-most[0], -most[1], -most[2]), values, given)


def _fill_absences(values: Floats, given: NDArray[np.bool_], hkl, most: list[int], operations: Any, cell: Any) -> None:
    if cell is None:  # a point group, in which nothing is absent
        return
    limit = cell.calculate_1_d2_array(hkl.astype(np.int32)).max() * (1 + 1e-6)
    layer = box_indices([0, *most[1:]])
    for place in range(2 * most[0] + 1):  # one after the other: the indices take far more memory than the amplitudes
        layer[:, 0] = place - most[0]
        absent = operations.systematic_absences(layer) & (cell.calculate_1_d2_array(layer) <= limit)
        absent = absent.reshape(values.shape[1:])
        values[place][absent], given[place][absent] = 0.0, True
