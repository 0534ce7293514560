"""Photons from what is in the beam besides the crystal, once a pixel and source (docs/detector.md)."""

import jax.numpy as jnp
from jax import Array

from ..detector import Ray
from ..numerics.loops import fold
from ..numerics.vectors import Vec3, dot
from ..scatterers import View
from .scene import Point, Scene, point_capture, point_ray, source_terms


def captured(scene: Scene, ray: Ray) -> Array:
    """Fraction of the photons along each pixel's ray that all layers of the sensor stop together."""
    layers = jnp.arange(scene.settings.layers)
    return fold(lambda total, layer: total + point_capture(scene, ray, layer), jnp.zeros_like(ray.obliquity), layers)


def scattered_photons(scene: Scene, slow: Array, fast: Array) -> Array:
    """Photons that the scatterers send into each pixel, seen at the pixel's middle.

    **Arguments:** `slow`, `fast`: pixel numbers, one a pixel.

    Each source of the beam has its own sin θ/λ and polarisation. Zero for sources that dmin leaves out.
    """
    middle = jnp.asarray(0.5 * (scene.settings.oversample - 1), scene.frame.pix0.dtype)
    ray = point_ray(scene, slow, fast, Point(jnp.zeros((), jnp.int32), middle, middle))
    stopped = captured(scene, ray)

    def from_source(total, source):
        terms = source_terms(scene, ray, source)
        view = View(ray.direction, _half_length(terms.q), terms.polarization, ray.solid_angle, stopped, scene.photons)
        photons = sum(scatterer.photons(view) for scatterer in scene.scatterers)
        return total + jnp.where(terms.kept, source.weight * photons, 0.0)

    total = fold(from_source, jnp.zeros_like(ray.obliquity), scene.sources)
    return total / scene.sources.weight.shape[0]


def _half_length(q: Vec3) -> Array:
    """|q|/2, with a slope of zero at the direct beam."""
    square = dot(q, q)
    lit = square > 0.0
    return jnp.where(lit, 0.5 * jnp.sqrt(jnp.where(lit, square, 1.0)), 0.0)
