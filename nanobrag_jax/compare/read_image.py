"""Images from files: raw float32, SMV, PGM, CBF, HDF5 (NeXus) and numpy, as arrays (slow, fast)."""

import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.pgm import read_pgm
from ..io.raw import read_raw
from ..io.smv import header_value, read_smv
from ..io.text import read_bytes

Shape = tuple[int, int]
_SMV_SUFFIXES = (".img", ".smv")
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_USUAL_DATASETS = ("entry/data/data", "entry/instrument/detector/data", "entry/data/data_000001")


def read_image(path: str | os.PathLike[str], shape: Shape | None = None, *, frame: int = 0) -> NDArray:
    """The image in a file, (slow, fast), in the type it is stored in; what the file is, its content tells.

    **Arguments:** `path`: `FILE`, or `FILE::NAME` for a dataset of an HDF5 or npz file; `shape`: (slow, fast) of a
    bare float file; without it the SMV image beside it tells (of the same name, or the only one in its folder that
    fits); `frame`: which of the frames, where there are several.

    **Raises** `InputError` for a file that cannot be read or understood.
    """
    text = os.fspath(path)
    file, _, dataset = text.partition("::")
    start = read_bytes(file, "image")[:512]
    name = f"image {text!r}"
    if start.startswith(_HDF5_SIGNATURE):
        return _frame(_hdf5(file, dataset, name), frame, name)
    if start.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        return _frame(_numpy(file, dataset, name), frame, name)
    if dataset:
        raise InputError(f"{name}: only HDF5 and npz files have datasets")
    if start.startswith(b"###CBF") or Path(file).suffix.lower() == ".cbf":
        return _cbf(file, name)
    if start.startswith(b"P5"):
        return read_pgm(file).image
    if start.lstrip().startswith(b"{"):
        return read_smv(file).image
    return read_raw(file, _shape_beside(file) if shape is None else shape)


def _shape_beside(file: str) -> Shape:
    """Shape (slow, fast) of a bare float file, from an SMV image in its folder."""
    size = os.path.getsize(file)
    folder = Path(file).parent
    same_name = [Path(file).with_suffix(suffix) for suffix in _SMV_SUFFIXES]
    others = sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in _SMV_SUFFIXES)
    candidates = [entry for entry in same_name if entry.is_file()] or others
    shapes = {shape for entry in candidates if (shape := _header_shape(entry)) and 4 * shape[0] * shape[1] == size}
    if len(shapes) == 1:
        return shapes.pop()
    why = "no SMV image of its size lies beside it" if not shapes else "SMV images beside it differ in shape"
    raise InputError(f"the shape of the float image {file!r} is unknown: {why}; give --shape SLOW FAST")


def _header_shape(path: Path) -> Shape | None:
    try:
        with open(path, "rb") as handle:
            header = handle.read(4096).decode("latin-1")
    except OSError:
        return None
    sizes = [header_value(header, key) for key in ("SIZE2", "SIZE1")]
    return None if None in sizes else (int(sizes[0] or 0), int(sizes[1] or 0))


def _frame(stack: NDArray, frame: int, name: str) -> NDArray:
    """The frame of a stack (…, slow, fast)."""
    if stack.ndim < 2:
        raise InputError(f"{name} has {stack.ndim} axes; an image has two (slow, fast)")
    frames = stack.reshape(-1, *stack.shape[-2:])
    if not 0 <= frame < len(frames):
        raise InputError(f"{name} has {len(frames)} frames, numbered from 0; there is no frame {frame}")
    return frames[frame]


def _numpy(file: str, dataset: str, name: str) -> NDArray:
    try:
        with open(file, "rb") as handle:
            found = np.load(handle, allow_pickle=False)
            if isinstance(found, np.ndarray):
                if dataset:
                    raise InputError(f"{name}: a npy file holds one array without a name")
                return found
            if not dataset and len(found.files) != 1:
                raise InputError(f"{name} holds {', '.join(found.files) or 'nothing'}: say which as {file}::NAME")
            if dataset and dataset not in found.files:
                raise InputError(f"{name} is not there; the file holds {', '.join(found.files) or 'nothing'}")
            return found[dataset or found.files[0]]
    except InputError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{name} is not a numpy file that can be read: {_one_line(error)}") from error


def _hdf5(file: str, dataset: str, name: str) -> NDArray:
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{name} is HDF5, which needs h5py: pip install nanobrag_jax[formats]") from error
    try:
        with h5py.File(file, "r") as handle:
            for place in (dataset,) if dataset else _USUAL_DATASETS:
                found = handle.get(place)
                if isinstance(found, h5py.Dataset):
                    return np.asarray(found[()])
            images = _datasets(handle, h5py)
            if not dataset and len(images) == 1:
                return np.asarray(next(iter(images.values()))[()])
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(f"{name} is not an HDF5 file that can be read: {_one_line(error)}") from error
    choice = f"its images are {', '.join(images)}" if images else "it holds no image"
    missing = f"has no dataset {dataset}" if dataset else "has no dataset at a usual place"
    raise InputError(f"{name} {missing}; {choice}; say which as {file}::NAME")


def _datasets(handle, h5py) -> dict:
    """The datasets of an HDF5 file that may be images, by their place."""
    found = {}

    def look(place, item):
        if isinstance(item, h5py.Dataset) and item.ndim >= 2 and item.dtype.kind in "iuf":
            found[place] = item

    handle.visititems(look)
    return found


def _cbf(file: str, name: str) -> NDArray:
    try:
        import fabio
    except ImportError as error:
        raise InputError(f"{name} is CBF, which needs fabio: pip install nanobrag_jax[formats]") from error
    try:
        with fabio.open(file) as image:
            return np.asarray(image.data)
    except Exception as error:  # the reader raises many kinds for a damaged file
        raise InputError(f"{name} is not a CBF file that can be read: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
