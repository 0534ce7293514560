"""The files of a run: written all or none."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .file_set import FileSet, cannot_write
from .text import reason


class Output(NamedTuple):
    """A file to write: the flag that names it, its path, its content in pieces, and about how many of them."""

    flag: str
    path: str
    pieces: Iterable[bytes | memoryview]
    count: int = 1


def panel_path(path: str, panel: int, panels: int) -> str:
    """The file of one panel: its number before the extension, `image_07.img`; the path itself for a lone panel.

    Something like /dev/null takes all panels.
    """
    if panels == 1 or (os.path.exists(path) and not os.path.isfile(path)):
        return path
    stem, extension = os.path.splitext(path)
    return f"{stem}_{panel:0{len(str(panels - 1))}d}{extension}"


def sweep_template(path: str) -> str:
    """The name of the files of a sweep, in which `####` stands for the number of an image.

    Where it has no such place there is one before the extension: `image_#####.cbf`. Something like /dev/null takes all
    images.
    """
    if _number_place(path) is not None or (os.path.exists(path) and not os.path.isfile(path)):
        return path
    stem, extension = os.path.splitext(path)
    return f"{stem}_#####{extension}"


def numbered_path(template: str, number: int) -> str:
    """The file of one image: its number, with leading zeros, in the template's place for it, if there is one."""
    place = _number_place(template)
    if place is None:
        return template
    return template[: place.start] + str(number).zfill(place.stop - place.start) + template[place.stop :]


def is_template(path: str) -> bool:
    """Whether a name has a place for the number of an image."""
    return _number_place(path) is not None


def _number_place(path: str) -> slice | None:
    """The last run of `#` in the name of a file, not of its folder."""
    folder = len(path) - len(os.path.basename(path))
    runs = list(re.finditer("#+", path[folder:]))
    return slice(folder + runs[-1].start(), folder + runs[-1].end()) if runs else None


def write_outputs(outputs: Sequence[Output], report: Callable[[float], None] | None = None) -> None:
    """Write files, all of them or none.

    **Arguments:** `report`: called with the finished fraction after each piece.

    **Raises** `InputError` that names flag and file where one cannot be written; then none has appeared.
    """
    with FileSet() as files:
        add_outputs(files, outputs, report)


def add_outputs(files: FileSet, outputs: Sequence[Output], report: Callable[[float], None] | None = None) -> None:
    """Write files that appear with others of a set. **Arguments** and **raises** as `write_outputs`."""
    before, total = 0, sum(output.count for output in outputs)
    handles = [files.open(output.path, output.flag) for output in outputs]
    for output, handle in zip(outputs, handles, strict=True):
        try:
            for number, piece in enumerate(output.pieces, 1):
                handle.write(piece)
                if report:
                    report((before + min(number, output.count)) / total)
            before += output.count
            handle.flush()
        except OSError as error:
            raise cannot_write(output.flag, output.path, reason(error)) from error
