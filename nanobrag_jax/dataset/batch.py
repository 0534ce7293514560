"""A batch of images as one compiled program: photons, noise, point spread and whole numbers stay on the device."""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh

from ..crystal import real_basis
from ..detector import Detector, detector_frame
from ..effects import DetectorEffects, detect
from ..experiment import Experiment
from ..goniometer import phi_rotated
from ..numerics.loops import mapped, scan, stored_first
from ..numerics.pixel_random import as_key
from ..numerics.sharding import EVERYWHERE, in_shares, laid_out_by_xla, shared_out
from ..panels import PanelStack
from ..refine.parameters.paths import ScaledExperiment, replace_leaf
from ..render.simulate import simulate
from ..typing import Precision
from .recipe import EFFECTS, Drawn, Recipe


class Batch(NamedTuple):
    """Images with an axis (image,) in front, as device arrays or numpy's."""

    counts: Array
    """(image, slow, fast), or (image, panel, slow, fast)."""
    real_space_A: Array
    """(image, lattice, 3, 3): rows a, b, c of each lattice in the lab; with several φ steps at φ = 0."""
    panels_m: Array
    """(image, panel, 3, 3): origin (m), fast and slow axis of each panel in the lab."""


class _Item(NamedTuple):
    """What is an image's own, on the device."""

    key: Array
    lattices: Array
    numbered: Array
    """0, 1, … for as many lattices as an image may have."""
    of_image: dict[str, Array]
    of_lattice: dict[str, Array]


def rendered(recipe: Recipe, drawn: Drawn, mesh: Mesh | None = None) -> Batch:
    """The images of what was drawn, all of one base experiment; returns before they are finished.

    **Arguments:** `mesh`: devices to share the images out to; their number must divide that of the images.
    """
    (which,) = {int(base) for base in drawn.base}
    keys = jax.vmap(partial(jax.random.fold_in, as_key(recipe.seed)))(jnp.asarray(drawn.numbers, jnp.uint32))
    item = _Item(
        keys,
        jnp.asarray(drawn.lattices, jnp.int32),
        jnp.broadcast_to(jnp.arange(recipe.most_lattices), (len(drawn.numbers), recipe.most_lattices)),
        {name: jnp.asarray(value) for name, value in drawn.of_image.items()},
        {name: jnp.asarray(value) for name, value in drawn.of_lattice.items()},
    )
    return _batch(
        recipe.prepared[which],
        recipe.backgrounds[which],
        recipe.detector_effects,
        item,
        recipe.precision,
        recipe.storage.dtype,
        laid_out_by_xla(mesh),
    )


@partial(jax.jit, static_argnames=("precision", "dtype", "mesh"))
def _batch(
    base: Experiment,
    background: Experiment | None,
    effects: DetectorEffects,
    items: _Item,
    precision: Precision | None,
    dtype: str,
    mesh: Mesh | None,
) -> Batch:
    def share(base: Experiment, background: Experiment | None, effects: DetectorEffects, items: _Item) -> Batch:
        one = partial(_image, base, background, effects, precision, dtype)
        # a CPU's threads work best on one image at a time, a GPU wants more pixels than an image has
        return lax.platform_dependent(items, cpu=partial(mapped, one), default=jax.vmap(one))

    if mesh is None:
        return share(base, background, effects, items)
    own = in_shares(mesh)
    return shared_out(share, mesh, (EVERYWHERE, EVERYWHERE, EVERYWHERE, own), own)(base, background, effects, items)


def _image(
    base: Experiment,
    background: Experiment | None,
    effects: DetectorEffects,
    precision: Precision | None,
    dtype: str,
    item: _Item,
) -> Batch:
    """One image: the background and the photons of its lattices, read by the detector."""
    base, effects = changed(base, item.of_image), _changed_effects(effects, item.of_image)

    def photons(experiment: Experiment) -> Array:
        # fenced, or XLA would compute a pixel anew for each of those that its light spreads to
        return stored_first(lambda: jnp.asarray(simulate(experiment, precision=precision)))

    def add_lattice(total: Array, numbered: tuple[Array, dict[str, Array]]) -> tuple[Array, Array]:
        number, numbers = numbered
        one = changed(base, numbers)
        added = lax.cond(number < item.lattices, lambda: total + photons(_crystal_alone(one)), lambda: total)
        real = real_basis(one.crystal)
        return added, phi_rotated(real, one.goniometer)[0] if one.goniometer.phi_steps == 1 else real

    panel = jax.eval_shape(lambda: simulate(base, precision=precision))
    if background is None:
        behind = jnp.zeros(panel.shape, panel.dtype)
    else:
        behind = photons(changed(background, item.of_image))
    behind = behind + (0 * item.lattices).astype(behind.dtype)  # of the image, hence its own on each device
    total, real = scan(add_lattice, behind, (item.numbered, item.of_lattice))
    read = stored_first(lambda: detect(total, effects, item.key))
    counts = jnp.clip(jnp.round(read), 0, jnp.iinfo(dtype).max).astype(dtype)
    return Batch(counts, real, _panels(base))


def _panels(experiment: Experiment) -> Array:
    def one(panel: Detector) -> Array:
        frame = detector_frame(panel, experiment.beam)
        return jnp.stack([frame.pix0, frame.fast, frame.slow])

    detector = experiment.detector
    return jax.vmap(one)(detector.panels) if isinstance(detector, PanelStack) else one(experiment.panel)[None]


def changed(experiment: Experiment, numbers: dict[str, Array]) -> Experiment:
    """The experiment with other numbers, as far as they are its own."""
    scaled = ScaledExperiment(experiment, jnp.ones(()))
    for name, value in numbers.items():
        if not name.startswith(EFFECTS):
            scaled = replace_leaf(scaled, name, value)
    return scaled.experiment


def _changed_effects(effects: DetectorEffects, numbers: dict[str, Array]) -> DetectorEffects:
    for name, value in numbers.items():
        if name.startswith(EFFECTS):
            field = name.removeprefix(EFFECTS)
            effects = eqx.tree_at(lambda e, field=field: getattr(e, field), effects, value)
    return effects


def _crystal_alone(experiment: Experiment) -> Experiment:
    """Without what scatters beside the crystals, which an image has once."""
    sampling = eqx.tree_at(lambda s: s.water_um, experiment.sampling, None, is_leaf=lambda x: x is None)
    return eqx.tree_at(lambda e: (e.sampling, e.scatterers), experiment, (sampling, ()))
