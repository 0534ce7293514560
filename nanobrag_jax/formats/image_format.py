"""What there is to know of a kind of image file. A kind of one's own: docs/formats.md."""

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .setup import Setup

Image = NDArray[np.generic]
Shape = tuple[int, int]
Meaning = Literal["decides", "misleads", "nothing"]


class FileContent(NamedTuple):
    """The bytes of a file in pieces, and about how many pieces there are, for a progress meter."""

    pieces: Iterable[bytes | memoryview]
    count: int = 1


class Requirement(NamedTuple):
    """A module that is not part of a plain installation, and what pip is told to have it."""

    module: str
    install: str

    @property
    def missing(self) -> bool:
        """Whether it cannot be imported."""
        return importlib.util.find_spec(self.module) is None


class ImageFormat(ABC):
    """A kind of image file; its subclasses are final and have no state."""

    name: ClassVar[str]
    """What code calls it: "cbf"."""
    label: ClassVar[str]
    """What sentences call it: "miniCBF"."""
    extensions: ClassVar[tuple[str, ...]]
    """Endings of file names that stand for it, in small letters with their points, the usual one first."""
    foreign: ClassVar[Meaning]
    """What such an ending means to an output whose usual format is another one.

    It "decides" for this format, it "misleads", which is worth a note, or it says "nothing".
    """
    holds_numbers: ClassVar[bool]
    """Whether pixels can be measured in it; else it is a picture, in whose place no other format is written."""
    has_datasets: ClassVar[bool]
    """Whether one file holds several images by name."""
    needs_to_write: ClassVar[Requirement | None]
    """What must be installed for writing."""
    needs_to_read: ClassVar[Requirement | None]
    """What must be installed for reading."""

    @abstractmethod
    def unsaid(self, setup: Setup) -> list[str]:
        """What its files cannot say of a setup, one sentence each."""

    @abstractmethod
    def write(self, images: Sequence[Image], setup: Setup) -> list[FileContent]:
        """The files of an exposure: one in which all panels are, or one for each panel.

        **Arguments:**

        - `images`: of each panel (slow, fast): photons as floats, or counts as integers.
        - `setup`: how beam, spindle and panels stood.

        **Raises** `InputError` for values that the format cannot hold.
        """

    @abstractmethod
    def begins(self, start: bytes) -> bool:
        """Whether a file that begins with these bytes (some 500) is one; False for a format without a mark."""

    @abstractmethod
    def read(self, path: str, dataset: str, shape: Shape | None) -> Image:
        """The image in a file, (slow, fast), or its images, (…, slow, fast), in the type they are stored in.

        **Arguments:**

        - `path`: of a file.
        - `dataset`: the name of the image in it, "" for none, if the format has such names.
        - `shape`: (slow, fast), for a format that does not say it.

        **Raises** `InputError` for a file that cannot be read or understood.
        """


AddFrame = Callable[[Sequence[Image]], None]
"""Adds one image of a sweep to a file: those of its panels (slow, fast)."""


class FrameFormat(ImageFormat):
    """A kind of image file that may hold all images of a sweep; its subclasses are final and have no state."""

    panels_together: ClassVar[bool]
    """Whether one file holds the frames of all panels; else each panel has its own."""

    @abstractmethod
    def open_frames(self, path: str, frames: int, setup: Setup) -> AbstractContextManager[AddFrame]:
        """A file to which so many frames are added one by one, and which is complete when it is closed.

        **Arguments:**

        - `path`: of a file to be made; it gets its name, or goes, by itself.
        - `frames`: how many there will be.
        - `setup`: of the first image; the spindle goes on from one to the next.

        Adding **raises** `InputError` for values that the format cannot hold.
        """

    @abstractmethod
    def read_frame(self, path: str, dataset: str, frame: int) -> Image:
        """One image (slow, fast) of those in a file, counted from 0.

        **Arguments:** as for `read`. **Raises** as that, and for a frame that is not there.
        """


def image_name(path: str, dataset: str = "") -> str:
    """What messages call an image: `FILE` or `FILE::NAME`."""
    return f"image {path + (f'::{dataset}' if dataset else '')!r}"


def frame_of(stack: Image, frame: int, name: str) -> Image:
    """The frame of a stack (…, slow, fast), counted from 0.

    **Arguments:** `name`: of the image, for messages. **Raises** `InputError` for one that is not there.
    """
    if stack.ndim < 2:
        raise InputError(f"{name} has {stack.ndim} axes; an image has two (slow, fast)")
    if 0 in stack.shape:
        raise InputError(f"{name} has no pixels: its shape is {' x '.join(map(str, stack.shape))}")
    frames = stack.reshape(-1, *stack.shape[-2:])
    check_frame(frame, len(frames), name)
    return frames[frame]


def check_frame(frame: int, count: int, name: str) -> None:
    """Raise `InputError` for a frame that is not one of so many."""
    if not 0 <= frame < count:
        raise InputError(f"{name} has {count} frames, numbered from 0; there is no frame {frame}")


def require_writer(kind: ImageFormat) -> None:
    """Refuse a format whose writer is not installed; meant for the moment before a long run.

    **Raises** `InputError`.
    """
    need = kind.needs_to_write
    if need is not None and need.missing:
        raise InputError(f"{kind.label} files need {need.module}: pip install {need.install}")
