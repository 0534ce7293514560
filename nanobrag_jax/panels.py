"""Detectors of many panels: each panel a `Detector` of its own, equal ones stacked into one pytree.

A stacked detector is a `Detector` whose leaves have a leading panel axis and whose static fields all panels share, so
that one compiled program renders them all. Panels of different sizes stay a tuple and are rendered one by one. Each
panel is rendered with its own frame: corner, axes, closest point and solid angles.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer

from .errors import InputError

Detector = Any
"""A `Detector`; this module is imported by the one that defines it and treats it as a pytree."""
Panels = Any
"""A `Detector`, a stacked one, or a tuple of unequal ones."""
Experiment = Any


def stack_panels(panels: Sequence[Detector]) -> Detector:
    """One detector with a leading panel axis on every leaf.

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
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *panels)
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *panels)


def _is_traced(tree: Any) -> bool:
    """Whether a transformation of jax is at work on a leaf; else numpy does what needs no compiling."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def as_panels(panels: Detector | Sequence[Detector]) -> Panels:
    """Panels in the form that an experiment holds: one detector, equal panels stacked, or a tuple of unequal ones.

    A list of one panel is that panel.
    """
    if not isinstance(panels, list | tuple):
        return panels
    if len(panels) == 1:
        return panels[0]
    equal = len({jax.tree.structure(panel) for panel in panels}) <= 1
    return stack_panels(panels) if equal else tuple(panels)


def panel_kinds(detector: Panels) -> tuple[Detector, ...]:
    """Detectors that between them have the static fields of every panel: one for all panels of a stack."""
    return detector if isinstance(detector, tuple) else (detector,)


def num_panels(detector: Panels) -> int | None:
    """How many panels a detector has; None for one that is no list of panels."""
    if isinstance(detector, tuple):
        return len(detector)
    return detector.fast_axis.shape[0] if detector.fast_axis.ndim == 2 else None


def split_panels(detector: Panels) -> tuple[Detector, ...]:
    """The panels one by one."""
    if isinstance(detector, tuple):
        return detector
    count = num_panels(detector)
    if count is None:
        return (detector,)
    if _is_traced(detector):
        return tuple(jax.tree.map(lambda leaf, n=i: leaf[n], detector) for i in range(count))
    held = jax.tree.map(np.asarray, detector)
    return tuple(jax.tree.map(lambda leaf, n=i: jnp.asarray(leaf[n]), held) for i in range(count))


def panel_experiment(experiment: Experiment, panel: int) -> Experiment:
    """The same experiment with one panel as its detector, for `simulate_pixels` and traces.

    **Raises** `InputError` if there is no such panel.
    """
    panels = split_panels(experiment.detector)
    if not 0 <= panel < len(panels):
        raise InputError(f"panel must be 0 to {len(panels) - 1}, got {panel}")
    mask = experiment.sampling.mask
    single = eqx.tree_at(lambda e: e.detector, experiment, panels[panel])
    if mask is None or mask.ndim == 2:
        return single
    return eqx.tree_at(lambda e: e.sampling.mask, single, mask[panel])


Render = Callable[[Experiment, Any], Array]


def simulate_panels(render: Render, experiment: Experiment, how: Hashable) -> Any:
    """Images of all panels: (panel, slow, fast) for stacked ones, else a list of images.

    **Arguments:** `render`: a function that renders an experiment of one panel, `render(experiment, how)`; it has to
    be a function of a module, not one made on the spot, as compiled programs are kept by it.
    """
    if isinstance(experiment.detector, tuple):
        return [render(panel_experiment(experiment, i), how) for i in range(len(experiment.detector))]
    return _stacked(render, experiment, how)


@partial(jax.jit, static_argnames=("render", "how"))
def _stacked(render: Render, experiment: Experiment, how: Hashable) -> Array:
    mask = experiment.sampling.mask
    own_mask = mask is not None and mask.ndim == 3

    def one(item):
        detector, panel_mask = item
        single = eqx.tree_at(lambda e: e.detector, experiment, detector)
        if own_mask:
            single = eqx.tree_at(lambda e: e.sampling.mask, single, panel_mask)
        return render(single, how)

    return lax.map(one, (experiment.detector, jnp.asarray(mask) if own_mask else None))
