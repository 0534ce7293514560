"""Reading images from HDF5 files: NeXus, Eiger masters with their data files beside them, and others."""

import contextlib
import math
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..io.text import one_line
from .image_format import Image, check_frame, image_name

if TYPE_CHECKING:
    import h5py

_USUAL_DATASETS = ("entry/data/data", "entry/instrument/detector/data")
_SERIES = "entry/data"
_OF_SERIES = re.compile(r"data_\d+")
"""Names of the parts of an Eiger's images in their group."""

_MOST_LINKS = 20


def read_hdf5(path: str, dataset: str = "") -> Image:
    """An image or a stack in an HDF5 file: the one of that name, at a usual place, or the only one that there is.

    **Raises** `InputError` for a file that cannot be read, where the image is not there or cannot be told, and for
    links to files outside of the file's own folder.
    """
    with _images(path, dataset) as parts:
        arrays = [np.asarray(part[()]) for part in parts]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def read_hdf5_frame(path: str, dataset: str, frame: int) -> Image:
    """One frame (slow, fast) of those that `read_hdf5` has; no other is read. **Raises** as that."""
    name = image_name(path, dataset)
    with _images(path, dataset) as parts:
        if any(part.ndim < 2 for part in parts):
            raise InputError(f"{name} has {parts[0].ndim} axes; an image has two (slow, fast)")
        counts = [math.prod(part.shape[:-2]) for part in parts]
        check_frame(frame, sum(counts), name)
        for part, count in zip(parts, counts, strict=True):
            if frame < count:
                return np.asarray(part[np.unravel_index(frame, part.shape[:-2]) if part.ndim > 2 else ()])
            frame -= count
    raise AssertionError("the frame was counted")


@contextlib.contextmanager
def _images(path: str, dataset: str) -> Iterator[list["h5py.Dataset"]]:
    """The datasets that hold the images of a file one after the other."""
    import h5py

    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  (the compressions of Eigers)
    name = image_name(path, dataset)
    try:
        with contextlib.ExitStack() as stack:
            reader = _Reader(stack, os.path.dirname(os.path.realpath(path)), name)
            yield reader.images(stack.enter_context(h5py.File(path, "r")), path, dataset)
    except InputError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise InputError(f"{name} is not an HDF5 file that can be read: {one_line(error)}") from error


class _Reader:
    """Looks datasets up, in files of one folder only.

    **Arguments:** `stack`: closes the files that are opened; `folder`: where they may be; `name`: for messages.
    """

    def __init__(self, stack: contextlib.ExitStack, folder: str, name: str):
        self.stack, self.folder, self.name = stack, folder, name

    def images(self, file: "h5py.File", path: str, dataset: str) -> list["h5py.Dataset"]:
        """The datasets that hold images: of that name, of a usual one, of a series, or the only one."""
        import h5py

        for place in (dataset,) if dataset else _USUAL_DATASETS:
            found = self.dataset(file, place)
            if found is not None:
                return [found]
        group = None if dataset else file.get(_SERIES)
        series = sorted(filter(_OF_SERIES.fullmatch, group.keys())) if isinstance(group, h5py.Group) else []
        parts = [self.dataset(file, f"{_SERIES}/{key}") for key in series]
        if parts:
            return [part for part in parts if part is not None]
        images = _image_datasets(file)
        if not dataset and len(images) == 1:
            found = self.dataset(file, images[0])
            return [] if found is None else [found]
        choice = f"its images are {', '.join(images)}" if images else "it holds no image"
        missing = f"has no dataset {dataset}" if dataset else "has no dataset at a usual place"
        raise InputError(f"{self.name} {missing}; {choice}; say which as {path}::NAME")

    def dataset(self, file: "h5py.File", place: str, links: int = 0) -> "h5py.Dataset | None":
        """The dataset at a place, links followed; None where there is none."""
        import h5py

        if links > _MOST_LINKS:
            raise InputError(f"{self.name}: {place} is a circle of links")
        at: h5py.Group | h5py.Dataset | h5py.Datatype = file
        words = [word for word in place.split("/") if word]
        for number, word in enumerate(words):
            if not isinstance(at, h5py.Group) or word not in at.keys():
                return None
            link, rest = at.get(word, getlink=True), words[number + 1 :]
            if isinstance(link, h5py.ExternalLink):
                other = self.stack.enter_context(h5py.File(self._beside(link.filename, place), "r"))
                return self.dataset(other, "/".join([link.path, *rest]), links + 1)
            if isinstance(link, h5py.SoftLink):
                base = "" if link.path.startswith("/") else str(at.name)
                return self.dataset(file, "/".join([base, link.path, *rest]), links + 1)
            at = at[word]
        return self._checked(at, place) if isinstance(at, h5py.Dataset) else None

    def _beside(self, filename: str, place: str) -> str:
        """A file that a link names. **Raises** `InputError` for one that is not in the folder, or missing."""
        target = os.path.realpath(os.path.join(self.folder, filename))
        if os.path.dirname(target) != self.folder:
            raise InputError(f"{self.name}: {place} points to {filename!r}, which is not in the file's folder")
        if not os.path.isfile(target):
            raise InputError(f"{self.name}: {place} points to {filename!r}, which is not there")
        return target

    def _checked(self, dataset: "h5py.Dataset", place: str) -> "h5py.Dataset":
        """A dataset whose pixels are in files that may be read."""
        if dataset.external:
            raise InputError(f"{self.name}: the pixels of {place} are in the raw file {dataset.external[0][0]!r}")
        if dataset.is_virtual:
            import h5py

            for source in dataset.virtual_sources():
                if source.file_name == ".":
                    self._check_plain(dataset.file, source.dset_name, place)
                    continue
                with h5py.File(self._beside(source.file_name, place), "r") as other:
                    self._check_plain(other, source.dset_name, place)
        return dataset

    def _check_plain(self, file: "h5py.File", source: str, place: str) -> None:
        """**Raises** `InputError` unless the pixels of a part of a virtual dataset lie in its file."""
        import h5py

        at, way = file, ""
        for step in source.strip("/").split("/"):
            way = f"{way}/{step}"
            plain = isinstance(at, h5py.Group) and isinstance(at.get(step, getlink=True), h5py.HardLink)
            at = file[way] if plain else None
        if not isinstance(at, h5py.Dataset) or at.external or at.is_virtual:
            raise InputError(f"{self.name}: {place} points to {source!r}, whose pixels are not in its file")


def _image_datasets(file: "h5py.File") -> list[str]:
    """The places of datasets that may be images."""
    import h5py

    found: list[str] = []

    def look(place: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim >= 2 and item.dtype.kind in "iuf":
            found.append(place)

    file.visititems(look)
    return found
