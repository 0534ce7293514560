"""`simulate` and `simulate_pixels`: the kernel lifted over pixels, sub-pixels, layers, sources and orientations.

Pixels go in blocks; within a block every loop runs over samples with the pixels side by side, so that memory does
not grow with the number of samples. Reverse mode recomputes a block instead of keeping it.
"""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.custom_batching import custom_vmap
from jax.sharding import Mesh

from .. import checks
from ..constants import MODES
from ..detector import Ray
from ..errors import InputError
from ..experiment import Experiment, panel_experiment, settled
from ..numerics.loops import EVEN, WHOLE_PIXELS, block_shape, fold, mapped, padded, row_and_column, scan, stored_first
from ..numerics.precision import check_precision, precision_context
from ..numerics.processes import refuse_after_fork
from ..numerics.sharding import (
    EVERYWHERE,
    AxisNames,
    axes_of,
    in_shares,
    laid_out_by_xla,
    num_devices,
    rows_in_shares,
    shared_out,
)
from ..panels import PanelStack
from ..typing import Image, Images, Mode, Pixels, Precision
from ..window import Window, window_of
from . import carryover
from .background import captured, scattered_photons
from .scene import (
    Scene,
    differs_in_crystal_only,
    empty_sum,
    first_point,
    first_polarization,
    point_capture,
    point_ray,
    points,
    scene_in_trace,
    scene_to_render,
    seen_by,
    source_terms,
    sum_dtype,
    sum_orientations,
)


class RenderOptions(NamedTuple):
    """Everything that decides how an experiment is rendered and is no number of it."""

    mode: Mode
    precision: Precision | None
    block_pixels: int | None
    mesh: Mesh | None


def simulate(
    experiment: Experiment,
    mode: Mode = "spec",
    *,
    precision: Precision | None = None,
    block_pixels: int | None = None,
    mesh: Mesh | None = None,
) -> Images:
    """The image of an experiment.

    **Arguments:** `mode`: `spec` for correct physics, `c-parity` for the reference's results; `precision`: `float64`,
    `float32`, or `mixed` for single precision from a geometry in double, None for what the session's arrays have;
    `block_pixels`: how many pixels to render together, None for what suits the device; `mesh`: devices to share the
    rows of the image out to. Neither of the last two changes the result, beyond rounding.

    **Returns** photons a pixel, (slow, fast); zero outside the region of interest and where the mask is False. For a
    detector of equal panels (panel, slow, fast), for unequal panels a list of images. In double precision only for
    `float64`. With a mesh whose size divides the number of rows each device holds its own.

    **Raises** `InputError` for an unknown mode or precision. Source: docs/reference.md section 8.
    """
    options = _checked(RenderOptions(mode, precision, block_pixels, laid_out_by_xla(mesh)))
    with precision_context(precision):
        experiment = _as_leaves(experiment)
        detector = experiment.detector
        if isinstance(detector, PanelStack):
            return _stacked_images(experiment, options)
        if isinstance(detector, tuple):
            return [_simulate(panel_experiment(experiment, i), options) for i in range(len(detector))]
        return _simulate(experiment, options)


def simulate_pixels(
    experiment: Experiment,
    slow,
    fast,
    mode: Mode = "spec",
    *,
    precision: Precision | None = None,
    block_pixels: int | None = None,
    mesh: Mesh | None = None,
) -> Pixels:
    """The same numbers as `simulate` at a list of pixels.

    **Arguments:**

    - `slow`, `fast`: pixel numbers, (P,) whole numbers;
    - `mode`, `precision`, `block_pixels`: as for `simulate`;
    - `mesh`: devices to share the list out to.

    **Returns** photons, (P,). **Raises** `InputError` for pixels off the detector or lists of different length.
    """
    options = _checked(RenderOptions(mode, precision, block_pixels, laid_out_by_xla(mesh)))
    slow, fast = _pixel_list(experiment, slow, fast)
    with precision_context(precision):
        return _simulate_pixels(_as_leaves(experiment), slow, fast, options)


def _checked(options: RenderOptions) -> RenderOptions:
    refuse_after_fork()
    checks.one_of("mode", options.mode, MODES)
    check_precision(options.precision)
    return options


