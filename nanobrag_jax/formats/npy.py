"""Arrays in numpy's own files, .npy; those in a .npz are read too."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np

from ..errors import InputError
from ..io.numpy_files import npy_array, npz_array, npz_names
from ..io.text import read_start, shown
from .image_format import AddFrame, FileContent, FrameFormat, Image, Shape, frame_of, image_name
from .setup import Setup
from .whole_numbers import as_frame, as_stored_numbers

_ZIP = b"PK"


def npy_pieces(image: Image) -> list[bytes | memoryview]:
    """What an image (slow, fast) looks like as a .npy file, in pieces."""
    head = io.BytesIO()
    array = np.ascontiguousarray(image, image.dtype.newbyteorder("<"))
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    return [head.getvalue(), array.reshape(-1).view(np.uint8).data]


def read_npy(path: str, dataset: str = "") -> Image:
    """The array in a .npy file, or the one that is called `dataset` in a .npz file.

    **Raises** `InputError` for a file that cannot be read, and for names that are missing or lead nowhere.
    """
    name = image_name(path, dataset)
    if not read_start(path, "image", len(_ZIP)).startswith(_ZIP):
        if dataset:
            raise InputError(f"{name}: a npy file holds one array without a name")
        return npy_array(path, name)
    names = npz_names(path, name)
    listed = shown(", ".join(names) or "nothing")
    if not dataset and len(names) != 1:
        raise InputError(f"{name} holds {listed}: say which as {path}::NAME")
    if dataset and dataset not in names:
        raise InputError(f"{name} is not there; the file holds {listed}")
    return npz_array(path, dataset or names[0], name)


@contextlib.contextmanager
def _opened(path: str, frames: int) -> Iterator[AddFrame]:
    """An array (frame, slow, fast) whose frames are added one by one; the first decides about its numbers."""
    kind: np.dtype | None = None
    with open(path, "wb") as handle:

        def add(images: Sequence[Image]) -> None:
            nonlocal kind
            frame = as_frame(images, kind)[0]
            order = frame.dtype.newbyteorder("<")
            if kind is None:
                kind, shape = frame.dtype, (frames, *frame.shape)
                header = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(order)}
                np.lib.format.write_array_header_1_0(handle, header)
            handle.write(np.ascontiguousarray(frame, order).reshape(-1).view(np.uint8).data)

        yield add


class Npy(FrameFormat):
    """One array, in whatever numbers the image has; of a sweep (frame, slow, fast)."""

    name = "npy"
    label = "npy"
    extensions = (".npy",)
    foreign = "decides"
    holds_numbers = True
    has_datasets = True
    needs_to_write = None
    needs_to_read = None
    panels_together = False

    def unsaid(self, setup: Setup) -> list[str]:
        """Nothing is expected of it."""
        return []

    def write(self, images: Sequence[Image], setup: Setup) -> list[FileContent]:
        """Photons in single precision, integers as they are."""
        made = [npy_pieces(as_stored_numbers(image)) for image in images]
        return [FileContent(pieces, len(pieces)) for pieces in made]

    def open_frames(self, path: str, frames: int, setup: Setup) -> AbstractContextManager[AddFrame]:
        """One array with an axis of frames."""
        return _opened(path, frames)

    def begins(self, start: bytes) -> bool:
        """With numpy's mark, or a zip archive's."""
        return start.startswith((b"\x93NUMPY", b"PK\x03\x04"))

    def read(self, path: str, dataset: str, shape: Shape | None) -> Image:
        """An array by its name, where it has one."""
        return read_npy(path, dataset)

    def read_frame(self, path: str, dataset: str, frame: int) -> Image:
        """A frame of the array."""
        return frame_of(read_npy(path, dataset), frame, image_name(path, dataset))
