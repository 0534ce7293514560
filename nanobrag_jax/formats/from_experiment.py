"""What files say of an experiment: its geometry in the frame that programs for diffraction data share."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from ..beam import Beam
from ..detector import Detector, DetectorFrame, pixel_ray
from ..dials.from_experiment import turn_to_dials
from ..effects import DetectorEffects
from ..effects.pipeline import dead_pixels
from ..experiment import Experiment
from ..numerics.host import on_host
from ..window import window_of
from .setup import PHOTONS, HeaderItem, Lab, PanelPlace, Reading, Setup, Vector
from .smv import smv_header_items

_CHUNK_POINTS = 1 << 20


def setup_of(
    experiments: Sequence[Experiment],
    frames: Sequence[DetectorFrame],
    *,
    rings: bool = False,
    plain_header: bool = False,
    reading: Reading = PHOTONS,
) -> Setup:
    """What files can say of an experiment, given once for each panel with its frame.

    **Arguments:** `rings`: whether previews are to show rings at round resolutions; `plain_header`: whether SMV files
    get the reference's header; `reading`: what the numbers of the image stand for.
    """
    given = list(zip(experiments, frames, strict=True))
    return Setup(
        lab=lab_of(experiments, frames),
        headers=tuple(tuple(header_items(*each)) for each in given),
        unused=tuple(_unused(each) for each in experiments),
        reading=reading,
        plain_header=plain_header,
        rings=(lambda panel: inverse_spacings_A(*given[panel])) if rings else None,
    )


def reading_of(effects: DetectorEffects, shapes: Sequence[tuple[int, int]]) -> Reading:
    """What the numbers of a detector's images stand for. **Arguments:** `shapes`: (slow, fast) of each panel."""
    offset, saturation = effects.offset_adu, effects.saturation_adu
    return Reading(
        offset=0.0 if offset is None else float(offset),
        saturation=None if saturation is None else float(saturation),
        dead=tuple(dead_pixels(effects, shape, panel=panel) for panel, shape in enumerate(shapes)),
    )


def lab_of(experiments: Sequence[Experiment], frames: Sequence[DetectorFrame]) -> Lab:
    """The geometry of an experiment, given once for each panel with its frame.

    The lab is turned so that the beam runs along −z exactly.
    """
    beam, goniometer = experiments[0].beam, experiments[0].goniometer
    turn = _beam_along_minus_z(np.asarray(frames[0].beam, float))
    electric = turn @ np.asarray(beam.polarization_vector, float)
    return Lab(
        wavelength_A=float(beam.wavelength_A),
        spectrum=_spectrum(beam),
        stokes=_stokes(electric, float(beam.kahn_factor) if beam.polarized else 0.0),
        spindle=_unit(turn @ np.asarray(goniometer.spindle_axis, float)),
        phi_deg=float(goniometer.phi_deg),
        osc_deg=float(goniometer.osc_deg),
        twotheta_deg=float(experiments[0].panel.twotheta_deg),
        panels=tuple(_place(each.panel, frame, turn) for each, frame in zip(experiments, frames, strict=True)),
    )


def _unit(vector: Vector) -> Vector:
    return vector / np.linalg.norm(vector)


def _beam_along_minus_z(direction: Vector) -> Vector:
    """The rotation of `turn_to_dials`, and then the shortest one that takes the beam to −z."""
    main = turn_to_dials(direction)
    x, y, z = main @ _unit(direction)
    if x == 0 and y == 0:
        return main
    # Rodrigues' formula for the axis (x, y, z) × (0, 0, −1) = (−y, x, 0), without its singularity at small angles.
    skew = np.array([[0.0, 0.0, x], [0.0, 0.0, y], [-x, -y, 0.0]])
    return (np.eye(3) + skew + skew @ skew / (1.0 - z)) @ main


def _place(panel: Detector, frame: DetectorFrame, turn: Vector) -> PanelPlace:
    pixel = float(frame.pixel_size) * 1e3
    origin, fast, slow = (turn @ np.asarray(v, float) for v in (frame.pix0 * 1e3, frame.fast, frame.slow))
    # Not the frame's distance and beam point: those are the reference's, which leaves out the two-theta swing.
    normal = np.cross(fast, slow)
    distance = -float(origin @ normal) / normal[2] if abs(normal[2]) > 1e-6 else -1.0
    hit = np.array([0.0, 0.0, -distance])
    if distance <= 0:
        hit = float(origin @ normal) * normal
        distance = float(np.linalg.norm(hit))
    return PanelPlace(
        pixels=(panel.pixels_slow, panel.pixels_fast),
        pixel_mm=pixel,
        origin_mm=origin,
        fast=fast,
        slow=slow,
        distance_mm=distance,
        beam_pixels=(float((hit - origin) @ fast) / pixel, float((hit - origin) @ slow) / pixel),
        sensor_mm=float(panel.thickness_um) * 1e-3 if panel.thickness_um is not None and panel.has_parallax else 0.0,
        curved=panel.curved,
    )


