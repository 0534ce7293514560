"""Loops that add up: `lax.scan` without the cost of a loop where there is one turn, and blocks of pixels."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

BLOCK_PIXELS = 65536
"""Pixels rendered together on a CPU: enough to hide the cost of starting a kernel, few enough for a cache."""

BYTES_PER_PIXEL = 1024
"""Of a block in reverse mode, twice what the headline run takes: what decides its size on an accelerator."""


def default_block_pixels() -> int:
    """Pixels rendered together where nothing else is asked for: on an accelerator, what an eighth of it holds."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return BLOCK_PIXELS
    memory = (device.memory_stats() or {}).get("bytes_limit", 8 * 2**30)
    return max(BLOCK_PIXELS, memory // (8 * BYTES_PER_PIXEL))


def fold(step: Callable[[Any, Any], Any], start, items):
    """step(…step(step(start, items[0]), items[1])…), differentiated without keeping what a turn computes."""
    count = jax.tree.leaves(items)[0].shape[0]
    if count == 1:
        return step(start, jax.tree.map(lambda x: x[0], items))
    body = jax.checkpoint(lambda carry, item: (step(carry, item), None), prevent_cse=False)
    return lax.scan(body, start, items)[0]


def stored_first(compute: Callable[[], Any], certain: Array) -> Any:
    """compute(), in a kernel of its own, whose result is stored before anything uses it.

    **Arguments:** `certain`: a truth that XLA cannot know. On a CPU, what an index of a look-up is computed from is
    not vectorised in the kernel that looks it up; and nothing but control flow keeps XLA from merging the two.
    """

    def nothing():
        return jax.tree.map(lambda x: 0 * x, compute())  # the type of compute(), also on a device of a mesh

    return lax.platform_dependent(cpu=lambda: lax.cond(certain, compute, nothing), default=compute)


def unknowable(numbers: Array) -> Array:
    """True, which XLA cannot know, even of a constant experiment: no pixel's number is that large."""
    return numbers.reshape(-1)[0] < 2**31 - 1


def as_integer(x: Array) -> Array:
    """Whole numbers 0 ≤ x < 2³¹ (2²³ in single precision) as integers: the last bits of x + 2^mantissa.

    XLA's own conversion watches for overflow, number by number on a CPU.
    """
    if x.dtype == jnp.float64:
        return lax.bitcast_convert_type(x + 2.0**52, jnp.int64).astype(jnp.int32)
    return lax.bitcast_convert_type(x + 2.0**23, jnp.int32) & (2**23 - 1)


def row_and_column(index: Array, columns: int) -> tuple[Array, Array]:
    """Where the pixels of an image of so many columns are, from their numbers in it."""

    def divided():
        if jnp.result_type(float) == jnp.float64:  # exact: no quotient is as near to a whole number as rounding reaches
            row = as_integer(jnp.floor((index.astype(jnp.float64) + 0.5) * (1.0 / columns)))
        else:
            row = lax.div(index, jnp.full_like(index, columns))
        return row, index - row * columns

    return stored_first(divided, unknowable(index))


EVEN = 128
"""Large blocks are multiples of this: XLA gives threads poor shares of an odd length, which costs up to five times."""


def block_shape(pixels: int, block_pixels: int | None) -> tuple[int, int]:
    """(number of blocks, pixels in each) that cover `pixels`.

    Exactly if even blocks of more than half the largest size can, for then the image needs no copy; else with little
    padding.
    """
    largest = default_block_pixels() if block_pixels is None else block_pixels
    blocks = max(1, -(-pixels // largest))
    exact = (n for n in range(blocks, min(2 * blocks, pixels + 1)) if pixels % n == 0)
    for n in exact:
        if _evened(pixels // n) == pixels // n:
            return n, pixels // n
    size = _evened(max(1, -(-pixels // blocks)))
    return max(1, -(-pixels // size)), size


def _evened(size: int) -> int:
    """The next multiple of `EVEN` from a size at which the padding does not matter."""
    return size if size < 8 * EVEN else -(-size // EVEN) * EVEN


def padded(values: Array, length: int, fill) -> Array:
    """A vector extended to `length`."""
    return jnp.pad(values, (0, length - values.shape[0]), constant_values=fill)
