"""Normal equations without their matrix: products by one forward and one reverse pass, for very many parameters.

Backgrounds are eliminated pixel by pixel: the weights are projected onto what no background can explain.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ..data import PixelArrays, background_model, rejoined, split_by_axis
from ..losses import terms_and_slopes
from ..model import Problem, Unknowns, expected_counts, restraint_residuals
from .solve import split_by_image

ParameterPair = tuple[Float[Array, " n"], Float[Array, "images m"]]
"""Shared and per-image parameters."""
Preconditioner = Callable[[np.ndarray], np.ndarray]


class Weights(NamedTuple):
    """What products with the matrix need to know of a point, and the gradient there."""

    objective: Array
    gradient: ParameterPair
    """With the backgrounds at their best, to first order."""
    pixel: Float[Array, "images batches groups pixels"]
    """Expected second derivative of each pixel's term."""
    background_matrix: Float[Array, "images b t t"]
    background_gradient: Float[Array, "images b t"]
    expected: Float[Array, "images batches groups pixels"]
    """Expected counts."""


def _basis(problem: Problem, at: Unknowns) -> Float[Array, "images groups pixels terms"]:
    """Derivatives of each pixel with respect to its background."""

    def one(background: Array, batches: PixelArrays, backgrounds: PixelArrays) -> Array:
        data = rejoined(batches, backgrounds)
        merged = [v.reshape(-1, *v.shape[2:]) for v in split_by_axis(data)[0]]
        return background_model(rejoined(tuple(merged), backgrounds), background)[1]

    return jax.vmap(one)(at.background, *split_by_axis(problem.data))


def _sums_by_background(problem: Problem, basis: Array, values: Array) -> Float[Array, "images b t"]:
    """Sums over the pixels of each background, of values times its basis."""
    by_group = jnp.einsum("igp,igpt->igt", values.reshape(basis.shape[:3]), basis)
    index = problem.data.background_index.reshape(by_group.shape[:2])
    count = problem.data.background.shape[1]
    return jax.vmap(lambda v, i: jnp.zeros((count, v.shape[-1]), v.dtype).at[i].add(v))(by_group, index)


def _background_matrix(problem: Problem, basis: Array, weight: Array) -> Float[Array, "images b t t"]:
    terms = basis.shape[-1]
    if not terms:
        return jnp.zeros((*problem.data.background.shape, 0))
    flat = weight.reshape(basis.shape[:3])
    matrix = jnp.stack([_sums_by_background(problem, basis, flat * basis[..., t]) for t in range(terms)], -1)
    unseen = jnp.einsum("ibtt->ibt", matrix) <= 0
    return matrix + jnp.where(unseen, 1.0, 0.0)[..., None] * jnp.eye(terms)[None, None]


def _projected(problem: Problem, basis: Array, weight: Array, matrix: Array, sums: Array, values: Array) -> Array:
    """Weighted pixel values without what the backgrounds explain.

    **Arguments:** `matrix`: the backgrounds' own; `sums`: of the values, by background.
    """
    if not basis.shape[-1]:
        return values
    explained = jnp.linalg.solve(matrix, sums[..., None])[..., 0]
    index = problem.data.background_index.reshape(basis.shape[:2])
    photons = jnp.einsum("igpt,igt->igp", basis, jax.vmap(lambda v, i: v[i])(explained, index))
    return values - weight * photons.reshape(weight.shape)


def _as_function_of_parameters(
    function: Callable[[Problem, Unknowns], Array], problem: Problem, at: Unknowns
) -> Callable[[ParameterPair], Array]:
    return lambda v: function(problem, Unknowns(v[0], v[1], at.background))


@eqx.filter_jit
def weights_at(problem: Problem, at: Unknowns) -> Weights:
    """Objective, gradient and weights."""
    here, data = (at.shared, at.per_image), problem.data
    model, pull_back = jax.vjp(_as_function_of_parameters(expected_counts, problem, at), here)
    terms, slopes = terms_and_slopes(problem.loss, model, data.counts)
    slopes = jnp.where(data.used, slopes, 0.0)
    weight = jnp.where(data.used, problem.loss.curvature(model), 0.0)
    basis = _basis(problem, at)
    matrix, sums = _background_matrix(problem, basis, weight), _sums_by_background(problem, basis, slopes)
    gradient = pull_back(_projected(problem, basis, weight, matrix, sums, slopes))[0]
    residuals, pull_back = jax.vjp(_as_function_of_parameters(restraint_residuals, problem, at), here)
    gradient = jax.tree.map(jnp.add, gradient, pull_back(residuals)[0])
    total = jnp.sum(jnp.where(data.used, terms, 0.0)) + 0.5 * jnp.sum(residuals**2)
    return Weights(total, gradient, weight, matrix, sums, model)


