"""The normal equations as matrices, by forward mode: one derivative of the image for each parameter."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from ...numerics.sharding import EVERYWHERE, sum_over_devices
from ..data import PixelArrays, background_model, batches_in_shares
from ..losses import positive_part, terms_and_slopes
from ..model import Image, Problem, Unknowns, over_images, photons_in_spots, restraint_residuals

Numbers = Array | np.ndarray


class NormalEquations(NamedTuple):
    """Objective, its gradient, and its expected second derivatives at a point.

    Those of pixels are kept for each image, n = its shared and per-image parameters, b = backgrounds, t = terms of
    each; those of restraints for all parameters together, N = shared ones and then those of each image.
    """

    objective: Float[Numbers, ""]
    gradient: Float[Numbers, "images n"]
    matrix: Float[Numbers, "images n n"]
    background_gradient: Float[Numbers, "images b t"]
    background_matrix: Float[Numbers, "images b t t"]
    mixed_matrix: Float[Numbers, "images b t n"]
    restraint_gradient: Float[Numbers, " N"]
    restraint_matrix: Float[Numbers, "N N"]
    expected: Float[Array, "images batches groups pixels"]
    """Expected counts of every pixel, as the loss has them."""


def normal_equations_at(problem: Problem, unknowns: Unknowns) -> NormalEquations:
    """The normal equations in NumPy, double precision; the expected counts stay where they are."""
    *matrices, expected = _normal_equations(problem, unknowns)
    return NormalEquations._make([*(np.asarray(v, float) for v in matrices), expected])


@eqx.filter_jit
def _normal_equations(problem: Problem, unknowns: Unknowns) -> NormalEquations:
    layout = lambda mesh: (EVERYWHERE, batches_in_shares(mesh))  # noqa: E731
    sums, expected = over_images(problem, unknowns, lambda image: _of_image(image, unknowns), layout)
    residuals, jacobian = _restraints(problem, unknowns)
    total = jnp.sum(sums[0]) + 0.5 * jnp.sum(residuals**2)
    return NormalEquations._make((total, *sums[1:], residuals @ jacobian, jacobian.T @ jacobian, expected))


def _of_image(image: Image, unknowns: Unknowns) -> tuple[tuple[Array, ...], Array]:
    """The first six fields of one image, from its pixels alone, and its expected counts."""
    problem, num_shared = image.problem, image.problem.layout.shared.count
    point = jnp.concatenate([unknowns.shared, image.per_image])
    directions = jnp.eye(len(point))

    def add_batch(sums: tuple[Array, ...], pixels: PixelArrays) -> tuple[tuple[Array, ...], Array]:
        data = image.batch(pixels)

        def bragg(x: Array) -> Array:
            return photons_in_spots(image.experiment(x[:num_shared], x[num_shared:]), data)

        photons, jacobian = jax.vmap(lambda d: jax.jvp(bragg, (point,), (d,)), out_axes=(None, -1))(directions)
        background, basis = background_model(data, image.background)
        photons = photons + background
        model, bend = jax.jvp(positive_part, (photons,), (jnp.ones_like(photons),))
        terms, slopes = terms_and_slopes(problem.loss, model, data.counts)
        terms = jnp.where(data.used, terms, 0.0)
        slopes = jnp.where(data.used, slopes * bend, 0.0)
        weight = jnp.where(data.used, problem.loss.curvature(model) * bend**2, 0.0)
        weighted = jacobian * weight[..., None]
        index = data.background_index
        total, gradient, matrix, background_gradient, background_matrix, mixed = sums
        return (
            total + jnp.sum(terms),
            gradient + jnp.einsum("gp,gpn->n", slopes, jacobian),
            matrix + jnp.einsum("gpn,gpm->nm", weighted, jacobian),
            background_gradient.at[index].add(jnp.einsum("gp,gpt->gt", slopes, basis)),
            background_matrix.at[index].add(jnp.einsum("gp,gpt,gpu->gtu", weight, basis, basis)),
            mixed.at[index].add(jnp.einsum("gpt,gpn->gtn", basis, weighted)),
        ), model

    expected = []

    def add_up(start: tuple[Array, ...]) -> tuple[Array, ...]:
        sums, model = lax.scan(add_batch, start, image.batches)
        expected.append(model)  # of this device's batches: not to be added up
        return sums

    n, (b, t) = len(point), image.background.shape
    zeros = tuple(jnp.zeros(shape) for shape in ((), (n,), (n, n), (b, t), (b, t, t), (b, t, n)))
    return sum_over_devices(add_up, zeros, problem.mesh), expected[0]


def _restraints(problem: Problem, unknowns: Unknowns) -> tuple[Array, Array]:
    """Residuals of the restraints, and their derivatives by all parameters: shared ones, then those of each image."""
    point = jnp.concatenate([unknowns.shared, unknowns.per_image.reshape(-1)])
    if not problem.restraints:
        return jnp.zeros(0), jnp.zeros((0, len(point)))
    num_shared = len(unknowns.shared)

    def residuals(x: Array) -> Array:
        per_image = x[num_shared:].reshape(unknowns.per_image.shape)
        return restraint_residuals(problem, Unknowns(x[:num_shared], per_image, unknowns.background))

    here = residuals(point)
    differentiate = jax.jacrev if len(here) < len(point) else jax.jacfwd
    return here, differentiate(residuals)(point)
