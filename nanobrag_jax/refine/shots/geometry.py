"""Geometry: motions of panel groups that all shots share, refined with each shot's own parameters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ...errors import InputError
from ...experiment import Experiment
from ..losses import AbstractLoss, Poisson
from ..parameters.parameter import Parameter
from ..shot import Shot
from .batch import Batch, BatchSize, batch_size, make_batch
from .driver import eliminated, inverse_of, kept_of, ones_of
from .equations import Equations, State, equations_at
from .fit import start_of
from .panel_groups import PanelGroups, panel_groups

Say = Callable[[str], None]
_FIRST_DAMPING = 1e-2
_MOST_DAMPING = 1e6


@dataclass(frozen=True)
class Geometry:
    """Where the panel groups are."""

    groups: PanelGroups
    motions: Float[np.ndarray, "groups 6"]
    """Rotation vector (radians) about the group's centre, and shift (mm), from where the groups were."""
    uncertainties: Float[np.ndarray, "groups 6"]
    """Everything else being free, too."""
    shots: list[Shot]
    """With refined experiments, detector and own parameters."""
    history: list[float] = field(default_factory=list)
    """The objective after each cycle."""
    converged: bool = False

    @property
    def verdict(self) -> str:
        """One line."""
        ended = "converged" if self.converged else "not converged"
        shift, turn = np.abs(self.motions[:, 3:]).max() * 1e3, np.degrees(np.abs(self.motions[:, :3]).max())
        return (
            f"{ended} after {len(self.history)} cycles: {self.groups.count} groups of panels moved by up to "
            f"{shift:.3g} µm and {turn:.3g}°, from {len(self.shots)} shots"
        )


def refine_geometry(
    shots: Sequence[Shot],
    parameters: Sequence[Parameter],
    *,
    groups: Sequence[int] | None = None,
    sigma_mm: float = 0.5,
    sigma_deg: float = 0.5,
    free_factors: bool = False,
    loss: AbstractLoss | None = None,
    max_cycles: int = 30,
    tolerance: float = 0.05,
    size: BatchSize | None = None,
    say: Say = lambda line: None,
) -> Geometry:
    """Where panels are, from all shots together.

    **Arguments:**

    - `shots`: refined ones, all with the same detector;
    - `parameters`: what is refined of each shot besides;
    - `groups`: number of each panel's group, None for each panel by itself;
    - `sigma_mm`, `sigma_deg`: of the restraints of shifts and rotations to zero, which hold what no spot sees, and what
      the crystals' orientations make up for: a turn of all panels about the beam;
    - `free_factors`: whether each box has an intensity of its own;
    - `loss`: `Poisson()` unless given;
    - `max_cycles`, `tolerance`: when to end: so many cycles, or a gain of the objective below the tolerance;
    - `size`: of the batches;
    - `say`: told of every cycle.

    **Raises** `InputError` for shots whose detectors differ, and what does not fit.
    """
    size = batch_size(shots) if size is None else size
    if size.own_detectors:
        raise InputError("geometry needs shots that share one detector")
    if not (sigma_mm > 0 and sigma_deg > 0):
        raise InputError(f"sigma_mm and sigma_deg must be positive, got {sigma_mm:g} and {sigma_deg:g}")
    moving = panel_groups(shots[0].experiment.detector, groups)
    parts = [shots[k : k + size.shots] for k in range(0, len(shots), size.shots)]
    batches = [make_batch(part, parameters, size) for part in parts]
    counts = [len(part) for part in parts]
    prior = np.tile(np.r_[[np.radians(sigma_deg)] * 3, [sigma_mm] * 3], moving.count)
    loop = _Loop(batches, counts, moving, Poisson() if loss is None else loss, free_factors, 1.0 / prior**2)
    states, motions = [start_of(batch) for batch in batches], np.zeros(len(prior))
    here, history, converged, damping = loop.at(states, motions), [], False, _FIRST_DAMPING
    history.append(here.objective)
    for cycle in range(max_cycles):
        step, moved = loop.step(here, states, motions, damping)
        trial = loop.at(moved, motions + step)
        gain = here.objective - trial.objective
        if np.isfinite(trial.objective) and gain > -1e-9 * abs(here.objective):
            states, motions, here = moved, motions + step, trial
            history.append(here.objective)
            damping = max(damping / 10, 1e-9)
            say(f"cycle {cycle + 1}: objective {here.objective:.6g}")
        else:
            damping *= 10
        if (0 <= gain or damping > 1e2) and abs(gain) < tolerance:
            converged = True
            break
        if damping > _MOST_DAMPING:
            break
    sigma = np.sqrt(np.diag(loop.covariance(here)))
    shape = (moving.count, 6)
    refined = []
    for batch, state, part in zip(batches, states, parts, strict=True):
        made = jax.tree.map(np.asarray, _experiments(batch, state, moving, jnp.asarray(motions)))
        for row, shot in enumerate(part):
            experiment: Experiment = jax.tree.map(lambda leaf, row=row: jnp.asarray(leaf[row]), made)
            refined.append(replace(shot, experiment=experiment))
    shared = refined[0].experiment.detector
    refined = [replace(s, experiment=eqx.tree_at(lambda e: e.detector, s.experiment, shared)) for s in refined]
    return Geometry(moving, motions.reshape(shape), sigma.reshape(shape), refined, history, converged)


