"""The strongest peaks of an image, to a fraction of a pixel, and which of another image's they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Positions = NDArray[np.float64]
"""(peaks, 2): slow and fast, in pixels from the centre of pixel (0, 0)."""

_NEIGHBOURS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]


@dataclass(frozen=True)
class PeakMatch:
    """Pairs of peaks: positions `a`, `b` (pairs, 2), `distances` (pairs,) in pixels; how many of A's were `sought`."""

    a: Positions
    b: Positions
    distances: NDArray[np.float64]
    sought: int


def find_peaks(image: ArrayLike, count: int, selected: ArrayLike | None = None) -> Positions:
    """The positions of at most `count` strongest peaks, strongest first.

    A peak is a positive pixel that is larger than its eight neighbours (of equal ones the first counts); its position
    is the centroid of those nine pixels above the lowest of them. Pixels at the rim of the image, and next to a pixel
    that is not `selected` (slow, fast), are left out: their neighbours are unknown.
    """
    pixels = np.asarray(image, float)
    if min(pixels.shape) < 3:
        return np.zeros((0, 2))
    core = pixels[1:-1, 1:-1]
    is_peak = core > 0
    chosen = np.ones(pixels.shape, bool) if selected is None else np.asarray(selected, bool)
    usable = chosen[1:-1, 1:-1].copy()
    for i, j in _NEIGHBOURS:
        other = _shifted(pixels, i, j)
        is_peak &= core > other if (i, j) < (0, 0) else core >= other
        usable &= _shifted(chosen, i, j)
    slow, fast = np.nonzero(is_peak & usable)
    strongest = np.argsort(-core[slow, fast], kind="stable")[:count]
    return _centroids(pixels, slow[strongest] + 1, fast[strongest] + 1)


def _shifted(pixels: NDArray, i: int, j: int) -> NDArray:
    """The neighbours (i, j) of all pixels that are not at the rim."""
    slow, fast = pixels.shape
    return pixels[1 + i : slow - 1 + i, 1 + j : fast - 1 + j]


def _centroids(pixels: NDArray, slow: NDArray, fast: NDArray) -> Positions:
    i, j = (offset.reshape(-1) for offset in np.meshgrid((-1, 0, 1), (-1, 0, 1), indexing="ij"))
    around = pixels[slow[:, None] + i, fast[:, None] + j]
    weights = around - around.min(axis=1, keepdims=True)
    total = weights.sum(axis=1)
    safe = np.where(total > 0, total, 1.0)
    return np.stack([slow + weights @ i / safe, fast + weights @ j / safe], axis=1)


def match_peaks(a: Positions, b: Positions, within: float, sought: int | None = None) -> PeakMatch:
    """Pairs of peaks, each used once, closest pairs first.

    **Arguments:** `a`, `b` (peaks, 2); `within`: pairs further apart, in pixels, are none; `sought`: how many peaks
    the pairs should cover, for the record (None: all of `a`).
    """
    distance = np.sqrt(np.sum((a[:, None] - b[None]) ** 2, axis=2))
    free_a, free_b = np.ones(len(a), bool), np.ones(len(b), bool)
    pairs = []
    for index in np.argsort(distance, axis=None, kind="stable"):
        i, j = divmod(int(index), len(b))
        if distance[i, j] > within:
            break
        if free_a[i] and free_b[j]:
            free_a[i] = free_b[j] = False
            pairs.append((i, j))
    found = np.array(sorted(pairs), int).reshape(-1, 2)
    sought = len(a) if sought is None else sought
    return PeakMatch(a[found[:, 0]], b[found[:, 1]], distance[found[:, 0], found[:, 1]], sought)
