"""Photon noise exactly as the reference program makes it, pixel after pixel from one stream of random numbers.

How many numbers a pixel takes depends on the numbers themselves, so the walk over pixels cannot be vectorised. What
can be is done ahead, a stretch of the stream at a time: logarithms, tangents and Gaussian pairs for every place where
a pixel might start. Each step of the walk is then a few list look-ups. Numpy and plain Python throughout, so the image
is the same whatever jax is set to. Source: docs/reference.md section 7.
"""

import math
from array import array
from bisect import bisect_left
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Array

from ..constants import LARGEST_COUNT
from ..errors import InputError
from ..window import Roi, window_of
from .random_numbers import Ran1

GAUSSIAN_ABOVE = 1e6
"""Means above this take a Gaussian deviate."""

_PRODUCT_BELOW = 12.0
_PRODUCT, _REJECTION, _GAUSSIAN = 0, 1, 2

_CHUNK_DRAWS = 1 << 17
_RESERVE_DRAWS = 1 << 11  # no pixel takes as many: each try fails with probability of a half or so
_BLOCK_PIXELS = 1 << 16
_UNSURE = 2e-5  # above the rounding of a hundred single-precision products, in units of the logarithm
_HOPELESS_TANGENT = 12.0  # beyond it the acceptance is below 1e-20 for every mean, and the smallest draw is 5e-10
_LANCZOS = (
    76.18009172947146,
    -86.50532032941677,
    24.01409824083091,
    -1.231739572450155,
    0.1208650973866179e-2,
    -0.5395239384953e-5,
)


class NoiseImage(NamedTuple):
    """A noise image: `image` (slow, fast) uint16, the sum of its `photons`, and how many pixels are `overloads`."""

    image: np.ndarray | Array
    photons: float | Array
    overloads: int | Array


def reference_noise(image: np.ndarray, seed: int, adc: float | int = 40.0, roi: Roi | None = None) -> NoiseImage:
    """The reference's noise image for a float image of mean photon counts.

    `image` (slow, fast) is rounded to float32, as the reference stores it; `seed` is what the user gives; `adc` is
    added to every pixel; `roi` is (fast_min, fast_max, slow_min, slow_max), both ends included. Pixels outside it stay
    0 and draw nothing. Raises InputError for a mean that is not a finite number, or an ROI outside the image.
    Source: docs/reference.md section 7.
    """
    image = np.asarray(image, np.float32)
    if image.ndim != 2:
        raise InputError(f"a noise image is made from an image with two axes (slow, fast), got shape {image.shape}")
    n_slow, n_fast = image.shape
    part = window_of((n_slow, n_fast), roi)
    if not (0 <= part.fast <= part.fast + part.columns <= n_fast and 0 <= part.slow <= part.slow + part.rows <= n_slow):
        raise InputError(f"the ROI must lie inside the image of {n_fast} x {n_slow} pixels, got {roi}")
    window = part.slices
    means = image[window]
    if not np.isfinite(means).all():
        raise InputError("a noise image needs finite pixel values, got an infinite one or one that is not a number")
    deviates = reference_deviates(means.ravel(), seed).reshape(means.shape)
    values = deviates.astype(np.float64) + adc
    noisy = np.zeros(image.shape, np.uint16)
    noisy[window] = np.clip(values, 0.0, LARGEST_COUNT).astype(np.uint16)
    return NoiseImage(noisy, float(deviates.sum(dtype=np.float64)), int((values > LARGEST_COUNT).sum()))


def reference_deviates(means: np.ndarray, seed: int) -> np.ndarray:
    """The reference's photon counts for the finite `means` (P,) in order, (P,) float32, from a fresh stream."""
    means = np.asarray(means, np.float32)
    kinds = np.where(means > GAUSSIAN_ABOVE, _GAUSSIAN, np.where(means < _PRODUCT_BELOW, _PRODUCT, _REJECTION))
    deviates = np.empty(means.shape, np.float32)
    walk = _Walk(Ran1(seed), float(means[kinds == _REJECTION].max(initial=0.0)))
    for start in range(0, len(means), _BLOCK_PIXELS):
        block = np.s_[start : start + _BLOCK_PIXELS]
        deviates[block] = walk.block(means[block], kinds[block])
    gaussian = means[kinds == _GAUSSIAN].astype(np.float64)
    deviates[kinds == _GAUSSIAN] = gaussian + np.sqrt(gaussian) * deviates[kinds == _GAUSSIAN]
    return deviates


def _log_gamma(values: np.ndarray) -> np.ndarray:
    """ln Γ of `values` (float32) by the Lanczos series, computed in double and returned as float32."""
    x = values.astype(np.float64)
    shifted = x + 5.5
    shifted = shifted - (x + 0.5) * np.log(shifted)
    series = 1.000000000190015
    for place, coefficient in enumerate(_LANCZOS, 1):
        series = series + coefficient / (x + place)
    return (np.log(2.5066282746310005 * series / x) - shifted).astype(np.float32)


