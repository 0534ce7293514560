"""Float images without a header: float32, little end first, fast axis fastest (docs/reference.md, section 9)."""

import os

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanobrag_jax.errors import InputError
from nanobrag_jax.io.atomic import write_whole
from nanobrag_jax.io.text import read_bytes

_STORED = np.dtype("<f4")


def raw_bytes(image: ArrayLike) -> list[memoryview]:
    """Return what a float image (slow, fast) looks like as a file, in pieces."""
    return [np.ascontiguousarray(image, _STORED).reshape(-1).view(np.uint8).data]


def write_raw(path: str | os.PathLike[str], image: ArrayLike) -> None:
    """Write an image (slow, fast) as float32. Raises InputError if the file cannot be written."""
    write_whole(path, raw_bytes(image))


def read_raw(path: str | os.PathLike[str], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the float32 image of the given shape (slow, fast).

    The file does not say its shape. Raises InputError if it cannot be read or does not hold slow x fast numbers.
    """
    data = read_bytes(path, "float image")
    slow, fast = shape
    expected = slow * fast * _STORED.itemsize
    if len(data) != expected:
        raise InputError(
            f"float image {os.fspath(path)!r} has {len(data)} bytes, "
            f"but {slow} x {fast} (slow x fast) float32 pixels take {expected}"
        )
    return np.frombuffer(data, _STORED).reshape(slow, fast).astype(np.float32)
