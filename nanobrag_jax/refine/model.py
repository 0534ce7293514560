"""The model against the data: expected counts, objective, and the normal equations of a least-squares step.

Images are taken one after the other and the pixels of each in batches, so that memory does not grow with either.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float

from ..errors import InputError
from ..experiment import Experiment
from ..render import block_photons
from ..scene import build_scene
from ..sharding import EVERYWHERE, axes_of, laid_out_by_xla, num_devices, shared_out, sum_over_devices
from .data import PixelData, background_start, behind
from .layout import Layout, layout
from .losses import Loss, positive_part
from .parameters import Parameter
from .places import Subject

BATCH_PIXELS = 16384
"""Pixels whose derivatives are held at a time."""


class Problem(eqx.Module):
    """Everything that does not change while a driver works."""

    common: Subject
    """Leaves that all images have alike."""
    varying: Subject
    """The others, with a leading axis of images."""
    layout: Layout
    data: PixelData
    """With leading axes (images, batches) where it has groups, and (images,) elsewhere."""
    loss: Loss
    mesh: Mesh | None = eqx.field(static=True)
    """Devices that the batches of every image are shared out to."""

    @property
    def num_images(self) -> int:
        """How many images."""
        return self.data.background.shape[0]


class Unknowns(eqx.Module):
    """What a driver moves: x, zero at the start, and the backgrounds as `background_start` has them."""

    shared: Float[Array, " n"]
    own: Float[Array, "images m"]
    background: Float[Array, "images backgrounds terms"]


class Normal(NamedTuple):
    """Objective and normal equations at a point. The matrices are expected second derivatives.

    Of each image: n = shared and own parameters, b = backgrounds, t = terms of each.
    """

    objective: Array
    gradient: Float[Array, "images n"]
    matrix: Float[Array, "images n n"]
    background_gradient: Float[Array, "images b t"]
    background_matrix: Float[Array, "images b t t"]
    mixed: Float[Array, "images b t n"]


def build(
    experiments: Sequence[Experiment],
    data: Sequence[PixelData],
    parameters: Sequence[Parameter],
    loss: Loss,
    mesh: Mesh | None = None,
) -> Problem:
    """Put images together. **Raises** `InputError` where they do not fit."""
    if not experiments or len(experiments) != len(data):
        counts = f"there are {len(experiments)} experiments and {len(data)} sets of data"
        raise InputError(f"give data for each experiment: {counts}")
    subjects = [Subject(e, jnp.ones(())) for e in experiments]
    structures = {jax.tree.structure(s) for s in subjects}
    if len(structures) > 1:
        raise InputError("experiments refined together must differ in numbers only, not in counts, shapes or options")
    varying, common = _compared(subjects)
    mesh = laid_out_by_xla(mesh)
    return Problem(common, varying, layout(parameters, subjects), _batched(data, mesh), loss, mesh)


def _compared(subjects: Sequence[Subject]) -> tuple[Subject, Subject]:
    """Leaves that differ, stacked, and leaves that do not."""
    lists = [jax.tree.leaves(s) for s in subjects]
    structure = jax.tree.structure(subjects[0])
    varying, common = [], []
    for leaves in zip(*lists, strict=True):
        first = leaves[0]
        same = all(a is first or np.array_equal(np.asarray(a), np.asarray(first)) for a in leaves[1:])
        if not same and len({np.shape(a) for a in leaves}) > 1:
            raise InputError("experiments refined together must have arrays of the same shapes")
        varying.append(None if same else jnp.stack([jnp.asarray(a) for a in leaves]))
        common.append(jnp.asarray(first) if same else None)
    return jax.tree.unflatten(structure, varying), jax.tree.unflatten(structure, common)


def _batched(data: Sequence[PixelData], mesh: Mesh | None) -> PixelData:
    """All images' data with equally many groups, cut into batches, equally many for each device."""
    if len({(d.slow.shape[1], d.background.shape[1]) for d in data}) > 1:
        raise InputError("images refined together must have boxes of one size and one kind of background")
    pixels = data[0].slow.shape[1]
    most = max(d.slow.shape[0] for d in data)
    devices = num_devices(mesh)
    together = max(1, min(-(-most // devices), BATCH_PIXELS // pixels))
    batches = -(-most // (together * devices)) * devices
    backgrounds = max(d.background.shape[0] for d in data)

    def filled(d: PixelData) -> PixelData:
        more, extra = batches * together - d.slow.shape[0], backgrounds - d.background.shape[0]

        def group(v: Array, *rest) -> Array:
            return jnp.pad(v, ((0, more), *rest)).reshape(batches, together, *v.shape[1:])

        pixelwise = [group(v, (0, 0)) for v in (d.slow, d.fast, d.counts, d.used, d.known)]
        background = jnp.pad(d.background, ((0, extra), (0, 0)), constant_values=1.0)
        middle = jnp.pad(d.middle, ((0, extra), (0, 0)))
        reach = jnp.pad(d.reach, (0, extra), constant_values=1.0)
        return _data((*pixelwise, group(d.background_of)), (background, middle, reach))

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(filled, data))
    if mesh is None:
        return stacked
    grouped, single = _split(stacked)
    return _data(jax.device_put(grouped, NamedSharding(mesh, _batches_in_shares(mesh))), single)


def _batches_in_shares(mesh: Mesh) -> PartitionSpec:
    """How arrays (images, batches, …) are laid out."""
    return PartitionSpec(None, axes_of(mesh))


def start(problem: Problem) -> Unknowns:
    """Where a driver starts."""
    sides = problem.layout
    own = jnp.zeros((problem.num_images, sides.own.count))
    return Unknowns(jnp.zeros(sides.shared.count), own, background_start(problem.data))


def limits(problem: Problem) -> Unknowns:
    """How far one step may move each number: a factor of e for what is positive, as much on the way to a bound."""
    sides = problem.layout
    background = jnp.ones_like(problem.data.background)
    return Unknowns(sides.shared.limits(), sides.own.limits(), background.at[..., 1:].set(0.3))


def subject_at(problem: Problem, varying: Subject, own_side, shared: Array, own: Array) -> Subject:
    """One image's experiment with the parameters at x in place."""
    subject = eqx.combine(varying, problem.common)
    return own_side.placed(problem.layout.shared.placed(subject, shared), own)


def _data(grouped: tuple, single: tuple) -> PixelData:
    """What `_split` took apart."""
    slow, fast, counts, used, known, of = grouped
    return PixelData(slow, fast, counts, used, known, of, *single)


def _split(data: PixelData) -> tuple[tuple, tuple]:
    """Data of the batches, and data of the image."""
    grouped = data.slow, data.fast, data.counts, data.used, data.known, data.background_of
    return grouped, (data.background, data.middle, data.reach)


def _photons(subject: Subject, data: PixelData) -> Array:
    flat = [v.reshape(-1) for v in (data.slow, data.fast, data.used)]
    return (subject.scale * block_photons(build_scene(subject.experiment, "spec"), *flat)).reshape(data.slow.shape)


def _over_images(problem: Problem, unknowns: Unknowns, image: Callable, results: Callable[[Mesh], PartitionSpec]):
    """`image`(its leaves, number, grouped data, single data, own unknowns, background) of one image after the other.

    **Arguments:** `results`: how what `image` returns is laid out, where each device calls it with its batches.
    """
    grouped, single = _split(problem.data)
    numbers = jnp.arange(problem.num_images)
    items = problem.varying, numbers, single, unknowns.own, unknowns.background

    def run(grouped, items):
        varying, numbers, single, own, background = items
        return lax.map(lambda item: image(*item), (varying, numbers, grouped, single, own, background))

    if problem.mesh is None:
        return run(grouped, items)
    specs = _batches_in_shares(problem.mesh), EVERYWHERE
    return shared_out(run, problem.mesh, specs, results(problem.mesh))(grouped, items)


@eqx.filter_jit
def expected(problem: Problem, unknowns: Unknowns) -> Float[Array, "images batches groups pixels"]:
    """Expected counts of every pixel, positive everywhere."""
    return unjitted_expected(problem, unknowns)


def unjitted_expected(problem: Problem, unknowns: Unknowns) -> Float[Array, "images batches groups pixels"]:
    """The same, to be transformed."""

    def image(varying, number, grouped, single, own, background):
        subject = subject_at(problem, varying, problem.layout.own.image(number), unknowns.shared, own)

        def batch(parts):
            piece = _data(parts, single)
            return positive_part(_photons(subject, piece) + behind(piece, background)[0])

        return lax.map(jax.checkpoint(batch, prevent_cse=False), grouped)

    return _over_images(problem, unknowns, image, _batches_in_shares)


def restraints(problem: Problem, unknowns: Unknowns) -> Array:
    """What all restraints add to the objective."""
    sides = problem.layout
    total = sides.shared.restraint(unknowns.shared)
    if not sides.own.count:
        return total
    numbers = jnp.arange(problem.num_images)
    return total + jnp.sum(jax.vmap(lambda i: sides.own.image(i).restraint(unknowns.own[i]))(numbers))


def objective(problem: Problem, unknowns: Unknowns) -> Array:
    """Loss over all pixels plus restraints."""
    model = unjitted_expected(problem, unknowns)
    terms = problem.loss.terms(model, problem.data.counts)
    return jnp.sum(jnp.where(problem.data.used, terms, 0.0)) + restraints(problem, unknowns)


@eqx.filter_jit
def value_and_grad(problem: Problem, unknowns: Unknowns) -> tuple[Array, Unknowns]:
    """Objective and its gradient by reverse mode."""
    return jax.value_and_grad(lambda at: objective(problem, at))(unknowns)


@eqx.filter_jit
def normal_equations(problem: Problem, unknowns: Unknowns) -> Normal:
    """Objective and normal equations by forward mode: one derivative of the image for each parameter."""
    shared_count, own_count = problem.layout.shared.count, problem.layout.own.count
    directions = jnp.eye(shared_count + own_count)

    def image(varying, number, grouped, single, own, background):
        own_side = problem.layout.own.image(number)
        point = jnp.concatenate([unknowns.shared, own])

        def batch(sums, parts):
            piece = _data(parts, single)

            def bragg(x):
                return _photons(subject_at(problem, varying, own_side, x[:shared_count], x[shared_count:]), piece)

            photons, slopes = jax.vmap(lambda d: jax.jvp(bragg, (point,), (d,)), out_axes=(None, -1))(directions)
            under, forms = behind(piece, background)
            photons = photons + under
            model, bend = jax.jvp(positive_part, (photons,), (jnp.ones_like(photons),))
            weight = jnp.where(piece.used, problem.loss.curvature(model) * bend**2, 0.0)
            pull = jnp.where(piece.used, problem.loss.slope(model, piece.counts) * bend, 0.0)
            terms = jnp.where(piece.used, problem.loss.terms(model, piece.counts), 0.0)
            weighted = slopes * weight[..., None]
            of = piece.background_of
            total, gradient, matrix, b_gradient, b_matrix, mixed = sums
            return (
                total + jnp.sum(terms),
                gradient + jnp.einsum("gp,gpn->n", pull, slopes),
                matrix + jnp.einsum("gpn,gpm->nm", weighted, slopes),
                b_gradient.at[of].add(jnp.einsum("gp,gpt->gt", pull, forms)),
                b_matrix.at[of].add(jnp.einsum("gp,gpt,gpu->gtu", weight, forms, forms)),
                mixed.at[of].add(jnp.einsum("gpt,gpn->gtn", forms, weighted)),
            ), None

        n, (b, t) = shared_count + own_count, background.shape
        zeros = tuple(jnp.zeros(s) for s in ((), (n,), (n, n), (b, t), (b, t, t), (b, t, n)))
        sums = sum_over_devices(lambda start: lax.scan(batch, start, grouped)[0], zeros, problem.mesh)
        gradient, matrix = sums[1], sums[2]
        total = sums[0] + own_side.restraint(own)
        gradient = gradient.at[shared_count:].add(own_side.restraint_slope(own))
        matrix = matrix + jnp.diag(jnp.pad(own_side.restraint_curvature(own), (shared_count, 0)))
        return total, gradient, matrix, *sums[3:]

    total, gradient, matrix, *rest = _over_images(problem, unknowns, image, lambda mesh: EVERYWHERE)
    side = problem.layout.shared
    gradient = gradient.at[0, :shared_count].add(side.restraint_slope(unknowns.shared))
    bent = jnp.pad(side.restraint_curvature(unknowns.shared), (0, own_count))
    matrix = matrix.at[0].add(jnp.diag(bent))
    return Normal(jnp.sum(total) + side.restraint(unknowns.shared), gradient, matrix, *rest)
