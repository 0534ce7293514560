"""Files that appear together, each under its own name, or not at all.

All are written and synchronised under temporary names first; only then are they renamed, with interruptions held, and
while no other process renames files in the same folders. The temporary file of a process is locked as long as that
lives: the next one that writes the same output removes it.
"""

import contextlib
import hashlib
import os
import stat
from types import TracebackType
from typing import BinaryIO

from ..errors import InputError
from .locks import folders_locked, lock, remove_abandoned, same_file
from .signals import interruptions_held
from .text import reason

Path = str | os.PathLike[str]

_DATA, _OLD = ".data", ".old"
"""Endings of what belongs to a temporary file: content that another library writes, and the file that it replaces."""


class CannotWriteError(InputError):
    """A file that cannot be written."""


def cannot_write(label: str, path: Path, why: str) -> CannotWriteError:
    """The error that says so. **Arguments:** `label`: the flag that names the file, or nothing."""
    return CannotWriteError(f"{label}{': ' if label else ''}cannot write {os.fspath(path)!r}: {why}")


def target_of(path: Path, label: str = "") -> tuple[str, bool]:
    """The file behind `path` (links followed) and whether it is to be written directly.

    Directly means: something that exists and is no regular file, such as /dev/null, a terminal or a pipe. Replacing
    that by a new file would be wrong. **Raises** `InputError` for what plainly cannot be written.
    """
    if not os.fspath(path):
        raise cannot_write(label, path, "the file name is empty")
    try:
        target = os.path.realpath(path)
    except FileNotFoundError as error:
        raise cannot_write(label, path, "the current folder is gone") from error
    except (OSError, ValueError) as error:
        raise cannot_write(label, path, reason(error)) from error
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    except (OSError, ValueError) as error:
        raise cannot_write(label, path, reason(error)) from error
    if mode is not None and stat.S_ISDIR(mode):
        raise cannot_write(label, path, "it is a directory")
    if mode is not None and not os.access(path, os.W_OK):
        raise cannot_write(label, path, "the file exists and may not be written (permission denied)")
    if mode is not None and not stat.S_ISREG(mode):
        return os.fspath(path), True
    folder = os.path.dirname(target)
    if not os.path.exists(folder):
        raise cannot_write(label, path, f"the folder {folder!r} does not exist")
    if not os.path.isdir(folder):
        raise cannot_write(label, path, f"{folder!r} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise cannot_write(label, path, f"the folder {folder!r} may not be written (permission denied)")
    return target, False


class _Entry:
    """One file of a set: its label, the path as given, the target, its open temporary file, and where content goes."""

    def __init__(self, label: str, path: Path, by_name: bool):
        self.label, self.path = label, path
        target, self.direct = target_of(path, label)
        self.target = target
        self.temporary = ""
        try:
            if self.direct:
                if by_name:
                    raise cannot_write(label, path, "it is no regular file")
                self.handle: BinaryIO = open(target, "wb")
            else:
                self.temporary, self.handle = _temporary_of(target)
        except OSError as error:
            raise cannot_write(label, path, reason(error)) from error
        self.content = self.temporary + _DATA if by_name else self.temporary

    def finish(self) -> None:
        """Everything is on disk."""
        self.handle.flush()
        if self.direct:
            self.handle.close()
        elif self.content == self.temporary:
            os.fsync(self.handle.fileno())
        else:
            with open(self.content, "rb+") as handle:
                os.fsync(handle.fileno())

    def keep_old(self) -> None:
        """A second name for the file that will be replaced, in case that one of the others cannot be."""
        with contextlib.suppress(OSError):  # there is none, or this file system has no links
            os.link(self.target, self.temporary + _OLD)

    def rename(self) -> None:
        """Put the finished file in place; one that it replaces leaves it its permissions."""
        with contextlib.suppress(FileNotFoundError):
            os.chmod(self.content, stat.S_IMODE(os.stat(self.target).st_mode))
        os.replace(self.content, self.target)

    def restore(self) -> None:
        """As it was before `rename`."""
        with contextlib.suppress(OSError):
            if os.path.lexists(self.temporary + _OLD):
                os.replace(self.temporary + _OLD, self.target)
            else:
                os.unlink(self.target)

    def remove(self) -> None:
        """Close it, and remove what is left under temporary names."""
        if not self.direct:
            for name in {self.content, self.temporary + _OLD, self.temporary}:
                with contextlib.suppress(OSError):
                    if name != self.temporary or same_file(name, self.handle.fileno()):
                        os.unlink(name)
        with contextlib.suppress(OSError):
            self.handle.close()


def _temporary_of(target: str) -> tuple[str, BinaryIO]:
    """The name of a new file beside `target`, and that file, locked; what killed processes left of it is removed."""
    folder, name = os.path.split(target)
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    found = None
    number = 0
    while found is None or os.path.lexists(_numbered(folder, digest, number)):
        temporary = _numbered(folder, digest, number)
        if remove_abandoned(temporary, temporary + _DATA, temporary + _OLD) and found is None:
            found = _created(temporary)
            number -= found is None  # another process was faster: look at it again
        number += 1
    return found


def _numbered(folder: str, digest: str, number: int) -> str:
    return os.path.join(folder, f".nanobrag-{digest}-{number}.tmp")


def _created(temporary: str) -> tuple[str, BinaryIO] | None:
    """A new file, which follows the user's umask; None where another process has it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(temporary, flags, 0o666)
    except FileExistsError:
        return None
    if lock(descriptor) is False or not same_file(temporary, descriptor):
        os.close(descriptor)
        return None
    return temporary, open(descriptor, "wb")


class FileSet:
    """A context within which files are written; when it ends without an exception they appear, all or none.

    Links are followed, and an existing file keeps its permissions. Things that exist and are no regular files
    (/dev/null, a pipe) are written directly. On any exception, KeyboardInterrupt included, nothing is left.

    **Raises** `InputError`, naming the path and the operating system's reason, where a file cannot be written.
    """

    def __init__(self):
        self.entries: list[_Entry] = []

    def open(self, path: Path, label: str = "") -> BinaryIO:
        """A file to write to. **Arguments:** `label`: the flag that names it, for messages."""
        return self._added(label, path, False).handle

    def name(self, path: Path, label: str = "") -> str:
        """The name of a file to be made, for what needs a name rather than an open file."""
        return self._added(label, path, True).content

    def _added(self, label: str, path: Path, by_name: bool) -> _Entry:
        with interruptions_held():
            self.entries.append(_Entry(label, path, by_name))
        return self.entries[-1]

    def __enter__(self) -> "FileSet":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            with interruptions_held():
                for entry in self.entries:
                    entry.remove()

    def _finish(self) -> None:
        for entry in self.entries:
            try:
                entry.finish()
            except OSError as error:
                raise cannot_write(entry.label, entry.path, reason(error)) from error
        entries = [entry for entry in self.entries if not entry.direct]
        folders = {os.path.dirname(entry.target) for entry in entries}
        done = False
        try:
            with folders_locked(folders), interruptions_held():
                _rename(entries)
                done = True
                for folder in folders:
                    _sync_folder(folder)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt("interrupted, all files are written" if done else "") from stop


def _rename(entries: list[_Entry]) -> None:
    if len(entries) > 1:
        for entry in entries:
            entry.keep_old()
    for number, entry in enumerate(entries):
        try:
            entry.rename()
        except OSError as error:
            for before in entries[:number]:
                before.restore()
            raise cannot_write(entry.label, entry.path, reason(error)) from error


def _sync_folder(folder: str) -> None:
    """The new names are on disk, where that can be asked for."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