class _Chunk:
    """A stretch of the stream, `uniform` (n,) float32, and what the three ways of drawing need at each place of it."""

    def __init__(self, uniform: np.ndarray):
        self.uniform = uniform

    @cached_property
    def exponents(self) -> list[float]:
        """n + 1 running sums of −ln u: a product of draws is below g where their sum is above −ln g."""
        return np.concatenate([[0.0], np.cumsum(-np.log(self.uniform.astype(np.float64)))]).tolist()

    @cached_property
    def numbers(self) -> list[float]:
        return self.uniform.tolist()

    @cached_property
    def tangents(self) -> list[float]:
        return np.tan(np.pi * self.uniform.astype(np.float64)).astype(np.float32).tolist()

    @cached_property
    def weights(self) -> list[float]:
        tangents = np.array(self.tangents, np.float32)
        return (0.9 * (1.0 + (tangents * tangents).astype(np.float64))).tolist()

    @cached_property
    def pairs(self) -> list[tuple[float, float] | None]:
        """The two Gaussian deviates that draws k and k + 1 make, the one used first in front; None if rejected."""
        v = (2.0 * self.uniform.astype(np.float64) - 1.0).astype(np.float32)
        v1, v2 = v[:-1], v[1:]
        square = v1 * v1 + v2 * v2
        inside = (square > 0.0) & (square < 1.0)
        safe = np.where(inside, square, 0.5).astype(np.float64)
        factor = np.sqrt(-2.0 * np.log(safe) / safe).astype(np.float32)
        both = zip((v2 * factor).tolist(), (v1 * factor).tolist(), strict=True)
        return [pair if good else None for pair, good in zip(both, inside.tolist(), strict=True)]


class _Walk:
    """The state of a walk over pixels: the stream, the place in it, and a Gaussian deviate kept for the next call."""

    def __init__(self, generator: Ran1, largest_rejection_mean: float):
        self._generator = generator
        self._chunk = _Chunk(generator.draws(_CHUNK_DRAWS))
        self._place = 0
        self._kept: float | None = None
        self._single = array("f", [0.0])  # writing to it rounds to single precision
        reach = largest_rejection_mean + _HOPELESS_TANGENT * math.sqrt(2.0 * largest_rejection_mean) + 2.0
        self._log_factorials = _log_gamma(np.arange(1, int(reach) + 1, dtype=np.float32)).tolist()

    def block(self, means: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """Deviates (P,) of a block of pixels; for the Gaussian kind the deviate of mean 0 and variance 1."""
        low = np.where(kinds == _PRODUCT, np.maximum(means, 0.0), 1.0).astype(np.float64)
        thresholds = np.exp(-low).astype(np.float32)
        levels = -np.log(thresholds.astype(np.float64))
        plain = np.where(kinds == _REJECTION, means, 1.0).astype(np.float32)
        spread = np.sqrt(2.0 * plain.astype(np.float64)).astype(np.float32)
        log_mean = np.log(plain.astype(np.float64)).astype(np.float32)
        offset = plain * log_mean - _log_gamma(plain + np.float32(1.0))
        parameters = zip(
            kinds.tolist(), levels.tolist(), thresholds.tolist(), plain.tolist(),
            spread.tolist(), log_mean.tolist(), offset.tolist(), strict=True,
        )  # fmt: skip
        deviates = []
        limit = len(self._chunk.uniform) - _RESERVE_DRAWS
        for kind, level, threshold, mean, width, log, constant in parameters:
            if self._place > limit:
                rest = self._chunk.uniform[self._place :]
                self._chunk = _Chunk(np.concatenate([rest, self._generator.draws(_CHUNK_DRAWS)]))
                self._place = 0
                limit = len(self._chunk.uniform) - _RESERVE_DRAWS
            if kind == _PRODUCT:
                deviates.append(self._by_product(level, threshold))
            elif kind == _REJECTION:
                deviates.append(self._by_rejection(mean, width, log, constant))
            else:
                deviates.append(self._gaussian())
        return np.array(deviates, np.float32)

    def _by_product(self, level: float, threshold: float) -> int:
        """Multiply draws until the product is not above the threshold; the deviate is one less than their number."""
        start, sums = self._place, self._chunk.exponents
        level += sums[start]
        stop = bisect_left(sums, level, start + 1, start + _RESERVE_DRAWS)
        if sums[stop] - level < _UNSURE or (stop > start + 1 and level - sums[stop - 1] < _UNSURE):
            stop, product = start, np.float32(1.0)
            while product > threshold or stop == start:
                product = product * self._chunk.uniform[stop]
                stop += 1
        self._place = stop
        return stop - start - 1

    def _by_rejection(self, mean: float, width: float, log_mean: float, offset: float) -> int:
        """Try Lorentzian deviates until one is accepted; every assignment to `single[0]` rounds."""
        place, chunk, single = self._place, self._chunk, self._single
        tangents, weights, numbers, log_factorials = chunk.tangents, chunk.weights, chunk.numbers, self._log_factorials
        while True:
            tangent = tangents[place]
            place += 1
            if tangent > _HOPELESS_TANGENT:
                place += 1
                continue
            single[0] = width * tangent
            single[0] += mean
            if single[0] < 0.0:
                continue
            count = int(single[0])
            single[0] = count * log_mean
            single[0] -= log_factorials[count]
            single[0] -= offset
            single[0] = weights[place - 1] * math.exp(single[0])
            place += 1
            if numbers[place - 1] <= single[0]:
                self._place = place
                return count

    def _gaussian(self) -> float:
        """A deviate of mean 0 and variance 1: every second call returns the one kept by the call before."""
        if self._kept is not None:
            value, self._kept = self._kept, None
            return value
        place, pairs = self._place, self._chunk.pairs
        pair = pairs[place]
        while pair is None:
            place += 2
            pair = pairs[place]
        self._place = place + 2
        value, self._kept = pair
        return value
