"""`fit_shots`: many shots, each by itself, in batches of one compiled program."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ...errors import InputError
from ...experiment import Experiment
from ...numerics.compiler_memory import returning_compiler_memory
from ..background import to_photons
from ..losses import AbstractLoss, Poisson
from ..parameters.layout import ParameterVector
from ..parameters.parameter import Parameter
from ..restraints import AbstractRestraint
from ..shot import Shot
from ..spot_starts import simulated_photons
from .batch import Batch, BatchSize, batch_size, make_batch
from .driver import Ends, refine_batch
from .equations import State

_MEDIAN_TO_SIGMA = 0.6745
_MOST_TIMES_MASKED = 2
WELL_DESCRIBED = 1.1
"""Chi-square for each degree of freedom up to which the data count as described."""


@dataclass(frozen=True, repr=False)
class ShotFit:
    """What a refinement found for one shot."""

    shot: Shot
    experiment: Experiment
    """With the refined values; the scale is multiplied into the fluence."""
    values: dict[str, np.ndarray]
    uncertainties: dict[str, np.ndarray]
    """Standard uncertainties, everything else of the shot being free, too."""
    labels: tuple[str, ...]
    """Names of the rows of `correlations`."""
    correlations: Float[np.ndarray, "n n"]
    factors: Float[np.ndarray, " boxes"]
    """Of the intensities of the boxes: 1, unless they were refined."""
    factor_uncertainties: Float[np.ndarray, " boxes"]
    backgrounds: Float[np.ndarray, "boxes terms"]
    """Photons at the centre of each box, then the change to its edge along slow and fast."""
    photons: Float[np.ndarray, " boxes"]
    """Of the model's spots."""
    calculated: Float[np.ndarray, "boxes 2"]
    """Centres of the model's spots, (slow, fast) pixels."""
    box_chi_square: Float[np.ndarray, " boxes"]
    """Of each box, a pixel; NaN for a box without pixels that count."""
    masked_boxes: np.ndarray
    """Which boxes were taken out as outliers."""
    objective: float
    chi_square: float
    degrees_of_freedom: int
    converged: bool
    reason: str
    steps: int

    @property
    def expected(self) -> Float[np.ndarray, "boxes pixels"]:
        """Expected counts of the pixels of the boxes."""
        return expected_counts(self.shot, self.experiment, self.factors, self.backgrounds)

    @property
    def reduced_chi_square(self) -> float:
        """Chi-square for each degree of freedom: near 1 where the model describes the data."""
        return self.chi_square / max(self.degrees_of_freedom, 1)

    @property
    def offset_pixels(self) -> float:
        """Root mean square distance of the model's spots from where boxes were put, of spots with a photon or more."""
        some = self.photons > 1.0
        off = np.sum((self.calculated - self.shot.center)[some] ** 2, axis=1)
        return float(np.sqrt(np.mean(off))) if off.size else float("nan")

    @property
    def describes_the_data(self) -> bool:
        """Whether chi-square is no more than a tenth above its expectation."""
        return self.reduced_chi_square < WELL_DESCRIBED

    @property
    def verdict(self) -> str:
        """One line: whether it converged, and whether the model describes the data."""
        ended = "converged" if self.converged else "not converged"
        fits = "the model describes the data" if self.describes_the_data else "the model does NOT describe the data"
        return f"{ended}: {self.reason}; {fits} (reduced chi-square {self.reduced_chi_square:.4g})"

    def __repr__(self) -> str:
        return f"{self.shot.name}: {self.verdict}"


def expected_counts(
    shot: Shot,
    experiment: Experiment,
    factors: Float[np.ndarray, " boxes"],
    backgrounds: Float[np.ndarray, "boxes terms"],
) -> Float[np.ndarray, "boxes pixels"]:
    """Expected counts of the pixels of a shot's boxes.

    **Arguments:** `experiment`: refined; `factors`: of the boxes' intensities; `backgrounds`: in photons.
    """
    boxes = shot.boxes
    spots = simulated_photons(experiment, boxes, shot.panel) * np.asarray(factors)[:, None]
    center, half_size = np.asarray(boxes.background_center), np.asarray(boxes.background_half_size)[:, None]
    along = [(np.asarray(v) - center[:, k : k + 1]) / half_size for k, v in enumerate((boxes.slow, boxes.fast))]
    shapes = [np.ones(spots.shape), *along][: np.shape(backgrounds)[1]]
    return spots + sum(np.asarray(backgrounds)[:, t : t + 1] * shape for t, shape in enumerate(shapes))


