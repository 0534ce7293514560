"""Detector conventions, pivots and tilts; rays, solid angles and absorption."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import experiment

from nanobrag_jax.detector import capture_fraction, detector_frame, pixel_ray
from nanobrag_jax.numerics.vectors import axis_rotation, rotated, xyz_rotation
from nanobrag_jax.reference.slips import slips_of

CONVENTIONS = ("mosflm", "denzo", "adxv", "xds", "dials", "custom")
TILT = {"rotations_deg": (5.0, -3.0, 7.0), "twotheta_deg": 11.0}


def frame_of(mode="spec", beam=(), **detector):
    whole = experiment(detector=detector, beam=beam)
    return detector_frame(whole.detector, whole.beam, slips_of(mode))


def metres(*millimetres):
    return np.array(millimetres) * 1e-3


PIX0 = {  # 12 x 10 pixels of 3 mm at 60 mm, worked out by hand from docs/reference.md section 3
    "mosflm": metres(60, 18.0, -21.0),  # Fbeam = 19.5 + 1.5, Sbeam = 16.5 + 1.5
    "denzo": metres(60, 16.5, -19.5),
    "adxv": metres(-19.5, 16.5, 60),  # Fbeam = 19.5, Sbeam = 30 - 13.5
    "xds": metres(-18, -15, 60),
    "dials": metres(-18, -15, 60),
    "custom": metres(60, 15, -18),
}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_corner_of_the_first_pixel(convention):
    np.testing.assert_allclose(frame_of(convention=convention).pix0, PIX0[convention], rtol=1e-14, atol=1e-17)


@pytest.mark.parametrize("convention", ["mosflm", "denzo", "adxv", "custom"])
@pytest.mark.parametrize("rotations", [(0.0, 0.0, 0.0), (5.0, -3.0, 7.0)], ids=["straight", "tilted"])
def test_reported_beam_point(convention, rotations):
    """Distance and beam point are measured on the finished frame; with two-theta they are the reference's, who uses
    the normal before that turn."""
    frame = frame_of(convention=convention, beam_center_mm=(13.0, 17.0), rotations_deg=rotations)
    np.testing.assert_allclose(frame.distance, 0.06, rtol=1e-14)
    np.testing.assert_allclose(np.stack(frame.beam_point), metres(*BEAM_POINTS[convention]), rtol=1e-12)


BEAM_POINTS = {  # (Fbeam, Sbeam) in mm for Xbeam = 13, Ybeam = 17
    "mosflm": (18.5, 14.5),
    "denzo": (17.0, 13.0),
    "adxv": (13.0, 13.0),  # slow size 30 - 17
    "custom": (13.0, 17.0),
}


@pytest.mark.parametrize("convention", BEAM_POINTS)
@pytest.mark.parametrize("tilt", [{}, TILT], ids=["straight", "tilted"])
def test_the_beam_hits_the_beam_centre(convention, tilt):
    """Pivot beam: the point on the detector at the beam centre stays on the beam, whatever the tilts."""
    frame = frame_of(convention=convention, beam_center_mm=(13.0, 17.0), **tilt)
    fast, slow = metres(*BEAM_POINTS[convention])
    hit = frame.pix0 + fast * frame.fast + slow * frame.slow
    np.testing.assert_allclose(hit, 0.06 * frame.beam, atol=1e-16)


@pytest.mark.parametrize("convention", ["xds", "dials", "custom"])
@pytest.mark.parametrize("tilt", [{}, TILT], ids=["straight", "tilted"])
def test_pivot_sample_keeps_the_foot_of_the_perpendicular(convention, tilt):
    """Pivot sample: the detector turns around the sample, and the perpendicular meets the same pixel."""
    frame = frame_of(convention=convention, pivot="sample", close_point_mm=(7.0, 8.0), close_distance_mm=55.0, **tilt)
    np.testing.assert_allclose(frame.close_distance, 0.055, rtol=1e-13)
    np.testing.assert_allclose(np.stack(frame.close_point), metres(7, 8), rtol=1e-12)


@pytest.mark.parametrize("convention", ["xds", "dials"])
def test_beam_centre_does_not_move_a_convention_that_pivots_at_the_sample(convention):
    moved = frame_of(convention=convention, beam_center_mm=(3.0, 4.0))
    np.testing.assert_array_equal(moved.pix0, frame_of(convention=convention).pix0)


def test_pivot_sample_without_a_foot_takes_the_beam_centre():
    """spec mode, named convention: Fclose = Fbeam and Sclose = Sbeam; c-parity keeps the convention's own pivot."""
    arguments = {"pivot": "sample", "beam_center_mm": (13.0, 17.0), "rotations_deg": (0, 12, 0)}
    frame = frame_of(**arguments)
    np.testing.assert_allclose(np.stack(frame.close_point), metres(18.5, 14.5), rtol=1e-12)
    reference = frame_of("c-parity", **arguments)
    np.testing.assert_allclose(np.stack(reference.beam_point), metres(18.5, 14.5), rtol=1e-12)
    assert np.abs(frame.pix0 - reference.pix0).max() > 1e-4


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_frame_is_orthonormal(convention):
    frame = frame_of(convention=convention, **TILT)
    axes = np.stack([frame.fast, frame.slow, frame.normal])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-15)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_twotheta_swings_the_detector(convention):
    straight, swung = frame_of(convention=convention), frame_of(convention=convention, twotheta_deg=20.0)
    assert float(swung.normal @ straight.normal) == pytest.approx(np.cos(np.radians(20)), rel=1e-14)
    turned = axis_rotation(experiment(detector={"convention": convention}).detector.twotheta_axis, jnp.radians(20.0))
    np.testing.assert_allclose(swung.fast, turned @ straight.fast, atol=1e-15)