def _spectrum(beam: Beam) -> tuple[Vector, Vector] | None:
    """The wavelengths of all sources with their weights added up, None for a single one."""
    weights = np.asarray(beam.source_weights, float)
    if beam.source_positions is not None:
        wavelengths = np.asarray(beam.source_wavelengths_A, float)
    else:
        steps = np.asarray(beam.dispersion_fractions, float)
        wavelengths = float(beam.wavelength_A) * (1.0 + float(beam.dispersion_percent) * 0.01 * steps)
        weights = weights.reshape(-1, len(steps)).sum(axis=0)
    found, place = np.unique(wavelengths, return_inverse=True)
    if len(found) == 1:
        return None
    sums = np.zeros(len(found))
    np.add.at(sums, place, weights)
    return found, sums


def _stokes(electric: Vector, kahn: float) -> Vector:
    angle = 2.0 * np.arctan2(electric[1], electric[0])
    return np.array([1.0, kahn * np.cos(angle), kahn * np.sin(angle), 0.0])


def header_items(experiment: Experiment, frame: DetectorFrame) -> list[HeaderItem]:
    """Header of the SMV images of an experiment with one panel. Source: docs/reference.md section 9."""
    detector, goniometer = experiment.panel, experiment.goniometer
    pixel = float(frame.pixel_size)
    fast_beam, slow_beam = (float(x) * 1e3 for x in frame.beam_point)
    org_x, org_y = (float(x) / pixel + 0.5 for x in frame.close_point)
    beam_x, beam_y = (float(x) for x in np.asarray(detector.beam_center_mm))
    x, y, z = (float(v) * 1e3 for v in np.asarray(frame.pix0))
    size = np.asarray(detector.size_mm_or_default)
    return smv_header_items(
        fast_pixels=detector.pixels_fast,
        slow_pixels=detector.pixels_slow,
        pixel_mm=float(detector.pixel_size_mm),
        distance_mm=float(frame.distance) * 1e3,
        close_distance_mm=float(frame.close_distance) * 1e3,
        wavelength_A=float(experiment.beam.wavelength_A),
        beam_x_mm=beam_x,
        beam_y_mm=beam_y,
        fast_beam_mm=fast_beam,
        slow_beam_mm=slow_beam,
        slow_size_mm=float(size[1]),
        dials_origin_mm=(z, y, -x),
        org_x_pixels=org_x,
        org_y_pixels=org_y,
        phi_deg=float(goniometer.phi_deg),
        osc_deg=float(goniometer.osc_deg),
        twotheta_deg=float(detector.twotheta_deg),
    )


def _unused(experiment: Experiment) -> NDArray[np.bool_] | None:
    """Pixels that were not simulated, None where all were."""
    sampling, detector = experiment.sampling, experiment.panel
    if sampling.roi is None and sampling.mask is None:
        return None
    unused = np.ones((detector.pixels_slow, detector.pixels_fast), bool)
    place = window_of(unused.shape, sampling.roi).slices
    unused[place] = False if sampling.mask is None else ~np.asarray(sampling.mask)[place]
    return unused


def inverse_spacings_A(experiment: Experiment, frame: DetectorFrame) -> NDArray[np.float64]:
    """1/d (1/Å) at the corners of all pixels, (slow + 1, fast + 1), for the middle of the beam."""
    detector = experiment.panel
    slow, fast = detector.pixels_slow + 1, detector.pixels_fast + 1
    inverse = np.empty((slow, fast))
    step = max(1, _CHUNK_POINTS // fast)
    for first in range(0, slow, step):
        rows = np.arange(first, min(first + step, slow), dtype=float)
        grids = np.meshgrid(rows, np.arange(fast, dtype=float), indexing="ij")
        s, f = (grid.ravel() * float(frame.pixel_size) for grid in grids)
        found = on_host(_scattering, frame, f, s, curved=detector.curved)
        inverse[first : first + len(rows)] = np.asarray(found).reshape(len(rows), fast)
    return inverse / float(experiment.beam.wavelength_A)


@partial(jax.jit, static_argnames="curved")
def _scattering(frame: DetectorFrame, fast: Array, slow: Array, curved: bool) -> Array:
    """2 sin θ at points of a detector, metres along its axes."""
    ray = pixel_ray(frame, fast, slow, jnp.zeros_like(fast), curved=curved, point_pixel=True)
    x, y, z = (d - b for d, b in zip(ray.direction, frame.beam, strict=True))
    return jnp.sqrt(x * x + y * y + z * z)
