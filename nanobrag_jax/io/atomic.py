"""Files that are written whole or not at all."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from ..errors import InputError
from .text import reason

Path = str | os.PathLike[str]


def _cannot_write(path: Path, why: str) -> InputError:
    return InputError(f"cannot write {os.fspath(path)!r}: {why}")


def _target(path: Path) -> tuple[str, bool]:
    """The file behind `path` (links followed) and whether it is to be written directly; refuse what cannot be.

    Directly means: something that exists and is no regular file, such as /dev/null, a terminal or a pipe. Replacing
    that by a new file would be wrong.
    """
    if not os.fspath(path):
        raise _cannot_write(path, "the file name is empty")
    try:
        target = os.path.realpath(path)
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    except (OSError, ValueError) as error:
        raise _cannot_write(path, reason(error)) from error
    if mode is not None and stat.S_ISDIR(mode):
        raise _cannot_write(path, "it is a directory")
    if mode is not None and not os.access(path, os.W_OK):
        raise _cannot_write(path, "the file exists and may not be written (permission denied)")
    if mode is not None and not stat.S_ISREG(mode):
        return os.fspath(path), True
    folder = os.path.dirname(target)
    if not os.path.exists(folder):
        raise _cannot_write(path, f"the folder {folder!r} does not exist")
    if not os.path.isdir(folder):
        raise _cannot_write(path, f"{folder!r} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _cannot_write(path, f"the folder {folder!r} may not be written (permission denied)")
    return target, False


def check_writable(path: Path) -> None:
    """Raise InputError if `path` plainly cannot be written; meant for the moment before a long run.

    The folder must exist and be writable, an existing file must be writable, and the path must not be a directory.
    Existing things that are no regular files, such as /dev/null, are allowed. Nothing is created.
    """
    _target(path)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that appears under `path` only once the block has ended without an exception.

    The bytes go to a temporary file in the same folder, which is flushed, synchronised and renamed at the end and
    removed on any exception, KeyboardInterrupt included. Links are followed, and an existing file keeps its
    permissions. Existing things that are no regular files (/dev/null, a pipe) are written directly.

    **Raises** `InputError`, naming the path and the operating system's reason, where the file cannot be written
    (missing folder, no permission, a full disk). The block should do nothing that fails for other files: its `OSError`s
    are taken for failures to write this one.
    """
    target, direct = _target(path)
    try:
        if direct:
            with open(target, "wb") as handle:
                yield handle
        else:
            yield from _replaced(target)
    except OSError as error:
        raise _cannot_write(path, reason(error)) from error


@contextlib.contextmanager
def whole_path(path: Path) -> Iterator[str]:
    """Yield the name of a temporary file to be made; it becomes `path` once the block has ended without an exception.

    For what needs a name rather than an open file. As with `whole_file` it lies in the same folder, and is removed on
    any exception. **Raises** `InputError`, naming the path, where the file cannot be written.
    """
    target, direct = _target(path)
    if direct:
        raise _cannot_write(path, "it is no regular file")
    temporary = _temporary(target)
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        _put_in_place(temporary, target)
    except OSError as error:
        raise _cannot_write(path, reason(error)) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _temporary(target: str) -> str:
    return os.path.join(os.path.dirname(target), f".nanobrag-{secrets.token_hex(8)}.tmp")


def _put_in_place(temporary: str, target: str) -> None:
    """Rename a finished file; one that it replaces leaves it its permissions."""
    with contextlib.suppress(FileNotFoundError):
        os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
    os.replace(temporary, target)


def _replaced(target: str) -> Iterator[BinaryIO]:
    temporary = _temporary(target)
    # Not tempfile.mkstemp: its files are private (0600), these shall follow the user's umask as any new file does.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(descriptor, "wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        _put_in_place(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_whole(path: Path, content: bytes | bytearray | memoryview | Iterable[bytes | memoryview]) -> None:
    """Write bytes, or pieces of bytes one after the other, to `path`, whole or not at all (see `whole_file`)."""
    pieces = [content] if isinstance(content, bytes | bytearray | memoryview) else content
    with whole_file(path) as handle:
        for piece in pieces:
            handle.write(piece)
