"""Images from files, as arrays (slow, fast): the content of a file tells its format, else its ending."""

import os

from ..errors import InputError
from ..io.text import read_start
from .image_format import FrameFormat, Image, ImageFormat, Shape, frame_of
from .registry import RAW, all_formats, known_by_ending, listed

_START_BYTES = 512


def read_image(path: str | os.PathLike[str], shape: Shape | None = None, *, frame: int = 0) -> Image:
    """The image in a file, (slow, fast), in the type it is stored in; what the file is, its content tells.

    **Arguments:**

    - `path`: `FILE`, or `FILE::NAME` for a dataset of an HDF5 or npz file.
    - `shape`: (slow, fast) of a bare float file; without it the SMV image beside it tells (of the same name, or the
      only one in its folder that fits).
    - `frame`: which of the frames, where there are several.

    **Raises** `InputError` for a file that cannot be read or understood.
    """
    text = os.fspath(path)
    file, _, dataset = text.partition("::")
    told = _format_of_file(file)
    kind = told or RAW
    name = f"image {text!r}"
    if dataset and not kind.has_datasets:
        raise InputError(f"{name}: only HDF5 and npz files have datasets")
    need = kind.needs_to_read
    if need is not None and need.missing:
        raise InputError(f"{name} is {kind.label}, which needs {need.module}: pip install {need.install}")
    try:
        if isinstance(kind, FrameFormat):
            return kind.read_frame(file, dataset, frame)
        found = kind.read(file, dataset, shape)
    except InputError as error:
        if told is not None:
            raise
        others = listed([other.label for other in all_formats() if other is not RAW])
        raise InputError(f"{error}; it neither begins nor is called as {others} files are") from error
    return frame_of(found, frame, name)


def _format_of_file(file: str) -> ImageFormat | None:
    """By what the file begins with, then by its ending; None for a file of which nothing is known: bare floats."""
    start = read_start(file, "image", _START_BYTES)
    return next((kind for kind in all_formats() if kind.begins(start)), None) or known_by_ending(file)
