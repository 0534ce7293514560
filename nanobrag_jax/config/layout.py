"""What a configuration's files are called, and what stands at their head (docs/config.md)."""

import hashlib
import os

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

FORMAT = "nanobrag_jax run"
VERSION = 2
INLINE_NUMBERS = 200
"""Longer arrays go into the npz file."""

HEAD = ("format", "version", "written_by", "mode", "precision", "output")
"""Keys beside the parts of the experiment."""


Arrays = dict[str, NDArray[np.generic]]
"""Arrays by their names."""


def arrays_path(path: str | os.PathLike[str]) -> str:
    """The npz file that belongs to a JSON file. **Raises** `InputError` for a name that itself ends in .npz."""
    stem, extension = os.path.splitext(os.fspath(path))
    if extension.lower() == ".npz":
        raise InputError(f"a configuration needs a name that does not end in .npz, got {os.fspath(path)!r}")
    return stem + ".npz"


def digest(array: NDArray[np.generic]) -> str:
    """SHA-256 of the numbers, little end first, the last axis fastest."""
    return hashlib.sha256(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()).hexdigest()