def test_twotheta_swings_down_the_slow_axis_where_the_conventions_say():
    """A positive two-theta moves the MOSFLM detector towards negative y, along its slow axis."""
    frame = frame_of(twotheta_deg=30.0)
    np.testing.assert_allclose(frame.normal, [np.cos(np.pi / 6), -0.5, 0], atol=1e-15)


def test_distance_follows_the_beam_when_the_detector_tilts():
    """The distance is along the beam: close distance = distance · cos(tilt)."""
    frame = frame_of(rotations_deg=(0, 25.0, 0))
    np.testing.assert_allclose(frame.distance, 0.06, rtol=1e-14)
    np.testing.assert_allclose(frame.close_distance, 0.06 * np.cos(np.radians(25)), rtol=1e-14)
    close = frame_of(close_distance_mm=50.0, rotations_deg=(0, 25.0, 0))
    np.testing.assert_allclose(close.close_distance, 0.05, rtol=1e-14)


def test_pix0_is_honoured_in_spec_mode_only():
    arguments = {"convention": "custom", "pix0_mm": (58.0, 11.0, -13.0)}
    np.testing.assert_allclose(frame_of(**arguments).pix0, metres(58, 11, -13), rtol=1e-15)
    np.testing.assert_allclose(frame_of("c-parity", **arguments).pix0, PIX0["custom"], rtol=1e-14, atol=1e-17)


def test_vectors_of_any_length_are_normalised():
    long = frame_of(convention="custom", fast_axis=(0, 0, 3), slow_axis=(0, -7, 0), beam={"direction": (5, 0, 0)})
    np.testing.assert_allclose(long.pix0, PIX0["custom"], rtol=1e-14, atol=1e-17)
    np.testing.assert_allclose(long.normal, [1, 0, 0], atol=1e-16)


def test_rotations_are_right_handed_and_in_order():
    quarter = jnp.asarray(np.pi / 2)
    for axis, turned in zip(np.eye(3), ([0, 0, 1], [1, 0, 0], [0, 1, 0]), strict=True):
        start = np.roll(axis, 1)  # y for x, z for y, x for z
        np.testing.assert_allclose(axis_rotation(jnp.asarray(axis), quarter) @ start, turned, atol=1e-15)
        np.testing.assert_allclose(np.stack(rotated(*jnp.stack([start, axis]), quarter)), turned, atol=1e-15)
    angles = jnp.array([0.3, -1.1, 2.0])
    x, y, z = (axis_rotation(axis, angle) for axis, angle in zip(jnp.eye(3), angles, strict=True))
    np.testing.assert_allclose(xyz_rotation(angles), z @ y @ x, atol=1e-15)
    x_then_z = xyz_rotation(jnp.array([quarter, 0.0, quarter]))
    np.testing.assert_allclose(x_then_z @ np.array([0, 1, 0]), [0, 0, 1], atol=1e-15)
    np.testing.assert_allclose(x_then_z @ np.array([0, 0, 1]), [1, 0, 0], atol=1e-15)


