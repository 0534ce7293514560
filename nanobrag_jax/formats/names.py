"""Which format a file name asks for."""

import importlib.util
import os
from typing import Literal

from ..errors import InputError

Format = Literal["cbf", "nexus", "npy", "smv", "raw", "png"]

EXTENSIONS: dict[str, Format] = {
    ".cbf": "cbf",
    ".h5": "nexus",
    ".hdf5": "nexus",
    ".nxs": "nexus",
    ".npy": "npy",
    ".img": "smv",
    ".smv": "smv",
    ".bin": "raw",
    ".raw": "raw",
    ".png": "png",
}
_FOLLOWED: tuple[Format, ...] = ("cbf", "nexus", "npy")
WORDS: dict[Format, str] = {
    "cbf": "miniCBF",
    "nexus": "NeXus",
    "npy": "npy",
    "smv": "SMV",
    "raw": "raw float32 numbers",
    "png": "PNG",
}


def _extension(path: str | os.PathLike[str]) -> str:
    return os.path.splitext(os.fspath(path))[1].lower()


def format_of(path: str | os.PathLike[str]) -> Format:
    """The format of a file name. **Raises** `InputError` for an extension that stands for none."""
    found = EXTENSIONS.get(_extension(path))
    if found is None:
        raise InputError(f"cannot write {os.fspath(path)!r}: its name must end in {', '.join(EXTENSIONS)}")
    return found


def format_of_output(path: str, usual: Format) -> tuple[Format, str | None]:
    """The format that a flag's file gets, and a note where its name looks like another one, else None.

    A .cbf, .h5, .hdf5, .nxs or .npy decides; any other name keeps what the reference's flag writes, `usual`.
    """
    found = EXTENSIONS.get(_extension(path), usual)
    if found in _FOLLOWED and usual != "png":
        return found, None
    fits = found in (usual, "raw")  # .bin and .raw are taken for names without a format of their own
    return usual, None if fits else f"{path} will hold {WORDS[usual]}, though its name looks like {WORDS[found]}"


def require_writer(kind: Format) -> None:
    """Raise `InputError` if a library that writes this format is missing; meant for the moment before a long run."""
    if kind == "nexus" and importlib.util.find_spec("h5py") is None:
        raise InputError("NeXus files need h5py: pip install nanobrag_jax[formats]")
