"""A progress meter for terminals, and nothing elsewhere."""

import io
import sys
import time

PATIENCE_S = 1.0
"""Runs shorter than this show no meter."""

_INTERVAL_S = 0.1
_WIDTH = 30


class Progress:
    """Draws how far a run is on one line of a terminal; `finish` wipes it away.

    `wanted`: False to draw nothing. Streams that are no terminals are left alone, too. `doing`: what the work is;
    `images`: how many images it makes, for a meter that says how many a second.
    """

    def __init__(
        self, wanted: bool = True, stream: io.TextIOBase | None = None, doing: str = "rendering", images: int = 0
    ):
        self.doing, self.images = doing, images
        self.stream = sys.stderr if stream is None else stream
        self.wanted = wanted and self.stream.isatty()
        self.began = self.drawn = time.perf_counter()
        self.visible, self.longest = False, 79

    def __call__(self, fraction: float) -> None:
        """Note that so much of the work is done; the first call, with 0, starts the clock."""
        now = time.perf_counter()
        if fraction <= 0:
            self.began = now
        elapsed = now - self.began
        if not self.wanted or elapsed < PATIENCE_S or now - self.drawn < _INTERVAL_S:
            return
        self.drawn, self.visible = now, True
        width = _WIDTH - 8 if self.images else _WIDTH
        done = round(width * fraction)
        left = elapsed / fraction - elapsed
        bar = "#" * done + "." * (width - done)
        pace = f", {self.images * fraction / elapsed:.3g} images/s" if self.images else ""
        line = f"{self.doing} [{bar}] {fraction:4.0%}, {elapsed:.0f} s, about {left:.0f} s left{pace}   "
        self.longest = max(self.longest, len(line))
        self.stream.write(f"\r{line}")
        self.stream.flush()

    def finish(self) -> None:
        """Remove the meter from the terminal."""
        if self.visible:
            self.stream.write("\r" + " " * self.longest + "\r")
            self.stream.flush()
            self.visible = False
