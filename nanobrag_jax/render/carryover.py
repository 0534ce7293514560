"""c-parity: the reference's loop order with the state it carries from sample to sample (docs/reference.md section 10).

A φ step whose angle is exactly zero does not rotate the crystal; it sees the vectors that the φ step before it left,
in loop order, across sources, sub-pixels and pixels. Interpolation, once a sample's neighbourhood leaves the grid,
stays off for every later sample. Both are the carry of one `lax.scan` over blocks of pixels in order; inside a block
each pixel sees the state its predecessor leaves. All samples but the first of a block start from vectors that a whole
sweep has left, so the block is rendered at once and its first sampled pixel once more, alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from ..mosaicity import orientations
from ..numerics.loops import fold, scan
from ..numerics.sharding import AxisNames, any_before, never
from .scene import (
    Point,
    Scene,
    first_point,
    first_polarization,
    kernel_vectors,
    point_capture,
    point_ray,
    points,
    sample_at,
    source_terms,
    sum_dtype,
    sum_orientations,
)


class State(eqx.Module):
    """What one sample leaves to the next."""

    vectors: Array
    """Rows a, b, c after the last φ step, before any mosaic rotation, (3, 3)."""
    interpolating: Array
    """Whether tricubic look-up is still on."""


class Lanes(NamedTuple):
    """Consecutive pixels: their numbers, whether each is rendered, and what is computed once for each."""

    slow: Array
    fast: Array
    active: Array
    scale: Array
    """Photons for one unit of the running sum."""


def initial_state(scene: Scene) -> State:
    """The state before the first sample: the unrotated crystal."""
    return State(scene.unrotated, jnp.asarray(scene.settings.interpolate))


def swept(scene: Scene, vectors: Array) -> tuple[Array, Array]:
    """Rows a, b, c that the φ steps of one sample see, (phi, 3, 3), and those the last one leaves.

    **Arguments:** `vectors`: what the sample before left.
    """
    turns = jnp.arange(scene.phi.shape[0])
    latest = lax.cummax(jnp.where(scene.phi == 0.0, -1, turns))
    seen = jnp.where((latest >= 0)[:, None, None], scene.phi_steps[latest], vectors)
    return seen, seen[-1]


def render_in_order(scene: Scene, pixels_of: Callable, blocks: Array, devices: AxisNames | None = None) -> Array:
    """Photons of blocks of consecutive pixels, (blocks, pixels).

    **Arguments:** `pixels_of`: block number → pixel numbers slow, fast and whether each is rendered; `blocks`: the
    block numbers in order; `devices`: None, or the axes of a mesh whose devices each call this for their share.
    """

    def step(state, block):
        values, state = block_in_order(scene, state, *pixels_of(block))
        return state, values

    start = initial_state(scene)
    if devices is not None:
        start = _left_by_others(scene, start, step, pixels_of, blocks, devices)
    return scan(jax.checkpoint(step, prevent_cse=False), start, blocks)[1]


def _left_by_others(scene: Scene, start: State, step, pixels_of: Callable, blocks: Array, devices: AxisNames) -> State:
    """The state that the pixels of all devices before this one leave.

    Any sample leaves the same vectors, so it is enough to know whether there is one before; where interpolation is
    on, each device has to look at its pixels once beforehand.
    """

    def samples(found, block):
        slow, fast, active = pixels_of(block)
        return found | jnp.any(active & first_polarization(scene, slow, fast)[1]), None

    found = scan(samples, never(devices), blocks)[0]
    vectors = jnp.where(any_before(found, devices), swept(scene, start.vectors)[1], start.vectors)
    state = State(vectors, start.interpolating | never(devices))
    if not scene.settings.interpolate:
        return state
    goes_off = ~scan(step, state, blocks)[0].interpolating
    return State(vectors, state.interpolating & ~any_before(goes_off, devices))


def block_in_order(
    scene: Scene, state: State, slow: Array, fast: Array, active: Array, scale: Array | None = None
) -> tuple[Array, State]:
    """Photons of consecutive pixels, and the state they leave.

    **Arguments:** `scale`: what the running sum of each pixel is multiplied with in the end, None for what makes it
    photons.
    """
    to_photons, sampled = _pixel_scale(scene, slow, fast)
    scale = to_photons if scale is None else scale
    sampled = sampled & active
    inherited, left = swept(scene, state.vectors)
    usual, left_later = swept(scene, left)
    stale, fresh = orientations(inherited, scene.domains), orientations(usual, scene.domains)
    block = Lanes(slow, fast, active, scale)
    first = jnp.argmax(sampled)
    alone = jax.tree.map(lambda x: x[first][None], block)

    def measured(measure, *by_lane):
        """`measure` for the block, with its first sampled pixel measured by itself from the inherited state."""
        values = measure(scene, block, None, fresh, *by_lane)
        own = measure(scene, alone, stale, fresh, *(x[first][None] for x in by_lane))
        return jax.tree.map(lambda all_lanes, one: all_lanes.at[first].set(one[0]), values, own)

    if not _in_sequence(scene):
        photons, interpolating = measured(_summed), state.interpolating
    else:
        on = jnp.broadcast_to(state.interpolating, slow.shape)
        if scene.settings.interpolate:
            leaves = measured(_leaves_grid)
            on = on & (jnp.cumsum(leaves) - leaves == 0)
        photons, on = measured(_in_loop_order, on)
        interpolating = state.interpolating & jnp.all(on)
    vectors = jnp.where(jnp.any(sampled), left_later, state.vectors)
    return photons, State(vectors, interpolating)


def _in_sequence(scene: Scene) -> bool:
    """Whether samples have to be taken one after the other, because one changes what the next is multiplied with."""
    settings = scene.settings
    running = settings.oversample_thick or settings.oversample_polar or settings.oversample_omega
    return settings.interpolate or running


def _pixel_scale(scene: Scene, slow: Array, fast: Array) -> tuple[Array, Array]:
    """Photons for one unit of a pixel's running sum, and whether dmin leaves it a sample."""
    settings = scene.settings
    first = first_point()
    ray = point_ray(scene, slow, fast, first)
    polar, sampled = first_polarization(scene, slow, fast, ray)
    photons = scene.crystal_photons if scene.start is None else scene.crystal_photons + scene.start
    scale = jnp.broadcast_to(photons / scene.num_steps, polar.shape)
    if not settings.oversample_polar:
        scale = scale * polar
    if not settings.oversample_omega:
        scale = scale * ray.solid_angle
    if not settings.oversample_thick and scene.layer_thickness is not None:
        last = Point(jnp.asarray(settings.layers - 1), first.slow, first.fast)
        scale = scale * point_capture(scene, point_ray(scene, slow, fast, last), last.layer)
    return scale, sampled


