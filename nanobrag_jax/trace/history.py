"""c-parity: the state that the pixels before one leave to it, and which pixels those are."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..numerics.loops import scan
from ..render.carryover import State, block_in_order, initial_state, swept
from ..render.scene import Scene, first_polarization

Pixel = tuple[int, int]


class History(NamedTuple):
    """`state` before a pixel's first sample; `source`: the last pixel sampled before it; `ended_at`: the pixel that
    turned interpolation off. Pixels are (slow, fast), None where there is none.
    """

    state: State
    source: Pixel | None
    ended_at: Pixel | None


def history(scene: Scene, rendered: np.ndarray, corner: Pixel, slow: int, fast: int) -> History:
    """What came before a pixel.

    **Arguments:** `rendered` (slow, fast): which pixels of the region of interest are rendered, with `corner` the
    (slow, fast) numbers of its first pixel; `slow`, `fast`: the pixel.
    """
    rows, columns = rendered.shape
    earlier = np.arange(rows * columns).reshape(rows, columns) < (slow - corner[0]) * columns + fast - corner[1]
    earlier = (rendered & earlier)[: slow - corner[0] + 1]
    source = _last_sampled(scene, earlier, corner)
    state = initial_state(scene)
    ended_at = None
    if scene.settings.interpolate:
        state, ended_at = _interpolation(scene, state, earlier, corner)
    elif source is not None:
        state = State(swept(scene, scene.unrotated)[1], state.interpolating)
    return History(state, source, ended_at)


def _last_sampled(scene: Scene, earlier: np.ndarray, corner: Pixel) -> Pixel | None:
    """The last of the earlier pixels of which dmin leaves a sample."""
    columns = corner[1] + np.arange(earlier.shape[1])
    for row in np.flatnonzero(earlier.any(axis=1))[::-1]:
        sampled = earlier[row]
        if scene.dmin is not None:
            sampled = sampled & np.asarray(_sampled(scene, jnp.full_like(columns, corner[0] + row), columns))
        if sampled.any():
            return corner[0] + int(row), int(columns[np.flatnonzero(sampled)[-1]])
    return None


@jax.jit
def _sampled(scene: Scene, slow: Array, fast: Array) -> Array:
    return first_polarization(scene, slow, fast)[1]


def _interpolation(scene: Scene, start: State, earlier: np.ndarray, corner: Pixel) -> tuple[State, Pixel | None]:
    """The state that the earlier pixels leave, and which of them turned interpolation off: its row, then itself."""
    fast = np.broadcast_to(corner[1] + np.arange(earlier.shape[1]), earlier.shape)
    slow = np.broadcast_to(corner[0] + np.arange(earlier.shape[0])[:, None], earlier.shape)
    left = _states_left(scene, start, jnp.asarray(slow), jnp.asarray(fast), jnp.asarray(earlier))
    final = jax.tree.map(lambda x: x[-1], left)
    off = np.flatnonzero(~np.asarray(left.interpolating))
    if not off.size:
        return final, None
    row = int(off[0])
    before = start if row == 0 else jax.tree.map(lambda x: x[row - 1], left)
    one_by_one = (jnp.asarray(x[row][:, None]) for x in (slow, fast, earlier))
    column = int(np.flatnonzero(~np.asarray(_states_left(scene, before, *one_by_one).interpolating))[0])
    return final, (corner[0] + row, corner[1] + column)


@jax.jit
def _states_left(scene: Scene, start: State, slow: Array, fast: Array, active: Array) -> State:
    """The state after each block of consecutive pixels (blocks, pixels)."""

    def step(state, block):
        state = block_in_order(scene, state, *block)[1]
        return state, state

    return scan(step, start, (slow, fast, active))[1]
