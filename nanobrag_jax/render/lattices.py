"""Several lattices in one image: crystals in one beam, whose photons add up."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from ..crystal import Crystal
from ..errors import InputError
from ..experiment import Experiment
from ..numerics.loops import fold
from ..typing import Images, Mode, Precision
from .simulate import simulate


def stack_crystals(crystals: Sequence[Crystal]) -> Crystal:
    """Crystals of equal structure as one, whose leaves have a leading axis: for `simulate_lattices`.

    **Raises** `InputError` for none, and for crystals that differ in more than numbers.
    """
    if not crystals:
        raise InputError("there must be at least one crystal, got none")
    first = jax.tree.structure(crystals[0])
    shapes = [[jnp.shape(x) for x in jax.tree.leaves(crystal)] for crystal in crystals]
    for i, crystal in enumerate(crystals):
        if jax.tree.structure(crystal) != first or shapes[i] != shapes[0]:
            raise InputError(f"crystals[{i}] has another structure than crystals[0]: shape, domains or what is given")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *crystals)


def alone(experiment: Experiment) -> Experiment:
    """The experiment without water and other scatterers, of which there is one however many crystals there are."""
    sampling = eqx.tree_at(lambda s: s.water_um, experiment.sampling, None, is_leaf=lambda x: x is None)
    return eqx.tree_at(lambda e: (e.sampling, e.scatterers), experiment, (sampling, ()))


def simulate_lattices(
    experiment: Experiment,
    crystals: Sequence[Crystal] | Crystal,
    mode: Mode = "spec",
    *,
    precision: Precision | None = None,
    block_pixels: int | None = None,
    mesh: Mesh | None = None,
) -> Images:
    """The image of several crystals in one beam: the sum of the images of each.

    **Arguments:**

    - `experiment`: everything but the crystals; its own crystal does not count, and scatterers are there once;
    - `crystals`: each with its cell, orientation, size, spread and scale; a list of any kinds, or those of equal
      structure stacked by `stack_crystals`, for which the program does not grow with their number;
    - `mode`, `precision`, `block_pixels`, `mesh`: as for `simulate`.

    **Returns** what `simulate` does. Differentiable by the numbers of each crystal. **Raises** `InputError` for no
    crystals, and as `simulate` does.
    """
    options = {"precision": precision, "block_pixels": block_pixels, "mesh": mesh}
    first, *rest = _listed(crystals)

    def image(whole: Experiment, crystal: Crystal) -> Images:
        return simulate(eqx.tree_at(lambda e: e.crystal, whole, crystal), mode, **options)

    total, bare = image(experiment, first), alone(experiment)
    if not rest:
        return total
    if not isinstance(crystals, Crystal):
        for crystal in rest:
            total = jax.tree.map(jnp.add, total, image(bare, crystal))
        return total
    others = jax.tree.map(lambda x: x[1:], crystals)
    return fold(lambda total, crystal: jax.tree.map(jnp.add, total, image(bare, crystal)), total, others)


def _listed(crystals: Sequence[Crystal] | Crystal) -> list[Crystal]:
    if not isinstance(crystals, Crystal):
        if not crystals:
            raise InputError("there must be at least one crystal, got none")
        return list(crystals)
    if jnp.ndim(crystals.scale) != 1:
        raise InputError("crystals must be a list, or stacked by stack_crystals, got a single crystal")
    return [jax.tree.map(lambda x, i=i: x[i], crystals) for i in range(crystals.scale.shape[0])]
