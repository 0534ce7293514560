"""Where the pixels are: the detector's frame, a pixel's ray, solid angle and absorption (docs/reference.md 3, 8)."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from .checks import filled_in
from .constants import DEG_PER_RAD
from .conventions import beam_point
from .experiment import Beam, Detector
from .typing import Mode, Scalar, Vector
from .vectors import Vec3, added, as_vec3, axis_rotation, cross, dot, rotated, scaled, turned, unit, xyz_rotation


class DetectorFrame(eqx.Module):
    """The detector as it stands in the lab: unit vectors, first pixel's corner and distances in metres."""

    fast: Vector
    slow: Vector
    normal: Vector
    pix0: Vector
    beam: Vector
    pixel_size: Scalar
    close_distance: Scalar
    distance: Scalar
    beam_point: tuple[Scalar, Scalar]
    close_point: tuple[Scalar, Scalar]


class Ray(NamedTuple):
    """What a pixel's position decides, one value a pixel."""

    position: Vec3
    """Metres from the sample."""
    distance: Array
    """|position|, metres."""
    direction: Vec3
    """Unit vector from the sample to the pixel."""
    solid_angle: Array
    """Steradian."""
    obliquity: Array
    """Cosine between ray and detector normal."""


def _origin_and_distance(detector: Detector, basis, axes, beam, mode: Mode):
    """Corner of the first pixel (3,) and beam-to-detector distance, metres."""
    fast, slow, normal = basis
    turned_fast, turned_slow, turned_normal, tilted_normal, twotheta = axes
    ratio = jnp.sum(beam * tilted_normal)
    ratio = jnp.where(ratio == 0.0, jnp.finfo(ratio.dtype).tiny, ratio)
    if detector.close_distance_mm is None:
        close_distance = jnp.abs(ratio * detector.distance_mm * 1e-3)
    else:
        close_distance = detector.close_distance_mm * 1e-3
    distance = close_distance / ratio
    if detector.pix0_mm is not None and mode == "spec":
        return detector.pix0_mm * 1e-3, ratio
    pixel, size = detector.pixel_size_mm * 1e-3, detector.size_mm_or_default * 1e-3
    f_beam, s_beam = beam_point(detector.convention, detector.beam_center_mm * 1e-3, size, pixel)
    pivot = detector.pivot if mode == "spec" else detector.reference_pivot
    if pivot == "sample":
        f_close, s_close = (f_beam, s_beam) if detector.close_point_mm is None else detector.close_point_mm * 1e-3
        flat = -f_close * fast - s_close * slow + close_distance * normal
        return turned(twotheta, turned(xyz_rotation(detector.rotations_deg / DEG_PER_RAD), flat)), ratio
    return -f_beam * turned_fast - s_beam * turned_slow + distance * beam, ratio


def detector_frame(detector: Detector, beam: Beam, mode: Mode = "spec") -> DetectorFrame:
    """The detector's frame in the lab, derived from distance, beam centre and tilts.

    **Returns** a `DetectorFrame`; `close_distance` and `distance` are measured on the finished frame, as the
    reference reports them. Source: docs/reference.md section 3.
    """
    fast, slow = unit(detector.fast_axis), unit(detector.slow_axis)
    normal = unit(cross(fast, slow)) if detector.normal_axis is None else detector.normal_axis
    direction = unit(filled_in(beam.direction))
    tilt = xyz_rotation(detector.rotations_deg / DEG_PER_RAD)
    twotheta = axis_rotation(detector.twotheta_axis, detector.twotheta_deg / DEG_PER_RAD)
    tilted_normal = turned(tilt, normal)
    turned_fast, turned_slow, turned_normal = (
        turned(twotheta, turned(tilt, fast)),
        turned(twotheta, turned(tilt, slow)),
        turned(twotheta, tilted_normal),
    )
    axes = turned_fast, turned_slow, turned_normal, tilted_normal, twotheta
    pix0, ratio = _origin_and_distance(detector, (fast, slow, normal), axes, direction, mode)
    close_distance = jnp.sum(pix0 * turned_normal)
    to_beam = close_distance / ratio * direction - pix0
    return DetectorFrame(
        fast=turned_fast,
        slow=turned_slow,
        normal=turned_normal,
        pix0=pix0,
        beam=direction,
        pixel_size=detector.pixel_size_mm * 1e-3,
        close_distance=close_distance,
        distance=close_distance / ratio,
        beam_point=(jnp.sum(turned_fast * to_beam), jnp.sum(turned_slow * to_beam)),
        close_point=(-jnp.sum(pix0 * turned_fast), -jnp.sum(pix0 * turned_slow)),
    )


@jax.custom_jvp
def _inverse_root(x):
    """1/√x as √x/x: XLA's reciprocal root goes one number at a time on a CPU.

    With its derivative written out, as that of the quotient has a root and two divisions more.
    """
    return jnp.sqrt(x) / x


@_inverse_root.defjvp
def _inverse_root_jvp(primals, tangents):
    inverse = _inverse_root(*primals)
    return inverse, -0.5 * inverse * inverse * inverse * tangents[0]


def pixel_ray(frame: DetectorFrame, fast, slow, depth, *, curved: bool, point_pixel: bool) -> Ray:
    """The ray from the sample to points on the detector.

    **Arguments:** `fast`, `slow`: distances along the detector axes from the first pixel's corner, metres, one a
    pixel; `depth`: metres along the normal, into the sensor; `curved`: bend the detector to a sphere around the
    sample; `point_pixel`: solid angle of a point at that distance.
    """
    f, s, o, pix0, b = (as_vec3(v) for v in (frame.fast, frame.slow, frame.normal, frame.pix0, frame.beam))
    position = added(added(scaled(f, fast), scaled(s, slow)), added(scaled(o, depth), pix0))
    if curved:
        bent = rotated(scaled(b, frame.distance), s, position.y / frame.distance)
        position = rotated(bent, f, position.z / frame.distance)
    inverse = _inverse_root(dot(position, position))
    direction = scaled(position, inverse)
    solid_angle = inverse * inverse
    if not point_pixel:
        solid_angle = frame.pixel_size * frame.pixel_size * solid_angle * frame.close_distance * inverse
    return Ray(position, 1.0 / inverse, direction, solid_angle, dot(direction, o))


def capture_fraction(ray: Ray, layer, layer_thickness, attenuation_depth):
    """Fraction of photons that a sensor layer stops.

    **Arguments:** `layer`: index from the front; `layer_thickness`, `attenuation_depth`: metres.
    """
    reach = layer_thickness / (attenuation_depth * ray.obliquity)
    return jnp.exp(-layer * reach) - jnp.exp(-(layer + 1) * reach)
