"""`simulate` and `simulate_pixels`: the kernel lifted over pixels, sub-pixels, layers, sources and orientations.

Pixels go in blocks; within a block every loop runs over samples with the pixels side by side, so that memory does
not grow with the number of samples. Reverse mode recomputes a block instead of keeping it.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.custom_batching import custom_vmap
from jax.sharding import Mesh

from . import carryover, checks
from .background import amorphous_photons, captured
from .constants import MODES
from .errors import InputError
from .experiment import Experiment
from .geometry import Ray
from .loops import EVEN, WHOLE_PIXELS, block_shape, fold, padded, row_and_column, stored_first
from .panels import num_panels, simulate_panels
from .precision import check_precision, precision_context
from .scene import (
    Scene,
    build_scene,
    differs_in_crystal_only,
    first_point,
    first_polarization,
    point_capture,
    point_ray,
    points,
    source_terms,
    sum_dtype,
    sum_orientations,
)
from .sharding import (
    EVERYWHERE,
    AxisNames,
    axes_of,
    in_shares,
    laid_out_by_xla,
    num_devices,
    rows_in_shares,
    shared_out,
)
from .typing import Image, Images, Mode, Pixels, Precision


class Window(NamedTuple):
    """The rendered part of the detector: its first slow and fast pixel, and how many of each."""

    slow: int
    fast: int
    rows: int
    columns: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where it is in an image."""
        return slice(self.slow, self.slow + self.rows), slice(self.fast, self.fast + self.columns)


