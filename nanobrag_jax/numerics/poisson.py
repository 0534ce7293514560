"""Poisson counts from one random word each, by the inverse of the distribution, to what single precision resolves."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt

from .pixel_random import normal_of

_SUM_BELOW = 16.0
_SUM_TERMS = 52  # a mean of 16 exceeds this count less often than once in 10¹¹
_LARGEST_MEAN = 1e30  # keeps single precision finite


def count_of(bits: UInt[Array, "..."], means: Float[Array, "..."]) -> Float[Array, "..."]:
    """The counts that random bits stand for: whole numbers in float32; a mean that is not above 0 gives 0.

    Below a mean of 16 the distribution is summed from its far end, so that rare counts keep their odds. From there on
    the inverse distribution is expanded in powers of 1/√mean (M. B. Giles, ACM Trans. Math. Softw. 42 (2016) 7, with
    two terms more): cumulative probabilities are within 1.2e-6 at a mean of 16, 1.5e-7 at 30 and 4e-9 at 100, and
    all of them within a few 1e-7 by the single precision that they are computed in.
    """
    means = jnp.asarray(means, jnp.float32)
    means = jnp.where(means > 0.0, jnp.minimum(means, _LARGEST_MEAN), 0.0)
    few = means < _SUM_BELOW
    return jnp.where(few, _by_sum(bits, jnp.where(few, means, 1.0)), _by_expansion(bits, means))


def _by_sum(bits: UInt[Array, "..."], means: Float[Array, "..."]) -> Float[Array, "..."]:
    """The count k for which P(more than k) is the first not above the uniform number."""
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


def _by_expansion(bits: UInt[Array, "..."], means: Float[Array, "..."]) -> Float[Array, "..."]:
    """The count from a normal deviate w, by the inverse distribution in powers of 1/√mean.

    The last two powers were found by solving the incomplete gamma function for its first argument in 40 digits.
    """
    w = normal_of(bits)
    step = jax.lax.rsqrt(jnp.maximum(means, _SUM_BELOW))
    square = w * w
    fourth = square * (0.0016534390 + square * 0.00055849504) - 0.0127106603
    third = 671.0 / 38880.0 - square * (137.0 / 38880.0 + square * (23.0 / 17280.0))
    second = -8.0 / 405.0 + square * (7.0 / 810.0 + square / 270.0)
    first = -w * (1.0 / 36.0 + square / 72.0)
    shift = second + step * (w * third + step * (square * fourth - 0.00062708213))
    shift = 1.0 / 3.0 + square / 6.0 + step * (first + step * shift)
    return jnp.floor(jnp.maximum(means + w / step + shift, 0.0))