def _background(scene: Scene, lanes: Lanes) -> Array:
    """Where the reference's running sum starts."""
    level = 0.0 if scene.background is None else scene.background
    return jnp.full_like(lanes.scale, 1.0) * level


def _walk(scene: Scene, lanes: Lanes, stale: Array | None, fresh: Array, carry, visit: Callable):
    """Fold `visit(carry, ray, point, terms, kept, vectors)` over points and sources in the reference's order.

    **Arguments:** `stale`: vectors that a lone pixel's first sample sees, None where no pixel is the first.
    """

    def at_point(carry, point):
        ray = point_ray(scene, lanes.slow, lanes.fast, point)

        def from_source(carry, source):
            inner, begun = carry
            terms = source_terms(scene, ray, source)
            kept = terms.kept & lanes.active
            vectors = fresh if stale is None else jnp.where((kept & ~begun)[0], stale, fresh)
            return visit(inner, ray, point, terms, kept, vectors), begun | kept

        return fold(from_source, carry, scene.sources)

    return fold(at_point, (carry, jnp.zeros_like(lanes.active)), points(scene))[0]


def _summed(scene: Scene, lanes: Lanes, stale: Array | None, fresh: Array) -> Array:
    """Photons where samples only add up."""

    def visit(total, ray, point, terms, kept, vectors):
        return sum_orientations(scene, vectors, terms.q, jnp.where(kept, lanes.scale, 0.0), total)

    start = jnp.where(lanes.active, _background(scene, lanes) * lanes.scale, 0.0).astype(sum_dtype(scene))
    return _walk(scene, lanes, stale, fresh, start, visit)


def accepted(scene: Scene, kept: Array, F_latt: Array) -> Array:
    """Whether the reference goes on with a sample after its lattice factor."""
    return kept if scene.background is not None else kept & (F_latt != 0.0)


def _leaves_grid(scene: Scene, lanes: Lanes, stale: Array | None, fresh: Array) -> Array:
    """Whether any sample of a pixel would turn interpolation off."""

    def visit(leaves, ray, point, terms, kept, vectors):
        q, vectors = kernel_vectors(scene, terms.q, vectors)

        def look(leaves, real):
            term = sample_at(scene, q, real, True)
            return leaves | (accepted(scene, kept, term.F_latt) & ~term.interpolates)

        return fold(look, leaves, vectors)

    return _walk(scene, lanes, stale, fresh, jnp.zeros_like(lanes.active), visit)


def _in_loop_order(scene: Scene, lanes: Lanes, stale: Array | None, fresh: Array, on: Array) -> tuple[Array, Array]:
    """Photons, sample after sample: the running sum is multiplied after each, and interpolation may go off for good.

    **Arguments:** `on`: whether interpolation is on before each pixel's first sample.
    """
    settings = scene.settings

    def visit(inner, ray, point, terms, kept, vectors):
        running = jnp.ones_like(lanes.scale)
        if settings.oversample_thick:
            running = running * point_capture(scene, ray, point.layer)
        if settings.oversample_polar:
            running = running * terms.polarization
        if settings.oversample_omega:
            running = running * ray.solid_angle

        q, vectors = kernel_vectors(scene, terms.q, vectors)

        def take(inner, real):
            total, on = inner
            term = sample_at(scene, q, real, on if settings.interpolate else False)
            counts = accepted(scene, kept, term.F_latt)
            if settings.interpolate:
                on = on & ~(counts & ~term.interpolates)
            return jnp.where(counts, (total + term.intensity) * running, total), on

        return fold(take, inner, vectors)

    total, on = _walk(scene, lanes, stale, fresh, (_background(scene, lanes), on), visit)
    return jnp.where(lanes.active, total * lanes.scale, 0.0).astype(sum_dtype(scene)), on
