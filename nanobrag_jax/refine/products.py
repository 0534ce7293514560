"""Normal equations without their matrix: products by one forward and one reverse pass, for very many parameters.

Backgrounds are eliminated pixel by pixel: the weights are projected onto what no background can explain.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from .data import PixelData, behind
from .equations import apart
from .model import Problem, Unknowns, restraints, unjitted_expected

Vector = tuple[Float[Array, " n"], Float[Array, "images m"]]
"""Shared and own parameters."""


class Point(NamedTuple):
    """What a step needs to know of a place."""

    objective: Array
    gradient: Vector
    """With the backgrounds at their best, to first order."""
    weight: Float[Array, "images batches groups pixels"]
    """Expected second derivative of each pixel's term."""
    blocks: Float[Array, "images b t t"]
    """The backgrounds' own normal matrices."""
    behind: Float[Array, "images b t"]
    """Gradient of the backgrounds."""


def _forms(problem: Problem, at: Unknowns) -> Float[Array, "images groups pixels terms"]:
    """Derivatives of each pixel with respect to its background."""

    def one(background: Array, data: PixelData) -> Array:
        slow, fast, counts, used, known = (
            v.reshape(-1, v.shape[-1]) for v in (data.slow, data.fast, data.counts, data.used, data.known)
        )
        of = data.background_of.reshape(-1)
        grouped = PixelData(slow, fast, counts, used, known, of, data.background, data.middle, data.reach)
        return behind(grouped, background)[1]

    return jax.vmap(one)(at.background, problem.data)


def _onto_backgrounds(problem: Problem, forms: Array, values: Array) -> Float[Array, "images b t"]:
    """Sums over the pixels of each background, of values times its shapes."""
    per_group = jnp.einsum("igp,igpt->igt", values.reshape(forms.shape[:3]), forms)
    of = problem.data.background_of.reshape(per_group.shape[:2])
    count = problem.data.background.shape[1]
    return jax.vmap(lambda v, i: jnp.zeros((count, v.shape[-1]), v.dtype).at[i].add(v))(per_group, of)


def _blocks(problem: Problem, forms: Array, weight: Array) -> Float[Array, "images b t t"]:
    terms = forms.shape[-1]
    if not terms:
        return jnp.zeros((*problem.data.background.shape, 0))
    flat = weight.reshape(forms.shape[:3])
    block = jnp.stack([_onto_backgrounds(problem, forms, flat * forms[..., t]) for t in range(terms)], -1)
    unseen = jnp.einsum("ibtt->ibt", block) <= 0
    return block + jnp.where(unseen, 1.0, 0.0)[..., None] * jnp.eye(terms)[None, None]


def _projected(problem: Problem, forms: Array, weight: Array, blocks: Array, onto: Array, values: Array) -> Array:
    """Weighted pixel values without what the backgrounds take over; `onto`: their sums onto the backgrounds."""
    if not forms.shape[-1]:
        return values
    taken = jnp.linalg.solve(blocks, onto[..., None])[..., 0]
    of = problem.data.background_of.reshape(forms.shape[:2])
    photons = jnp.einsum("igpt,igt->igp", forms, jax.vmap(lambda v, i: v[i])(taken, of))
    return values - weight * photons.reshape(weight.shape)


def _model(problem: Problem, at: Unknowns):
    return lambda v: unjitted_expected(problem, Unknowns(v[0], v[1], at.background))


@eqx.filter_jit
def evaluate(problem: Problem, at: Unknowns) -> Point:
    """Objective, gradient and weights."""
    model, back = jax.vjp(_model(problem, at), (at.shared, at.own))
    data, loss, sides = problem.data, problem.loss, problem.layout
    terms = jnp.where(data.used, loss.terms(model, data.counts), 0.0)
    pull = jnp.where(data.used, loss.slope(model, data.counts), 0.0)
    weight = jnp.where(data.used, loss.curvature(model), 0.0)
    forms = _forms(problem, at)
    blocks, onto = _blocks(problem, forms, weight), _onto_backgrounds(problem, forms, pull)
    slope = back(_projected(problem, forms, weight, blocks, onto, pull))[0]
    own = jax.vmap(lambda i: sides.own.image(i).restraint_slope(at.own[i]))(jnp.arange(problem.num_images))
    gradient = slope[0] + sides.shared.restraint_slope(at.shared), slope[1] + own
    return Point(jnp.sum(terms) + restraints(problem, at), gradient, weight, blocks, onto)