def fit_shots(
    shots: Sequence[Shot],
    parameters: Sequence[Parameter],
    *,
    loss: AbstractLoss | None = None,
    restraints: Sequence[AbstractRestraint] = (),
    free_factors: bool = False,
    max_steps: int = 30,
    tolerance: float = 0.05,
    hops: Mapping[str, float] | None = None,
    outlier_z: float | None = 20.0,
    size: BatchSize | None = None,
) -> Iterator[ShotFit]:
    """Refine shots of one structure, each with values of its own, batch after batch in the same compiled program.

    **Arguments:**

    - `shots`: from `from_dials`;
    - `parameters`: what to refine, of every shot;
    - `loss`: `Poisson()` unless given;
    - `restraints`: of the values of one shot, which come with a leading axis of 1;
    - `free_factors`: each box has an intensity of its own, as where structure factors are not known (hold `scale` and
      fluence then);
    - `max_steps`, `tolerance`: when a shot ends: so many steps, or that many standard uncertainties from the minimum;
    - `hops`: names of parameters with the factor to try where a shot ends in a minimum that does not describe its data:
      each of their elements is multiplied and divided by it, as `fit_with_hops` does;
    - `outlier_z`: boxes whose chi-square is so many robust deviations above the median are taken out, and the shot is
      refined again, twice at most; None to keep all;
    - `size`: of the batches, None for what serves these shots; give it where more shots follow.

    **Returns** one `ShotFit` after the other, in the order of the shots.

    **Raises** `InputError` for names, starts and shots that do not fit.
    """
    size = batch_size(shots) if size is None else size
    loss = Poisson() if loss is None else loss
    if outlier_z is not None and not outlier_z > 0:
        raise InputError(f"outlier_z must be positive, got {outlier_z:g}")
    names = [parameter.name for parameter in parameters]
    for name, factor in (hops or {}).items():
        if name not in names or not factor > 0 or factor == 1.0:
            raise InputError(f"hops must be factors of {', '.join(names)} other than 1, got {name}: {factor:g}")
    for first in range(0, len(shots), size.shots):
        some = shots[first : first + size.shots]
        batch = make_batch(some, parameters, size, restraints)
        with returning_compiler_memory():
            asked = _Asked(loss, free_factors, max_steps, tolerance, hops or {})
            ends, masked = _refined(batch, asked, outlier_z)
        yield from _read_out(batch, ends, masked, some, free_factors)


def start_of(batch: Batch) -> State:
    """Where the shots of a batch start."""
    return State(jnp.zeros_like(batch.vector.start), batch.background, jnp.ones(batch.boxes.panel.shape))


class _Asked(NamedTuple):
    """What a caller wants of every batch."""

    loss: AbstractLoss
    free_factors: bool
    max_steps: int
    tolerance: float
    hops: Mapping[str, float]

    def ends(self, batch: Batch, start: State, used: Array) -> Ends:
        """Where the shots of a batch end."""
        limits = jnp.asarray(self.max_steps), jnp.asarray(self.tolerance)
        return refine_batch(batch, start, used, self.loss, self.free_factors, *limits)


def _refined(batch: Batch, asked: _Asked, outlier_z: float | None) -> tuple[Ends, np.ndarray]:
    """Ends of a batch, and which boxes were taken out, (shots, boxes)."""
    used = batch.boxes.used
    masked = np.zeros(batch.boxes.panel.shape, bool)
    ends = _hopped(batch, asked, asked.ends(batch, start_of(batch), used), used)
    for _ in range(_MOST_TIMES_MASKED if outlier_z is not None else 0):
        more = _outliers(ends, outlier_z)
        if not more.any():
            break
        masked |= more
        used = used & jnp.asarray(~masked)[..., None]
        ends = asked.ends(batch, ends.state, used)
    return ends, masked


def _hopped(batch: Batch, asked: _Asked, ends: Ends, used: Array) -> Ends:
    """The ends, or better ones from around those that do not describe their data."""
    for name, factor in asked.hops.items():
        for place, parameter in _places(batch.vector, name):
            for change in (factor, 1.0 / factor):
                judged = jax.tree.map(np.asarray, ends.judged)
                reduced = judged.chi_square.sum(axis=1) / np.maximum(judged.pixels.sum(axis=1), 1.0)
                if np.all(reduced < WELL_DESCRIBED):
                    return ends
                moved = _times(batch, ends.state, place, parameter, change)
                found = asked.ends(batch, moved, used)
                better = (found.objective < ends.objective - 1.0) & jnp.asarray(reduced >= WELL_DESCRIBED)
                ends = jax.tree.map(lambda new, old, b=better: jnp.where(_like(b, new), new, old), found, ends)
    return ends


def _places(vector: ParameterVector, name: str) -> list[tuple[int, Parameter]]:
    """Where the elements of a parameter stand in x."""
    first = 0
    for parameter, size in zip(vector.parameters, vector.sizes, strict=True):
        if parameter.name == name:
            return [(first + k, parameter) for k in range(size)]
        first += size
    return []


def _times(batch: Batch, state: State, place: int, parameter: Parameter, factor: float) -> State:
    """The state with one element of a parameter multiplied."""
    start, step = batch.vector.start[:, place], batch.vector.step[:, place]
    value = parameter.transform.value(start + step * state.x[:, place])
    x = (parameter.transform.free(parameter.name, value * factor) - start) / step
    return State(state.x.at[:, place].set(x), state.background, state.factor)


