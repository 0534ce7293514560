"""What stage 2 needs of each shot: small blocks in which backgrounds are eliminated and intensities are not."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from ..losses import AbstractLoss
from .batch import Batch
from .driver import ones_of
from .equations import Equations, State, equations_at, judged

Numbers = Array | np.ndarray


class Blocks(NamedTuple):
    """Of each shot: n parameters, b boxes, t terms of a box's background, which is eliminated."""

    objective: Float[Numbers, " shots"]
    chi_square: Float[Numbers, " shots"]
    pixels: Float[Numbers, " shots"]
    gradient: Float[Numbers, "shots n"]
    matrix: Float[Numbers, "shots n n"]
    factor_gradient: Float[Numbers, "shots b"]
    factor_matrix: Float[Numbers, "shots b"]
    mixed: Float[Numbers, "shots b n"]
    background: Float[Numbers, "shots b t"]
    """How far the backgrounds go by themselves."""
    background_by_x: Float[Numbers, "shots b t n"]
    """And with the parameters."""
    background_by_factor: Float[Numbers, "shots b t"]
    """And with the factors."""

    def of_shot(self, number: int) -> "Blocks":
        """Those of one shot."""
        return Blocks(*(np.asarray(v)[number] for v in self))


@eqx.filter_jit
def blocks_at(batch: Batch, state: State, used: Bool[Array, "shots boxes pixels"], loss: AbstractLoss) -> Blocks:
    """The blocks of every shot of a batch."""
    make, slices = ones_of(batch, used, loss)

    def of_shot(part, state: State) -> Blocks:
        one = make(part)
        equations = equations_at(one, state)
        described = judged(one, state)
        return _blocks(equations, jnp.sum(described.chi_square), jnp.sum(described.pixels))

    return jax.vmap(of_shot)(slices, state)


def _blocks(equations: Equations, chi_square: Array, pixels: Array) -> Blocks:
    own, terms = equations.own_matrix, equations.own_matrix.shape[-1] - 1
    diagonal = jnp.einsum("gkk->gk", own)[:, :terms]
    block = own[:, :terms, :terms] + jnp.where(diagonal > 0, 0.0, 1.0)[:, :, None] * jnp.eye(terms)[None]
    gradient, by_factor = equations.own_gradient[:, :terms], own[:, :terms, terms]
    mixed, factor_mixed = equations.mixed[:, :terms], equations.mixed[:, terms]
    sides = jnp.concatenate([mixed, gradient[..., None], by_factor[..., None]], axis=-1)
    solved = jnp.linalg.solve(block, sides) if terms else sides
    by_x, alone, with_factor = solved[..., :-2], solved[..., -2], solved[..., -1]
    return Blocks(
        equations.objective,
        chi_square,
        pixels,
        equations.gradient - jnp.einsum("gtn,gt->n", mixed, alone),
        equations.matrix - jnp.einsum("gtn,gtm->nm", mixed, by_x),
        equations.own_gradient[:, terms] - jnp.einsum("gt,gt->g", by_factor, alone),
        own[:, terms, terms] - jnp.einsum("gt,gt->g", by_factor, with_factor),
        factor_mixed - jnp.einsum("gt,gtn->gn", by_factor, by_x),
        -alone,
        -by_x,
        -with_factor,
    )
