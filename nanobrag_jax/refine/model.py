"""The model against the data: expected counts of every pixel, and the objective.

Images are taken one after the other and the pixels of each in batches, so that memory does not grow with either.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, PyTree

from ..errors import InputError
from ..experiment import Experiment, completed
from ..numerics.sharding import EVERYWHERE, laid_out_by_xla, shared_out
from ..render.scene import build_scene
from ..render.simulate import block_photons
from .background import to_unknowns
from .data import PixelArrays, PixelData, background_model, batches_in_shares, in_batches, rejoined, split_by_axis
from .losses import AbstractLoss, positive_part
from .parameters.layout import Layout, ParameterVector, lay_out
from .parameters.parameter import Parameter
from .parameters.paths import ScaledExperiment, parse_name
from .restraints import AbstractRestraint, ParameterValues, TargetRestraint


class Problem(eqx.Module):
    """Everything that does not change while a driver works."""

    common: ScaledExperiment
    """Leaves that all images have alike."""
    varying: ScaledExperiment
    """The others, with a leading axis of images."""
    layout: Layout
    data: PixelData
    """With leading axes (images, batches) where it has groups, and (images,) elsewhere."""
    loss: AbstractLoss
    restraints: tuple[AbstractRestraint, ...]
    start_values: dict[str, Array]
    """Of the parameters, by name: where restraints hold what should stay near its start."""
    mesh: Mesh | None = eqx.field(static=True)
    """Devices that the batches of every image are shared out to."""

    @property
    def num_images(self) -> int:
        """How many images."""
        return self.layout.num_images


class Unknowns(eqx.Module):
    """What a driver moves: parameters in typical changes from the start, so zero there, and backgrounds: the logarithm
    of the level, and slopes in its units.
    """

    shared: Float[Array, " n"]
    per_image: Float[Array, "images m"]
    background: Float[Array, "images backgrounds terms"]


def build_problem(
    experiments: Sequence[Experiment],
    data: Sequence[PixelData],
    parameters: Sequence[Parameter],
    loss: AbstractLoss,
    restraints: Sequence[AbstractRestraint] = (),
    mesh: Mesh | None = None,
) -> Problem:
    """Put images together.

    **Raises** `InputError` where they do not fit, and for restraints on what does not exist.
    """
    if not experiments or len(experiments) != len(data):
        counts = f"there are {len(experiments)} experiments and {len(data)} sets of data"
        raise InputError(f"give data for each experiment: {counts}")
    scaled = [ScaledExperiment(completed(e), jnp.ones(())) for e in experiments]
    structures = {jax.tree.structure(s) for s in scaled}
    if len(structures) > 1:
        raise InputError("experiments refined together must differ in numbers only, not in counts, shapes or options")
    varying, common = _differences(scaled)
    mesh = laid_out_by_xla(mesh)
    of_parameters = [TargetRestraint(p.name, *p.restraint) for p in parameters if p.restraint is not None]
    everything = tuple(of_parameters) + tuple(restraints)
    layout = lay_out(parameters, scaled)
    start_values = _start_values(layout)
    problem = Problem(common, varying, layout, in_batches(data, mesh), loss, everything, start_values, mesh)
    jax.eval_shape(lambda: restraint_residuals(problem, start(problem)))  # names and shapes that do not exist
    return problem


def starting_at(problem: Problem, experiments: Sequence[Experiment], parameters: Sequence[Parameter]) -> Problem:
    """The same with parameters that start elsewhere; for restraints the start remains what it was."""
    scaled = [ScaledExperiment(completed(e), jnp.ones(())) for e in experiments]
    return eqx.tree_at(lambda p: p.layout, problem, lay_out(parameters, scaled))


@eqx.filter_jit
def _start_values(layout: Layout) -> dict[str, Array]:
    return parameter_values(
        layout, jnp.zeros(layout.shared.count), jnp.zeros((layout.num_images, layout.per_image.count))
    )


def _differences(experiments: Sequence[ScaledExperiment]) -> tuple[ScaledExperiment, ScaledExperiment]:
    """Leaves that differ, stacked, and leaves that do not."""
    lists = [jax.tree.leaves(e) for e in experiments]
    structure = jax.tree.structure(experiments[0])
    varying, common = [], []
    for leaves in zip(*lists, strict=True):
        first = leaves[0]
        same = all(a is first or np.array_equal(np.asarray(a), np.asarray(first)) for a in leaves[1:])
        if not same and len({np.shape(a) for a in leaves}) > 1:
            raise InputError("experiments refined together must have arrays of the same shapes")
        varying.append(None if same else jnp.stack([jnp.asarray(a) for a in leaves]))
        common.append(jnp.asarray(first) if same else None)
    return jax.tree.unflatten(structure, varying), jax.tree.unflatten(structure, common)


def start(problem: Problem) -> Unknowns:
    """Where a driver starts."""
    layout = problem.layout
    per_image = jnp.zeros((problem.num_images, layout.per_image.count))
    return Unknowns(jnp.zeros(layout.shared.count), per_image, to_unknowns(problem.data.background))


@eqx.filter_jit
def step_limits(problem: Problem) -> Unknowns:
    """How far one step may move each number: a factor of e for what is positive, as much on the way to a bound."""
    layout = problem.layout
    background = jnp.ones_like(problem.data.background)
    limits = layout.shared.step_limits(), layout.per_image.step_limits()
    return Unknowns(*limits, background.at[..., 1:].set(0.3))


def experiment_at(
    problem: Problem, varying: ScaledExperiment, own: ParameterVector, shared: Array, per_image: Array
) -> ScaledExperiment:
    """One image's experiment with the parameters at x in place.

    **Arguments:** `varying`, `own`: the image's part of `problem.varying` and `problem.layout.per_image`; `shared`,
    `per_image`: x.
    """
    scaled = eqx.combine(varying, problem.common)
    return own.insert(problem.layout.shared.insert(scaled, shared), per_image)


def all_experiments(problem: Problem, unknowns: Unknowns) -> ScaledExperiment:
    """The experiments of all images, every leaf with a leading axis."""

    def image(number: Array, varying: ScaledExperiment, per_image: Array) -> ScaledExperiment:
        own = problem.layout.per_image.of_image(number)
        return experiment_at(problem, varying, own, unknowns.shared, per_image)

    return jax.vmap(image)(jnp.arange(problem.num_images), problem.varying, unknowns.per_image)


def parameter_values(
    layout: Layout, shared: Float[Array, " n"], per_image: Float[Array, "images m"]
) -> dict[str, Array]:
    """Values at x by the parameters' names, with a leading axis of images for what is per image."""

    def of_image(number: Array, x: Array) -> dict[str, Array]:
        own = layout.per_image.of_image(number)
        return own.by_name(own.values(x))

    values = layout.shared.by_name(layout.shared.values(shared))
    return values | jax.vmap(of_image)(jnp.arange(layout.num_images), per_image)


