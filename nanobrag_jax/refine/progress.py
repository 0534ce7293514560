"""What a driver tells while it works."""

import math
import sys
from collections.abc import Callable
from typing import NamedTuple


class Step(NamedTuple):
    """One step of a driver."""

    number: int
    objective: float
    distance: float
    """Estimated distance to the minimum in standard uncertainties; NaN where a driver does not know it."""
    control: float
    """The damping of Levenberg–Marquardt."""
    accepted: bool
    seconds: float
    """Since the start."""


Report = Callable[[Step], None]


def reporter(progress: bool | Report) -> Report:
    """A function that shows steps: prints a line each to stderr for True, does nothing for False."""
    if callable(progress):
        return progress
    return _print_step if progress else _stay_silent


def _print_step(step: Step) -> None:
    line = f"step {step.number:3d}  objective {step.objective:.6g}"
    if math.isfinite(step.distance):
        line += f"  distance {step.distance:.3g} sigma"
    rejected = "" if step.accepted else "  (rejected)"
    print(f"{line}  {step.seconds:.1f} s{rejected}", file=sys.stderr, flush=True)


def _stay_silent(step: Step) -> None:
    return None
