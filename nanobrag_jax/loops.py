"""Loops that add up: `lax.scan` without the cost of a loop where there is one turn, and blocks of pixels."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

BLOCK_PIXELS = 65536
"""Pixels rendered together: large enough to hide the cost of starting a kernel, small enough for a cache."""


def fold(step: Callable[[Any, Any], Any], start, items):
    """step(…step(step(start, items[0]), items[1])…), differentiated without keeping what a turn computes."""
    count = jax.tree.leaves(items)[0].shape[0]
    if count == 1:
        return step(start, jax.tree.map(lambda x: x[0], items))
    body = jax.checkpoint(lambda carry, item: (step(carry, item), None), prevent_cse=False)
    return lax.scan(body, start, items)[0]


def block_shape(pixels: int, block_pixels: int | None) -> tuple[int, int]:
    """(number of blocks, pixels in each) that cover `pixels` with the least padding."""
    largest = BLOCK_PIXELS if block_pixels is None else block_pixels
    blocks = max(1, -(-pixels // largest))
    return blocks, max(1, -(-pixels // blocks))


def padded(values: Array, length: int, fill) -> Array:
    """A vector extended to `length`."""
    return jnp.pad(values, (0, length - values.shape[0]), constant_values=fill)
