"""The normal equations of one shot: its own parameters, and what each of its boxes has for itself."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from ...panels import PanelStack
from ...render.scene import build_scene
from ...render.simulate import block_photons
from ..background import basis, to_photons
from ..losses import AbstractLoss, positive_part, terms_and_slopes
from ..parameters.layout import ParameterVector
from ..parameters.paths import ScaledExperiment
from ..restraints import AbstractRestraint, ParameterValues
from .batch import Boxes
from .panel_groups import PanelGroups


class One(eqx.Module):
    """One shot of a batch, as `jax.vmap` hands it out."""

    scaled: ScaledExperiment
    vector: ParameterVector
    boxes: Boxes
    used: Bool[Array, "boxes pixels"]
    restraints: tuple[AbstractRestraint, ...]
    loss: AbstractLoss
    groups: PanelGroups | None = None
    """Of panels, whose motions then follow the shot's own parameters in x."""

    def own(self, x: Float[Array, " n"]) -> Float[Array, " own"]:
        """Those of x that are the shot's own."""
        return x[: self.vector.start.shape[0]]

    def experiment(self, x: Float[Array, " n"]) -> ScaledExperiment:
        """The experiment with the parameters at x."""
        own = self.own(x)
        scaled = self.vector.insert(self.scaled, own)
        if self.groups is None:
            return scaled
        moved = self.groups.moved(scaled.experiment.detector, x[own.shape[0] :].reshape(-1, 6))
        return eqx.tree_at(lambda s: s.experiment.detector, scaled, moved)


class State(eqx.Module):
    """What a driver moves: x of the parameters, unknowns of the backgrounds, and a factor on the spots of each box."""

    x: Float[Array, "... n"]
    background: Float[Array, "... boxes terms"]
    factor: Float[Array, "... boxes"]
    """Times the intensity that the structure factors give."""


class Equations(NamedTuple):
    """Objective, gradient and expected second derivatives; k numbers of a box: its background, and then its factor."""

    objective: Float[Array, "..."]
    gradient: Float[Array, "... n"]
    matrix: Float[Array, "... n n"]
    own_gradient: Float[Array, "... boxes k"]
    own_matrix: Float[Array, "... boxes k k"]
    mixed: Float[Array, "... boxes k n"]


class Judged(NamedTuple):
    """How well boxes are described."""

    chi_square: Float[Array, "... boxes"]
    """Σ (counts − expected)²/variance."""
    pixels: Float[Array, "... boxes"]
    bragg: Float[Array, "... boxes"]
    """Photons of the model's spots."""
    center: Float[Array, "... boxes 2"]
    """Of the model's photons, (slow, fast) pixels."""


def bragg_photons(scaled: ScaledExperiment, boxes: Boxes, used: Bool[Array, "boxes pixels"]) -> Array:
    """Photons of every pixel without background, (boxes, pixels)."""
    experiment = scaled.experiment
    if not isinstance(experiment.detector, PanelStack):
        flat = [v.reshape(-1) for v in (boxes.slow, boxes.fast, used)]
        return scaled.scale * block_photons(build_scene(experiment, "spec"), *flat).reshape(used.shape)
    panels = experiment.detector.panels

    def in_box(panel: Array, slow: Array, fast: Array, used: Array) -> Array:
        alone = jax.tree.map(lambda leaf: leaf[panel], panels)
        scene = build_scene(eqx.tree_at(lambda e: e.detector, experiment, alone), "spec")
        return block_photons(scene, slow, fast, used)

    return scaled.scale * jax.vmap(in_box)(boxes.panel, boxes.slow, boxes.fast, used)


