"""The shadow of a beam stop: pixels around the direct beam that are not rendered."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from . import checks
from .detector import Detector, DetectorFrame, frame_on_host, pixel_ray
from .errors import InputError
from .experiment import Experiment, completed
from .panels import PanelStack, split_panels


def with_beam_stop(
    experiment: Experiment, *, radius_mm: float | None = None, dmax_A: float | None = None
) -> Experiment:
    """The same experiment without the pixels in the shadow of a round beam stop.

    The shadow is added to `sampling.mask`, where the detector and the beam are now: it does not move with them.

    **Arguments:** `radius_mm`: of the shadow, at the distance of the panel that the beam meets; or `dmax_A`: nothing is
    seen at lower resolution than this.

    **Raises** `InputError` for both or none, for numbers that are not positive, within a transformation, and for panels
    of different sizes.
    """
    if (radius_mm is None) == (dmax_A is None):
        raise InputError(f"give one of radius_mm and dmax_A, got {radius_mm} and {dmax_A}")
    checks.positive("radius_mm", radius_mm)
    checks.positive("dmax_A", dmax_A)
    known = completed(experiment)
    if not checks.is_known((known.detector, known.beam)):
        raise InputError("a beam stop decides which pixels are rendered: put it in before a transformation")
    panels = split_panels(known.detector)
    if len({(panel.pixels_slow, panel.pixels_fast) for panel in panels}) > 1:
        raise InputError("a beam stop needs panels of one size")
    frames = [frame_on_host(panel, known.beam, mode="spec") for panel in panels]
    if radius_mm is not None:
        middle = max(zip(panels, frames, strict=True), key=lambda each: _cosine_of_middle(*each))[1]
        cosine = float(np.cos(np.arctan(radius_mm * 1e-3 / abs(float(middle.distance)))))
    else:
        sine = float(known.beam.wavelength_A) / (2.0 * float(dmax_A or 0.0))
        cosine = -1.0 if sine >= 1 else 1.0 - 2.0 * sine * sine
    lit = np.stack([_lit(*each, cosine) for each in zip(panels, frames, strict=True)])
    lit = lit if isinstance(known.detector, PanelStack) else lit[0]
    held = experiment.sampling.mask
    mask = jnp.asarray(lit if held is None else np.asarray(held) & lit)
    return eqx.tree_at(lambda e: e.sampling.mask, experiment, mask, is_leaf=lambda x: x is None)


def _cosine_of_middle(panel: Detector, frame: DetectorFrame) -> float:
    """Cosine of the scattering angle at the middle of a panel."""
    half = np.array([panel.pixels_fast, panel.pixels_slow]) * float(frame.pixel_size) / 2
    middle = np.asarray(frame.pix0) + half[0] * np.asarray(frame.fast) + half[1] * np.asarray(frame.slow)
    return float(middle @ np.asarray(frame.beam)) / float(np.linalg.norm(middle))


def _lit(panel: Detector, frame: DetectorFrame, cosine: float) -> NDArray[np.bool_]:
    """Where the middles of pixels are seen at a larger angle than the one of the shadow, (slow, fast)."""
    pixel = float(frame.pixel_size)
    fast = (np.arange(panel.pixels_fast) + 0.5) * pixel
    slow = (np.arange(panel.pixels_slow) + 0.5) * pixel
    if panel.curved:
        f, s = (jnp.asarray(grid.ravel()) for grid in np.meshgrid(fast, slow))
        ray = pixel_ray(frame, f, s, 0.0, curved=True, point_pixel=True)
        cosines = np.stack([np.asarray(d) for d in ray.direction], axis=1) @ np.asarray(frame.beam)
        return (cosines < cosine).reshape(len(slow), len(fast))
    # component by component: (slow, fast, 3) of a large detector would take much memory
    squares, along = np.zeros((len(slow), len(fast))), np.zeros((len(slow), len(fast)))
    for axis in range(3):
        first, across, down, beam = (float(v[axis]) for v in (frame.pix0, frame.fast, frame.slow, frame.beam))
        position = first + across * fast[None, :] + down * slow[:, None]
        squares += position * position
        along += position * beam
    return along < cosine * np.sqrt(squares)
