"""Lists of sources: direction, weight and wavelength of each (docs/reference.md, section 6)."""

import os
import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .text import finite_number, plain_lines, read_bytes, shown

_SEPARATORS = re.compile(r"[ \t,;:!\v\f]+")
_COLUMNS = ("X", "Y", "Z", "weight", "wavelength")
_LONGEST_PLAUSIBLE_WAVELENGTH_M = 1e-7


@dataclass(frozen=True, eq=False)
class SourceList:
    """Sources as a file gives them; NaN stands where the file gives nothing.

    `positions` (S, 3): vectors from the sample to the sources, in any unit (the default is -10 times the beam
    direction). `weights` (S,): relative, not normalised (default 1). `wavelengths_m` (S,): metres (default: that of
    the experiment). `notes`: what the user should be told about the file, a sentence each.
    """

    positions: NDArray[np.float64]
    weights: NDArray[np.float64]
    wavelengths_m: NDArray[np.float64]
    notes: list[str] = field(default_factory=list)


def read_source_list(path: str | os.PathLike[str]) -> SourceList:
    """The sources of a text file: up to five columns X Y Z weight wavelength, one source a line.

    Any of space, tab, comma, semicolon, colon and `!` separates columns; blank lines and `#` comments are skipped;
    columns after the fifth are ignored with a note.

    **Raises** `InputError`, with the line, for something that is no finite number, a negative weight, a wavelength that
    is not positive or a direction of zero length; also if the weights are all zero, or if the file holds no source or
    cannot be read.
    """
    data = plain_lines(read_bytes(path, "source file"))
    name = f"source file {os.fspath(path)!r}"
    rows, notes = [], []
    for number, line in enumerate(data.decode("latin-1").split("\n"), 1):
        words = [word for word in _SEPARATORS.split(line) if word]
        if not words:
            continue
        where = f"{name}, line {number}"
        row = [finite_number(word, where) for word in words[: len(_COLUMNS)]]
        row += [np.nan] * (len(_COLUMNS) - len(row))
        _check(row, line, where)
        if len(words) > len(_COLUMNS):
            notes.append(f"{where}: columns after the fifth are ignored")
        if row[4] > _LONGEST_PLAUSIBLE_WAVELENGTH_M:
            notes.append(f"{where}: a wavelength of {row[4]:g} m is no X-ray; column five is in metres")
        rows.append(row)
    if not rows:
        raise InputError(f"{name} holds no sources")
    table = np.array(rows, np.float64)
    if np.all(table[:, 3] == 0):
        raise InputError(f"{name}: all weights are zero")
    return SourceList(table[:, :3].copy(), table[:, 3].copy(), table[:, 4].copy(), notes)


def _check(row: list[float], line: str, where: str) -> None:
    x, y, z, weight, wavelength = row
    if x == y == z == 0:
        raise InputError(f"{where}: the direction 0 0 0 has no length in {shown(line)}")
    if weight < 0:
        raise InputError(f"{where}: the weight must not be negative, got {weight:g} in {shown(line)}")
    if wavelength <= 0:
        raise InputError(f"{where}: the wavelength (metres) must be positive, got {wavelength:g} in {shown(line)}")
