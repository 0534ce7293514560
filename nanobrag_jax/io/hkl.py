"""Structure factors as text: one `h k l F` record a line (docs/reference.md, section 5)."""

import math
import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .number_columns import BadLineError, Table, parse_table
from .text import plain_lines, read_bytes, shown

MAX_GRID_POINTS = 200_000_000
_BYTES_PER_POINT = 9  # a double and a truth value
_LARGEST_INDEX = 2**31 - 1


@dataclass(frozen=True, eq=False)
class HklTable:
    """Structure factors on the grid that spans their indices.

    `hkl_min`: the indices of the grid's first point. `values` (nh, nk, nl) float64: F of (h, k, l) is at
    [h - h_min, k - k_min, l - l_min], 0 where no record names the point. `given` (nh, nk, nl) bool: whether one does.
    `notes`: what the user should be told about the file, a sentence each. No records at all: shape (0, 0, 0).
    """

    hkl_min: tuple[int, int, int]
    values: NDArray[np.float64]
    given: NDArray[np.bool_]
    notes: list[str] = field(default_factory=list)


def read_hkl(path: str | os.PathLike[str]) -> HklTable:
    """The structure factors of a text file.

    Blank lines and `#` comments are skipped; of records with the same indices the last one counts. Columns after the
    fourth are ignored and indices that are no integers are truncated toward zero, as the reference does, both with a
    note.

    **Raises** `InputError`, with the number and the text of the line, for a line with fewer than four columns or
    something that is no finite number; also if the file cannot be read or its grid would not fit into memory.
    """
    name = f"structure-factor file {os.fspath(path)!r}"
    raw = read_bytes(path, "structure-factor file")
    if raw.startswith(b"MTZ "):
        raise InputError(f"{name} is an MTZ file; text with one 'h k l F' record a line is needed")
    data = plain_lines(raw)
    try:
        table = parse_table(data, 4, "h k l F")
    except BadLineError as error:
        raise InputError(f"{name}, line {error.line}: {error.what}") from None
    if not len(table.values):
        nothing = np.zeros((0, 0, 0))
        return HklTable((0, 0, 0), nothing, nothing.astype(bool), [f"{name} holds no records"])
    _check_numbers(table, data, name)
    indices = np.trunc(table.values[:, :3]).astype(np.int64)
    notes = _notes(table, indices, name)
    return _on_grid(indices, table.values[:, 3], notes, name)


def _line(data: bytes, number: int) -> str:
    return shown(data.split(b"\n")[number - 1])


def _check_numbers(table: Table, data: bytes, name: str) -> None:
    indices, factors = table.values[:, :3], table.values[:, 3]
    usable = np.abs(indices) <= _LARGEST_INDEX  # false for nan, too
    bad = np.flatnonzero(~(np.all(usable, axis=1) & np.isfinite(factors)))
    if not len(bad):
        return
    row, line = bad[0], int(table.lines[bad[0]])
    if not np.all(np.isfinite(indices[row])):
        what = "an index is not a finite number"
    elif not np.all(usable[row]):
        what = f"an index lies beyond {_LARGEST_INDEX}"
    else:
        what = "F is not a finite number"
    raise InputError(f"{name}, line {line}: {what} in {_line(data, line)}")


def _notes(table: Table, indices: NDArray[np.int64], name: str) -> list[str]:
    notes = []
    if table.longer:
        notes.append(f"{name}: {table.longer} lines have more than four columns; only h k l F are used")
    fractional = np.flatnonzero(np.any(table.values[:, :3] != indices, axis=1))
    if len(fractional):
        first = fractional[0]
        h, k, l = table.values[first, :3]  # noqa: E741
        notes.append(
            f"{name}: {len(fractional)} records have indices that are no integers and were truncated toward zero; "
            f"the first is {h:g} {k:g} {l:g} in line {table.lines[first]}"
        )
    return notes


def _on_grid(indices: NDArray[np.int64], factors: NDArray[np.float64], notes: list[str], name: str) -> HklTable:
    least, most = indices.min(axis=0).tolist(), indices.max(axis=0).tolist()
    shape = tuple(high - low + 1 for low, high in zip(least, most, strict=True))
    points = math.prod(shape)
    if points > MAX_GRID_POINTS:
        ranges = ", ".join(f"{axis} {low}..{high}" for axis, low, high in zip("hkl", least, most, strict=True))
        raise InputError(
            f"{name} spans {ranges}: a grid of {points} points and {points * _BYTES_PER_POINT} bytes, "
            f"where at most {MAX_GRID_POINTS} points are allowed"
        )
    place = np.ravel_multi_index(tuple((indices - least).T), shape)
    values, given = np.zeros(points), np.zeros(points, bool)
    values[place] = factors  # of repeated places the last assignment stays
    given[place] = True
    return HklTable(tuple(least), values.reshape(shape), given.reshape(shape), notes)