def _as_leaves(experiment: Experiment) -> Experiment:
    """Numbers of any kind that were put in place of leaves become leaves, so that they compile nothing new."""
    if not isinstance(experiment, Experiment):
        raise InputError(f"an experiment must be an Experiment, got a {type(experiment).__name__}")
    experiment = settled(experiment)
    usual = jnp.result_type(float)
    leaves, structure = jax.tree.flatten(experiment)
    if all(isinstance(x, Array) and x.dtype in (usual, bool) for x in leaves):
        return experiment

    def as_leaf(x):
        is_number = isinstance(x, float | int | np.generic | np.ndarray | Array)
        return jnp.asarray(x, float) if is_number and not jnp.issubdtype(jnp.result_type(x), jnp.bool_) else x

    return jax.tree.unflatten(structure, [as_leaf(x) for x in leaves])


def _pixel_list(experiment: Experiment, slow, fast):
    panel = experiment.panel
    limits = {"slow": (slow, panel.pixels_slow), "fast": (fast, panel.pixels_fast)}
    for name, (values, limit) in limits.items():
        if isinstance(values, Tracer):
            continue
        numbers = np.asarray(values)
        if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
            raise InputError(f"{name} must be a list of whole numbers, got shape {numbers.shape} of {numbers.dtype}")
        if numbers.size and (numbers.min() < 0 or numbers.max() >= limit):
            raise InputError(f"{name} must lie in 0 to {limit - 1}, got {numbers.min()} to {numbers.max()}")
    if np.shape(slow) != np.shape(fast):
        raise InputError(f"slow and fast must be equally long, got {np.shape(slow)} and {np.shape(fast)}")
    return jnp.asarray(slow, jnp.int32), jnp.asarray(fast, jnp.int32)


def _simulate(experiment: Experiment, options: RenderOptions) -> Image:
    shape = experiment.panel.pixels_slow, experiment.panel.pixels_fast
    return _image(_scene(experiment, options), experiment.sampling.mask, shape, rendered_window(experiment), options)


def _scene(experiment: Experiment, options: RenderOptions) -> Scene:
    """The scene: in a trace a part of it, else from the host."""
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(experiment))
    derive = scene_in_trace if traced else scene_to_render
    return derive(experiment, mode=options.mode, precision=options.precision)


@partial(jax.jit, static_argnames="options")
def _stacked_images(experiment: Experiment, options: RenderOptions) -> Array:
    """Images of equal panels, (panel, slow, fast), one after the other."""
    mask = experiment.sampling.mask
    own_mask = mask is not None and mask.ndim == 3
    stack = experiment.detector
    assert isinstance(stack, PanelStack)

    def one(item):
        panel, panel_mask = item
        single = eqx.tree_at(lambda e: e.detector, experiment, panel)
        if own_mask:
            single = eqx.tree_at(lambda e: e.sampling.mask, single, panel_mask)
        return _simulate(single, options)

    return mapped(one, (stack.panels, jnp.asarray(mask) if own_mask else None))