def background_photons(boxes: Boxes, unknowns: Float[Array, "boxes terms"]) -> tuple[Array, Array]:
    """Photons under the spots, (boxes, pixels), and their derivatives by `unknowns`, (boxes, pixels, terms)."""
    terms = unknowns.shape[-1]
    if not terms:
        return jnp.zeros(boxes.counts.shape), jnp.zeros((*boxes.counts.shape, 0))
    photons = to_photons(unknowns)[:, None]
    shapes = basis(boxes.slow, boxes.fast, boxes.center, boxes.half_size, terms)
    total = sum((photons[..., t] * shape for t, shape in enumerate(shapes)), jnp.zeros(boxes.counts.shape))
    return total, jnp.stack([total, *(photons[..., 0] * shape for shape in shapes[1:])], axis=-1)


def equations_at(one: One, state: State) -> Equations:
    """The normal equations of a shot; a factor's column is always there, whether it is refined or not."""
    directions = jnp.eye(state.x.shape[0])

    def photons_at(x: Array) -> Array:
        return bragg_photons(one.experiment(x), one.boxes, one.used)

    spots, jacobian = jax.vmap(lambda d: jax.jvp(photons_at, (state.x,), (d,)), out_axes=(None, -1))(directions)
    jacobian = jacobian * state.factor[:, None, None]
    under, own = background_photons(one.boxes, state.background)
    photons = spots * state.factor[:, None] + under
    own = jnp.concatenate([own, spots[..., None]], axis=-1)
    model, bend = jax.jvp(positive_part, (photons,), (jnp.ones_like(photons),))
    terms, slopes = terms_and_slopes(one.loss, model, one.boxes.counts)
    slopes = jnp.where(one.used, slopes * bend, 0.0)
    weight = jnp.where(one.used, one.loss.curvature(model) * bend**2, 0.0)
    weighted = jacobian * weight[..., None]
    residuals, by_x = _restraints(one, state.x)
    return Equations(
        jnp.sum(jnp.where(one.used, terms, 0.0)) + 0.5 * jnp.sum(residuals**2),
        jnp.einsum("gp,gpn->n", slopes, jacobian) + residuals @ by_x,
        jnp.einsum("gpn,gpm->nm", weighted, jacobian) + by_x.T @ by_x,
        jnp.einsum("gp,gpk->gk", slopes, own),
        jnp.einsum("gp,gpk,gpl->gkl", weight, own, own),
        jnp.einsum("gpk,gpn->gkn", own, weighted),
    )


def judged(one: One, state: State) -> Judged:
    """How well the boxes of a shot are described, and where the model has its spots."""
    spots = bragg_photons(one.experiment(state.x), one.boxes, one.used) * state.factor[:, None]
    model = positive_part(spots + background_photons(one.boxes, state.background)[0])
    squares = (one.boxes.counts - model) ** 2 / one.loss.variance(model)
    light = jnp.where(one.used, jnp.maximum(spots, 0.0), 0.0)
    total = jnp.sum(light, axis=-1)
    safe = jnp.where(total > 0, total, 1.0)
    center = jnp.stack([jnp.sum(light * v, axis=-1) / safe for v in (one.boxes.slow, one.boxes.fast)], axis=-1)
    return Judged(
        jnp.sum(jnp.where(one.used, squares, 0.0), axis=-1),
        jnp.sum(one.used, axis=-1).astype(squares.dtype),
        jnp.sum(jnp.where(one.used, spots, 0.0), axis=-1),
        center,
    )


def _restraints(one: One, x: Float[Array, " n"]) -> tuple[Array, Array]:
    """Residuals of the restraints on a shot's values, and their derivatives."""
    if not one.restraints:
        return jnp.zeros(0), jnp.zeros((0, x.shape[0]))

    def named(x: Array) -> dict[str, Array]:
        return {name: value[None] for name, value in one.vector.by_name(one.vector.values(one.own(x))).items()}

    def residuals(x: Array) -> Array:
        values = ParameterValues(
            parameters=named(x),
            start=named(jnp.zeros_like(x)),
            images=jax.tree.map(lambda leaf: leaf[None], one.experiment(x)),
            per_image=frozenset(),
        )
        return jnp.concatenate([jnp.ravel(r.residuals(values)) for r in one.restraints])

    return residuals(x), jax.jacfwd(residuals)(x)
