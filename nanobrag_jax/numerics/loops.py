"""Loops that add up: `lax.scan` without the cost of a loop where there is one turn, and blocks of pixels."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import zero_from_primal
from jax.experimental.xla_metadata import set_xla_metadata

Carry = TypeVar("Carry")
"""A pytree that one turn of a loop hands to the next,"""
Item = TypeVar("Item")
"""what is different for each turn,"""
Out = TypeVar("Out")
"""and what comes out of it."""
Lanes = TypeVar("Lanes")
Shared = TypeVar("Shared")

BLOCK_PIXELS = 16384
"""Pixels rendered together on a CPU: enough to hide the cost of starting a kernel, few enough for a cache."""

WHOLE_PIXELS = 2**18
"""Images of no more pixels are rendered at once in a batch with one geometry (`render._in_blocks`)."""

BYTES_PER_PIXEL = 1024
"""Of a block in reverse mode, twice what the headline run takes: what decides its size on an accelerator."""


def default_block_pixels() -> int:
    """Pixels rendered together where nothing else is asked for: on an accelerator, what an eighth of it holds."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return BLOCK_PIXELS
    memory = (device.memory_stats() or {}).get("bytes_limit", 8 * 2**30)
    return max(BLOCK_PIXELS, memory // (8 * BYTES_PER_PIXEL))


def scan(step: Callable[[Carry, Item], tuple[Carry, Out]], start: Carry, items: Item) -> tuple[Carry, Out]:
    """`lax.scan`, which XLA may run on several threads.

    Since jax 0.12 XLA makes one kernel of a small loop on a CPU, with one thread and one number at a time, unless the
    loop is told not to be one.
    """
    with set_xla_metadata(xla_cpu_small_call="false"):
        return lax.scan(step, start, items)


def mapped(function: Callable[[Item], Out], items: Item) -> Out:
    """function(item) of each item, one after the other, stacked."""
    return scan(lambda carry, item: (carry, function(item)), None, items)[1]


def fold(step: Callable[[Carry, Item], Carry], start: Carry, items: Item) -> Carry:
    """step(…step(step(start, items[0]), items[1])…), differentiated without keeping what a turn computes."""
    count = jax.tree.leaves(items)[0].shape[0]
    if count == 1:
        return step(start, jax.tree.map(lambda x: x[0], items))
    body = jax.checkpoint(lambda carry, item: (step(carry, item), None), prevent_cse=False)
    return scan(body, start, items)[0]


def stored_first(compute: Callable[[], Out]) -> Out:
    """compute(), whose results are stored by kernels of their own before anything uses them.

    XLA merges what it can into one kernel; on a CPU that costs where what serves many images or samples would be
    computed for each. A call that is not to be inlined keeps the two apart.
    """

    def inside():
        with set_xla_metadata(inlineable="true"):
            return compute()

    def apart():
        with set_xla_metadata(inlineable="false"):
            return jax.jit(inside)()

    return lax.platform_dependent(cpu=apart, default=compute)


def as_integer(x: Array) -> Array:
    """Whole numbers 0 ≤ x < 2³¹ (2²³ in single precision) as integers.

    XLA's own conversion watches for overflow, number by number on a CPU: there they are the last bits of
    x + 2^mantissa. A GPU converts as fast, and from those bits of a double XLA (0.11.2) makes wrong addresses there.
    """
    return lax.platform_dependent(x, cpu=_last_bits, default=lambda x: x.astype(jnp.int32))


def _last_bits(x: Array) -> Array:
    if x.dtype == jnp.float64:
        return lax.bitcast_convert_type(x + 2.0**52, jnp.int64).astype(jnp.int32)
    return lax.bitcast_convert_type(x + 2.0**23, jnp.int32) & (2**23 - 1)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def lookup_places(place: Callable[[Lanes, Shared, Callable], Array], lanes: Lanes, shared: Shared) -> Array:
    """place(lanes, shared, as_integer), (pixels,): where to look something up, computed for several pixels at a time.

    **Arguments:** `lanes`: a pytree of one number a pixel each, of which the first pixel's are taken apart; `shared`:
    what all pixels have in common. `place` makes integers with the function that it is given last, and must not close
    over anything traced.

    Where a CPU has no fast gather LLVM computes whatever an address depends on one number at a time, as far back as
    the last branch. XLA makes a branch of padding: hence the place of the first pixel is computed apart, by another
    kind of conversion lest LLVM unite the two, and those of the others are padded with one more in front. On other
    devices, and where pixels are no list, it is plainly `place`.
    """

    def plain(lanes, shared):
        return place(lanes, shared, as_integer)

    def in_branch(lanes, shared):
        found = plain(lanes, shared)
        first = place(jax.tree.map(lambda x: x[:1], lanes), shared, lambda x: x.astype(jnp.int32))
        return jnp.where(jnp.arange(found.shape[0]) == 0, first, jnp.pad(found[1:], (1, 0)))

    shape = jax.eval_shape(plain, lanes, shared).shape
    if len(shape) != 1 or shape[0] == 1:
        return plain(lanes, shared)
    return lax.platform_dependent(lanes, shared, cpu=in_branch, default=plain)


@lookup_places.defjvp
def _lookup_places_jvp(place, primals, tangents):
    found = place(*primals, as_integer)
    return found, zero_from_primal(found)


def row_and_column(index: Array, columns: int) -> tuple[Array, Array]:
    """Where the pixels of an image of so many columns are, from their numbers in it."""
    if jnp.result_type(float) == jnp.float64:  # exact: no quotient is as near to a whole number as rounding reaches
        row = as_integer(jnp.floor((index.astype(jnp.float64) + 0.5) * (1.0 / columns)))
    else:
        row = lax.div(index, jnp.full_like(index, columns))
    return row, index - row * columns


EVEN = 128
"""Large blocks are multiples of this: XLA gives threads poor shares of an odd length, which costs up to five times."""


def block_shape(pixels: int, block_pixels: int | None) -> tuple[int, int]:
    """(number of blocks, pixels in each) that cover `pixels`, with little to spare."""
    largest = default_block_pixels() if block_pixels is None else block_pixels
    blocks = max(1, -(-pixels // largest))
    size = max(1, -(-pixels // blocks))
    if size >= 8 * EVEN:
        size = -(-size // EVEN) * EVEN
    return max(1, -(-pixels // size)), size


def padded(values: Array, length: int, fill) -> Array:
    """A vector extended to `length`."""
    return jnp.pad(values, (0, length - values.shape[0]), constant_values=fill)
