"""Random numbers that belong to pixels: each is found from a key and the pixel's place, and from nothing else.

So an image comes out the same in any number of blocks, in any order of pixels and on any number of devices.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, UInt

Seed = int | np.integer | Array
"""A whole number, or a key of jax.random."""

_FIRST_STREAM = 0xFFFF0000
"""Pixel indices stay below it, so that no key of a stream is that of a pixel."""


def as_key(seed: Seed) -> Array:
    """The key of a seed; a key stays as it is."""
    if isinstance(seed, (int, np.integer)):
        seed = jnp.asarray(np.uint32(int(seed) & 0xFFFFFFFF))  # one meaning, whether 64-bit integers are on or off
    if jnp.ndim(seed) == 0 and jnp.issubdtype(seed.dtype, jnp.integer):
        return jax.random.key(seed.astype(np.uint32), impl="threefry2x32")
    return seed


def stream(key: Array, number) -> Array:
    """The key of one of a key's streams, `number` from 0 to 65535: independent of it and of each other."""
    return jax.random.fold_in(key, jnp.uint32(_FIRST_STREAM) + jnp.asarray(number).astype(jnp.uint32))


def pixel_bits(key: Array, index: Integer[Array, "..."]) -> UInt[Array, "..."]:
    """32 random bits for each pixel; `index`: its place in the image."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index.ravel().astype(jnp.uint32))
    return jax.vmap(lambda one: jax.random.bits(one, (), jnp.uint32))(keys).reshape(index.shape)


def pixel_uniform(key: Array, index: Integer[Array, "..."]) -> Float[Array, "..."]:
    """A number between 0 and 1 for each pixel, float32."""
    return _uniform(pixel_bits(key, index))


def pixel_normal(key: Array, index: Integer[Array, "..."]) -> Float[Array, "..."]:
    """A normal deviate for each pixel, float32; never beyond 5.4."""
    return normal_of(pixel_bits(key, index))


def _uniform(bits: UInt[Array, "..."]) -> Float[Array, "..."]:
    # 23 bits and a half are exact in single precision: never 0 or 1
    return ((bits >> 9).astype(jnp.float32) + 0.5) * jnp.float32(2.0**-23)


def normal_of(bits: UInt[Array, "..."]) -> Float[Array, "..."]:
    """The normal deviate that random bits stand for, by the inverse of its distribution."""
    return jnp.float32(math.sqrt(2.0)) * jax.lax.erf_inv(2.0 * _uniform(bits) - 1.0)
