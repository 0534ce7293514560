"""Ctrl-C while one of the package's commands is still importing ends it without a traceback: nothing has been done yet.

Imported first of all. The commands themselves take interruptions over when they begin (`io.signals`).
"""

import os
import signal
import sys
import threading


def is_own_command(words: list[str]) -> bool:
    """Whether a process was started by `python -m nanobrag_jax…` or by the program of that name."""
    module = words[words.index("-m") + 1 :][:1] if "-m" in words else words[1:2]
    return [os.path.basename(word).partition(".")[0] for word in module] == ["nanobrag_jax"]


if (
    is_own_command(sys.orig_argv)
    and threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