@partial(jax.jit, static_argnames=("shape", "window", "options"))
def _image(scene: Scene, mask: Array | None, shape: tuple[int, int], window: Window, options: RenderOptions) -> Image:
    """The image (slow, fast) of that shape, rendered in the window."""
    parts = num_devices(options.mesh)
    part_rows = -(-window.rows // parts)
    share = part_rows * window.columns
    cut = Blocks(share, *block_shape(share, options.block_pixels))
    if mask is not None:
        mask = padded(mask[window.slices].reshape(-1), parts * share, False)

    def render_part(scene: Scene, mask, part, devices: AxisNames | None = None):
        """The rows of one part of the window; `mask`: of these pixels."""
        if mask is not None:
            mask = padded(mask, cut.blocks * cut.size, False)

        def pixels_of(mask, part, start, size=cut.size):
            return pixels_from(window, mask, start, size, part * share, share)

        if scene.settings.slips.phi0:
            values = carryover.render_in_order(scene, partial(pixels_of, mask, part), cut.starts(), devices)
            values = values.reshape(-1)[:share]
        else:

            def render(scene, mask, part, start, size=cut.size):
                return block_photons(scene, *pixels_of(mask, part, start, size))

            as_asked = options.block_pixels is not None
            values = _in_blocks(render, cut, as_asked, sum_dtype(scene), scene, mask, jnp.asarray(part, jnp.int32))
        return values.reshape(part_rows, window.columns)

    if options.mesh is None:
        values = render_part(scene, mask, 0)
    else:
        devices = axes_of(options.mesh)
        on_device = shared_out(
            lambda scene, mask: render_part(scene, mask, lax.axis_index(devices), devices),
            options.mesh,
            (EVERYWHERE, in_shares(options.mesh)),
            in_shares(options.mesh),
        )
        values = rows_in_shares(on_device(scene, mask)[: window.rows], options.mesh)
    if (window.rows, window.columns) == shape:
        return values
    image = jnp.zeros(shape, values.dtype).at[window.slices].set(values)
    return image if options.mesh is None else rows_in_shares(image, options.mesh)


def pixels_from(window: Window, mask: Array | None, start, size: int, before=0, share: int | None = None):
    """Slow and fast numbers of consecutive pixels of a window, and which of them to render, (size,) each.

    **Arguments:** `start`: number of the first, counted from `before` on; `share`: pixels that there are from there,
    None for all of the window; `mask`: of these, at least up to the last one asked for.
    """
    here = start + jnp.arange(size, dtype=jnp.int32)
    index = here + before
    active = index < window.rows * window.columns
    if share is not None:
        active = active & (here < share)
    if mask is not None:
        active = active & lax.dynamic_slice_in_dim(mask, start, size)
    row, column = row_and_column(index, window.columns)
    return row + window.slow, column + window.fast, active


class Blocks(NamedTuple):
    """How a list of pixels is cut up: blocks of `size` pixels, the last of which reaches beyond it."""

    pixels: int
    blocks: int
    size: int

    def starts(self) -> Array:
        """The first pixel of each."""
        return self.size * jnp.arange(self.blocks, dtype=jnp.int32)


def _in_blocks(render, cut: Blocks, as_asked: bool, dtype, scene: Scene, mask: Array | None, part: Array) -> Array:
    """render(scene, mask, part, start, size) of all blocks, one after the other, (pixels,).

    Written to their places in one array, the last block where it ends with the list, so that there is nothing to be
    copied in the end. Unless blocks are to be `as_asked`, a batch of small images with one geometry is rendered at
    once: XLA places blocks with one thread, and of a whole batch that takes long. Differentiated, blocks are stacked:
    reverse mode would copy the array for each of them. The starts are made where they are used, as a custom rule must
    not close over what is traced.
    """

    def stacked(scene, mask, part):
        one = jax.checkpoint(partial(render, scene, mask, part), prevent_cse=False)
        values = one(cut.starts()[0]) if cut.blocks == 1 else mapped(one, cut.starts())
        return values.reshape(-1)[: cut.pixels]

    def placed(scene, mask, part):
        def place(image, start):
            return lax.dynamic_update_slice(image, render(scene, mask, part, start), (start,)), None

        empty = jnp.full(cut.pixels, 0 * part, dtype)  # of the part, hence its own on each device
        return scan(place, empty, jnp.minimum(cut.starts(), cut.pixels - cut.size))[0]

    def at_once(scene, mask, part):
        return render(scene, mask, part, 0, cut.pixels)

    def of_batch(size, batched, *arguments):
        small = not as_asked and cut.pixels <= WHOLE_PIXELS and cut.pixels % EVEN == 0
        chosen = at_once if small and differs_in_crystal_only(batched[0]) and not any(batched[1:]) else placed
        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, tuple(batched))
        return jax.vmap(chosen, axes, axis_size=size)(*arguments), True

    if cut.blocks == 1:
        return stacked(scene, mask, part)
    batchable = custom_vmap(placed)
    batchable.def_vmap(of_batch)
    differentiable = jax.custom_jvp(batchable)
    differentiable.defjvp(lambda primals, tangents: jax.jvp(stacked, primals, tangents))
    return differentiable(scene, mask, part)


def rendered_window(experiment: Experiment) -> Window:
    """The region of interest, or the whole detector."""
    panel = experiment.panel
    return window_of((panel.pixels_slow, panel.pixels_fast), experiment.sampling.roi)


def _simulate_pixels(experiment: Experiment, slow: Array, fast: Array, options: RenderOptions) -> Pixels:
    scene = _scene(experiment, options)
    if scene.settings.slips.phi0:
        return _simulate(experiment, options)[slow, fast]
    return _listed(scene, experiment.sampling.mask, slow, fast, rendered_window(experiment), options)


