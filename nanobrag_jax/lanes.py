"""Keeping pixels side by side: what XLA or LLVM otherwise compute one number at a time on a CPU."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax


def apart(function, *operands):
    """function(*operands), computed by itself on a CPU and fused with its users elsewhere; no derivative passes.

    For what an address depends on. XLA fuses a look-up with the computation of its index, and where a processor has no
    fast gather LLVM then computes all that leads to the index one number at a time. XLA does not fuse across a
    conditional.
    """
    operands = lax.stop_gradient(operands)
    return lax.platform_dependent(*operands, cpu=partial(_conditional, function), default=function)


def _conditional(function, *operands):
    result = jax.eval_shape(function, *operands)

    def nothing(*_):
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), result)

    return lax.cond(_never(jax.tree.leaves(operands)[0]), nothing, function, *operands)


def _never(x: Array) -> Array:
    """False, which XLA cannot know."""
    limit = jnp.finfo(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype)
    return x.reshape(-1)[0] == limit.max


def as_integer(x: Array) -> Array:
    """Whole numbers 0 ≤ x < 2³¹ (2²³ in single precision) as integers: the last bits of x + 2^mantissa.

    XLA's own conversion watches for overflow, number by number.
    """
    if x.dtype == jnp.float64:
        return lax.bitcast_convert_type(x + 2.0**52, jnp.int64).astype(jnp.int32)
    return lax.bitcast_convert_type(x + 2.0**23, jnp.int32) & (2**23 - 1)


def row_and_column(index: Array, columns: int) -> tuple[Array, Array]:
    """Where the pixels of an image of so many columns are, from their numbers in it."""
    return apart(partial(_divided, columns), index)


def _divided(columns: int, index: Array) -> tuple[Array, Array]:
    if jnp.zeros(()).dtype == jnp.float64:  # exact: no quotient comes as near to a whole number as rounding reaches
        row = as_integer(jnp.floor((index.astype(jnp.float64) + 0.5) * (1.0 / columns)))
    else:
        row = lax.div(index, jnp.int32(columns))
    return row, index - row * columns
