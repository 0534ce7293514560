"""Levenberg–Marquardt for a batch of shots in one compiled program: damping, acceptance and end of each by itself."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from ..losses import AbstractLoss
from ..parameters.layout import ParameterVector
from .batch import Batch
from .equations import Equations, Judged, One, State, equations_at, judged
from .panel_groups import PanelGroups

_SMALLEST = 1e-13
"""Of the largest eigenvalue, below which a combination of parameters is not seen by the data."""
_FLAT_STEPS = 3
_MOST_DAMPING = 1e10


class Ends(NamedTuple):
    """Of each shot: where it ended, and how."""

    state: State
    objective: Float[Array, " shots"]
    distance: Float[Array, " shots"]
    """To the minimum, in standard uncertainties."""
    damping: Float[Array, " shots"]
    flat: Int[Array, " shots"]
    """Steps in a row that changed next to nothing."""
    steps: Int[Array, " shots"]
    covariance: Float[Array, "shots n n"]
    """Of x; what the data do not see has none."""
    factor_variance: Float[Array, "shots boxes"]
    """Of the boxes' factors, everything else being known but the background."""
    judged: Judged


class _Trace(NamedTuple):
    """What the loop carries for one shot."""

    state: State
    equations: Equations
    move: State
    promised: Array
    distance: Array
    damping: Array
    growth: Array
    flat: Array
    steps: Array
    done: Array


def ones_of(
    batch: Batch, used: Bool[Array, "shots boxes pixels"], loss: AbstractLoss, groups: PanelGroups | None = None
):
    """A function that makes one shot of a batch from its number's slices, and those slices, for `jax.vmap`."""
    vector = batch.vector

    def make(slices) -> One:
        varying, start, step, boxes, used = slices
        scaled = eqx.combine(varying, batch.common)
        own = ParameterVector(vector.parameters, vector.shapes, start, step)
        return One(scaled, own, boxes, used, batch.restraints, loss, groups)

    return make, (batch.varying, vector.start, vector.step, batch.boxes, used)


@eqx.filter_jit
def refine_batch(
    batch: Batch,
    start: State,
    used: Bool[Array, "shots boxes pixels"],
    loss: AbstractLoss,
    free_factors: bool,
    max_steps: Array,
    tolerance: Array,
) -> Ends:
    """Refine every shot of a batch.

    **Arguments:**

    - `batch`, `start`: the shots, and where they start;
    - `used`: pixels that count;
    - `loss`: of the pixels;
    - `free_factors`: whether each box has an intensity of its own, as where structure factors are not known;
    - `max_steps`, `tolerance`: when to end: so many steps, or that near to the minimum in standard uncertainties.
    """
    make, slices = ones_of(batch, used, loss)
    limits = batch.vector.step_limits()

    def stepped(part, trace: _Trace, limit: Array) -> _Trace:
        one = make(part)
        trial = _moved(trace.state, trace.move, limit)
        return _judge(trace, trial, equations_at(one, trial), free_factors, tolerance)

    def body(trace: _Trace) -> _Trace:
        new = jax.vmap(stepped)(slices, trace, limits)
        return jax.tree.map(lambda old, now: jnp.where(_like(trace.done, old), old, now), trace, new)

    def goes_on(trace: _Trace) -> Array:
        return jnp.any(~trace.done & (trace.steps <= max_steps))

    end = lax.while_loop(goes_on, body, _first(batch, start))
    covariance, factors = jax.vmap(lambda e: _uncertainties(e, free_factors))(end.equations)
    described = jax.vmap(lambda part, state: judged(make(part), state))(slices, end.state)
    counters = end.damping, end.flat, end.steps
    return Ends(end.state, end.equations.objective, end.distance, *counters, covariance, factors, described)


def _like(flag: Array, leaf: Array) -> Array:
    return flag.reshape(flag.shape + (1,) * (leaf.ndim - 1))


def _first(batch: Batch, start: State) -> _Trace:
    """A trace whose first step goes nowhere and is accepted: it makes the equations of the start."""
    shots, n = start.x.shape
    boxes, own = start.background.shape[1], start.background.shape[2] + 1
    dtype = start.x.dtype
    zeros = [(), (n,), (n, n), (boxes, own), (boxes, own, own), (boxes, own, n)]
    nothing = Equations(*(jnp.zeros((shots, *shape), dtype) for shape in zeros))
    nothing = nothing._replace(objective=jnp.full(shots, jnp.inf, dtype))
    still = jax.tree.map(jnp.zeros_like, start)
    number = jnp.zeros(shots, dtype)
    count = jnp.zeros(shots, jnp.int32)
    return _Trace(
        start, nothing, still, number, number, number + 1e-3, number + 2.0, count, count, jnp.zeros(shots, bool)
    )


def _moved(state: State, move: State, limit: Array) -> State:
    """A step, cut where it would go too far."""
    x = state.x + jnp.clip(move.x, -limit, limit)
    most = jnp.ones_like(state.background).at[:, 1:].set(0.3)
    background = state.background + jnp.clip(move.background, -most, most)
    return State(x, background, state.factor + move.factor)


