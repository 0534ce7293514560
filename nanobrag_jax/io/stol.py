"""Tables of scattering by substances without order: sin θ/λ and the amplitude of a molecule (docs/detector.md)."""

import os

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .number_columns import BadLineError, parse_table
from .text import plain_lines, read_bytes

_LARGEST_PLAUSIBLE = 20.0


def read_stol(path: str | os.PathLike[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """sin θ/λ (n,) in 1/Å, increasing, and amplitudes (n,) in electrons, from a text file with two columns.

    Rows may come in any order; `#` begins a comment; further columns are ignored.

    **Raises** `InputError`, naming the file, for a line that is no row, a number that is not finite, a sin θ/λ that is
    negative, given twice or too large to be one, and for a file without rows or that cannot be read.
    """
    name = f"table of scattering {os.fspath(path)!r}"
    try:
        table = parse_table(plain_lines(read_bytes(path, "table of scattering")), 2, "sin(theta)/lambda F")
    except BadLineError as error:
        raise InputError(f"{name}, line {error.line}: {error.what}") from None
    if not len(table.values):
        raise InputError(f"{name} holds no numbers")
    for row, line in zip(table.values, table.lines, strict=True):
        if not np.all(np.isfinite(row)):
            raise InputError(f"{name}, line {line}: {row[0]:g} {row[1]:g} are not finite numbers")
        if not 0 <= row[0] <= _LARGEST_PLAUSIBLE:
            limits = f"between 0 and {_LARGEST_PLAUSIBLE:g} 1/A"
            raise InputError(f"{name}, line {line}: sin(theta)/lambda must be {limits}, got {row[0]:g}")
    stol, amplitudes = table.values[np.argsort(table.values[:, 0], kind="stable")].T
    twice = stol[1:][np.diff(stol) == 0]
    if len(twice):
        raise InputError(f"{name} gives sin(theta)/lambda = {twice[0]:g} twice")
    return stol.copy(), amplitudes.copy()
