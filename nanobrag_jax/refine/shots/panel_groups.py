"""Groups of panels that move as rigid bodies: six numbers each, shared by all shots."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from ...detector import Detector
from ...dials.models import ExptPanel
from ...errors import InputError
from ...panels import Panels, PanelStack, split_panels


class PanelGroups(eqx.Module):
    """Which panels move together, and about which point.

    `group` (panels,): number of each panel's group; `center_mm` (groups, 3): the mean of the middles of its panels, in
    the lab.

    A motion (groups, 6) is a rotation vector (radians, about the lab's axes through the centre) and a shift (mm).
    """

    group: Int[Array, " panels"]
    center_mm: Float[Array, "groups 3"]

    @property
    def count(self) -> int:
        """How many groups."""
        return self.center_mm.shape[0]

    def moved(self, detector: Panels, motions: Float[Array, "groups 6"]) -> Panels:
        """The detector with its groups moved; differentiable."""
        if isinstance(detector, PanelStack):
            rotations, shifts = jax.vmap(rotation_of)(motions[:, :3])[self.group], motions[self.group, 3:]
            return PanelStack(jax.vmap(_moved)(detector.panels, rotations, self.center_mm[self.group], shifts))
        if not isinstance(detector, Detector):
            raise InputError("panels of different sizes cannot be moved in groups")
        return _moved(detector, rotation_of(motions[0, :3]), self.center_mm[0], motions[0, 3:])


def panel_groups(detector: Panels, groups: Sequence[int] | None = None) -> PanelGroups:
    """The groups of a detector. **Arguments:** `groups`: number of each panel's, from 0; None for each by itself.

    **Raises** `InputError` for panels that are not placed by `pix0_mm`, and groups that do not fit.
    """
    panels = split_panels(detector)
    if any(panel.pix0_mm is None for panel in panels):
        raise InputError("panel groups need panels placed by pix0_mm, as those of an experiment list are")
    numbers = np.arange(len(panels)) if groups is None else np.asarray(groups)
    if numbers.shape != (len(panels),) or sorted(set(numbers.tolist())) != list(range(len(set(numbers.tolist())))):
        told = np.array2string(numbers, threshold=20)
        raise InputError(f"groups must have a number from 0 on for each of {len(panels)} panels, got {told}")
    middles = np.array([_middle(panel) for panel in panels])
    centers = np.array([middles[numbers == g].mean(axis=0) for g in range(int(numbers.max()) + 1)])
    return PanelGroups(jnp.asarray(numbers, jnp.int32), jnp.asarray(centers))


def _middle(panel: Detector) -> np.ndarray:
    size = float(panel.pixel_size_mm)
    corner, fast, slow = (np.asarray(v, float) for v in (panel.pix0_mm, panel.fast_axis, panel.slow_axis))
    return corner + size / 2 * (panel.pixels_fast * fast + panel.pixels_slow * slow)


def rotation_of(vector: Float[Array, " 3"]) -> Float[Array, "3 3"]:
    """The rotation about a vector by its length, as a series: smooth at zero, exact to 1e-12 up to 0.2 rad."""
    x, y, z = vector
    zero = jnp.zeros_like(x)
    skew = jnp.stack([jnp.stack(row) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))])
    total, term = jnp.eye(3), jnp.eye(3)
    for order in range(1, 9):
        term = term @ skew / order
        total = total + term
    return total


def _moved(panel: Detector, rotation: Array, center: Array, shift: Array) -> Detector:
    turned = lambda v: rotation @ v  # noqa: E731
    corner = center + turned(jnp.asarray(panel.pix0_mm) - center) + shift
    where: Any = lambda d: (d.pix0_mm, d.fast_axis, d.slow_axis)  # noqa: E731
    moved = eqx.tree_at(where, panel, (corner, turned(panel.fast_axis), turned(panel.slow_axis)))
    if panel.normal_axis is None:
        return moved
    return eqx.tree_at(lambda d: d.normal_axis, moved, turned(panel.normal_axis))


def moved_panels(
    panels: Sequence[ExptPanel], groups: PanelGroups, motions: Float[np.ndarray, "groups 6"]
) -> tuple[ExptPanel, ...]:
    """The panels of an experiment list, moved in the same way."""
    found = []
    for panel, group in zip(panels, np.asarray(groups.group).tolist(), strict=True):
        rotation = np.asarray(rotation_of(jnp.asarray(motions[group, :3])))
        center = np.asarray(groups.center_mm)[group]
        origin = center + rotation @ (panel.origin_mm - center) + motions[group, 3:]
        axes = {"fast_axis": rotation @ panel.fast_axis, "slow_axis": rotation @ panel.slow_axis}
        found.append(replace(panel, origin_mm=origin, **axes))
    return tuple(found)
