"""Photon noise for any device: every pixel has random numbers of its own, found from its place in the image.

A pixel's count depends on the seed, its index and its mean and on nothing else, so an image comes out the same in any
number of blocks and on any number of devices. The reference's own noise, which runs through one stream of numbers in
pixel order, is `reference_noise` (docs/reference.md section 7).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, ScalarLike

from ..constants import LARGEST_COUNT
from ..errors import InputError
from ..numerics.pixel_random import as_key, pixel_bits
from ..numerics.poisson import count_of
from ..reference.noise import NoiseImage as NoiseImage
from ..reference.noise import reference_noise as reference_noise
from ..typing import Image
from ..window import Roi, window_of

DEFAULT_SEED = 1
"""Seed of the noise when none is given: the same image every time."""


def poisson_image(
    seed: int | np.integer | Array, image: Image, adc: ScalarLike = 40.0, roi: Roi | None = None
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
def _noisy(key: Array, image: Image, adc: ScalarLike, roi: Roi | None) -> NoiseImage:
    n_slow, n_fast = image.shape
    window = window_of((n_slow, n_fast), roi).slices
    counts = _counts(key, image[window], jnp.arange(n_slow * n_fast).reshape(image.shape)[window])
    values = counts + jnp.asarray(adc, counts.dtype)
    clipped = jnp.clip(values, 0.0, LARGEST_COUNT).astype(jnp.uint16)
    noisy = jnp.zeros(image.shape, jnp.uint16).at[window].set(clipped)
    return NoiseImage(noisy, jnp.sum(counts.astype(float)), jnp.sum(values > LARGEST_COUNT))


def poisson_counts(
    seed: int | np.integer | Array, means: Float[Array, "..."], index: Integer[Array, "..."]
) -> Float[Array, "..."]:
    """Photon counts of pixels with the given `means`; `index`, of the same shape, is each pixel's slow·n_fast + fast.

    `seed` is an integer or a jax.random key. Whole numbers in float32, whatever the precision of `means`; a mean that
    is not above 0 gives 0. One uniform number of 32 bits is turned into a count: see `numerics.poisson`.
    """
    return _counts(as_key(seed), means, index)


@jax.jit
def _counts(key: Array, means: Float[Array, "..."], index: Integer[Array, "..."]) -> Float[Array, "..."]:
    return count_of(pixel_bits(key, index), means)