@dataclass(frozen=True)
class _Point:
    """The equations of all batches at a point."""

    objective: float
    equations: list[Equations]


@dataclass(frozen=True)
class _Loop:
    """What does not change from cycle to cycle."""

    batches: list[Batch]
    counts: list[int]
    groups: PanelGroups
    loss: AbstractLoss
    free_factors: bool
    weight: Float[np.ndarray, " motions"]
    """1/σ² of each motion's restraint."""

    def at(self, states: Sequence[State], motions: np.ndarray) -> _Point:
        """The equations at a point."""
        found, total = [], 0.5 * float(np.sum(self.weight * motions**2))
        for batch, state, count in zip(self.batches, states, self.counts, strict=True):
            found.append(_equations(batch, state, self.loss, self.groups, jnp.asarray(motions)))
            total += float(np.sum(np.asarray(found[-1].objective)[:count]))
        return _Point(total, found)

    def step(
        self, here: _Point, states: Sequence[State], motions: np.ndarray, damping: float
    ) -> tuple[np.ndarray, list[State]]:
        """The step of the motions, and the states of the shots after it."""
        gradient, matrix = self._sums(here, damping)
        gradient, matrix = gradient + self.weight * motions, matrix + np.diag(self.weight)
        lifted = matrix + np.diag(damping * np.maximum(np.diag(matrix), 0.0))
        step = -np.asarray(inverse_of(jnp.asarray(lifted))) @ gradient
        moved = []
        for batch, state, equations in zip(self.batches, states, here.equations, strict=True):
            limits = batch.vector.step_limits()
            there = _shot_moves(equations, jnp.asarray(damping), jnp.asarray(step), self.free_factors)
            x = state.x + jnp.clip(there.x, -limits, limits)
            most = jnp.ones_like(state.background).at[..., 1:].set(0.3)
            background = state.background + jnp.clip(there.background, -most, most)
            moved.append(State(x, background, state.factor + there.factor))
        return step, moved

    def _sums(self, here: _Point, damping: float) -> tuple[np.ndarray, np.ndarray]:
        parts = [
            [np.asarray(v)[:count].sum(axis=0) for v in _shared(equations, jnp.asarray(damping), self)]
            for equations, count in zip(here.equations, self.counts, strict=True)
        ]
        return np.sum([p[0] for p in parts], axis=0), np.sum([p[1] for p in parts], axis=0)

    def covariance(self, here: _Point) -> np.ndarray:
        """Of the motions."""
        _, matrix = self._sums(here, 0.0)
        return np.asarray(inverse_of(jnp.asarray(matrix + np.diag(self.weight))))


