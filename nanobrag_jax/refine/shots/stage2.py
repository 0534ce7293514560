"""Stage 2: intensities common to all shots, refined with every shot's own parameters by accumulated equations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ...errors import InputError
from ..losses import AbstractLoss, Poisson
from ..parameters.parameter import Parameter
from ..shot import Shot
from ..space_group import Reflections
from .amplitudes import amplitudes_of
from .batch import Batch, BatchSize, batch_size, make_batch
from .blocks import Blocks, blocks_at
from .equations import State
from .groups import group_boxes, own_pixels
from .intensities import Groups, IntensityRestraints, Sums, inverse_of, merged_start, restraint_rows

Say = Callable[[str], None]
_MOST_DAMPING = 1e6
_FIRST_DAMPING = 1e-2


@dataclass(frozen=True)
class Intensities:
    """What stage 2 found: intensities of unique reflections, on the scale of the structure factors at its start."""

    groups: Groups
    intensity: Float[np.ndarray, " groups"]
    """F², which may be negative where it is weak."""
    sigma: Float[np.ndarray, " groups"]
    observations: Int[np.ndarray, " groups"]
    """Boxes of each."""
    chi_square: float
    degrees_of_freedom: int
    history: list[float] = field(default_factory=list)
    """The objective after each cycle."""
    converged: bool = False

    @property
    def reduced_chi_square(self) -> float:
        """Chi-square for each degree of freedom."""
        return self.chi_square / max(self.degrees_of_freedom, 1)

    @property
    def amplitudes(self) -> tuple[Float[np.ndarray, " groups"], Float[np.ndarray, " groups"]]:
        """F and σ(F), expected where intensities are positive and spread as Wilson says."""
        shells = self.groups.shells(20)
        return amplitudes_of(self.intensity, self.sigma, shells, self.groups.centric)

    @property
    def verdict(self) -> str:
        """One line."""
        ended = "converged" if self.converged else "not converged"
        return (
            f"{ended} after {len(self.history)} cycles: {self.groups.count} reflections from "
            f"{int(self.observations.sum())} boxes, reduced chi-square {self.reduced_chi_square:.4g}"
        )


@runtime_checkable
class Store(Protocol):
    """Where states and blocks of parts are kept between cycles."""

    def get(self, key: str) -> list[np.ndarray]:
        """What was put there."""
        ...

    def put(self, key: str, arrays: Sequence[np.ndarray]) -> None:
        """Keep arrays."""
        ...


class Memory:
    """A store in memory."""

    def __init__(self) -> None:
        self._held: dict[str, list[np.ndarray]] = {}

    def get(self, key: str) -> list[np.ndarray]:
        """What was put there."""
        return self._held[key]

    def put(self, key: str, arrays: Sequence[np.ndarray]) -> None:
        """Keep arrays."""
        self._held[key] = list(arrays)


def refine_intensities(
    shots: Sequence[Shot],
    parameters: Sequence[Parameter],
    reflections: Reflections,
    *,
    loss: AbstractLoss | None = None,
    restraints: IntensityRestraints | None = None,
    max_cycles: int = 20,
    tolerance: float = 1e-2,
    size: BatchSize | None = None,
    say: Say = lambda line: None,
) -> Intensities:
    """Intensities of the unique reflections of all shots, refined together with the parameters of each shot.

    Every pixel of a box belongs to the reflection of the box: those nearer to another one in reciprocal space are left
    out. Backgrounds are refined with the model, and intensities are numbers of either sign, so that weak ones are not
    biased: an amplitude is made of them in the end.

    **Arguments:**

    - `shots`: refined ones (with the experiments that `fit_shots` found), all with the same structure factors;
    - `parameters`: what is refined of each shot besides, `scale` among them; several shots need it;
    - `reflections`: the symmetry, and whether Bijvoet mates are apart;
    - `loss`: `Poisson()` unless given;
    - `restraints`: of the intensities;
    - `max_cycles`, `tolerance`: when to end: so many cycles, or a gain of the objective below the tolerance times the
      number of intensities;
    - `size`: of the batches;
    - `say`: told of every cycle.

    **Raises** `InputError` for shots and parameters that do not fit.
    """
    size = batch_size(shots) if size is None else size
    parts = [shots[first : first + size.shots] for first in range(0, len(shots), size.shots)]
    groups, numbers = group_boxes(shots, reflections)
    held = [[own_pixels(shot) for shot in part] for part in parts]

    def batches(number: int) -> Part:
        part = held[number]
        first = sum(len(p) for p in parts[:number])
        return Part(make_batch(part, parameters, size), numbers[first : first + len(part)])

    return refine_parts(
        range(len(parts)),
        batches,
        groups,
        Memory(),
        scaled=any(p.name in ("scale", "beam.fluence_per_m2") for p in parameters),
        loss=Poisson() if loss is None else loss,
        restraints=restraints or IntensityRestraints(),
        max_cycles=max_cycles,
        tolerance=tolerance,
        say=say,
    )


@dataclass(frozen=True)
class Part:
    """A batch of shots, with the groups of the boxes of each; the batch may hold more shots, which only fill up."""

    batch: Batch
    numbers: Sequence[Int[np.ndarray, "_"]]

    @property
    def group(self) -> Int[np.ndarray, "shots boxes"]:
        """Of each box, −1 for what only fills up."""
        filled = np.full(self.batch.boxes.panel.shape, -1)
        for row, numbers in enumerate(self.numbers):
            filled[row, : len(numbers)] = numbers
        return filled


class _Move(NamedTuple):
    """A step of the common factors, and the damping of the equations that it solves."""

    step: Float[np.ndarray, " groups"]
    damping: float


def refine_parts(
    parts: Sequence[int],
    part_of: Callable[[int], Part],
    groups: Groups,
    store: Store,
    *,
    scaled: bool,
    loss: AbstractLoss,
    restraints: IntensityRestraints,
    max_cycles: int,
    tolerance: float,
    say: Say,
) -> Intensities:
    """The same with batches that are made when they are needed: memory does not grow with the number of shots.

    **Arguments:**

    - `parts`, `part_of`: numbers of batches, and what makes one;
    - `groups`: the unique reflections;
    - `store`: where states and blocks of the parts are kept;
    - `scaled`: whether shots have scales of their own;
    - `loss`, `restraints`, `max_cycles`, `tolerance`, `say`: as for `refine_intensities`.
    """
    rows = restraint_rows(groups, restraints)
    factors = _begin(parts, part_of, groups, store, loss, scaled)
    damping, history, converged = _FIRST_DAMPING, [], False
    step, moved_by = np.zeros(groups.count), damping
    kept: Sums | None = None
    observations = np.zeros(groups.count, int)
    unknowns = 0
    for cycle in range(max_cycles + 1):
        move = _Move(step, moved_by)
        sums, observations, unknowns = _pass(parts, part_of, store, factors + step, move, damping, loss)
        residual = rows[0] @ (factors + step) - rows[1]
        sums.objective += 0.5 * float(residual @ residual)
        gain = np.inf if kept is None else kept.objective - sums.objective
        if not np.isfinite(sums.objective) or gain < -1e-9 * abs(sums.objective):
            if kept is not None and abs(gain) < tolerance * groups.count:
                converged = True
                break
            damping *= 10
            say(f"cycle {cycle}: no better, damping {damping:g}")
            if damping > _MOST_DAMPING or kept is None:
                break
            _keep(parts, store, False)
            sums = _again(parts, store, part_of, damping, kept, groups.count)
        else:
            _keep(parts, store, True)
            factors, kept = factors + step, sums
            history.append(sums.objective)
            damping = max(damping / 10, 1e-9)
            say(
                f"cycle {cycle}: objective {sums.objective:.6g}, reduced chi-square {sums.chi_square / sums.pixels:.4g}"
            )
            if gain < tolerance * groups.count:
                converged = True
                break
        moved_by = sums.damping
        step, _ = sums.solved(factors, rows, scaled)
        step = np.maximum(step, -0.9 * np.abs(factors) - 1.0)
    if kept is None:
        raise InputError("the objective is not finite at the start")
    exact = _again(parts, store, part_of, 0.0, kept, groups.count)
    _, variance = exact.solved(factors, rows, scaled)
    freedom = int(kept.pixels) - groups.count - unknowns
    return Intensities(
        groups,
        factors * groups.start,
        np.sqrt(np.maximum(variance, 0.0)) * groups.start,
        observations,
        kept.chi_square,
        freedom,
        history,
        converged,
    )


def _begin(
    parts: Sequence[int],
    part_of: Callable[[int], Part],
    groups: Groups,
    store: Store,
    loss: AbstractLoss,
    scaled: bool,
) -> Float[np.ndarray, " groups"]:
    """Put a start of every shot into the store; the common factors.

    Boxes by themselves say their factors in a step or two; scales and common factors are what their products say.
    """
    alone, weights, group, shots = [], [], [], []
    for number in parts:
        part = part_of(number)
        boxes = part.batch.boxes.panel.shape
        state = State(jnp.zeros_like(part.batch.vector.start), part.batch.background, jnp.ones(boxes))
        for _ in range(4):
            blocks = blocks_at(part.batch, state, part.batch.boxes.used, loss)
            certain = blocks.factor_matrix > 0
            move = jnp.where(certain, -blocks.factor_gradient / jnp.where(certain, blocks.factor_matrix, 1.0), 0.0)
            move = jnp.clip(move, -0.9 * jnp.abs(state.factor) - 0.1, 10.0 * jnp.abs(state.factor) + 1.0)
            under = blocks.background + blocks.background_by_factor * move[..., None]
            state = State(state.x, state.background + jnp.clip(under, -1.0, 1.0), state.factor + move)
        numbers = part.group
        for row in range(len(part.numbers)):
            alone.append(np.asarray(state.factor)[row])
            weights.append(np.asarray(blocks.factor_matrix)[row])
            group.append(numbers[row])
            shots.append((number, row))
        store.put(f"state{number}", [np.asarray(state.x), np.asarray(state.background)])
    if not scaled:
        scales, common = np.ones(len(alone)), merged_start(alone, weights, group, groups.count, rounds=1)[1]
    else:
        scales, common = merged_start(alone, weights, group, groups.count)
    for number in parts:
        part = part_of(number)
        x, background = (np.array(v) for v in store.get(f"state{number}"))
        for (of_part, row), scale in zip(shots, scales, strict=True):
            if of_part == number and scaled:
                x[row] = _scaled_x(part.batch, x[row], row, float(scale))
        store.put(f"state{number}", [x, background])
    return common


def _scaled_x(batch: Batch, x: np.ndarray, row: int, scale: float) -> np.ndarray:
    """x of a shot with its scale (or fluence) multiplied."""
    vector, first, x = batch.vector, 0, np.array(x)
    for parameter, size in zip(vector.parameters, vector.sizes, strict=True):
        if parameter.name in ("scale", "beam.fluence_per_m2"):
            start, step = np.asarray(vector.start)[row, first], np.asarray(vector.step)[row, first]
            value = np.asarray(parameter.transform.value(jnp.asarray(start + step * x[first])))
            x[first] = (np.asarray(parameter.transform.free(parameter.name, jnp.asarray(value * scale))) - start) / step
            break
        first += size
    return x


def _pass(
    parts: Sequence[int],
    part_of: Callable[[int], Part],
    store: Store,
    factors: np.ndarray,
    move: _Move,
    damping: float,
    loss: AbstractLoss,
) -> tuple[Sums, np.ndarray, int]:
    """Every shot moved with the step of the common factors, its equations made there and added up.

    **Returns** the sums, how many boxes each reflection has, and how many numbers belong to shots and boxes.
    """
    sums, observations, unknowns = Sums(len(factors), damping), np.zeros(len(factors), int), 0
    for number in parts:
        part = part_of(number)
        group = part.group
        x, background = store.get(f"state{number}")
        try:
            blocks = [Blocks(*arrays) for arrays in _by_shot(store.get(f"blocks{number}"))]
        except KeyError:
            blocks = []
        if blocks:
            x, background = _stepped(part.batch, x, background, blocks, group, move)
        of_box = np.where(group >= 0, factors[np.maximum(group, 0)], 1.0)
        state = State(jnp.asarray(x), jnp.asarray(background), jnp.asarray(of_box))
        found = jax.tree.map(np.asarray, blocks_at(part.batch, state, part.batch.boxes.used, loss))
        store.put(f"trial{number}", [x, background])
        store.put(f"trialblocks{number}", list(found))
        used = np.any(part.batch.boxes.used, axis=-1)
        for row in range(len(part.numbers)):
            shot_group = np.where(used[row], group[row], -1)
            sums.add(found.of_shot(row), shot_group)
            np.add.at(observations, shot_group[shot_group >= 0], 1)
            unknowns += x.shape[1] + background.shape[-1] * int(np.sum(shot_group >= 0))
    return sums, observations, unknowns


def _by_shot(arrays: Sequence[np.ndarray]) -> list[list]:
    return [[array[row] for array in arrays] for row in range(len(arrays[0]))]


def _stepped(
    batch: Batch,
    x: np.ndarray,
    background: np.ndarray,
    blocks: Sequence[Blocks],
    group: np.ndarray,
    common: _Move,
) -> tuple[np.ndarray, np.ndarray]:
    """States of a part's shots after the common step: what their own equations then ask for."""
    x, background = np.array(x), np.array(background)
    limits = np.asarray(batch.vector.step_limits())
    most = np.ones(background.shape[-1])
    most[1:] = 0.3
    for row, shot in enumerate(blocks):
        of_box = np.where(group[row] >= 0, common.step[np.maximum(group[row], 0)], 0.0)
        move = -inverse_of(np.asarray(shot.matrix), common.damping) @ (shot.gradient + shot.mixed.T @ of_box)
        x[row] += np.clip(move, -limits[row], limits[row])
        under = shot.background + shot.background_by_x @ move + shot.background_by_factor * of_box[:, None]
        background[row] += np.clip(under, -most, most)
    return x, background


def _keep(parts: Sequence[int], store: Store, accepted: bool) -> None:
    """Make the trial the state, or forget it."""
    if not accepted:
        return
    for number in parts:
        store.put(f"state{number}", store.get(f"trial{number}"))
        store.put(f"blocks{number}", store.get(f"trialblocks{number}"))


def _again(
    parts: Sequence[int], store: Store, part_of: Callable[[int], Part], damping: float, kept: Sums, count: int
) -> Sums:
    """The sums at the state that is kept with another damping, from the blocks that were kept."""
    sums = Sums(count, damping)
    for number in parts:
        part = part_of(number)
        used, group = np.any(part.batch.boxes.used, axis=-1), part.group
        for row, arrays in enumerate(_by_shot(store.get(f"blocks{number}"))[: len(part.numbers)]):
            sums.add(Blocks(*arrays), np.where(used[row], group[row], -1))
    sums.objective = kept.objective
    return sums