class How(NamedTuple):
    """How to render: everything that is no number of the experiment."""

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
    how = _checked(How(mode, precision, block_pixels, laid_out_by_xla(mesh)))
    with precision_context(precision):
        if num_panels(experiment.detector) is not None:
            return simulate_panels(_simulate, _as_leaves(experiment), how)
        return _simulate(_as_leaves(experiment), how)


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

    **Arguments:** `slow`, `fast`: pixel numbers, (P,) whole numbers; the others as for `simulate`. With a mesh the
    list is shared out.

    **Returns** photons, (P,). **Raises** `InputError` for pixels off the detector or lists of different length.
    """
    how = _checked(How(mode, precision, block_pixels, laid_out_by_xla(mesh)))
    if num_panels(experiment.detector) is not None:
        raise InputError("simulate_pixels takes one panel: choose it with panel_experiment(experiment, panel)")
    slow, fast = _pixel_list(experiment, slow, fast)
    with precision_context(precision):
        return _simulate_pixels(_as_leaves(experiment), slow, fast, how)


def _checked(how: How) -> How:
    checks.one_of("mode", how.mode, MODES)
    check_precision(how.precision)
    return how


def _as_leaves(experiment: Experiment) -> Experiment:
    """Numbers of any kind that were put in place of leaves become leaves, so that they compile nothing new."""

    def as_leaf(x):
        is_number = isinstance(x, float | int | np.generic | np.ndarray | Array)
        return jnp.asarray(x, float) if is_number and not jnp.issubdtype(jnp.result_type(x), jnp.bool_) else x

    return jax.tree.map(as_leaf, experiment)


def _pixel_list(experiment: Experiment, slow, fast):
    limits = {"slow": (slow, experiment.detector.pixels_slow), "fast": (fast, experiment.detector.pixels_fast)}
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


def _simulate(experiment: Experiment, how: How) -> Image:
    shape = experiment.detector.pixels_slow, experiment.detector.pixels_fast
    scene = build_scene(experiment, how.mode, how.precision)
    return _image(scene, experiment.sampling.mask, shape, rendered_window(experiment), how)


@partial(jax.jit, static_argnames=("shape", "window", "how"))
def _image(scene: Scene, mask: Array | None, shape: tuple[int, int], window: Window, how: How) -> Image:
    """The image (slow, fast) of that shape, rendered in the window."""
    parts = num_devices(how.mesh)
    part_rows = -(-window.rows // parts)
    share = part_rows * window.columns
    cut = Blocks(share, *block_shape(share, how.block_pixels))
    if mask is not None:
        mask = padded(mask[window.slices].reshape(-1), parts * share, False)

    def render_part(scene: Scene, mask, part, devices: AxisNames | None = None):
        """The rows of one part of the window; `mask`: of these pixels."""
        if mask is not None:
            mask = padded(mask, cut.blocks * cut.size, False)

        def pixels_of(mask, part, start, size=cut.size):
            return pixels_from(window, mask, start, size, part * share, share)

        if how.mode == "c-parity":
            values = carryover.render_in_order(scene, partial(pixels_of, mask, part), cut.starts(), devices)
            values = values.reshape(-1)[:share]
        else:

            def render(scene, mask, part, start, size=cut.size):
                return block_photons(scene, *pixels_of(mask, part, start, size))

            as_asked = how.block_pixels is not None
            values = _in_blocks(render, cut, as_asked, sum_dtype(scene), scene, mask, jnp.asarray(part, jnp.int32))
        return values.reshape(part_rows, window.columns)

    if how.mesh is None:
        values = render_part(scene, mask, 0)
    else:
        devices = axes_of(how.mesh)
        on_device = shared_out(
            lambda scene, mask: render_part(scene, mask, lax.axis_index(devices), devices),
            how.mesh,
            (EVERYWHERE, in_shares(how.mesh)),
            in_shares(how.mesh),
        )
        values = rows_in_shares(on_device(scene, mask)[: window.rows], how.mesh)
    if (window.rows, window.columns) == shape:
        return values
    image = jnp.zeros(shape, values.dtype).at[window.slices].set(values)
    return image if how.mesh is None else rows_in_shares(image, how.mesh)


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
        values = one(cut.starts()[0]) if cut.blocks == 1 else lax.map(one, cut.starts())
        return values.reshape(-1)[: cut.pixels]

    def placed(scene, mask, part):
        def place(image, start):
            values = stored_first(lambda: render(scene, mask, part, start))
            return lax.dynamic_update_slice(image, values, (start,)), None

        empty = jnp.full(cut.pixels, 0 * part, dtype)  # of the part, hence its own on each device
        return lax.scan(place, empty, jnp.minimum(cut.starts(), cut.pixels - cut.size))[0]

    def at_once(scene, mask, part):
        return render(scene, mask, part, 0, cut.pixels)

    def of_batch(size, batched, *arguments):
        small = not as_asked and cut.pixels <= WHOLE_PIXELS and cut.pixels % EVEN == 0
        how = at_once if small and differs_in_crystal_only(batched[0]) and not any(batched[1:]) else placed
        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, tuple(batched))
        return jax.vmap(how, axes, axis_size=size)(*arguments), True

    if cut.blocks == 1:
        return stacked(scene, mask, part)
    batchable = custom_vmap(placed)
    batchable.def_vmap(of_batch)
    differentiable = jax.custom_jvp(batchable)
    differentiable.defjvp(lambda primals, tangents: jax.jvp(stacked, primals, tangents))
    return differentiable(scene, mask, part)


def rendered_window(experiment: Experiment) -> Window:
    """The region of interest, or the whole detector."""
    detector = experiment.detector
    f0, f1, s0, s1 = experiment.sampling.roi or (0, detector.pixels_fast - 1, 0, detector.pixels_slow - 1)
    return Window(s0, f0, s1 - s0 + 1, f1 - f0 + 1)


def _simulate_pixels(experiment: Experiment, slow: Array, fast: Array, how: How) -> Pixels:
    if how.mode == "c-parity":
        return _simulate(experiment, how)[slow, fast]
    scene = build_scene(experiment, how.mode, how.precision)
    return _listed(scene, experiment.sampling.mask, slow, fast, rendered_window(experiment), how)


@partial(jax.jit, static_argnames=("window", "how"))
def _listed(scene: Scene, mask: Array | None, slow: Array, fast: Array, window: Window, how: How) -> Pixels:
    """The pixels of a list that lie in the window."""
    row, column = slow - window.slow, fast - window.fast
    active = (row >= 0) & (row < window.rows) & (column >= 0) & (column < window.columns)
    if mask is not None:
        active = active & jnp.asarray(mask)[slow, fast]
    listed = slow.shape[0]
    share = -(-listed // num_devices(how.mesh))
    blocks, size = block_shape(share, how.block_pixels)

    def render_list(scene, slow, fast, active):
        lists = [padded(v, blocks * size, fill) for v, fill in ((slow, 0), (fast, 0), (active, False))]
        render = jax.checkpoint(lambda block: block_photons(scene, *block), prevent_cse=False)
        return lax.map(render, tuple(v.reshape(blocks, size) for v in lists)).reshape(-1)[:share]

    if how.mesh is None:
        return render_list(scene, slow, fast, active)
    share_of = in_shares(how.mesh)
    on_device = shared_out(render_list, how.mesh, (EVERYWHERE, share_of, share_of, share_of), share_of)
    whole = share * how.mesh.size
    values = on_device(scene, padded(slow, whole, 0), padded(fast, whole, 0), padded(active, whole, False))
    return rows_in_shares(values[:listed], how.mesh)


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
        scale = jnp.where(active, scene.photons / scene.num_steps, 0.0)
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
            return sum_orientations(scene, orientations, q, weighted, total)

        return fold(from_source, total, scene.sources)

    total = fold(at_point, jnp.zeros_like(slow, sum_dtype(scene)), points(scene))
    if scene.background is not None:
        first, first_polar, seen = shared or first_terms()
        water = jnp.where(active & seen, background_photons(scene, first, first_polar), 0.0)
        total = total + water.astype(total.dtype)
    if scene.amorphous is not None:
        amorphous = jnp.where(active, amorphous_photons(scene, slow, fast), 0.0)
        total = total + amorphous.astype(total.dtype)
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
