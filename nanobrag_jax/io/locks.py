"""Locks that end with their process, however that ends. Where a file system has none, nothing is locked."""

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator

from ..errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK_FILE = ".nanobrag-lock"
_WAIT_S = 30.0


def lock(descriptor: int) -> bool | None:
    """Whether this process alone has a file now; None where that cannot be known."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def same_file(path: str, descriptor: int) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        found, here = os.stat(path, follow_symlinks=False), os.fstat(descriptor)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (here.st_dev, here.st_ino)


def remove_abandoned(path: str, *more: str) -> bool:
    """Whether a file that its process locked while it lived is gone now: removed, where that process is.

    **Arguments:** `more`: files that belong to it, removed before it.
    """
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        own = stat.S_ISREG(found.st_mode) and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid())
        if not own or lock(descriptor) is not True:
            return False
        if same_file(path, descriptor):
            for name in (*more, path):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def folders_locked(folders: Iterable[str]) -> Iterator[None]:
    """While it lasts no other process is in this block for any of the folders. **Raises** `InputError` after 30 s."""
    with contextlib.ExitStack() as stack:
        for folder in sorted({os.path.realpath(folder) for folder in folders}):
            _enter(folder, stack)
        yield


def _enter(folder: str, stack: contextlib.ExitStack) -> None:
    """Lock a folder itself, or on network file systems, which lock files only, a file in it."""
    end = time.monotonic() + _WAIT_S
    for name, flags in ((folder, os.O_RDONLY), (os.path.join(folder, LOCK_FILE), os.O_RDWR | os.O_CREAT)):
        try:
            descriptor = os.open(name, flags, 0o666)
        except OSError:
            continue
        stack.callback(os.close, descriptor)
        while (locked := lock(descriptor)) is False:
            if time.monotonic() > end:
                raise InputError(f"cannot write into {folder!r}: another process has it locked")
            time.sleep(0.002)
        if locked:
            return
