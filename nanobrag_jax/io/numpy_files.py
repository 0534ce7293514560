"""Arrays of .npy and .npz files, whose headers are compared with the file before memory is taken."""

import math
import os
import zipfile
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .text import check_regular, one_line

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_NPY = ".npy"


def npy_array(path: str | os.PathLike[str], name: str) -> NDArray[np.generic]:
    """The array of a .npy file. **Raises** `InputError`, beginning with `name`, for a file that cannot be read."""
    size = check_regular(path, name)
    try:
        with open(path, "rb") as handle:
            _check_header(handle, size)
            handle.seek(0)
            return np.lib.format.read_array(handle, allow_pickle=False)
    except Exception as error:  # a damaged header raises many kinds, those of Python's tokeniser among them
        raise InputError(f"{name} is not a numpy file that can be read: {one_line(error)}") from error


def npz_names(path: str | os.PathLike[str], name: str) -> list[str]:
    """The names of the arrays of a .npz file. **Raises** as `npy_array`."""
    check_regular(path, name)
    try:
        with zipfile.ZipFile(path) as file:
            return [member.removesuffix(_NPY) for member in file.namelist()]
    except Exception as error:
        raise InputError(f"{name} is not a npz file that can be read: {one_line(error)}") from error


def npz_array(path: str | os.PathLike[str], member: str, name: str) -> NDArray[np.generic]:
    """One array of a .npz file, the only one that is unpacked. **Raises** as `npy_array`."""
    check_regular(path, name)
    try:
        with zipfile.ZipFile(path) as file:
            info = next(x for x in file.infolist() if x.filename.removesuffix(_NPY) == member)
            with file.open(info) as handle:
                _check_header(handle, info.file_size)
            with file.open(info) as handle:
                return np.lib.format.read_array(handle, allow_pickle=False)
    except Exception as error:  # zlib.error, NotImplementedError, RuntimeError of encrypted files, ...
        raise InputError(f"{name} is not a npz file that can be read: {one_line(error)}") from error


def _check_header(handle: IO[bytes], size: int) -> None:
    """**Raises** `ValueError` where the header of an array declares more than the `size` bytes that there are."""
    version = np.lib.format.read_magic(handle)
    if version not in _HEADERS:
        raise ValueError(f"format {version[0]}.{version[1]} is not read")
    shape, _, dtype = _HEADERS[version](handle)
    if any(n < 0 for n in shape):
        raise ValueError(f"its header declares the shape {shape}")
    declared = math.prod(shape) * dtype.itemsize
    if declared > size - handle.tell():
        raise ValueError(f"its header declares {declared} bytes, it has {size - handle.tell()}")
