"""Memory that the compiler has freed goes back to the system, instead of waiting in this process for its next use.

XLA compiles on several threads, and the C library keeps what they free for each of them apart: neither the program
that was compiled nor another process gets at it. Of a gradient this is two fifths of the process (docs/performance.md).
"""

import ctypes
import sys

from jax import monitoring

COMPILATION = "/jax/core/compile/backend_compile_duration"
WORTH_SECONDS = 0.5
"""Compilations shorter than this leave little behind: returning memory takes some hundredths of a second itself."""


def return_memory_after_compilation() -> None:
    """From now on, return freed memory after each long compilation. Nothing happens without GNU's C library."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None:
        return

    def compiled(event: str, seconds: float, **_: str | int) -> None:
        if event == COMPILATION and seconds >= WORTH_SECONDS:
            trim(0)

    monitoring.register_event_duration_secs_listener(compiled)
