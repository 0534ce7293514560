"""The long arrays of a configuration, which lie in a npz file beside it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.numpy_files import npz_array, npz_names
from .layout import digest
from .schema import check_keys, shown


class ArrayFiles:
    """Arrays of npz files in a folder, each read once, and those alone that are asked for.

    Files elsewhere, by their names or through links, are refused unless they may lie `anywhere`.
    """

    def __init__(self, folder: Path, anywhere: bool = False):
        self.folder = folder
        self.anywhere = anywhere
        self.names: dict[str, list[str]] = {}
        self.read: dict[tuple[str, str], NDArray[np.generic]] = {}

    def array(self, full: str, reference: Mapping[str, object]) -> NDArray[np.generic]:
        """An array of a npz file, after a look at its checksum if there is one.

        **Arguments:** `full`: name of the key, for messages; `reference`: what the JSON has in its place. **Raises**
        `InputError`.
        """
        check_keys(f"{full}.", reference, ("file", "array", "shape", "sha256"))
        file, name = (_name(full, key, reference.get(key)) for key in ("file", "array"))
        try:
            held = self._held(file, name)
        except InputError as error:
            raise InputError(f"{full}: {error}") from None
        wanted = reference.get("sha256")
        if wanted is not None and wanted != digest(held):
            raise InputError(
                f"{full}: the array {name} in {file} is not the one that this was written with (its sha256 is "
                f"{digest(held)[:12]}…, not {str(wanted)[:12]}…): take out sha256 if it was changed on purpose"
            )
        return held

    def _held(self, file: str, name: str) -> NDArray[np.generic]:
        path = self.folder / file
        if not self.anywhere and not _inside(path, self.folder):
            raise InputError(
                f"{file!r} is outside the folder of the configuration: -config_anywhere "
                "(load_config(…, anywhere=True)) reads it"
            )
        called = f"arrays {str(path)!r}"
        if file not in self.names:
            self.names[file] = npz_names(path, called)
        if name not in self.names[file]:
            raise InputError(f"{file} has no array {name}; it has {', '.join(self.names[file]) or 'none'}")
        if (file, name) not in self.read:
            self.read[file, name] = npz_array(path, name, called)
        return self.read[file, name]


def _inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, a NUL character
        return False


def _name(full: str, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{full}.{key} must be a name, got {shown(value)}")
    return value
