"""A whole image in bands of pixels, with a report after each: what the command line renders with.

The same kernel, blocks and order as `simulate`. The scene is derived on the host, so that only the loop over pixels
is compiled; between two bands the program can tell how far it is, and can be interrupted.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.stages import Compiled
from numpy.typing import NDArray

from ..errors import InputError
from ..experiment import Experiment
from ..formats.whole_numbers import as_float_image
from ..numerics.host import on_host
from ..numerics.loops import block_shape, default_block_pixels, scan
from ..numerics.precision import check_precision, precision_context
from ..typing import Mode, Precision
from . import carryover
from .scene import Scene, scene_to_render
from .simulate import Window, block_photons, pixels_from, rendered_window

BAND_SAMPLES = 100_000_000
"""Samples after which a band ends: some tenths of a second."""

LEAST_BLOCK = 4096
"""Pixels of the smallest block, however many samples each of them takes."""

MOST_PIXELS = 2**30
"""Pixels that 32-bit numbers can count, the padding of the last band included."""


Programs = dict[Hashable, Compiled]
"""Compiled programs by the structure of what they render."""

_first_state = jax.jit(carryover.initial_state)


class Plan(NamedTuple):
    """How an image is cut up: blocks of `size` pixels, `per_band` of them at a time, in `bands` bands."""

    size: int
    per_band: int
    bands: int


@dataclass(frozen=True, eq=False)
class Job:
    """An experiment ready to be rendered: its scene in numpy numbers, and the way through its pixels."""

    scene: Scene
    shape: tuple[int, int]
    window: Window
    plan: Plan
    mask: NDArray[np.bool_] | None

    @property
    def samples_per_pixel(self) -> int:
        """Sources × φ steps × domains × sub-pixels × layers."""
        return self.scene.num_steps * self.scene.settings.layers


def plan_bands(pixels: int, samples_per_pixel: int) -> Plan:
    """Bands of about `BAND_SAMPLES` samples that cover `pixels`; one band for a small image."""
    largest = max(LEAST_BLOCK, min(default_block_pixels(), BAND_SAMPLES // samples_per_pixel))
    blocks, size = block_shape(pixels, largest)
    bands = min(blocks, max(1, round(pixels * samples_per_pixel / BAND_SAMPLES)))
    per_band = -(-blocks // bands)
    return Plan(size, per_band, -(-blocks // per_band))


def prepare(experiment: Experiment, mode: Mode = "spec", precision: Precision | None = None) -> Job:
    """The job of rendering an experiment, the arguments being those of `simulate`.

    **Raises** `InputError` for more pixels than can be counted, and for a precision that the session does not have.
    """
    check_precision(precision)
    detector, sampling = experiment.panel, experiment.sampling
    shape = detector.pixels_slow, detector.pixels_fast
    window = rendered_window(experiment)
    pixels = window.rows * window.columns
    if pixels > MOST_PIXELS:
        raise InputError(f"{shape[1]} x {shape[0]} pixels are too many: at most {MOST_PIXELS} can be rendered")
    with precision_context(precision):
        scene = scene_to_render(experiment, mode, precision)
    job = Job(scene, shape, window, Plan(1, 1, 1), None)
    plan = plan_bands(pixels, job.samples_per_pixel)
    mask = None
    if sampling.mask is not None:
        mask = np.zeros(plan.size * plan.per_band * plan.bands, bool)
        mask[:pixels] = np.asarray(sampling.mask)[window.slices].ravel()
    return Job(scene, shape, window, plan, mask)


def turned(job: Job, experiment: Experiment, mode: Mode = "spec", precision: Precision | None = None) -> Job:
    """The job of an experiment that differs from the job's in numbers only: the same program renders it.

    **Arguments:** as for `prepare`.
    """
    with precision_context(precision):
        return replace(job, scene=scene_to_render(experiment, mode, precision))


def render(
    jobs: Sequence[Job], report: Callable[[float], None] | None = None, programs: Programs | None = None
) -> list[NDArray[np.float32]]:
    """The images of `simulate` in single precision, (slow, fast), one a job. Jobs of one structure share a program.

    **Arguments:** `report`: called with the finished fraction, 0 when everything is compiled; `programs`: those of
    earlier images, added to.

    **Raises** `InputError` if a pixel is too bright for single precision.
    """
    with precision_context("mixed" if jobs[0].scene.settings.mixed else None):
        return _rendered(jobs, report, {} if programs is None else programs)


def _rendered(
    jobs: Sequence[Job], report: Callable[[float], None] | None, programs: Programs
) -> list[NDArray[np.float32]]:
    arguments = [_first_arguments(job) for job in jobs]
    for job, first in zip(jobs, arguments, strict=True):
        if _structure(job, first) not in programs:
            programs[_structure(job, first)] = _band.lower(*first, job.window, job.plan).compile()
    if report:
        report(0.0)
    images, done, total = [], 0, sum(job.plan.bands for job in jobs)
    for job, (scene, mask, state, start) in zip(jobs, arguments, strict=True):
        band = programs[_structure(job, (scene, mask, state, start))]
        parts = []
        for _ in range(job.plan.bands):
            values, state = band(scene, mask, state, start)
            parts.append(np.asarray(values))
            start = start + np.int32(job.plan.per_band)
            done += 1
            if report:
                report(done / total)
        images.append(_assembled(job, parts))
    return images


def _first_arguments(job: Job) -> tuple:
    """What the first band of a job starts from: scene, mask, state and number of the block."""
    state = on_host(_first_state, job.scene) if job.scene.settings.slips.phi0 else None
    return job.scene, job.mask, state, np.zeros((), np.int32)


def _structure(job: Job, arguments: tuple):
    """Equal for jobs that the same program can render."""
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arguments))
    return jax.tree.structure(arguments), shapes, job.window, job.plan


def _assembled(job: Job, parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The image of a job from its bands; 0 outside the window."""
    window = job.window
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
    inside = flat[: window.rows * window.columns].reshape(window.rows, window.columns)
    if inside.shape == job.shape:
        return as_float_image(inside)
    image = np.zeros(job.shape, np.float32)
    image[window.slices] = inside
    return as_float_image(image)


@partial(jax.jit, static_argnames=("window", "plan"))
def _band(scene: Scene, mask: Array | None, state: carryover.State | None, first: Array, window: Window, plan: Plan):
    """Photons of one band, from block `first` on, (pixels,) float32, and the state that they leave."""

    def pixels_of(block):
        return pixels_from(window, mask, block * plan.size, plan.size)

    def step(state, block):
        if state is None:
            return None, block_photons(scene, *pixels_of(block)).astype(jnp.float32)
        values, state = carryover.block_in_order(scene, state, *pixels_of(block))
        return state, values.astype(jnp.float32)

    state, values = scan(step, state, first + jnp.arange(plan.per_band, dtype=jnp.int32))
    return values.reshape(-1), state
