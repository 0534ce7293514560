"""Memory that the compiler has freed goes back to the system: what the command and fits do around their compilations.

XLA compiles on several threads, and GNU's C library keeps what they free for each of them apart, where neither the
program that was compiled nor another process gets at it. Of a gradient this is about half of the process
(docs/performance.md). With another C library nothing happens here.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

from jax import monitoring

COMPILATION = "/jax/core/compile/backend_compile_duration"
WORTH_SECONDS = 0.5
"""Shorter compilations leave little behind, and returning it takes some hundredths of a second."""

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
_wanted = [0]
"""How many of the contexts below are entered."""


def _return_memory(event: str, duration_secs: float, **kwargs: str | int) -> None:
    if _wanted[0] and _trim is not None and event == COMPILATION and duration_secs >= WORTH_SECONDS:
        _trim(0)


@contextlib.contextmanager
def returning_compiler_memory() -> Iterator[None]:
    """While it lasts, what the compiler frees is returned to the system after each longer compilation."""
    if not _registered:
        monitoring.register_event_duration_secs_listener(_return_memory)
        _registered.append(True)
    _wanted[0] += 1
    try:
        yield
    finally:
        _wanted[0] -= 1


_registered: list[bool] = []
"""Whether jax knows the listener; it has no public way to forget a single one."""
