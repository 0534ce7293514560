"""Which unique reflection each box of a shot belongs to, and which of its pixels."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ...crystal import real_basis
from ...errors import InputError
from ...goniometer import phi_rotated
from ..shot import Shot
from ..space_group import Reflections
from ..spot_starts import pixel_scattering
from .intensities import Groups


class BoxReflections(NamedTuple):
    """Of each box of a shot: the label of its unique reflection, 1/d (1/Å), and F² of the table."""

    labels: Int[np.ndarray, "boxes 4"]
    q: Float[np.ndarray, " boxes"]
    start: Float[np.ndarray, " boxes"]


def reflections_of(shot: Shot, reflections: Reflections) -> BoxReflections:
    """What the boxes of a shot see."""
    star = np.linalg.inv(np.asarray(real_basis(shot.experiment.crystal)))
    spacing = np.linalg.norm(shot.hkl @ star.T, axis=1)
    return BoxReflections(reflections.labels(shot.hkl), spacing, _intensity_of(shot))


def unique_groups(
    seen: Sequence[BoxReflections], reflections: Reflections
) -> tuple[Groups, list[Int[np.ndarray, " boxes"]]]:
    """The unique reflections of shots, and the number of each box's. **Raises** `InputError` without shots."""
    if not seen:
        raise InputError("there are no shots to refine intensities against")
    labels, spacing, start = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    unique, first, numbers = np.unique(labels, axis=0, return_index=True, return_inverse=True)
    ends = np.cumsum([len(each.labels) for each in seen])[:-1]
    centric = reflections.centric(unique[:, :3])
    groups = Groups(unique, spacing[first], np.maximum(start[first], 1e-6), centric)
    return groups, np.split(numbers.reshape(-1), ends)


def group_boxes(shots: Iterable[Shot], reflections: Reflections) -> tuple[Groups, list[Int[np.ndarray, " boxes"]]]:
    """The unique reflections of the boxes of shots, and the number of each box's.

    **Raises** `InputError` without shots.
    """
    return unique_groups([reflections_of(shot, reflections) for shot in shots], reflections)


def _intensity_of(shot: Shot) -> Float[np.ndarray, " boxes"]:
    """F² of the table that a shot is simulated with."""
    factors = shot.experiment.structure_factors
    outside = float(factors.default_F)
    if factors.amplitudes is None:
        return np.full(len(shot.hkl), outside**2)
    table = np.asarray(factors.amplitudes)
    table = table if table.ndim == 3 else np.sqrt(np.mean(table**2, axis=0))
    place = shot.hkl - np.array(factors.hkl_min)
    inside = np.all((place >= 0) & (place < table.shape), axis=1)
    place = np.where(inside[:, None], place, 0)
    return np.where(inside, table[tuple(place.T)], outside) ** 2


def own_pixels(shot: Shot) -> Shot:
    """The shot without the pixels that are nearer to another reflection than to that of their box."""
    experiment, boxes = shot.experiment, shot.boxes
    steps = np.asarray(phi_rotated(jnp.asarray(real_basis(experiment.crystal)), experiment.goniometer))
    real = steps[len(steps) // 2]
    used = np.asarray(boxes.used).copy()
    for panel in np.unique(shot.panel):
        here = np.flatnonzero(shot.panel == panel)
        slow, fast = (np.asarray(v)[here] for v in (boxes.slow, boxes.fast))
        q = pixel_scattering(experiment, int(panel), slow.reshape(-1), fast.reshape(-1))
        nearest = np.rint(q @ real.T).reshape(*slow.shape, 3)
        used[here] &= np.all(nearest == shot.hkl[here][:, None], axis=-1)
    return replace(shot, boxes=eqx.tree_at(lambda b: b.used, boxes, jnp.asarray(used)))
