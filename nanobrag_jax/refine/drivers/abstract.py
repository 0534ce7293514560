"""What a driver is, and the loop that calls it."""

import abc
import math
import time
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import equinox as eqx

from ..model import Problem, Unknowns
from ..normal_equations.equations import NormalEquations
from ..progress import Report, Step

Memory = TypeVar("Memory")


class Ending(NamedTuple):
    """Why a driver goes no further."""

    converged: bool
    reason: str


@dataclass(frozen=True)
class Iterate(Generic[Memory]):
    """Where a driver is after a step."""

    unknowns: Unknowns
    """The best that it has found: where a fit that ends now ends."""
    objective: float
    """There."""
    memory: Memory
    """What the driver needs to know for its next step."""
    distance: float = math.nan
    """Estimated distance to the minimum in standard uncertainties, NaN if unknown."""
    control: float = math.nan
    """What governs the driver's steps, for those who watch: a damping, a rate."""
    accepted: bool = True
    """Whether this step found something better."""
    ending: Ending | None = None
    """None to go on."""
    equations: NormalEquations | None = None
    """At `unknowns`, if the driver has them: they need not be made again for the uncertainties."""


class AbstractDriver(eqx.Module, Generic[Memory]):
    """What a driver brings: a start and one step. `minimise` is the loop around them."""

    max_steps: eqx.AbstractVar[int]
    report_every: eqx.AbstractVar[int]
    """Steps from one line of progress to the next."""

    @abc.abstractmethod
    def init(self, problem: Problem, start: Unknowns) -> Iterate[Memory]:
        """The start, before any step."""

    @abc.abstractmethod
    def step(self, problem: Problem, iterate: Iterate[Memory]) -> Iterate[Memory]:
        """One step on."""


class Outcome(NamedTuple):
    """Where a driver ended."""

    unknowns: Unknowns
    objective: float
    equations: NormalEquations | None
    history: list[Step]
    ending: Ending


def minimise(driver: AbstractDriver[Memory], problem: Problem, start: Unknowns, report: Report) -> Outcome:
    """Steps until the driver ends or has made `max_steps`."""
    began = time.perf_counter()
    history: list[Step] = []

    def record(number: int, at: Iterate[Memory]) -> None:
        seconds = time.perf_counter() - began
        history.append(Step(number, at.objective, at.distance, at.control, at.accepted, seconds))
        report(history[-1])

    iterate = driver.init(problem, start)
    record(0, iterate)
    for number in range(1, driver.max_steps + 1):
        if iterate.ending is not None:
            break
        iterate = driver.step(problem, iterate)
        if number % driver.report_every == 0 or number == driver.max_steps or iterate.ending is not None:
            record(number, iterate)
    ending = iterate.ending
    if ending is None:
        far = f": the minimum is {iterate.distance:.2g} sigma away" if math.isfinite(iterate.distance) else ""
        ending = Ending(False, f"{driver.max_steps} steps were not enough{far}")
    return Outcome(iterate.unknowns, iterate.objective, iterate.equations, history, ending)
