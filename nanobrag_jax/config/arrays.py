"""The long arrays of a configuration, which lie in a npz file beside it."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.text import read_bytes
from .layout import Arrays, digest
from .schema import check_keys, shown


class ArrayFiles:
    """Arrays of npz files in a folder, each file read once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.read: dict[str, Arrays] = {}

    def array(self, full: str, reference: Mapping[str, object]) -> NDArray[np.generic]:
        """An array of a npz file, after a look at its checksum if there is one.

        **Arguments:** `full`: name of the key, for messages; `reference`: what the JSON has in its place. **Raises**
        `InputError`.
        """
        check_keys(f"{full}.", reference, ("file", "array", "shape", "sha256"))
        file, name = (_name(full, key, reference.get(key)) for key in ("file", "array"))
        if file not in self.read:
            self.read[file] = _arrays_in(self.folder / file, full)
        held = self.read[file]
        if name not in held:
            raise InputError(f"{full}: {file} has no array {name}; it has {', '.join(held) or 'none'}")
        wanted = reference.get("sha256")
        if wanted is not None and wanted != digest(held[name]):
            raise InputError(
                f"{full}: the array {name} in {file} is not the one that this was written with (its sha256 is "
                f"{digest(held[name])[:12]}…, not {str(wanted)[:12]}…): take out sha256 if it was changed on purpose"
            )
        return held[name]


def _name(full: str, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{full}.{key} must be a name, got {shown(value)}")
    return value


def _arrays_in(path: Path, full: str) -> Arrays:
    try:
        with np.load(io.BytesIO(read_bytes(path, "arrays")), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except InputError as error:
        raise InputError(f"{full}: {error}") from None
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{full}: {path.name} is not a npz file that can be read: {error}") from None
