"""Levenberg–Marquardt with expected weights (Fisher scoring), with a dense matrix or by conjugate gradients."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np

from ..errors import InputError
from .arrow import Arrow, few_numbers
from .equations import Matrices, as_numpy, damped_step, distance_to_minimum
from .model import Problem, Unknowns, limits, normal_equations
from .products import Operator
from .progress import Report, Step

INSIGNIFICANT = 0.1
"""An increase of the objective (a logarithm of likelihood) that a step which halves the distance may make.

The objective is not quite continuous: where a pixel changes from one reflection to its neighbour it jumps a little.
"""
MOST_DENSE = 1000
"""Parameters of an image up to which each may have a derivative of the image of its own."""
MOST_COLUMNS = 200
"""Up to so many parameters beside the many are put into the preconditioner in full."""
MANY_TURNS = 40
"""A preconditioner that needs more turns than this is made anew."""


class Outcome(NamedTuple):
    """Where a driver ended."""

    unknowns: Unknowns
    normal: Matrices | None
    history: list[Step]
    converged: bool
    reason: str


class LevenbergMarquardt(eqx.Module):
    """Damped Gauss–Newton steps on all parameters together, for up to some hundred of them.

    **Arguments:** `max_steps`; `tolerance`: done when the minimum is estimated to be this many standard uncertainties
    away; `damping`: at the start, relative to the normal matrix's diagonal.

    A step is accepted if the objective decreases; the damping follows the ratio of the decrease to the promised one
    (H. B. Nielsen, IMM-REP-1999-05, Technical University of Denmark).
    """

    max_steps: int = eqx.field(static=True, default=100)
    tolerance: float = eqx.field(static=True, default=0.01)
    damping: float = eqx.field(static=True, default=1e-2)

    def run(self, problem: Problem, start: Unknowns, report: Report) -> Outcome:
        """Minimise. **Raises** `InputError` for more parameters than a full matrix is made for."""
        columns = problem.layout.shared.count + problem.layout.own.count
        if columns > MOST_DENSE:
            raise InputError(f"{columns} parameters are too many for LevenbergMarquardt: use ConjugateGradients")
        return _descend(self, problem, start, report, lambda at: _Dense(problem, at))


class ConjugateGradients(eqx.Module):
    """The same steps found by conjugate gradients, without the matrix: for thousands of parameters, such as F(hkl).

    **Arguments:** as for `LevenbergMarquardt`; `probes`, `seed`: number and seed of the random signs that estimate the
    matrix's diagonal.
    """

    max_steps: int = eqx.field(static=True, default=50)
    tolerance: float = eqx.field(static=True, default=0.1)
    damping: float = eqx.field(static=True, default=1e-2)
    probes: int = eqx.field(static=True, default=4)
    seed: int = eqx.field(static=True, default=1)

    def run(self, problem: Problem, start: Unknowns, report: Report) -> Outcome:
        """Minimise."""
        known: list[Arrow] = []
        few = few_numbers(problem)
        if len(few) > MOST_COLUMNS:
            few = few[:0]

        def arrow(operator: Operator, renew: bool = False) -> Arrow:
            if renew or not known:
                known[:] = [Arrow(operator, few, self.probes, self.seed)]
            return known[0]

        return _descend(self, problem, start, report, lambda at: _MatrixFree(problem, at, arrow))


class _Dense:
    """The equations at a point as matrices."""

    def __init__(self, problem: Problem, at: Unknowns):
        self.problem = problem
        self.normal = as_numpy(normal_equations(problem, at))
        self.objective = float(self.normal.objective)
        self.finite = all(bool(np.isfinite(v).all()) for v in self.normal)

    def step(self, damping: float) -> tuple[Unknowns, float]:
        """A step and the decrease it promises."""
        return damped_step(self.problem, self.normal, damping)

    def distance(self, damping: float) -> float:
        """To the minimum, in standard uncertainties."""
        return distance_to_minimum(self.problem, self.normal)


class _MatrixFree:
    """The equations at a point as products; a solution is kept for the step that follows its distance."""

    normal = None

    def __init__(self, problem: Problem, at: Unknowns, arrow: Callable[..., Arrow]):
        self.operator, self.arrow = Operator(problem, at), arrow
        self.objective = float(self.operator.point.objective)
        self.finite = bool(np.isfinite(self.objective) and np.isfinite(self.operator.gradient).all())
        self.solved: tuple[float, np.ndarray] | None = None

    def _move(self, damping: float) -> np.ndarray:
        """A damped step; the arrow of an earlier point preconditions until it takes too many turns."""
        if self.solved is None or self.solved[0] != damping:
            downhill = -self.operator.gradient
            for renew in (False, True):
                arrow = self.arrow(self.operator, renew)
                move, turns = self.operator.solve(downhill, arrow.floor, damping, arrow.preconditioner(damping))
                if turns < MANY_TURNS:
                    break
            self.solved = damping, move
        return self.solved[1]

    def step(self, damping: float) -> tuple[Unknowns, float]:
        """A step and the decrease it promises."""
        move = self._move(damping)
        held = damping * np.sum(self.arrow(self.operator).floor * move**2)
        return self.operator.move(move), float(0.5 * (-self.operator.gradient @ move + held))

    def distance(self, damping: float) -> float:
        """To the minimum, in standard uncertainties, judged from the damped step."""
        return float(np.sqrt(max(-self.operator.gradient @ self._move(damping), 0.0) * (1.0 + damping)))


def _descend(
    settings: LevenbergMarquardt | ConjugateGradients,
    problem: Problem,
    start: Unknowns,
    report: Report,
    look: Callable[[Unknowns], "_Dense | _MatrixFree"],
) -> Outcome:
    """The loop: `look` finds the equations at a point."""
    began = time.perf_counter()
    at, damping, growth = start, settings.damping, 2.0
    rounding = float(np.finfo(problem.data.counts.dtype).eps)
    most = limits(problem)
    here = look(at)
    distance = here.distance(damping) if here.finite else math.nan
    history: list[Step] = []
    flat, flatness = 0, settings.tolerance**2 + 1e-4 * (at.shared.size + at.own.size)

    def tell(number: int, accepted: bool) -> None:
        history.append(Step(number, here.objective, distance, damping, accepted, time.perf_counter() - began))
        report(history[-1])

    def end(converged: bool, reason: str) -> Outcome:
        return Outcome(at, here.normal, history, converged, reason)

    tell(0, True)
    if not here.finite:
        return end(False, "the objective is not finite at the start")
    for number in range(1, settings.max_steps + 1):
        if distance < settings.tolerance:
            return end(True, f"the minimum is within {settings.tolerance:g} sigma")
        if flat >= 3:
            return end(True, f"the objective stays the same, though the minimum may be {distance:.2g} sigma away")
        move, promised = here.step(damping)
        trial = jax.tree.map(lambda a, b, m: a + np.clip(b, -m, m), at, move, most)
        found = look(trial)
        decrease = here.objective - found.objective
        accepted = found.finite and decrease > -rounding * abs(here.objective)
        if found.finite and not accepted and decrease > -INSIGNIFICANT and distance < 1.0:
            accepted = found.distance(damping) < 0.5 * distance
            promised = decrease = max(promised, 0.0) if accepted else decrease
        if accepted:
            ratio = decrease / promised if promised > 0 else 1.0
            flat = flat + 1 if decrease < flatness and damping < 1.0 else 0
            damping = max(damping * max(1.0 / 3.0, 1.0 - (2.0 * ratio - 1.0) ** 3), 1e-12)
            at, here, growth = trial, found, 2.0
            distance = here.distance(damping)
        else:
            damping, growth = damping * growth, growth * 2.0
        tell(number, accepted)
        if damping > 1e12:
            return end(False, f"no step leads down, {distance:.2g} sigma from where the minimum seems to be")
    if distance < settings.tolerance:
        return end(True, f"the minimum is within {settings.tolerance:g} sigma")
    return end(False, f"{settings.max_steps} steps were not enough: the minimum is {distance:.2g} sigma away")
