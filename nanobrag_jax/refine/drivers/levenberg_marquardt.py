"""Levenberg–Marquardt with expected weights (Fisher scoring), with a dense matrix or by conjugate gradients."""

import abc
import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...errors import InputError
from ..model import Problem, Unknowns, step_limits
from ..normal_equations.arrowhead import Arrowhead, coupled_parameters
from ..normal_equations.equations import NormalEquations, normal_equations_at
from ..normal_equations.operator import NormalOperator
from ..normal_equations.solve import damped_step, distance_to_minimum
from .abstract import AbstractDriver, Ending, Iterate

INSIGNIFICANT = 0.1
"""An increase of the objective (a logarithm of likelihood) that a step which halves the distance may make.

The objective is not quite continuous: where a pixel changes from one reflection to its neighbour it jumps a little.
"""
MOST_DENSE = 1000
"""Parameters of an image up to which each may have a derivative of the image of its own."""
MOST_COLUMNS = 200
"""Up to so many parameters beside the many are put into the preconditioner in full."""
MANY_ITERATIONS = 40
"""A preconditioner that needs more iterations than this is made anew."""


class AbstractLinearization(abc.ABC):
    """The model linearised at a point: the objective there, and what its normal equations promise."""

    objective: float
    finite: bool
    equations: NormalEquations | None

    @abc.abstractmethod
    def step(self, damping: float) -> tuple[Unknowns, float]:
        """A step and the decrease it promises."""

    @abc.abstractmethod
    def distance(self, damping: float) -> float:
        """To the minimum, in standard uncertainties."""


class DenseLinearization(AbstractLinearization):
    """With the normal equations as matrices."""

    equations: NormalEquations

    def __init__(self, problem: Problem, at: Unknowns):
        self.layout = problem.layout
        self.equations = normal_equations_at(problem, at)
        self.objective = float(self.equations.objective)
        *matrices, _ = self.equations
        self.finite = all(bool(np.isfinite(v).all()) for v in matrices)

    def step(self, damping: float) -> tuple[Unknowns, float]:
        """A step and the decrease it promises."""
        return damped_step(self.layout, self.equations, damping)

    def distance(self, damping: float) -> float:
        """To the minimum, in standard uncertainties."""
        return distance_to_minimum(self.layout, self.equations)


class MatrixFreeLinearization(AbstractLinearization):
    """With the normal equations as products; a solution is kept for the step that follows its distance.

    **Arguments:** `make_arrowhead`: for a preconditioner; `arrowhead`: of an earlier point, used for as long as it
    serves.
    """

    equations = None

    def __init__(
        self,
        problem: Problem,
        at: Unknowns,
        make_arrowhead: Callable[[NormalOperator], Arrowhead],
        arrowhead: Arrowhead | None,
    ):
        self.operator, self.make_arrowhead, self._arrowhead = NormalOperator(problem, at), make_arrowhead, arrowhead
        self.objective = float(self.operator.weights.objective)
        self.finite = bool(np.isfinite(self.objective) and np.isfinite(self.operator.gradient).all())
        self._solved: tuple[float, np.ndarray] | None = None

    @property
    def arrowhead(self) -> Arrowhead:
        """The preconditioner in use."""
        if self._arrowhead is None:
            self._arrowhead = self.make_arrowhead(self.operator)
        return self._arrowhead

    def _move(self, damping: float) -> np.ndarray:
        """A damped step; an arrowhead that takes too many iterations is made anew."""
        if self._solved is None or self._solved[0] != damping:
            move, iterations = self._solve(damping)
            if iterations >= MANY_ITERATIONS:
                self._arrowhead = self.make_arrowhead(self.operator)
                move, _ = self._solve(damping)
            self._solved = damping, move
        return self._solved[1]

    def _solve(self, damping: float) -> tuple[np.ndarray, int]:
        downhill, precondition = -self.operator.gradient, self.arrowhead.preconditioner(damping)
        return self.operator.solve(downhill, self.arrowhead.safe_diagonal, damping, precondition)

    def step(self, damping: float) -> tuple[Unknowns, float]:
        """A step and the decrease it promises."""
        move = self._move(damping)
        held = damping * np.sum(self.arrowhead.safe_diagonal * move**2)
        return self.operator.move(move), float(0.5 * (-self.operator.gradient @ move + held))

    def distance(self, damping: float) -> float:
        """To the minimum, in standard uncertainties, judged from the damped step."""
        return float(np.sqrt(max(-self.operator.gradient @ self._move(damping), 0.0) * (1.0 + damping)))


class DampingState(NamedTuple):
    """What the next damped step needs to know."""

    here: AbstractLinearization
    damping: float
    growth: float
    """Factor of the damping at the next rejection."""
    flat_steps: int
    """Accepted steps in a row that left the objective as it was."""
    limits: Unknowns
    """How far one step may go."""