@partial(jax.jit, static_argnames=("window", "options"))
def _listed(
    scene: Scene, mask: Array | None, slow: Array, fast: Array, window: Window, options: RenderOptions
) -> Pixels:
    """The pixels of a list that lie in the window."""
    row, column = slow - window.slow, fast - window.fast
    active = (row >= 0) & (row < window.rows) & (column >= 0) & (column < window.columns)
    if mask is not None:
        active = active & jnp.asarray(mask)[slow, fast]
    listed = slow.shape[0]
    share = -(-listed // num_devices(options.mesh))
    blocks, size = block_shape(share, options.block_pixels)

    def render_list(scene, slow, fast, active):
        lists = [padded(v, blocks * size, fill) for v, fill in ((slow, 0), (fast, 0), (active, False))]
        render = jax.checkpoint(lambda block: block_photons(scene, *block), prevent_cse=False)
        return mapped(render, tuple(v.reshape(blocks, size) for v in lists)).reshape(-1)[:share]

    if options.mesh is None:
        return render_list(scene, slow, fast, active)
    share_of = in_shares(options.mesh)
    on_device = shared_out(render_list, options.mesh, (EVERYWHERE, share_of, share_of, share_of), share_of)
    whole = share * options.mesh.size
    values = on_device(scene, padded(slow, whole, 0), padded(fast, whole, 0), padded(active, whole, False))
    return rows_in_shares(values[:listed], options.mesh)


def block_photons(scene: Scene, slow: Array, fast: Array, active: Array) -> Array:
    """Photons in a block of pixels, spec mode.

    **Arguments:** pixel numbers and whether to render each, (pixels,).

    All factors of a sample are gathered into one weight before the loop over orientations, which then only adds up:
    its derivative needs no second evaluation of the sum. Scattering vectors and weights come from one call, which
    reverse mode makes again as it is: what XLA has made kernels for once serves both passes.
    """
    settings, orientations = scene.settings, scene.orientations
    assert orientations is not None, "a scene of spec mode"
    one_point = settings.oversample * settings.layers == 1
    one_sample = one_point and scene.sources.weight.shape[0] == 1

    def first_terms():
        first = point_ray(scene, slow, fast, first_point())
        return first, *first_polarization(scene, slow, fast, first)

    def point_terms(point, first_terms):
        first, first_polar, _ = first_terms
        ray = first if one_point else point_ray(scene, slow, fast, point)
        omega = ray.solid_angle if settings.oversample_omega else first.solid_angle
        # masked before the product: XLA branches around an expensive operand of a selection, and nothing is vectorised
        scale = jnp.where(active, scene.crystal_photons / scene.num_steps, 0.0)
        return ray, first_polar, scale * omega * _capture(scene, slow, fast, point, ray)

    # before the loops where there are any, else in the one call that needs it
    shared = None if one_sample else first_terms()

    def at_point(total, point):
        of_point = None if shared is None else point_terms(point, shared)

        def from_source(total, source):
            def for_all_orientations():
                ray, first_polar, weight = point_terms(point, first_terms()) if of_point is None else of_point
                terms = source_terms(scene, ray, source)
                polar = terms.polarization if settings.oversample_polar else first_polar
                return terms.q, weight * polar * jnp.where(terms.kept, source.weight, 0.0)

            q, weighted = stored_first(jax.checkpoint(for_all_orientations, prevent_cse=False))
            return sum_orientations(seen_by(scene, source), orientations, q, weighted, total)

        return fold(from_source, total, scene.sources)

    total = fold(at_point, empty_sum(scene, slow), points(scene))
    if scene.background is not None:
        first, first_polar, _ = shared or first_terms()
        water = jnp.where(active, background_photons(scene, first, first_polar), 0.0)
        total = total + water.astype(total.dtype)
    if scene.scatterers:
        scattered = jnp.where(active, scattered_photons(scene, slow, fast), 0.0)
        total = total + scattered.astype(total.dtype)
    return total


def background_photons(scene: Scene, first: Ray, polarization: Array) -> Array:
    """Photons that the water adds to a pixel, spec mode; `first`: the ray to each pixel's first point."""
    assert scene.background is not None
    return scene.background * captured(scene, first) * polarization * first.solid_angle


def _capture(scene: Scene, slow, fast, point, ray) -> Array:
    """Captured fraction at a point, or at the first sub-pixel of its layer."""
    if scene.settings.oversample > 1 and not scene.settings.oversample_thick:
        first = first_point()
        point = type(point)(point.layer, first.slow, first.fast)
        ray = point_ray(scene, slow, fast, point)
    return point_capture(scene, ray, point.layer)
