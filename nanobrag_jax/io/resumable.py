"""Commands that go on where they were stopped: their warnings, sentences and exit status."""

import sys
import warnings
from collections.abc import Callable

from ..errors import InputError
from .signals import stop_like_interruptions


def run_resumable(name: str, run: Callable[[], int]) -> int:
    """The exit status: what `run` returns, 1 with a sentence on stderr, 130 when interrupted; warnings are notes."""
    warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
    stop_like_interruptions()
    try:
        return run()
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