class LevenbergMarquardt(AbstractDriver[DampingState]):
    """Damped Gauss–Newton steps on all parameters together, for up to some hundred of them.

    A step is accepted if the objective decreases; the damping follows the ratio of the decrease to the promised one
    (H. B. Nielsen, IMM-REP-1999-05, Technical University of Denmark).

    **Arguments:** `max_steps`; `tolerance`: done when the minimum is estimated to be this many standard uncertainties
    away; `damping`: at the start, relative to the normal matrix's diagonal; `report_every`: steps.
    """

    max_steps: int = eqx.field(static=True, default=100)
    tolerance: float = eqx.field(static=True, default=0.01)
    damping: float = eqx.field(static=True, default=1e-2)
    report_every: int = eqx.field(static=True, default=1)

    def init(self, problem: Problem, start: Unknowns) -> Iterate[DampingState]:
        """The start.

        **Raises** `InputError` for more parameters than a full matrix is made for.
        """
        columns = problem.layout.num_per_image
        if columns > MOST_DENSE:
            raise InputError(f"{columns} parameters are too many for LevenbergMarquardt: use ConjugateGradients")
        return _started(DenseLinearization(problem, start), problem, start, self.damping, self.tolerance)

    def step(self, problem: Problem, iterate: Iterate[DampingState]) -> Iterate[DampingState]:
        """One damped step, accepted or not."""
        return _stepped(lambda at: DenseLinearization(problem, at), problem, iterate, self.tolerance)


class ConjugateGradients(AbstractDriver[DampingState]):
    """The same steps found by conjugate gradients, without the matrix: for thousands of parameters, such as F(hkl).

    **Arguments:** as for `LevenbergMarquardt`; `probes`, `seed`: number and seed of the random signs that estimate the
    matrix's diagonal.
    """

    max_steps: int = eqx.field(static=True, default=50)
    tolerance: float = eqx.field(static=True, default=0.1)
    damping: float = eqx.field(static=True, default=1e-2)
    probes: int = eqx.field(static=True, default=4)
    seed: int = eqx.field(static=True, default=1)
    report_every: int = eqx.field(static=True, default=1)

    def _linearized(
        self, problem: Problem, at: Unknowns, before: AbstractLinearization | None
    ) -> MatrixFreeLinearization:
        def make_arrowhead(operator: NormalOperator) -> Arrowhead:
            coupled = coupled_parameters(problem.layout)
            return Arrowhead(operator, coupled if len(coupled) <= MOST_COLUMNS else coupled[:0], self.probes, self.seed)

        known = before.arrowhead if isinstance(before, MatrixFreeLinearization) else None
        return MatrixFreeLinearization(problem, at, make_arrowhead, known)

    def init(self, problem: Problem, start: Unknowns) -> Iterate[DampingState]:
        """The start."""
        return _started(self._linearized(problem, start, None), problem, start, self.damping, self.tolerance)

    def step(self, problem: Problem, iterate: Iterate[DampingState]) -> Iterate[DampingState]:
        """One damped step, accepted or not."""
        before = iterate.memory.here
        return _stepped(lambda at: self._linearized(problem, at, before), problem, iterate, self.tolerance)


def _started(
    here: AbstractLinearization, problem: Problem, start: Unknowns, damping: float, tolerance: float
) -> Iterate[DampingState]:
    memory = DampingState(here, damping, 2.0, 0, step_limits(problem))
    if not here.finite:
        ending = Ending(False, "the objective is not finite at the start")
        return Iterate(start, here.objective, memory, math.nan, damping, True, ending, here.equations)
    distance = here.distance(damping)
    ending = _ending(distance, tolerance, memory)
    return Iterate(start, here.objective, memory, distance, damping, True, ending, here.equations)


def _ending(distance: float, tolerance: float, memory: DampingState) -> Ending | None:
    if memory.damping > 1e12:
        return Ending(False, f"no step leads down, {distance:.2g} sigma from where the minimum seems to be")
    if distance < tolerance:
        return Ending(True, f"the minimum is within {tolerance:g} sigma")
    if memory.flat_steps >= 3:
        return Ending(True, f"the objective stays the same, though the minimum may be {distance:.2g} sigma away")
    return None


@jax.jit
def _moved(at: Unknowns, move: Unknowns, limits: Unknowns) -> Unknowns:
    return jax.tree.map(lambda a, b, most: a + jnp.clip(b, -most, most), at, move, limits)


def _stepped(
    linearize: Callable[[Unknowns], AbstractLinearization],
    problem: Problem,
    iterate: Iterate[DampingState],
    tolerance: float,
) -> Iterate[DampingState]:
    """A trial, and the damping that follows from it."""
    here, damping, growth, flat_steps, limits = iterate.memory
    at, distance = iterate.unknowns, iterate.distance
    move, promised = here.step(damping)
    trial = _moved(at, move, limits)
    found = linearize(trial)
    decrease = here.objective - found.objective
    rounding = float(np.finfo(problem.data.counts.dtype).eps)
    accepted = found.finite and decrease > -rounding * abs(here.objective)
    if found.finite and not accepted and decrease > -INSIGNIFICANT and distance < 1.0:
        accepted = found.distance(damping) < 0.5 * distance
        promised = decrease = max(promised, 0.0) if accepted else decrease
    if accepted:
        ratio = decrease / promised if promised > 0 else 1.0
        flat = tolerance**2 + 1e-4 * (at.shared.size + at.per_image.size)
        flat_steps = flat_steps + 1 if decrease < flat and damping < 1.0 else 0
        damping = max(damping * max(1.0 / 3.0, 1.0 - (2.0 * ratio - 1.0) ** 3), 1e-12)
        at, here, growth = trial, found, 2.0
        distance = here.distance(damping)
    else:
        damping, growth = damping * growth, growth * 2.0
    memory = DampingState(here, damping, growth, flat_steps, limits)
    ending = _ending(distance, tolerance, memory)
    return Iterate(at, here.objective, memory, distance, damping, accepted, ending, here.equations)
