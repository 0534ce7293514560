"""Compiled programs kept on disk between two runs of the command. A library must not decide this; a command may.

A compiled program is code that runs without a further look, so the folder has to be the user's own, and a program has
to be the one that was written: `kept_programs` keeps account.
"""

import atexit
import contextlib
import hashlib
import os
import platform
import re
import stat
import sys
import warnings
from pathlib import Path

from .kept_programs import account_for, remove_programs

_BAD_ENTRY = re.compile(r"Error (?:reading|writing) persistent compilation cache entry for '([^'/]*)'")


def use_compilation_cache() -> None:
    """Let jax keep compiled programs in the user's cache folder, `$XDG_CACHE_HOME` or `~/.cache`.

    Nothing happens where the folder cannot be written, or where the user has decided: by JAX_COMPILATION_CACHE_DIR,
    or by JAX_ENABLE_COMPILATION_CACHE=0. Programs that are damaged are removed and compiled anew. A folder that others
    own is not used, with a note; of one that others can write to the programs are removed, and it is closed to them.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or os.environ.get("JAX_ENABLE_COMPILATION_CACHE") in ("0", "false"):
        return
    try:
        folder = cache_folder()
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for each in (folder.parent, folder):
            each.mkdir(mode=0o700, exist_ok=True)
        if not (_own(folder.parent) and _own(folder)):
            print(
                f"nanobrag_jax: note: {folder} belongs to another user: compiled programs are not kept", file=sys.stderr
            )
            return
    except (OSError, RuntimeError):  # RuntimeError: no home directory
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    account_for(folder)
    atexit.register(account_for, folder)
    _heal(folder)
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def cache_folder() -> Path:
    """Where compiled programs of this kind of processor are kept: a shared home may serve different ones."""
    root = os.environ.get("XDG_CACHE_HOME")
    base = Path(root) if root and os.path.isabs(root) else Path.home() / ".cache"
    return base / "nanobrag_jax" / _processor()


def _processor() -> str:
    """A name for the processor with its instruction sets, which compiled programs depend on."""
    features = platform.processor()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="latin-1") as lines:
        features = next((line for line in lines if line.startswith(("flags", "Features"))), features)
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"


def _own(folder: Path) -> bool:
    """Whether the folder is the user's; one that others could write to is closed to them, and emptied of programs."""
    if not hasattr(os, "geteuid"):
        return True
    found = folder.stat()
    if found.st_uid != os.geteuid():
        return False
    if stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        folder.chmod(0o700)
        remove_programs(folder)
    return True


def _heal(folder: Path) -> None:
    """A program that jax cannot read, or write to the end, is removed in place of the warning, and compiled anew."""
    show = warnings.showwarning

    def shown(message, category, filename, lineno, file=None, line=None):
        found = _BAD_ENTRY.match(str(message))
        if found:
            remove_programs(folder, f"{found.group(1)}-")
        else:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = shown
