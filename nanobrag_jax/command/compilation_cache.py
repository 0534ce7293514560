"""Compiled programs kept on disk between two runs of the command. A library must not decide this; a command may."""

import contextlib
import hashlib
import os
import platform
from pathlib import Path

KEPT_PROGRAMS = 200
"""Programs in the folder; the ones not used for longest go first."""


def use_compilation_cache() -> None:
    """Let jax keep compiled programs in the user's cache folder, `$XDG_CACHE_HOME` or `~/.cache`.

    Nothing happens where the folder cannot be written, or where the user has decided: by JAX_COMPILATION_CACHE_DIR,
    or by JAX_ENABLE_COMPILATION_CACHE=0.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or os.environ.get("JAX_ENABLE_COMPILATION_CACHE") in ("0", "false"):
        return
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: no home directory
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    _remove_oldest(folder)
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


def _remove_oldest(folder: Path) -> None:
    """Keep the folder from growing without end."""
    with contextlib.suppress(OSError):
        files = [entry for entry in os.scandir(folder) if entry.is_file()]
        if len(files) > 2 * KEPT_PROGRAMS:  # a program is a file and a note of its last use
            files.sort(key=lambda entry: entry.stat().st_mtime)
            for entry in files[: len(files) - KEPT_PROGRAMS]:
                os.unlink(entry.path)
