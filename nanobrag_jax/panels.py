"""Detectors of many panels: each panel a `Detector` of its own, equal ones stacked into one pytree.

The static fields of a stack are those that all panels share, so that one compiled program renders them all. Panels of
different sizes stay a tuple and are rendered one by one. Each panel is rendered with its own frame: corner, axes,
closest point and solid angles.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .described import described
from .detector import Detector
from .errors import InputError


class PanelStack(eqx.Module):
    """Equal panels: the leaves of `panels` have a leading panel axis."""

    panels: Detector

    @property
    def count(self) -> int:
        """Number of panels."""
        return self.panels.fast_axis.shape[0]

    def __repr__(self) -> str:
        return described(self)


Panels = Detector | PanelStack | tuple[Detector, ...]
"""One panel, equal ones, or unequal ones."""


def stack_panels(panels: Sequence[Detector]) -> PanelStack:
    """Equal panels as one pytree.

    **Raises** `InputError` if the panels differ in what is no number to refine: pixel counts, sensor layers,
    convention, or which of the optional numbers they have.
    """
    if not panels:
        raise InputError("a detector needs at least one panel")
    first = jax.tree.structure(panels[0])
    for i, panel in enumerate(panels):
        if jax.tree.structure(panel) != first:
            here, there = (f"{p.pixels_fast} x {p.pixels_slow}" for p in (panel, panels[0]))
            what = f"{here} pixels, panel 0 has {there}" if here != there else "other options than panel 0"
            raise InputError(f"only equal panels can be stacked: panel {i} has {what}")
    if _is_traced(panels):
        return PanelStack(jax.tree.map(lambda *leaves: jnp.stack(leaves), *panels))
    return PanelStack(jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *panels))


def _is_traced(tree: Detector | Sequence[Detector]) -> bool:
    """Whether a transformation of jax is at work on a leaf; else numpy does what needs no compiling."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def as_panels(panels: Panels | Sequence[Detector]) -> Panels:
    """Panels in the form that an experiment holds: one detector, equal panels stacked, or a tuple of unequal ones.

    A list of one panel is that panel.
    """
    if isinstance(panels, Detector | PanelStack):
        return panels
    if not isinstance(panels, Sequence) or not all(isinstance(each, Detector) for each in panels):
        raise InputError(f"detector must be a Detector or a list of them, got a {type(panels).__name__}")
    if len(panels) == 1:
        return panels[0]
    equal = len({jax.tree.structure(panel) for panel in panels}) <= 1
    return stack_panels(panels) if equal else tuple(panels)


def panel_kinds(detector: Panels) -> tuple[Detector, ...]:
    """Detectors that between them have the static fields of every panel: one for all panels of a stack."""
    if isinstance(detector, tuple):
        return detector
    return (detector.panels if isinstance(detector, PanelStack) else detector,)


def num_panels(detector: Panels) -> int | None:
    """How many panels a detector has; None for one that is no list of panels."""
    if isinstance(detector, Detector):
        return None
    return len(detector) if isinstance(detector, tuple) else detector.count


def split_panels(detector: Panels) -> tuple[Detector, ...]:
    """The panels one by one."""
    if isinstance(detector, Detector):
        return (detector,)
    if isinstance(detector, tuple):
        return detector
    stacked = detector.panels
    if _is_traced(stacked):
        return tuple(jax.tree.map(lambda leaf, n=i: leaf[n], stacked) for i in range(detector.count))
    held = jax.tree.map(np.asarray, stacked)
    return tuple(jax.tree.map(lambda leaf, n=i: jnp.asarray(leaf[n]), held) for i in range(detector.count))
