"""Mixed precision: Miller indices from pairs of single-precision numbers, as close to a lattice point as in double.

A number x is split into a coarse part, a multiple of a power of two with few digits, and the fine rest. The products
of coarse parts, and sums of three of them, are exact in single precision, so the whole number in h is taken off
without loss; what is left is small, and single precision resolves it finely. docs/precision.md says how close it is.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from .vectors import Vec3, dot

Q_DIGITS = 12
"""Binary digits of the coarse part of a scattering vector's components,"""
REAL_DIGITS = 11
"""and of a crystal vector's: products of the two stay below 2²³, sums of three below 2²⁴."""


class Pair(NamedTuple):
    """Numbers in two single-precision parts, their sum being the number."""

    coarse: Any
    fine: Any

    @property
    def whole(self):
        """The number, rounded to single precision."""
        return jax.tree.map(jnp.add, self.coarse, self.fine)


class Quanta(NamedTuple):
    """Powers of two that the coarse parts are multiples of."""

    q: Array
    real: Array


def quanta(wavelengths: Array, real: Array) -> Quanta:
    """Quanta for scattering vectors up to 2/wavelength (1/Å) and crystal vectors (…, 3) in Å."""
    longest = jnp.sqrt(jnp.max(jnp.sum(real * real, -1)))
    limits = lax.stop_gradient((2.0 / jnp.min(wavelengths), longest))
    q, edge = (_power_of_two_above(limit) for limit in limits)
    return Quanta(q * 2.0**-Q_DIGITS, edge * 2.0**-REAL_DIGITS)


def _power_of_two_above(x: Array) -> Array:
    return 2.0 * lax.reduce_precision(x, exponent_bits=jnp.finfo(x.dtype).nexp, mantissa_bits=0)


def split(x: Array, quantum: Array) -> Pair:
    """A number in two parts; the fine one carries its derivative."""
    coarse = lax.stop_gradient(quantum * jnp.round(x * (1.0 / quantum)))
    return Pair(coarse.astype(jnp.float32), (x - coarse).astype(jnp.float32))


def split_vector(v: Vec3, quantum: Array) -> Pair:
    """The same for each component of a vector."""
    parts = [split(x, quantum) for x in v]
    return Pair(Vec3(*(p.coarse for p in parts)), Vec3(*(p.fine for p in parts)))


@jax.custom_jvp
def index_and_rest(q: Pair, real: Pair) -> tuple[Vec3, Vec3]:
    """The nearest Miller indices of a·q, b·q, c·q and what is left of them.

    **Arguments:** `q`: 1/Å, components one value a pixel; `real`: rows a, b, c in Å, (3, 3).
    """
    whole = q.whole
    index, rest = [], []
    for coarse, fine in zip(real.coarse, real.fine, strict=True):
        exact = dot(coarse, q.coarse)
        small = dot(coarse, q.fine) + dot(fine, whole)
        nearest = jnp.ceil((exact + small) - 0.5)
        index.append(nearest)
        rest.append((exact - nearest) + small)
    return Vec3(*index), Vec3(*rest)


@index_and_rest.defjvp
def _index_and_rest_jvp(primals, tangents):
    """As in `kernel.miller_indices`: a matrix product over all pixels with respect to the crystal vectors."""
    (q, real), (d_q, d_real) = primals, tangents
    index, rest = index_and_rest(q, real)
    stacked, moved = jnp.stack(q.whole), d_q.whole
    d_rest = [dot(row, moved) + d_row @ stacked for row, d_row in zip(real.whole, d_real.whole, strict=True)]
    return (index, rest), (jax.tree.map(jnp.zeros_like, index), Vec3(*d_rest))
