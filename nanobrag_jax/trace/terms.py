"""The kernel's terms at one pixel: source 0, mosaic domain 0, first sub-pixel of every sensor layer."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..detector import Ray
from ..mosaicity import orientations
from ..numerics.loops import scan
from ..numerics.vectors import dot, dual_basis
from ..render.background import scattered_photons
from ..render.carryover import State, accepted, block_in_order, swept
from ..render.kernel import Sample
from ..render.scene import (
    Point,
    Scene,
    SourceTerms,
    first_point,
    first_polarization,
    first_source,
    point_capture,
    point_ray,
    points,
    points_and_sources,
    sample_at,
    seen_by,
    source_terms,
)
from ..render.simulate import background_photons, block_photons


class Terms(NamedTuple):
    """Arrays begin with an axis of sensor layers, those of samples with (layers, phi)."""

    first: Ray
    """The ray to the pixel's first point; no layers."""
    ray: Ray
    source: SourceTerms
    polar: Array
    """Polarisation factor of the first sample that dmin keeps, 0 for none; no layers."""
    capture: Array
    rotated: Array
    """Whether a φ step rotates, or takes over vectors, (layers, phi)."""
    real: Array
    """Rows a, b, c, (layers, phi, 3, 3)."""
    reciprocal: Array
    sample: Sample
    interpolated: Array
    total: Array
    """The sum over all samples before scaling."""
    cos_2theta: Array
    """At each layer."""
    background: Array | None
    """Photons of the water and the amorphous sample, in spec mode."""
    left: State | None
    """c-parity: the state that the pixel leaves."""


def layer_points(scene: Scene) -> Point:
    """The first sub-pixel of every layer."""
    layers = jnp.arange(scene.settings.layers, dtype=jnp.int32)
    return Point(layers, jnp.zeros_like(layers), jnp.zeros_like(layers))


@jax.jit
def terms_of(scene: Scene, state: State | None, slow: Array, fast: Array) -> Terms:
    """The terms of a pixel.

    **Arguments:** `state`: what c-parity carries to the pixel, None in spec mode; `slow`, `fast`: its numbers, ().
    """
    first, listed = point_ray(scene, slow, fast, first_point()), layer_points(scene)
    ray = point_ray(scene, slow, fast, listed)
    polar = first_polarization(scene, slow, fast)[0]
    source = source_terms(scene, ray, first_source(scene))
    real, rotated, interpolate = _orientations_seen(scene, state, slow, fast)

    def at_step(q, real, interpolate):
        wanted = interpolate if scene.settings.interpolate else False
        return sample_at(seen_by(scene, first_source(scene)), q, real, wanted)

    steps = jax.vmap(at_step, in_axes=(None, 0, 0))
    sampled = jax.vmap(steps)(source.q, real, interpolate)
    if state is None:
        total, left = spec_total(scene, slow, fast), None
    else:
        one = jnp.ones(1, first.obliquity.dtype)
        total, left = block_in_order(scene, state, slow[None], fast[None], jnp.ones(1, bool), one)
        total = total[0]
    return Terms(
        first=first,
        ray=ray,
        source=jax.tree.map(lambda x: jnp.broadcast_to(x, listed.layer.shape), source),
        polar=polar,
        capture=jnp.broadcast_to(point_capture(scene, ray, listed.layer), listed.layer.shape),
        rotated=rotated,
        real=real,
        reciprocal=jax.vmap(jax.vmap(dual_basis))(real),
        sample=sampled,
        interpolated=interpolate & jnp.broadcast_to(sampled.interpolates, interpolate.shape),
        total=total,
        cos_2theta=dot(first_source(scene).incident, ray.direction),
        background=_background(scene, first, polar, slow, fast) if state is None else None,
        left=left,
    )


def _background(scene: Scene, first: Ray, polar: Array, slow: Array, fast: Array) -> Array | None:
    water = None if scene.background is None else background_photons(scene, first, polar)
    if not scene.scatterers:
        return water
    photons = scattered_photons(scene, slow, fast)
    return photons if water is None else photons + water


def spec_total(scene: Scene, slow: Array, fast: Array) -> Array:
    """Σ weight·(F_cell·F_latt)² of a pixel: what `simulate` sums, with the factors that all samples share left out.

    What differs from sample to sample stays in: the weight of a source, the capture fraction of several layers, and
    what is oversampled.
    """
    settings = scene.settings
    one_layer = settings.layers == 1 and not settings.oversample_thick
    bare = replace(
        scene,
        crystal_photons=jnp.full_like(scene.crystal_photons, scene.num_steps),
        background=None,
        scatterers=(),
        layer_thickness=None if one_layer else scene.layer_thickness,
        settings=replace(settings, polarized=settings.polarized and settings.oversample_polar),
    )
    total = block_photons(bare, slow[None], fast[None], jnp.ones(1, bool))[0]
    if settings.oversample_omega:
        return total
    return total / point_ray(scene, slow, fast, first_point()).solid_angle


def _orientations_seen(scene: Scene, state: State | None, slow: Array, fast: Array) -> tuple[Array, Array, Array]:
    """Rows a, b, c at every layer and φ step, whether each step rotates, and whether interpolation is on."""
    shape = scene.settings.layers, scene.phi.shape[0]
    if state is None:
        assert scene.orientations is not None, "a scene of spec mode"
        real = scene.orientations[:: scene.domains.shape[0]]
        everywhere = jnp.full(shape, scene.settings.interpolate)
        return jnp.broadcast_to(real, (*shape, 3, 3)), jnp.ones(shape, bool), everywhere
    inherited, left = swept(scene, state.vectors)
    usual, _ = swept(scene, left)
    begun, interpolating = _loop_order(scene, state, inherited, usual, slow, fast)
    stale, fresh = (orientations(steps, scene.domains[:1]) for steps in (inherited, usual))
    real = jnp.where(begun[:, None, None, None], fresh, stale)
    return real, jnp.broadcast_to(scene.phi != 0.0, shape), interpolating


def _loop_order(scene: Scene, state: State, inherited, usual, slow, fast) -> tuple[Array, Array]:
    """Whether the pixel has a sample before a layer's first, (layers,); if interpolation is on, (layers, phi)."""
    num_points, num_sources = points(scene).layer.shape[0], scene.sources.weight.shape[0]
    layers, turns, domains = scene.settings.layers, scene.phi.shape[0], scene.domains.shape[0]
    stale, fresh = (orientations(steps, scene.domains) for steps in (inherited, usual))

    def visit(begun, item):
        point, source = item
        terms = source_terms(scene, point_ray(scene, slow, fast, point), source)
        leaves = jnp.zeros(turns * domains, bool)
        if scene.settings.interpolate:
            real = jnp.where(terms.kept & ~begun, stale, fresh)
            seen = jax.vmap(lambda rows: sample_at(scene, terms.q, rows, True))(real)
            leaves = accepted(scene, terms.kept, seen.F_latt) & ~seen.interpolates
        return begun | terms.kept, (begun, leaves)

    begun, leaves = scan(visit, jnp.zeros((), bool), points_and_sources(scene))[1]
    leaves = leaves.reshape(-1)
    on = state.interpolating & (jnp.cumsum(leaves) - leaves == 0)
    first_of_layer = num_points // layers * num_sources
    return begun[::first_of_layer], on.reshape(layers, first_of_layer, turns, domains)[:, 0, :, 0]
