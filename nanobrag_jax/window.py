"""Which part of a detector is rendered."""

from typing import NamedTuple

Roi = tuple[int, int, int, int]
"""A region of interest: fast_min, fast_max, slow_min, slow_max, both ends included."""


class Window(NamedTuple):
    """The rendered part of the detector: its first slow and fast pixel, and how many of each."""

    slow: int
    fast: int
    rows: int
    columns: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where it is in an image."""
        return slice(self.slow, self.slow + self.rows), slice(self.fast, self.fast + self.columns)

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.rows * self.columns


def window_of(shape: tuple[int, int], roi: Roi | None) -> Window:
    """The region of interest, or all of an image of that shape (slow, fast)."""
    if roi is None:
        return Window(0, 0, *shape)
    fast_min, fast_max, slow_min, slow_max = roi
    return Window(slow_min, fast_min, slow_max - slow_min + 1, fast_max - fast_min + 1)