def _like(flag: Array, leaf: Array) -> Array:
    return flag.reshape(flag.shape + (1,) * (leaf.ndim - 1))


def _outliers(ends: Ends, limit: float | None) -> np.ndarray:
    """Boxes with a chi-square a pixel far above those of the same shot."""
    limit = np.inf if limit is None else limit
    pixels = np.asarray(ends.judged.pixels)
    each = np.where(pixels > 0, np.asarray(ends.judged.chi_square) / np.maximum(pixels, 1.0), np.nan)
    found = np.zeros(each.shape, bool)
    for row, values in enumerate(each):
        some = np.isfinite(values)
        if some.sum() < 5:
            continue
        middle = np.median(values[some])
        deviation = np.median(np.abs(values[some] - middle)) / _MEDIAN_TO_SIGMA
        found[row] = some & (values > middle + limit * max(deviation, 0.05))
    return found


def _read_out(
    batch: Batch, ends: Ends, masked: np.ndarray, shots: Sequence[Shot], free_factors: bool
) -> Iterator[ShotFit]:
    held = jax.tree.map(np.asarray, ends)
    photons = to_photons(ends.state.background)
    values, slopes, experiments = jax.tree.map(np.asarray, _values(batch, ends.state))
    labels = [f"{p.name}{_index(i)}" for p, s in zip(batch.vector.parameters, batch.vector.shapes, strict=True)
              for i in np.ndindex(s)]  # fmt: skip
    for row, shot in enumerate(shots):
        count = len(shot.panel)
        sigma = np.sqrt(np.diag(held.covariance[row])) * np.abs(slopes[row])
        safe = np.where(np.isfinite(sigma) & (sigma > 0), sigma, 1.0)
        spread = np.where(np.isfinite(held.covariance[row]), held.covariance[row], 0.0)
        correlations = spread * np.outer(np.abs(slopes[row]), np.abs(slopes[row])) / np.outer(safe, safe)
        np.fill_diagonal(correlations, 1.0)
        pixels, squares = held.judged.pixels[row, :count], held.judged.chi_square[row, :count]
        own = held.state.background.shape[-1] + int(free_factors)
        moved = held.state.x.shape[1] + own * int(np.sum(pixels > 0))
        converged, reason = _reason(held, row)
        yield ShotFit(
            shot=shot,
            experiment=jax.tree.map(lambda leaf, row=row: jnp.asarray(leaf[row]), experiments),
            values={n: v for n, v in batch.vector.by_name(values[row]).items()},
            uncertainties={n: v for n, v in batch.vector.by_name(sigma).items()},
            labels=tuple(labels),
            correlations=correlations,
            factors=held.state.factor[row, :count],
            factor_uncertainties=np.sqrt(held.factor_variance[row, :count]),
            backgrounds=np.asarray(photons[row, :count]),
            photons=held.judged.bragg[row, :count],
            calculated=held.judged.center[row, :count],
            box_chi_square=np.where(pixels > 0, squares / np.maximum(pixels, 1.0), np.nan),
            masked_boxes=masked[row, :count],
            objective=float(held.objective[row]),
            chi_square=float(np.sum(squares)),
            degrees_of_freedom=int(np.sum(pixels)) - moved,
            converged=converged,
            reason=reason,
            steps=int(held.steps[row]) - 1,
        )


def _index(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""


def _reason(held: Ends, row: int) -> tuple[bool, str]:
    far = float(held.distance[row])
    if not np.isfinite(held.objective[row]):
        return False, "the objective is not finite at the start"
    if held.flat[row] >= 3:
        return True, f"the objective stays the same, though the minimum may be {far:.2g} sigma away"
    if held.damping[row] > 1e10:
        return False, f"no step leads down, {far:.2g} sigma from where the minimum seems to be"
    if far < 0.5:
        return True, f"the minimum is within {max(far, 0.01):.2g} sigma"
    return False, f"{int(held.steps[row]) - 1} steps were not enough: the minimum is {far:.2g} sigma away"


@eqx.filter_jit
def _values(batch: Batch, state: State):
    """Values of all parameters (shots, n), their change with x, and the experiments, with a leading axis of shots."""

    def of_shot(varying, start, step, x):
        vector = type(batch.vector)(batch.vector.parameters, batch.vector.shapes, start, step)
        scaled = vector.insert(eqx.combine(varying, batch.common), x)
        fluence = scaled.experiment.beam.fluence_per_m2 * scaled.scale
        made = eqx.tree_at(lambda e: e.beam.fluence_per_m2, scaled.experiment, fluence)
        return vector.values(x), vector.slopes(x), made

    return jax.vmap(of_shot)(batch.varying, batch.vector.start, batch.vector.step, state.x)
