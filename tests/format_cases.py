"""Experiments whose images are written by the tests of the formats, and the places of their pixels."""

import numpy as np
import small

import nanobrag_jax as nb
from nanobrag_jax.detector import frame_on_host

PLACE = 1e-9
"""Of the largest distance: the turn of the lab frame and back, in double precision."""
TEN_DIGITS = 1e-6
"""The same for numbers of a header with ten digits."""
SIX_DIGITS_MM = 3e-3
"""mm: numbers of an SMV header."""

FLAT = {"beam_center_mm": (11.7, 20.3), "pixel_size_mm": 3.0}
SPINDLE = {"phi_deg": 5.0, "osc_deg": 0.5, "phi_steps": 2}
DETECTORS = {
    "off centre": FLAT,
    "two theta": FLAT | {"twotheta_deg": 23.0},
    "two theta about the sample": FLAT | {"twotheta_deg": -40.0, "pivot": "sample"},
    "tilted": FLAT | {"rotations_deg": (5.0, -11.0, 23.0), "twotheta_deg": 7.0},
    "xds": {"convention": "xds", "close_point_mm": (12.0, 3.0), "rotations_deg": (0.0, 14.0, 0.0)},
    "adxv": {"convention": "adxv", "beam_center_mm": (9.0, 14.0)},
    "dials": {"convention": "dials", "close_point_mm": (30.0, 3.0)},
    "behind a right angle": FLAT | {"twotheta_deg": 90.0, "pivot": "sample"},
}
BEAMS = {"tilted": {"direction": (0.98, 0.1, -0.05), "polarization_vector": (0.0, 1.0, 0.3)}}
PERPENDICULAR = ("off centre", "xds upright")
POINTS = np.array([(0.0, 0.0), (12.0, 0.0), (0.0, 10.0), (5.5, 6.5), (11.5, 0.5)])
"""(fast, slow) in pixels from the outer corner of the first."""


def case(name):
    """An experiment on one of the detectors."""
    detector = DETECTORS[name] if name in DETECTORS else {"convention": "xds", "close_point_mm": (12.0, 3.0)}
    return small.experiment(detector=detector, beam=BEAMS.get(name, ()), goniometer=SPINDLE)


def positions(experiment):
    """Where our `POINTS` are (mm), the beam's direction and the spindle, in the experiment's own lab."""
    experiment = nb.completed(experiment)
    frame = frame_on_host(experiment.detector, experiment.beam, "spec")
    fast, slow = (POINTS[:, i, None] * float(frame.pixel_size) for i in (0, 1))
    spindle = np.asarray(experiment.goniometer.spindle_axis)
    return (frame.pix0 + fast * frame.fast + slow * frame.slow) * 1e3, frame.beam, spindle / np.linalg.norm(spindle)


def check_same_geometry(file, ours, tolerance):
    """Assert that two sets of (positions, beam, spindle) differ by a rotation of the lab only, and by no mirror."""

    def invariants(points, beam, spindle):
        sides = np.array([beam, spindle, np.cross(beam, spindle)])
        return points @ points.T, points @ sides.T, sides @ sides.T, np.linalg.det(points[1:4] - points[0])

    for a, b in zip(invariants(*file), invariants(*ours), strict=True):
        scale = np.linalg.norm(ours[0], axis=1).max()
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=tolerance * scale)


def counts_image(seed=0):
    """Counts of all sizes of the compression: bytes, words, long words and beyond."""
    rng = np.random.default_rng(seed)
    image = rng.poisson(3.0, (10, 12)).astype(np.int32)
    image[2, 3:9] = [40000, -5, 2_000_000, 2**31 - 9, -7, 0]
    image[7, 1:4] = [127, 255, 254]
    return image


def photons(seed=0):
    """An image of photons, bright and dark pixels far apart."""
    return np.random.default_rng(seed).lognormal(0.0, 4.0, (10, 12)).astype(np.float32)


def panel(x, rows, angle=0.0):
    axis = (np.cos(np.radians(angle)), 0.0, np.sin(np.radians(angle)))
    return nb.Detector(
        12, rows, pixel_size_mm=2.0, convention="custom", pix0_mm=(x, 6.0, -60.0), fast_axis=axis, slow_axis=(0, -1, 0)
    )