@eqx.filter_jit
def product(problem: Problem, at: Unknowns, point: Point, v: Vector) -> tuple[Vector, Float[Array, "images b t"]]:
    """The reduced normal matrix times a vector, and the mixed block of backgrounds and parameters times it."""
    here, sides = (at.shared, at.own), problem.layout
    weighted = point.weight * jax.jvp(_model(problem, at), (here,), (v,))[1]
    forms = _forms(problem, at)
    onto = _onto_backgrounds(problem, forms, weighted)
    values = _projected(problem, forms, point.weight, point.blocks, onto, weighted)
    pulled = jax.vjp(_model(problem, at), here)[1](values)[0]
    own = jax.vmap(lambda i: sides.own.image(i).restraint_curvature(at.own[i]))(jnp.arange(problem.num_images))
    restrained = sides.shared.restraint_curvature(at.shared) * v[0], own * v[1]
    return jax.tree.map(jnp.add, pulled, restrained), onto


class Operator:
    """The reduced normal matrix at a point, for vectors joined over images, in NumPy."""

    def __init__(self, problem: Problem, at: Unknowns):
        self.problem, self.at = problem, at
        self.point = evaluate(problem, at)
        self.gradient = self._joined(self.point.gradient)

    def _joined(self, v: Vector) -> np.ndarray:
        return np.concatenate([np.asarray(v[0], float), np.asarray(v[1], float).reshape(-1)])

    def _split(self, v: np.ndarray) -> Vector:
        shared = self.problem.layout.shared.count
        dtype = self.problem.data.counts.dtype
        return jnp.asarray(v[:shared], dtype), jnp.asarray(apart(self.problem, v)[:, shared:], dtype)

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """The matrix times v."""
        return self._joined(product(self.problem, self.at, self.point, self._split(v))[0])

    def move(self, v: np.ndarray) -> Unknowns:
        """A step of the parameters with the step of the backgrounds that goes with it."""
        split = self._split(v)
        onto = self.point.behind + product(self.problem, self.at, self.point, split)[1]
        if onto.shape[-1]:
            onto = jnp.linalg.solve(self.point.blocks, onto[..., None])[..., 0]
        return Unknowns(*split, -onto)

    def diagonal(self, probes: int, seed: int, chosen: np.ndarray | None = None) -> np.ndarray:
        """The matrix's diagonal, estimated from random signs: exact where pixels see one parameter each.

        **Arguments:** `chosen`: True for the parameters wanted, None for all.
        """
        random = np.random.default_rng(seed)
        total = np.zeros(len(self.gradient))
        for _ in range(probes):
            signs = random.choice([-1.0, 1.0], len(total))
            if chosen is not None:
                signs = np.where(chosen, signs, 0.0)
            total += signs * self(signs) / probes
        return np.maximum(total, 0.0)

    def solve(self, vector, diagonal, damping: float, precondition, *, rtol=1e-3, turns=100) -> tuple[np.ndarray, int]:
        """(matrix + damping·diagonal)⁻¹ vector by preconditioned conjugate gradients, and how many turns it took."""
        found, rest = np.zeros_like(vector), vector.copy()
        direction = along = precondition(rest)
        size = wanted = float(rest @ along)
        for turn in range(turns):
            if size <= rtol**2 * wanted or size <= 0.0:
                return found, turn
            image = self(direction) + damping * diagonal * direction
            curvature = float(direction @ image)
            if curvature <= 0.0:
                return found, turn
            step = size / curvature
            found, rest = found + step * direction, rest - step * image
            along = precondition(rest)
            size, old = float(rest @ along), size
            direction = along + size / old * direction
        return found, turns
