"""Shots put together for one compiled program: equally many boxes and pixels, whichever shots they are."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from ...errors import InputError
from ...experiment import completed
from ...panels import PanelStack, num_panels
from ..background import to_unknowns
from ..parameters.layout import ParameterVector, lay_out
from ..parameters.parameter import Parameter
from ..parameters.paths import ScaledExperiment
from ..restraints import AbstractRestraint, TargetRestraint
from ..shot import Shot


class Boxes(eqx.Module):
    """Pixels of the boxes of shots; those that are not `used` only fill up."""

    slow: Int[Array, "... boxes pixels"]
    fast: Int[Array, "... boxes pixels"]
    counts: Float[Array, "... boxes pixels"]
    used: Bool[Array, "... boxes pixels"]
    panel: Int[Array, "... boxes"]
    center: Float[Array, "... boxes 2"]
    """Where a plane of background has its centre, (slow, fast) pixels."""
    half_size: Float[Array, "... boxes"]


class Batch(eqx.Module):
    """Everything of a batch that does not change while its shots are refined; leading axes are of shots."""

    common: ScaledExperiment
    """Leaves that all shots have alike: the structure factors, and the detector where it is the same."""
    varying: ScaledExperiment
    """All others, whether they differ or not, so that other shots compile nothing."""
    vector: ParameterVector
    boxes: Boxes
    background: Float[Array, "shots boxes terms"]
    """Start of what a driver moves: the logarithm of the level, then slopes in its units."""
    restraints: tuple[AbstractRestraint, ...]

    @property
    def num_shots(self) -> int:
        """How many, those that only fill up included."""
        return self.boxes.panel.shape[0]


class BatchSize(NamedTuple):
    """What all batches have alike: shots, boxes a shot, and whether each shot has a detector of its own."""

    shots: int
    boxes: int
    own_detectors: bool = False


def batch_size(shots: Sequence[Shot], together: int = 4) -> BatchSize:
    """The size of batches that serve for all of these shots: boxes in steps of eight.

    **Arguments:** `together`: shots in a batch.

    **Raises** `InputError` without a shot, and for shots of different kinds.
    """
    if not shots:
        raise InputError("there are no shots to refine")
    pixels = {shot.boxes.slow.shape[1] for shot in shots}
    terms = {shot.boxes.background.shape[1] for shot in shots}
    if len(pixels) > 1 or len(terms) > 1:
        raise InputError("shots refined together must have boxes of one size and one kind of background")
    if len({jax.tree.structure(shot.experiment) for shot in shots}) > 1:
        raise InputError("shots refined together must differ in numbers only, not in counts, shapes or options")
    most = max(len(shot.panel) for shot in shots)
    first = jax.tree.leaves(shots[0].experiment.detector)
    own = any(not _same(first, jax.tree.leaves(shot.experiment.detector)) for shot in shots[1:])
    return BatchSize(together, 8 * -(-most // 8), own)


def _same(first: list, second: list) -> bool:
    return all(a is b or np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(first, second, strict=True))


def make_batch(
    shots: Sequence[Shot],
    parameters: Sequence[Parameter],
    size: BatchSize,
    restraints: Sequence[AbstractRestraint] = (),
) -> Batch:
    """A batch of up to `size.shots` shots; the last one stands for those that are missing.

    **Arguments:** `parameters`: each shot has its own value of all of them; `restraints`: of the values of one shot.

    **Raises** `InputError` for names and starts that do not fit, and for panels of different sizes.
    """
    detector = shots[0].experiment.detector
    if num_panels(detector) is not None and not isinstance(detector, PanelStack):
        raise InputError("panels of different sizes cannot be refined in a batch of shots: refine shot by shot")
    filled = [*shots, *[shots[-1]] * (size.shots - len(shots))]
    scaled = [ScaledExperiment(completed(shot.experiment), jnp.ones(())) for shot in filled]
    varying, common = _split(scaled, size.own_detectors)
    data = [_filled(shot, size.boxes) for shot in filled]
    *leaves, background = (jnp.asarray(np.stack(parts)) for parts in zip(*data, strict=True))
    targets = [TargetRestraint(p.name, *p.restraint) for p in parameters if p.restraint is not None]
    vector = lay_out([_own(parameter) for parameter in parameters], scaled).per_image
    return Batch(common, varying, vector, Boxes(*leaves), to_unknowns(background), (*targets, *restraints))


def _own(parameter: Parameter) -> Parameter:
    """The same parameter with a value for each shot."""
    return Parameter(
        parameter.name,
        parameter.transform,
        start=parameter.start,
        scale=parameter.scale,
        per_image=True,
        ties=parameter.ties,
        groups=parameter.groups,
    )


def _filled(shot: Shot, count: int) -> list[np.ndarray]:
    """The boxes of a shot as so many: the leaves of `Boxes`, and the start of their backgrounds in photons."""
    data, missing = shot.boxes, count - len(shot.panel)
    if missing < 0:
        raise InputError(f"{shot.name} has {len(shot.panel)} boxes, but batches are for {count}")

    def padded(values, fill=0) -> np.ndarray:
        values = np.asarray(values)
        return np.pad(values, ((0, missing), *((0, 0) for _ in values.shape[1:])), constant_values=fill)

    leaves = [padded(data.slow), padded(data.fast), padded(data.counts), padded(data.used, False)]
    leaves += [padded(np.asarray(shot.panel, np.int32)), padded(data.background_center)]
    leaves += [padded(data.background_half_size, 1), padded(data.background, 1)]
    return leaves


def _split(scaled: Sequence[ScaledExperiment], own_detectors: bool) -> tuple[ScaledExperiment, ScaledExperiment]:
    """Leaves with an axis of shots, and those that all have alike."""
    shared = [lambda s: s.experiment.structure_factors]
    if not own_detectors:
        shared.append(lambda s: s.experiment.detector)
    nothing = [jax.tree.map(lambda _: None, where(scaled[0])) for where in shared]
    varying = []
    for each in scaled:
        for where, none in zip(shared, nothing, strict=True):
            each = eqx.tree_at(where, each, none)
        varying.append(each)
    common = jax.tree.map(lambda _: None, scaled[0])
    for where in shared:
        common = eqx.tree_at(where, common, where(scaled[0]), is_leaf=lambda x: x is None)
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *varying), common
