"""Memory that the compiler has freed goes back to the system: imported for that by the package.

XLA compiles on several threads, and GNU's C library keeps what they free for each of them apart, where neither the
program that was compiled nor another process gets at it. Of a gradient this is about half of the process
(docs/performance.md). With another C library nothing happens here.
"""

import ctypes
import sys

from jax import monitoring

COMPILATION = "/jax/core/compile/backend_compile_duration"
WORTH_SECONDS = 0.5
"""Shorter compilations leave little behind, and returning it takes some hundredths of a second."""

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def _return_memory(event: str, duration_secs: float, **kwargs: str | int) -> None:
    if _trim is not None and event == COMPILATION and duration_secs >= WORTH_SECONDS:
        _trim(0)


monitoring.register_event_duration_secs_listener(_return_memory)
