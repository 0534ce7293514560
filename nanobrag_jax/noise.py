"""Photon noise for any device: every pixel has random numbers of its own, found from its place in the image.

A pixel's count depends on the seed, its index and its mean and on nothing else, so an image comes out the same in any
number of blocks and on any number of devices. The reference's own noise, which runs through one stream of numbers in
pixel order, is `reference_noise` (docs/reference.md section 7).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, ScalarLike, UInt

from nanobrag_jax.errors import InputError
from nanobrag_jax.pixel_random import as_key, normal_of, pixel_bits
from nanobrag_jax.reference_noise import OVERLOAD_LEVEL as OVERLOAD_LEVEL
from nanobrag_jax.reference_noise import NoiseImage as NoiseImage
from nanobrag_jax.reference_noise import reference_noise as reference_noise
from nanobrag_jax.typing import Image

DEFAULT_SEED = 1
"""Seed of the noise when none is given: the same image every time."""

_SUM_BELOW = 20.0
_SUM_TERMS = 64  # a mean of 20 exceeds this count less often than once in 10¹³
_LARGEST_MEAN = 1e30  # keeps single precision finite


def poisson_image(
    seed: int | np.integer | Array, image: Image, adc: ScalarLike = 40.0, roi: tuple[int, int, int, int] | None = None
) -> NoiseImage:
    """A 16-bit noise image for a float image (slow, fast) of mean photon counts; pure, and may be jitted.

    `seed` is an integer or a jax.random key; `adc` is added to every pixel; `roi` is (fast_min, fast_max, slow_min,
    slow_max), both ends included: pixels outside it stay 0. Values above 65535 are clipped and counted as overloads.
    Returns the image (uint16), the sum of the photon counts and the number of overloads, as jax arrays. Raises
    InputError for an image without two axes. Means: see `poisson_counts`. Source: docs/reference.md sections 7 and 10.
    """
    if image.ndim != 2:
        raise InputError(f"a noise image is made from an image with two axes (slow, fast), got shape {image.shape}")
    return _noisy(as_key(seed), image, adc, roi)


@partial(jax.jit, static_argnames="roi")
def _noisy(key: Array, image: Image, adc: ScalarLike, roi: tuple[int, int, int, int] | None) -> NoiseImage:
    n_slow, n_fast = image.shape
    fast_min, fast_max, slow_min, slow_max = roi or (0, n_fast - 1, 0, n_slow - 1)
    slow, fast = jnp.arange(n_slow)[:, None], jnp.arange(n_fast)[None, :]
    inside = (slow >= slow_min) & (slow <= slow_max) & (fast >= fast_min) & (fast <= fast_max)
    counts = jnp.where(inside, _counts(key, image, jnp.arange(n_slow * n_fast).reshape(image.shape)), 0.0)
    values = jnp.where(inside, counts + jnp.asarray(adc, counts.dtype), 0.0)
    clipped = jnp.clip(values, 0.0, OVERLOAD_LEVEL).astype(jnp.uint16)
    return NoiseImage(clipped, jnp.sum(counts.astype(float)), jnp.sum(values > OVERLOAD_LEVEL))


def poisson_counts(
    seed: int | np.integer | Array, means: Float[Array, "..."], index: Integer[Array, "..."]
) -> Float[Array, "..."]:
    """Photon counts of pixels with the given `means`; `index`, of the same shape, is each pixel's slow·n_fast + fast.

    `seed` is an integer or a jax.random key. Whole numbers in float32, whatever the precision of `means`; a mean that
    is not above 0 gives 0. One uniform number is turned into a count: below a mean of 20 by summing the distribution
    from its far end, so that rare counts keep their odds; from there on by the expansion of the inverse distribution
    (M. B. Giles, ACM Trans. Math. Softw. 42 (2016) 7), whose cumulative probabilities are within 2e-5 at a mean of 20,
    5e-6 at 30 and 4e-7 at 100.
    """
    return _counts(as_key(seed), means, index)


@jax.jit
def _counts(key: Array, means: Float[Array, "..."], index: Integer[Array, "..."]) -> Float[Array, "..."]:
    bits = pixel_bits(key, index)
    means = jnp.asarray(means, jnp.float32)
    means = jnp.where(means > 0.0, jnp.minimum(means, _LARGEST_MEAN), 0.0)
    few = means < _SUM_BELOW
    return jnp.where(few, _count_by_sum(bits, jnp.where(few, means, 1.0)), _count_by_expansion(bits, means))


def _count_by_sum(bits: UInt[Array, "..."], means: Float[Array, "..."]) -> Float[Array, "..."]:
    """The count k for which P(more than k) is the first not above the uniform number, means below 20."""
    uniform = (bits.astype(jnp.float32) + 0.5) * jnp.float32(2.0**-32)
    terms = [jnp.exp(-means)]
    for k in range(1, _SUM_TERMS):
        terms.append(terms[-1] * means * jnp.float32(1.0 / k))
    above = jnp.zeros_like(means)
    counts = jnp.zeros_like(means)
    for term in terms[:0:-1]:
        above = above + term
        counts = counts + (uniform < above)
    return counts


def _count_by_expansion(bits: UInt[Array, "..."], means: Float[Array, "..."]) -> Float[Array, "..."]:
    """The count from a normal deviate w, by the inverse distribution in powers of 1/√mean, means of 20 and more."""
    w = normal_of(bits)
    step = jax.lax.rsqrt(jnp.maximum(means, _SUM_BELOW))
    square = w * w
    shift = 1.0 / 3.0 + square / 6.0
    shift = shift - step * w * (1.0 / 36.0 + square / 72.0)
    shift = shift + step**2 * (-8.0 / 405.0 + square * (7.0 / 810.0 + square / 270.0))
    return jnp.floor(jnp.maximum(means + w / step + shift, 0.0))
