"""Interruptions: what a batch system or a terminal sends, as Ctrl-C, and held back where files change names."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask a process to end."""


def stop_like_interruptions() -> None:
    """SIGTERM and SIGHUP raise `KeyboardInterrupt`, as SIGINT does; one that is ignored (nohup) stays ignored."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stopped)


def _stopped(*_: object) -> NoReturn:
    raise KeyboardInterrupt


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
