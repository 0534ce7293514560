"""Float images without a header: float32, little end first, fast axis fastest (docs/reference.md, section 9)."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..constants import SMV_ENDINGS
from ..errors import InputError
from ..io.atomic import write_whole
from ..io.text import read_bytes
from .image_format import FileContent, Image, ImageFormat, Shape
from .setup import Setup
from .smv import header_shape
from .whole_numbers import as_float_image

_STORED = np.dtype("<f4")


def raw_bytes(image: ArrayLike) -> list[memoryview]:
    """What a float image (slow, fast) looks like as a file, in pieces."""
    return [np.ascontiguousarray(image, _STORED).reshape(-1).view(np.uint8).data]


def write_raw(path: str | os.PathLike[str], image: ArrayLike) -> None:
    """Write an image (slow, fast) as float32. **Raises** `InputError` if the file cannot be written."""
    write_whole(path, raw_bytes(image))


def read_raw(path: str | os.PathLike[str], shape: tuple[int, int]) -> NDArray[np.float32]:
    """The float32 image in a file, which does not say its shape (slow, fast).

    **Raises** `InputError` if it cannot be read or does not hold slow x fast numbers.
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


class Raw(ImageFormat):
    """Float32 numbers and nothing else."""

    name = "raw"
    label = "raw float32 numbers"
    extensions = (".bin", ".raw")
    foreign = "nothing"
    holds_numbers = True
    has_datasets = False
    needs_to_write = None
    needs_to_read = None

    def unsaid(self, setup: Setup) -> list[str]:
        """Nothing is expected of it."""
        return []

    def write(self, images: Sequence[Image], setup: Setup) -> list[FileContent]:
        """Photons in single precision."""
        return [FileContent(raw_bytes(as_float_image(image))) for image in images]

    def begins(self, start: bytes) -> bool:
        """Any number may come first."""
        return False

    def read(self, path: str, dataset: str, shape: Shape | None) -> Image:
        """Of the shape of an SMV image beside it, where none is given."""
        return read_raw(path, _shape_beside(path) if shape is None else shape)


def _shape_beside(file: str) -> Shape:
    """Shape (slow, fast) of a bare float file, from an SMV image in its folder."""
    size = os.path.getsize(file)
    same_name = [Path(file).with_suffix(suffix) for suffix in SMV_ENDINGS]
    others = sorted(entry for entry in Path(file).parent.iterdir() if entry.suffix.lower() in SMV_ENDINGS)
    candidates = [entry for entry in same_name if entry.is_file()] or others
    found = (header_shape(entry) for entry in candidates)
    shapes = {shape for shape in found if shape and _STORED.itemsize * shape[0] * shape[1] == size}
    if len(shapes) == 1:
        return shapes.pop()
    why = "no SMV image of its size lies beside it" if not shapes else "SMV images beside it differ in shape"
    raise InputError(f"the shape of the float image {file!r} is unknown: {why}; give --shape SLOW FAST")
