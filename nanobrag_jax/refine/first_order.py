"""First-order minimisation with an optax optimiser: for anything a gradient can move."""

import math
import time
from typing import Any

import equinox as eqx
import jax

from ..errors import InputError
from .levenberg import Outcome
from .model import Problem, Unknowns, value_and_grad
from .progress import Report, Step


class FirstOrder(eqx.Module):
    """Steps along the gradient, as an optax optimiser scales them.

    **Arguments:** `optimizer`: an optax gradient transformation, None for Adam with a rate that decays along a cosine;
    `rate`: its first step, in typical changes of each parameter (`Parameter(scale=…)`); `max_steps`; `tolerance`: done
    when the objective decreased by less than this over the last `patience` steps; `report_every`: steps.

    Needs optax (the extra `refine`).
    """

    optimizer: Any = eqx.field(static=True, default=None)
    rate: float = eqx.field(static=True, default=0.3)
    max_steps: int = eqx.field(static=True, default=300)
    tolerance: float = eqx.field(static=True, default=0.05)
    patience: int = eqx.field(static=True, default=20)
    report_every: int = eqx.field(static=True, default=10)

    def run(self, problem: Problem, start: Unknowns, report: Report) -> Outcome:
        """Minimise; the best place seen is kept."""
        optax = _optax()
        optimizer = self.optimizer
        if optimizer is None:
            optimizer = optax.adam(optax.cosine_decay_schedule(self.rate, self.max_steps))
        levels = _background_levels(start)
        began, history = time.perf_counter(), []
        moved = jax.tree.map(lambda v: v * 0.0, start)
        state = optimizer.init(moved)
        at, best, lowest = start, start, math.inf
        record: list[float] = []
        reason, converged = f"{self.max_steps} steps were not enough", False

        @jax.jit
        def update(gradient, state, moved):
            scaled = jax.tree.map(lambda g, s: g * s, gradient, levels)
            steps, state = optimizer.update(scaled, state, moved)
            moved = optax.apply_updates(moved, steps)
            return moved, state, jax.tree.map(lambda a, s, m: a + s * m, start, levels, moved)

        for number in range(self.max_steps + 1):
            value, gradient = value_and_grad(problem, at)
            objective = float(value)
            record.append(objective)
            if math.isfinite(objective) and objective < lowest:
                best, lowest = at, objective
            if not math.isfinite(objective):
                reason = f"the objective is not finite at step {number}"
                break
            done = number > self.patience and record[-1 - self.patience] - objective < self.tolerance
            done = done and objective <= min(record[-self.patience :]) + self.tolerance
            if number % self.report_every == 0 or done or number == self.max_steps:
                history.append(Step(number, objective, math.nan, self.rate, True, time.perf_counter() - began))
                report(history[-1])
            if done:
                reason = f"the objective decreased by less than {self.tolerance:g} in {self.patience} steps"
                converged = True
                break
            moved, state, at = update(gradient, state, moved)
        if not history or history[-1].objective != lowest:
            history.append(Step(len(record) - 1, lowest, math.nan, self.rate, True, time.perf_counter() - began))
        return Outcome(best, None, history, converged, reason)


def _background_levels(start: Unknowns) -> Unknowns:
    """Typical changes: 1 for parameters, a tenth of the level for a background."""
    ones = jax.tree.map(lambda v: v * 0.0 + 1.0, start)
    return Unknowns(ones.shared, ones.own, ones.background * 0.1)


def _optax():
    try:
        import optax
    except ImportError:
        raise InputError("FirstOrder needs optax: install nanobrag_jax[refine]") from None
    return optax