@pytest.mark.slow
def test_derivatives_of_the_solid_angle():
    """A rule is written for 1/√x in it; the second derivative goes through that twice."""
    frame, direction = frame_of(), jnp.array([1.0, 0.3, -0.2])

    def written(distance):
        moved = eqx.tree_at(lambda f: f.pix0, frame, distance * direction)
        return pixel_ray(moved, 0.01, 0.02, 0.0, curved=False, point_pixel=True).solid_angle

    def plain(distance):
        position = distance * direction + 0.01 * frame.fast + 0.02 * frame.slow
        return 1.0 / jnp.sum(position * position)

    for derivative in (jax.grad, jax.jacfwd, jax.hessian):
        np.testing.assert_allclose(derivative(written)(0.1), derivative(plain)(0.1), rtol=1e-12)


def rays(frame, depth=0.0, *, curved=False, point_pixel=False, pixels=(12, 10), pixel=3e-3):
    fast, slow = (pixel * (np.arange(n) + 0.5) for n in pixels)
    fast, slow = (jnp.asarray(x.ravel()) for x in np.meshgrid(fast, slow))
    return pixel_ray(frame, fast, slow, jnp.asarray(depth), curved=curved, point_pixel=point_pixel)


def test_rays_point_from_the_sample_to_the_pixel():
    ray = rays(frame_of())
    position, direction = np.stack(ray.position), np.stack(ray.direction)
    np.testing.assert_allclose(position[:, 0], metres(60, 16.5, -19.5), rtol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=0), 1.0, rtol=1e-15)
    np.testing.assert_allclose(direction * np.asarray(ray.distance), position, rtol=1e-14, atol=1e-18)
    np.testing.assert_allclose(ray.obliquity, 0.06 / np.asarray(ray.distance), rtol=1e-14)


def test_depth_goes_along_the_normal():
    frame = frame_of(**TILT)
    deeper = np.stack(rays(frame, 1e-3).position) - np.stack(rays(frame).position)
    np.testing.assert_allclose(deeper, np.broadcast_to(1e-3 * frame.normal[:, None], deeper.shape), atol=1e-16)


def test_solid_angles_add_up_to_the_detectors():
    """The midpoint rule over 120 × 100 pixels against the exact solid angle of a rectangle."""
    frame = frame_of(convention="dials", pixels_fast=120, pixels_slow=100, pixel_size_mm=0.3)
    total = float(jnp.sum(rays(frame, pixels=(120, 100), pixel=3e-4).solid_angle))
    a, b, d = 0.036, 0.030, 0.06
    exact = 4 * np.arcsin(a * b / np.sqrt((4 * d * d + a * a) * (4 * d * d + b * b)))
    assert total == pytest.approx(exact, rel=1e-5)


def test_point_pixels_see_the_inverse_square():
    ray = rays(frame_of(), point_pixel=True)
    np.testing.assert_allclose(ray.solid_angle, 1 / np.asarray(ray.distance) ** 2, rtol=1e-14)


def test_a_curved_detector_is_everywhere_at_the_same_distance():
    frame = frame_of(convention="denzo")
    ray = rays(frame, curved=True)
    np.testing.assert_allclose(ray.distance, 0.06, rtol=1e-14)
    y, z = (np.asarray(x) / 0.06 for x in rays(frame).position[1:])  # the reference's angles, about s = -y and f = z
    expected = np.stack([np.cos(y) * np.cos(z), np.cos(y) * np.sin(z), np.sin(y)])
    np.testing.assert_allclose(np.stack(ray.direction), expected, atol=1e-15)


def test_layers_share_what_the_whole_sensor_stops():
    ray = rays(frame_of(rotations_deg=(0, 20, 0)))
    layers = [capture_fraction(ray, layer, 90e-6, 300e-6) for layer in range(5)]
    whole = capture_fraction(ray, 0, 450e-6, 300e-6)
    np.testing.assert_allclose(np.sum(layers, axis=0), whole, rtol=1e-13)
    np.testing.assert_allclose(whole, 1 - np.exp(-1.5 / np.asarray(ray.obliquity)), rtol=1e-13)
    assert np.all(np.diff(layers, axis=0) < 0)
