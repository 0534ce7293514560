"""Orientation matrices as MOSFLM writes them (docs/reference.md, section 4)."""

import os
import re

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .text import finite_number, plain_lines, read_bytes

# Fixed-width columns can leave no space before a minus sign, so a sign that follows a digit starts a new number.
_WORD = re.compile(r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?(?=[\s+-]|$)|\S+")
# Volume of the parallelepiped over the product of its edges: real cells stay far above this.
_LEAST_RELATIVE_VOLUME = 1e-9


def read_matrix(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """The orientation matrix (3, 3): rows x, y, z, columns a*, b*, c*, carrying the wavelength as a factor.

    The first nine numbers of the file count; what follows them (misset angles, cell) is ignored.

    **Raises** `InputError` if the file cannot be read, if one of the nine is missing or not a finite number, or if the
    matrix is singular.
    """
    data = plain_lines(read_bytes(path, "matrix file"))
    name = f"matrix file {os.fspath(path)!r}"
    numbers: list[float] = []
    for line_number, line in enumerate(data.decode("latin-1").split("\n"), 1):
        for word in _WORD.findall(line):
            if len(numbers) < 9:
                numbers.append(finite_number(word, f"{name}, line {line_number}"))
    if len(numbers) < 9:
        raise InputError(f"{name} holds {len(numbers)} numbers where nine are needed (three rows of a*, b*, c*)")
    matrix = np.array(numbers, np.float64).reshape(3, 3)
    check_spans_space(matrix, name)
    return matrix


def check_spans_space(matrix: NDArray[np.float64], name: str) -> None:
    """Nothing for columns a*, b*, c* that make a cell. **Raises** `InputError` for a singular matrix."""
    if _relative_volume(matrix) < _LEAST_RELATIVE_VOLUME:
        raise InputError(f"{name} holds a singular matrix: a*, b* and c* (its columns) do not span space")


def _relative_volume(matrix: NDArray[np.float64]) -> float:
    largest = np.max(np.abs(matrix), axis=0)
    if not np.all(largest > 0):
        return 0.0
    columns = matrix / largest  # no overflow or underflow in the norms
    return float(abs(np.linalg.det(columns / np.linalg.norm(columns, axis=0))))
