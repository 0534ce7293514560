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


_IMAGES = 5


def image_key(seed: Seed, number: int) -> Array:
    """The key of one image of a sweep, which are numbered from 1: that of the first is the seed's own."""
    key = as_key(seed)
    return key if number == 1 else jax.random.fold_in(stream(key, _IMAGES), jnp.uint32(number))


def pixel_bits(key: Array, index: Integer[Array, "..."]) -> UInt[Array, "..."]:
    """32 random bits for each pixel; `index`: its place in the image."""
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    return threefry((first, second), (index.astype(jnp.uint32), jnp.zeros_like(index, jnp.uint32)))[0]


_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = np.uint32(0x1BD11BDA)


def threefry(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """Two random words for each counter, all uint32: Threefry-2x32 of 20 rounds.

    The function of jax.random's own keys, written out so that it becomes part of the kernel that uses the numbers: on
    a CPU jax's loops over the rounds. Source: J. K. Salmon et al., Proc. SC11 (2011), article 16.
    """
    words = (*key, key[0] ^ key[1] ^ _PARITY)
    x, y = counter[0] + words[0], counter[1] + words[1]
    for group in range(5):
        for rotation in _ROTATIONS[4 * (group % 2) : 4 * (group % 2) + 4]:
            x = x + y
            y = ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))) ^ x
        x, y = x + words[(group + 1) % 3], y + words[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def pixel_uniform(key: Array, index: Integer[Array, "..."]) -> Float[Array, "..."]:
    """A number between 0 and 1 for each pixel, float32."""
    return _uniform(pixel_bits(key, index))


def pixel_normal(key: Array, index: Integer[Array, "..."]) -> Float[Array, "..."]:
    """A normal deviate for each pixel, float32; never beyond 6.4."""
    return normal_of(pixel_bits(key, index))


def _uniform(bits: UInt[Array, "..."]) -> Float[Array, "..."]:
    # 23 bits and a half are exact in single precision: never 0 or 1
    return ((bits >> 9).astype(jnp.float32) + 0.5) * jnp.float32(2.0**-23)


def normal_of(bits: UInt[Array, "..."]) -> Float[Array, "..."]:
    """The normal deviate that random bits stand for, float32, up to 6.4 to either side.

    Of 32 bits, one says which side, the others how much of the distribution lies beyond: so tails are as fine as the
    middle. The inverse of its integral is taken in the logarithm of that share: M. B. Giles, GPU Computing Gems (2011)
    chapter 10, single precision.
    """
    share = ((bits & np.uint32(0x7FFFFFFF)).astype(jnp.float32) + 0.5) * jnp.float32(2.0**-32)  # 0 to ½
    w = -jnp.log(4.0 * share * (1.0 - share))
    middle = _polynomial(w - 2.5, _MIDDLE)
    tail = _polynomial(jnp.sqrt(jnp.maximum(w, 5.0)) - 3.0, _TAIL)
    size = jnp.where(w < 5.0, middle, tail) * (1.0 - 2.0 * share) * jnp.float32(math.sqrt(2.0))
    return jnp.where(bits >> np.uint32(31), size, -size)


_MIDDLE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
    0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
    1.00167406, 2.83297682,
)  # fmt: skip


def _polynomial(x: Float[Array, "..."], coefficients: tuple[float, ...]) -> Float[Array, "..."]:
    total = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + jnp.float32(coefficient)
    return total