def restraint_residuals(problem: Problem, unknowns: Unknowns) -> Float[Array, " residuals"]:
    """Residuals of all restraints, one after the other."""
    if not problem.restraints:
        return jnp.zeros(0, unknowns.shared.dtype)
    layout = problem.layout
    leaves, _ = jax.tree_util.tree_flatten_with_path(problem.varying)
    differing = {tuple(key.name for key in path if isinstance(key, jax.tree_util.GetAttrKey)) for path, _ in leaves}
    moved = [name for p in layout.per_image.parameters for name in (p.name, *p.ties)]
    per_image = {fields[1:] if fields[0] == "experiment" else fields for fields in differing}
    values = ParameterValues(
        parameters=parameter_values(layout, unknowns.shared, unknowns.per_image),
        start=problem.start_values,
        images=all_experiments(problem, unknowns),
        per_image=frozenset(per_image | {parse_name(name).fields for name in moved}),
    )
    return jnp.concatenate([jnp.ravel(restraint.residuals(values)) for restraint in problem.restraints])


def photons_in_spots(scaled: ScaledExperiment, data: PixelData) -> Float[Array, "groups pixels"]:
    """Photons of every pixel without the background that is refined."""
    flat = [v.reshape(-1) for v in (data.slow, data.fast, data.used)]
    return (scaled.scale * block_photons(build_scene(scaled.experiment, "spec"), *flat)).reshape(data.slow.shape)


class Image(eqx.Module):
    """One image of a problem, as `over_images` hands it out."""

    problem: Problem
    varying: ScaledExperiment
    number: Array
    batches: PixelArrays
    backgrounds: PixelArrays
    per_image: Float[Array, " m"]
    """Its own parameters."""
    background: Float[Array, "backgrounds terms"]

    def experiment(self, shared: Array, per_image: Array) -> ScaledExperiment:
        """Its experiment with the parameters at x."""
        own = self.problem.layout.per_image.of_image(self.number)
        return experiment_at(self.problem, self.varying, own, shared, per_image)

    def batch(self, pixels: PixelArrays) -> PixelData:
        """Data of one of its batches."""
        return rejoined(pixels, self.backgrounds)


def over_images(
    problem: Problem,
    unknowns: Unknowns,
    function: Callable[[Image], PyTree[Array]],
    results: Callable[[Mesh], PyTree[PartitionSpec]],
) -> PyTree[Array]:
    """`function` of one image after the other, its results with a leading axis.

    **Arguments:** `results`: how what `function` returns is laid out, where each device calls it with its batches.
    """
    batches, backgrounds = split_by_axis(problem.data)
    numbers = jnp.arange(problem.num_images)
    items = problem.varying, numbers, backgrounds, unknowns.per_image, unknowns.background

    def run(batches, items):
        varying, numbers, backgrounds, per_image, background = items

        def one(item):
            return function(Image(problem, *item))

        return lax.map(one, (varying, numbers, batches, backgrounds, per_image, background))

    if problem.mesh is None:
        return run(batches, items)
    specs = batches_in_shares(problem.mesh), EVERYWHERE
    return shared_out(run, problem.mesh, specs, results(problem.mesh))(batches, items)


def expected_counts(problem: Problem, unknowns: Unknowns) -> Float[Array, "images batches groups pixels"]:
    """Expected counts of every pixel, positive everywhere."""

    def image(one: Image) -> Array:
        scaled = one.experiment(unknowns.shared, one.per_image)

        def batch(pixels: PixelArrays) -> Array:
            data = one.batch(pixels)
            return positive_part(photons_in_spots(scaled, data) + background_model(data, one.background)[0])

        return lax.map(jax.checkpoint(batch, prevent_cse=False), one.batches)

    return over_images(problem, unknowns, image, batches_in_shares)


def objective(problem: Problem, unknowns: Unknowns) -> Array:
    """Loss over all pixels plus half the squares of the restraints' residuals."""
    model = expected_counts(problem, unknowns)
    terms = problem.loss.terms(model, problem.data.counts)
    restraints = 0.5 * jnp.sum(restraint_residuals(problem, unknowns) ** 2)
    return jnp.sum(jnp.where(problem.data.used, terms, 0.0)) + restraints


@eqx.filter_jit
def value_and_grad(problem: Problem, unknowns: Unknowns) -> tuple[Array, Unknowns]:
    """Objective and its gradient by reverse mode."""
    return jax.value_and_grad(lambda at: objective(problem, at))(unknowns)
