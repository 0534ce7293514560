"""Where beam, spindle and panels of an experiment stand, in the frame that programs for diffraction data share."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dials_export import turn_to_dials
from ..experiment import Beam, Detector, Experiment
from ..geometry import DetectorFrame

Vector = NDArray[np.float64]


class PanelPlace(NamedTuple):
    """One panel: millimetres and unit vectors."""

    pixels: tuple[int, int]
    """Slow, fast."""
    pixel_mm: float
    origin_mm: Vector
    """Outer corner of the first pixel."""
    fast: Vector
    slow: Vector
    distance_mm: float
    """From the sample along the beam to the panel's plane; to its nearest point where the beam does not meet it."""
    beam_pixels: tuple[float, float]
    """Fast, slow: where that is, in pixels from the outer corner of the first one."""
    sensor_mm: float
    """Thickness that the pixels show as parallax: of a sensor in one layer, 0."""
    curved: bool


class Lab(NamedTuple):
    """An experiment's geometry with the beam along −z and, for the conventions' frames, the spindle as DIALS has it."""

    wavelength_A: float
    spectrum: tuple[Vector, Vector] | None
    """Wavelengths (Å) and their weights, where there are several."""
    stokes: Vector
    """Polarisation of the beam as (I, Q, U, V), Q along x."""
    spindle: Vector
    phi_deg: float
    osc_deg: float
    twotheta_deg: float
    panels: tuple[PanelPlace, ...]

    def pixel_mm(self, panel: int, fast, slow) -> Vector:
        """Lab positions (…, 3) of points given in pixels from the outer corner of a panel's first pixel."""
        place = self.panels[panel]
        fast, slow = (np.asarray(x, float)[..., None] * place.pixel_mm for x in (fast, slow))
        return place.origin_mm + fast * place.fast + slow * place.slow


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
        twotheta_deg=float(experiments[0].detector.twotheta_deg),
        panels=tuple(_place(each.detector, frame, turn) for each, frame in zip(experiments, frames, strict=True)),
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
        sensor_mm=0.0 if panel.thickness_um is None or panel.thickness_steps == 1 else float(panel.thickness_um) * 1e-3,
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
