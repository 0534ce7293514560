"""Interruptions: what a batch system or a terminal sends, as Ctrl-C, and held back where files change names."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask a process to end."""


def stop_like_interruptions() -> None:
    """SIGTERM and SIGHUP raise `KeyboardInterrupt`, as SIGINT does; one that is ignored (nohup) stays ignored.

    Where Python swallows an exception, as in what jax does at each collection of garbage, the signal is sent again.
    """
    for number in ENDING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stopped)
    sys.unraisablehook = partial(_send_again, sys.unraisablehook)


_last: list[int] = []
"""The signal that came last."""


def _stopped(number: int, _: object) -> NoReturn:
    _last[:] = [number]
    raise KeyboardInterrupt


def _send_again(before: Callable[[Any], object], swallowed: Any) -> None:
    if issubclass(swallowed.exc_type, KeyboardInterrupt) and _last:
        threading.Timer(0.01, os.kill, (os.getpid(), _last[0])).start()
    else:
        before(swallowed)


@contextlib.contextmanager
def interruptions_held() -> Iterator[None]:
    """Signals that ask to end take effect when the block has ended.

    Python handles signals in its main thread, whichever thread gets them: elsewhere there is nothing to hold.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before: dict[int, Callable[[int, Any], Any] | int] = {}
    try:
        for number in ENDING:
            handler = signal.getsignal(number)
            if handler is not None and handler is not signal.SIG_IGN:  # None: not set by Python
                before[number] = handler
                signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)