@eqx.filter_jit
def _equations(batch: Batch, state: State, loss: AbstractLoss, groups: PanelGroups, motions: Array) -> Equations:
    """The equations of shots by their own parameters and the motions, which come last."""
    make, slices = ones_of(batch, batch.boxes.used, loss, groups)

    def of_shot(part, state: State) -> Equations:
        x = jnp.concatenate([state.x, motions])
        return equations_at(make(part), State(x, state.background, state.factor))

    return jax.vmap(of_shot)(slices, state)


def _shared(equations: Equations, damping: Array, loop: _Loop) -> tuple[Array, Array]:
    """Gradient and matrix of the motions with all else of each shot eliminated."""
    return _shared_by_shot(equations, damping, len(loop.weight), loop.free_factors)


@eqx.filter_jit
def _shared_by_shot(equations: Equations, damping: Array, count: int, free_factors: bool) -> tuple[Array, Array]:
    def of_shot(equations: Equations) -> tuple[Array, Array]:
        gradient, matrix, inverse, own = _split(equations, damping, count, free_factors)
        across = matrix[:own, own:]
        solved = inverse @ jnp.concatenate([across, gradient[:own, None]], axis=1)
        return gradient[own:] - across.T @ solved[:, -1], matrix[own:, own:] - across.T @ solved[:, :-1]

    return jax.vmap(of_shot)(equations)


def _split(equations: Equations, damping: Array, count: int, free_factors: bool) -> tuple[Array, Array, Array, int]:
    """Gradient and matrix without what boxes have, the inverse of the shot's own part, and how many are its own."""
    kept = kept_of(equations, free_factors)
    gradient, matrix, _, _ = eliminated(kept, damping)
    own = gradient.shape[0] - count
    diagonal = jnp.diagonal(kept.matrix)[:own]
    lifted = matrix[:own, :own] + jnp.diag(jnp.where(diagonal > 0, damping * diagonal, 1.0))
    return gradient, matrix, inverse_of(lifted), own


@eqx.filter_jit
def _shot_moves(equations: Equations, damping: Array, step: Array, free_factors: bool) -> State:
    """The steps of shots that follow from that of the motions."""

    def of_shot(equations: Equations) -> State:
        kept = kept_of(equations, free_factors)
        gradient, matrix, inverse, own = _split(equations, damping, step.shape[0], free_factors)
        move = -inverse @ (gradient[:own] + matrix[:own, own:] @ step)
        _, _, block, _ = eliminated(kept, damping)
        slope = kept.own_gradient + jnp.einsum("gkn,n->gk", kept.mixed, jnp.concatenate([move, step]))
        of_boxes = -jnp.linalg.solve(block, slope[..., None])[..., 0] if slope.shape[-1] else slope
        if free_factors:
            return State(move, of_boxes[:, :-1], of_boxes[:, -1])
        return State(move, of_boxes, jnp.zeros(of_boxes.shape[0]))

    return jax.vmap(of_shot)(equations)


@eqx.filter_jit
def _experiments(batch: Batch, state: State, groups: PanelGroups, motions: Array) -> Experiment:
    """Refined experiments, with a leading axis of shots; scales are multiplied into fluences."""
    make, slices = ones_of(batch, batch.boxes.used, Poisson(), groups)

    def of_shot(part, x: Array) -> Experiment:
        scaled = make(part).experiment(jnp.concatenate([x, motions]))
        fluence = scaled.experiment.beam.fluence_per_m2 * scaled.scale
        return eqx.tree_at(lambda e: e.beam.fluence_per_m2, scaled.experiment, fluence)

    return jax.vmap(of_shot)(slices, state.x)