def _judge(trace: _Trace, trial: State, found: Equations, free_factors: bool, tolerance: Array) -> _Trace:
    """The trace after a trial step of one shot."""
    decrease = trace.equations.objective - found.objective
    finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(v)) for v in found]))
    rounding = 10 * jnp.finfo(found.objective.dtype).eps
    first = trace.steps == 0
    accepted = finite & ((decrease > -rounding * jnp.abs(found.objective)) | first)
    ratio = jnp.where(trace.promised > 0, decrease / jnp.where(trace.promised > 0, trace.promised, 1.0), 1.0)
    eased = trace.damping * jnp.maximum(1.0 / 3.0, 1.0 - (2.0 * jnp.clip(ratio, -1.0, 3.0) - 1.0) ** 3)
    damping = jnp.where(accepted, jnp.maximum(eased, 1e-12), trace.damping * trace.growth)
    damping = jnp.where(first, trace.damping, damping)
    state = _choose(accepted, trial, trace.state)
    equations = _choose(accepted, found, trace.equations)
    flat = tolerance**2 + 1e-4 * state.x.size
    still = accepted & ~first & (decrease < flat) & (trace.damping < 1.0)
    count = jnp.where(still, trace.flat + 1, jnp.where(accepted, 0, trace.flat))
    move, promised = step_of(equations, damping, free_factors)
    _, full = step_of(equations, jnp.zeros_like(damping), free_factors)
    distance = jnp.sqrt(jnp.maximum(2.0 * full, 0.0))
    done = (distance < tolerance) | (count >= _FLAT_STEPS) | (damping > _MOST_DAMPING) | (first & ~finite)
    growth = jnp.where(accepted, 2.0, trace.growth * 2.0)
    return _Trace(state, equations, move, promised, distance, damping, growth, count, trace.steps + 1, done)


def _choose(flag: Array, yes, no):
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), yes, no)


def kept_of(equations: Equations, free_factors: bool) -> Equations:
    """Without the factors' columns, where they stay."""
    if free_factors:
        return equations
    own = equations.own_gradient[..., :-1], equations.own_matrix[..., :-1, :-1], equations.mixed[..., :-1, :]
    return equations._replace(own_gradient=own[0], own_matrix=own[1], mixed=own[2])


def _lift(diagonal: Array, damping: Array) -> Array:
    """What damping adds to a diagonal; 1 where nothing depends on the number, so that it stays where it is."""
    return jnp.where(diagonal > 0, diagonal * damping, 1.0)


def _diagonals(values: Float[Array, "boxes k"]) -> Float[Array, "boxes k k"]:
    """Diagonal matrices."""
    return values[:, :, None] * jnp.eye(values.shape[-1])[None]


def eliminated(equations: Equations, damping: Array) -> tuple[Array, Array, Array, Array]:
    """Gradient and matrix of a shot's parameters with what its boxes have eliminated, and what solves for that.

    **Returns** gradient (n,), matrix (n, n), block (boxes, k, k) and what damping added to it (boxes, k).
    """
    lift = _lift(jnp.einsum("gkk->gk", equations.own_matrix), damping)
    block = equations.own_matrix + _diagonals(lift)
    if not lift.shape[-1]:
        return equations.gradient, equations.matrix, block, lift
    sides = jnp.concatenate([equations.mixed, equations.own_gradient[..., None]], axis=-1)
    solved = jnp.linalg.solve(block, sides)
    gradient = equations.gradient - jnp.einsum("gkn,gk->n", equations.mixed, solved[..., -1])
    return gradient, equations.matrix - jnp.einsum("gkn,gkm->nm", equations.mixed, solved[..., :-1]), block, lift


def step_of(equations: Equations, damping: Array, free_factors: bool) -> tuple[State, Array]:
    """A damped step, and the decrease of the objective that it promises."""
    kept = kept_of(equations, free_factors)
    gradient, matrix, block, own_lift = eliminated(kept, damping)
    lift = _lift(jnp.diagonal(kept.matrix), damping)
    move = -inverse_of(matrix + jnp.diag(lift)) @ gradient
    own_slope = kept.own_gradient + jnp.einsum("gkn,n->gk", kept.mixed, move)
    own = -jnp.linalg.solve(block, own_slope[..., None])[..., 0] if own_slope.shape[-1] else own_slope
    gain = -jnp.sum(kept.gradient * move) - jnp.sum(kept.own_gradient * own)
    held = jnp.sum(lift * move**2) + jnp.sum(own_lift * own**2)
    boxes = own.shape[0]
    background, factor = (own[:, :-1], own[:, -1]) if free_factors else (own, jnp.zeros(boxes, own.dtype))
    return State(move, background, factor), 0.5 * (gain + held)


def inverse_of(matrix: Array) -> Array:
    """Of a symmetric matrix, its diagonal scaled to 1; combinations that the data do not see stay put."""
    scale = 1.0 / jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), 1e-300))
    scales = jnp.outer(scale, scale)
    values, vectors = jnp.linalg.eigh(matrix * scales)
    inverse = jnp.where(values > _SMALLEST * values[-1], 1.0 / jnp.where(values > 0, values, 1.0), 0.0)
    return (vectors * inverse[None]) @ vectors.T * scales


def _uncertainties(equations: Equations, free_factors: bool) -> tuple[Array, Array]:
    """Covariance of a shot's x, and variances of its boxes' factors with the shot's parameters known."""
    none = jnp.zeros(())
    _, matrix, _, _ = eliminated(kept_of(equations, free_factors), none)
    seen = jnp.diagonal(equations.matrix) > 0
    covariance = inverse_of(jnp.where(jnp.diag(~seen), 1.0, matrix))
    covariance = jnp.where(jnp.diag(~seen), jnp.inf, covariance)
    lift = _lift(jnp.einsum("gkk->gk", equations.own_matrix), none)
    inverse = jnp.linalg.inv(equations.own_matrix + _diagonals(lift))
    variance = jnp.where(equations.own_matrix[:, -1, -1] > 0, inverse[:, -1, -1], jnp.inf)
    return covariance, variance
