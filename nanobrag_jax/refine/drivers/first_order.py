"""First-order minimisation with an optax optimiser: for anything a gradient can move."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp

from ...errors import InputError
from ..model import Problem, Unknowns, value_and_grad
from .abstract import AbstractDriver, Ending, Iterate


@runtime_checkable
class Optimizer(Protocol):
    """What an optax gradient transformation is."""

    @property
    def init(self) -> Callable:
        """The optimiser's state for parameters."""
        ...

    @property
    def update(self) -> Callable:
        """Updates and the next state from a gradient, the state and the parameters."""
        ...


class OptimizerState(NamedTuple):
    """What the next step needs to know."""

    optimizer: Optimizer
    state: object
    start: Unknowns
    moved: Unknowns
    """From the start, in typical changes."""
    gradient: Unknowns
    record: tuple[float, ...]
    """Objectives of all steps."""


class FirstOrder(AbstractDriver[OptimizerState]):
    """Steps along the gradient, as an optax optimiser scales them; the best place seen is kept.

    Needs optax (the extra `refine`).

    **Arguments:** `optimizer`: an optax gradient transformation, None for Adam with a rate that decays along a cosine;
    `rate`: its first step, in typical changes of each parameter (`Parameter(scale=…)`); `max_steps`; `tolerance`: done
    when the objective decreased by less than this over the last `patience` steps; `report_every`: steps.
    """

    optimizer: Optimizer | None = eqx.field(static=True, default=None)
    rate: float = eqx.field(static=True, default=0.3)
    max_steps: int = eqx.field(static=True, default=300)
    tolerance: float = eqx.field(static=True, default=0.05)
    patience: int = eqx.field(static=True, default=20)
    report_every: int = eqx.field(static=True, default=10)

    def init(self, problem: Problem, start: Unknowns) -> Iterate[OptimizerState]:
        """The start.

        **Raises** `InputError` where optax is not installed.
        """
        optimizer = _adam(self.rate, self.max_steps) if self.optimizer is None else self.optimizer
        moved = jax.tree.map(jnp.zeros_like, start)
        value, gradient = value_and_grad(problem, start)
        memory = OptimizerState(optimizer, optimizer.init(moved), start, moved, gradient, (float(value),))
        return Iterate(start, float(value), memory, control=self.rate, ending=self._ending(memory.record))

    def step(self, problem: Problem, iterate: Iterate[OptimizerState]) -> Iterate[OptimizerState]:
        """One step along the gradient, whether it leads down or not."""
        old = iterate.memory
        moved, state, at = _updated(old.optimizer, old.gradient, old.state, old.moved, old.start)
        value, gradient = value_and_grad(problem, at)
        objective = float(value)
        better = math.isfinite(objective) and objective < iterate.objective
        best, lowest = (at, objective) if better else (iterate.unknowns, iterate.objective)
        memory = OptimizerState(old.optimizer, state, old.start, moved, gradient, (*old.record, objective))
        return Iterate(best, lowest, memory, math.nan, self.rate, better, self._ending(memory.record))

    def _ending(self, record: tuple[float, ...]) -> Ending | None:
        number, objective = len(record) - 1, record[-1]
        if not math.isfinite(objective):
            return Ending(False, f"the objective is not finite at step {number}")
        flat = number > self.patience and record[-1 - self.patience] - objective < self.tolerance
        if flat and objective <= min(record[-self.patience :]) + self.tolerance:
            reason = f"the objective decreased by less than {self.tolerance:g} in {self.patience} steps"
            return Ending(True, reason)
        return None


@eqx.filter_jit
def _updated(optimizer: Optimizer, gradient: Unknowns, state, moved: Unknowns, start: Unknowns):
    """Where the optimiser goes: typical changes, its state, and the point."""
    levels = Unknowns(
        jnp.ones_like(start.shared), jnp.ones_like(start.per_image), jnp.full_like(start.background, 0.1)
    )  # a typical change of a background is a tenth of its level
    updates, state = optimizer.update(jax.tree.map(jnp.multiply, gradient, levels), state, moved)
    moved = jax.tree.map(jnp.add, moved, updates)
    return moved, state, jax.tree.map(lambda a, s, m: a + s * m, start, levels, moved)


def _adam(rate: float, steps: int) -> Optimizer:
    try:
        import optax
    except ImportError:
        raise InputError("FirstOrder needs optax: install nanobrag_jax[refine]") from None
    return _made_once(optax.adam, optax.cosine_decay_schedule, rate, steps)


@functools.cache
def _made_once(adam: Callable, schedule: Callable, rate: float, steps: int) -> Optimizer:
    """One and the same optimiser for the same numbers, so that a second fit compiles nothing."""
    return adam(schedule(rate, steps))
