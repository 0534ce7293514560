"""The reference's cache of structure factors: a line of text and native doubles (docs/reference.md, section 5)."""

import math
import os
import re

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .atomic import write_whole
from .hkl import MAX_GRID_POINTS, HklTable
from .text import read_bytes

# Spelled out, and not "any white space": the first byte of a double may look like white space.
_HEADER = re.compile(rb"[ \t]*" + rb"[ \t]+".join([rb"([+-]?[0-9]+)"] * 6) + rb"[ \t]*\r?\n\f")


def read_fdump(path: str | os.PathLike[str]) -> HklTable:
    """The structure factors of a dump file; every point of the grid counts as given.

    The file holds one page, row and column more than the grid has; they are dropped.

    **Raises** `InputError` if the file cannot be read, has no such header, is shorter or longer than the header says,
    or holds nan or infinity.
    """
    data = read_bytes(path, "dump file")
    name = f"dump file {os.fspath(path)!r}"
    header = _HEADER.match(data)
    if header is None:
        raise InputError(f"{name} does not start with 'h_min h_max k_min k_max l_min l_max' and a form feed")
    limits = [int(text) for text in header.groups()]
    least, most = limits[0::2], limits[1::2]
    ranges = ", ".join(f"{axis} {low}..{high}" for axis, low, high in zip("hkl", least, most, strict=True))
    if any(high < low for low, high in zip(least, most, strict=True)):
        raise InputError(f"{name} has an empty range: {ranges}")
    shape = tuple(high - low + 1 for low, high in zip(least, most, strict=True))
    stored = tuple(n + 1 for n in shape)
    if math.prod(shape) > MAX_GRID_POINTS:
        raise InputError(
            f"{name} spans {ranges}: {math.prod(shape)} points, where at most {MAX_GRID_POINTS} are allowed"
        )
    expected, found = 8 * math.prod(stored), len(data) - header.end()
    if found != expected:
        raise InputError(f"{name} spans {ranges} and should have {expected} bytes of numbers, but has {found}")
    pages = np.frombuffer(data, np.float64, offset=header.end()).reshape(stored)
    values = pages[:-1, :-1, :-1].copy()
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        h, k, l = (bad[0] + least).tolist()  # noqa: E741
        raise InputError(f"{name} holds an F that is no finite number ({values[tuple(bad[0])]}) at {h} {k} {l}")
    return HklTable((least[0], least[1], least[2]), values, np.ones(shape, bool))


def fdump_bytes(hkl_min: tuple[int, int, int], values: NDArray[np.float64]) -> list[bytes | memoryview]:
    """What the structure factors `values` (nh, nk, nl), from the indices `hkl_min` up, look like as a file.

    What stands at points without a record (the default F, as a rule) is the caller's to fill in.

    **Raises** `ValueError` if there are no points.
    """
    if values.ndim != 3 or values.size == 0:
        raise ValueError(f"a dump file needs a grid (nh, nk, nl) with at least one point, got shape {values.shape}")
    limits = (f"{low} {low + n - 1}" for low, n in zip(hkl_min, values.shape, strict=True))
    pages = np.pad(np.asarray(values, np.float64), ((0, 1), (0, 1), (0, 1)))
    return [(" ".join(limits) + "\n\f").encode("ascii"), pages.reshape(-1).view(np.uint8).data]


def write_fdump(path: str | os.PathLike[str], hkl_min: tuple[int, int, int], values: NDArray[np.float64]) -> None:
    """Write structure factors.

    **Raises** `InputError` if the file cannot be written, `ValueError` as `fdump_bytes` does.
    """
    write_whole(path, fdump_bytes(hkl_min, values))
