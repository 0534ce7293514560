"""One file that is written whole or not at all; sets of files: `file_set`."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from .file_set import FileSet, Path, cannot_write, target_of
from .text import reason


def check_writable(path: Path) -> None:
    """Raise InputError if `path` plainly cannot be written; meant for the moment before a long run.

    The folder must exist and be writable, an existing file must be writable, and the path must not be a directory.
    Existing things that are no regular files, such as /dev/null, are allowed. Nothing is created.
    """
    target_of(path)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that appears under `path` only once the block has ended without an exception.

    **Raises** `InputError` as `FileSet` does. The block should do nothing that fails for other files: its `OSError`s
    are taken for failures to write this one.
    """
    with FileSet() as files:
        try:
            yield files.open(path)
        except OSError as error:
            raise cannot_write("", path, reason(error)) from error


def write_whole(path: Path, content: bytes | bytearray | memoryview | Iterable[bytes | memoryview]) -> None:
    """Write bytes, or pieces of bytes one after the other, to `path`, whole or not at all (see `whole_file`)."""
    pieces = [content] if isinstance(content, bytes | bytearray | memoryview) else content
    with whole_file(path) as handle:
        for piece in pieces:
            handle.write(piece)