@eqx.filter_jit
def product(
    problem: Problem, at: Unknowns, weights: Weights, v: ParameterPair
) -> tuple[ParameterPair, Float[Array, "images b t"]]:
    """The reduced normal matrix times a vector, and the mixed block of backgrounds and parameters times it."""
    here = at.shared, at.per_image
    model = _as_function_of_parameters(expected_counts, problem, at)
    weighted = weights.pixel * jax.jvp(model, (here,), (v,))[1]
    basis = _basis(problem, at)
    sums = _sums_by_background(problem, basis, weighted)
    values = _projected(problem, basis, weights.pixel, weights.background_matrix, sums, weighted)
    result = jax.vjp(model, here)[1](values)[0]
    residuals = _as_function_of_parameters(restraint_residuals, problem, at)
    restrained = jax.vjp(residuals, here)[1](jax.jvp(residuals, (here,), (v,))[1])[0]
    return jax.tree.map(jnp.add, result, restrained), sums


class NormalOperator:
    """The reduced normal matrix at a point, for vectors of all parameters in NumPy."""

    def __init__(self, problem: Problem, at: Unknowns):
        self.problem, self.at = problem, at
        self.weights = weights_at(problem, at)
        self.gradient = self._flat(self.weights.gradient)

    def _flat(self, v: ParameterPair) -> np.ndarray:
        return np.concatenate([np.asarray(v[0], float), np.asarray(v[1], float).reshape(-1)])

    def _pair(self, v: np.ndarray) -> ParameterPair:
        shared = self.problem.layout.shared.count
        dtype = self.problem.data.counts.dtype
        return jnp.asarray(v[:shared], dtype), jnp.asarray(split_by_image(self.problem.layout, v)[:, shared:], dtype)

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """The matrix times v."""
        return self._flat(product(self.problem, self.at, self.weights, self._pair(v))[0])

    def move(self, v: np.ndarray) -> Unknowns:
        """A step of the parameters with the step of the backgrounds that goes with it."""
        pair = self._pair(v)
        slope = self.weights.background_gradient + product(self.problem, self.at, self.weights, pair)[1]
        if slope.shape[-1]:
            slope = jnp.linalg.solve(self.weights.background_matrix, slope[..., None])[..., 0]
        return Unknowns(*pair, -slope)

    def diagonal(self, probes: int, seed: int, chosen: np.ndarray) -> np.ndarray:
        """The matrix's diagonal, estimated from random signs: exact where pixels see one parameter each.

        **Arguments:** `chosen`: True for the parameters wanted.
        """
        random = np.random.default_rng(seed)
        total = np.zeros(len(self.gradient))
        for _ in range(probes):
            signs = np.where(chosen, random.choice([-1.0, 1.0], len(total)), 0.0)
            total += signs * self(signs) / probes
        return np.maximum(total, 0.0)

    def solve(
        self,
        vector: np.ndarray,
        diagonal: np.ndarray,
        damping: float,
        precondition: Preconditioner,
        *,
        rtol: float = 1e-3,
        max_iterations: int = 100,
    ) -> tuple[np.ndarray, int]:
        """(matrix + damping·diagonal)⁻¹ vector by preconditioned conjugate gradients, and the number of iterations."""
        found, rest = np.zeros_like(vector), vector.copy()
        direction = along = precondition(rest)
        size = wanted = float(rest @ along)
        for iteration in range(max_iterations):
            if size <= rtol**2 * wanted or size <= 0.0:
                return found, iteration
            image = self(direction) + damping * diagonal * direction
            curvature = float(direction @ image)
            if curvature <= 0.0:
                return found, iteration
            step = size / curvature
            found, rest = found + step * direction, rest - step * image
            along = precondition(rest)
            size, old = float(rest @ along), size
            direction = along + size / old * direction
        return found, max_iterations
