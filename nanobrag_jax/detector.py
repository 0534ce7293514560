"""The detector: where its pixels are, their rays, solid angles and absorption (docs/reference.md sections 3, 8)."""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from . import checks
from .beam import Beam
from .checks import leaf, named_arguments, optional_leaf
from .constants import DEG_PER_RAD
from .conventions import CONVENTIONS, ConventionName, beam_point, default_beam_center_mm
from .described import described
from .numerics.host import on_host
from .numerics.vectors import (
    Vec3,
    added,
    as_vec3,
    axis_rotation,
    cross,
    dot,
    rotated,
    scaled,
    turned,
    unit,
    xyz_rotation,
)
from .reference.slips import NO_SLIPS, Slips, slips_of
from .typing import Mode, Scalar, Vector


class Detector(eqx.Module):
    """A flat (or curved) detector: size, place, tilts, convention and sensor.

    **Arguments:**

    - `pixels_fast`, `pixels_slow`: counts;
    - `pixel_size_mm`; `size_mm` (2,): fast, slow, None for count × pixel;
    - `distance_mm`, or `close_distance_mm` instead: along the normal;
    - `beam_center_mm` (2,): Xbeam, Ybeam in the convention's own sense, None for its default;
    - `close_point_mm` (2,): fast, slow foot of the perpendicular from the sample, used with pivot sample, None for the
      beam's;
    - `pix0_mm` (3,): corner of the first pixel, wins over distance and beam centre in spec mode;
    - `convention`;
    - `pivot`: what stays in place when the detector turns, None for the convention's; `reference_pivot`: the one that
      c-parity uses;
    - `fast_axis`, `slow_axis`, `normal_axis` (3,): None for the convention's (normal: fast × slow);
    - `rotations_deg` (3,): about the lab axes;
    - `twotheta_deg`: about `twotheta_axis` (3,);
    - `curved`: bent to a sphere around the sample;
    - `point_pixel`: solid angle of a point;
    - `thickness_um`: of the sensor, in `thickness_steps` layers, each `layer_fraction` of it (None: equal layers);
    - `attenuation_depth_um`: None for no absorption, "auto" for a depth equal to the thickness, if there is one;
    - `mean_depth`: with one layer, whether photons are absorbed at a mean depth along their way, the one that DIALS
      corrects for, or at the front; c-parity knows the front only.

    **Raises** `InputError`. Source: docs/reference.md section 3.
    """

    pixel_size_mm: Scalar
    size_mm: Float[Array, "2"] | None
    distance_mm: Scalar
    close_distance_mm: Scalar | None
    beam_center_mm: Float[Array, "2"]
    close_point_mm: Float[Array, "2"] | None
    pix0_mm: Vector | None
    fast_axis: Vector
    slow_axis: Vector
    normal_axis: Vector | None
    rotations_deg: Vector
    twotheta_deg: Scalar
    twotheta_axis: Vector
    thickness_um: Scalar | None
    attenuation_depth_um: Scalar | None
    layer_fraction: Scalar
    pixels_fast: int = eqx.field(static=True)
    pixels_slow: int = eqx.field(static=True)
    convention: ConventionName = eqx.field(static=True)
    pivot: Literal["beam", "sample"] = eqx.field(static=True)
    reference_pivot: Literal["beam", "sample"] = eqx.field(static=True)
    curved: bool = eqx.field(static=True)
    point_pixel: bool = eqx.field(static=True)
    thickness_steps: int = eqx.field(static=True)
    mean_depth: bool = eqx.field(static=True)

    @named_arguments
    def __init__(
        self,
        pixels_fast: int = 1024,
        pixels_slow: int = 1024,
        *,
        pixel_size_mm=0.1,
        size_mm=None,
        distance_mm=100.0,
        close_distance_mm=None,
        beam_center_mm=None,
        close_point_mm=None,
        pix0_mm=None,
        convention: ConventionName = "mosflm",
        pivot: Literal["beam", "sample"] | None = None,
        reference_pivot: Literal["beam", "sample"] | None = None,
        fast_axis=None,
        slow_axis=None,
        normal_axis=None,
        rotations_deg=(0.0, 0.0, 0.0),
        twotheta_deg=0.0,
        twotheta_axis=None,
        curved: bool = False,
        point_pixel: bool = False,
        thickness_um=None,
        attenuation_depth_um="auto",
        thickness_steps: int = 1,
        layer_fraction=None,
        mean_depth: bool = False,
    ):
        checks.one_of("convention", convention, CONVENTIONS)
        checks.count("pixels_fast", pixels_fast)
        checks.count("pixels_slow", pixels_slow)
        checks.count("thickness_steps", thickness_steps)
        named = CONVENTIONS[convention]
        self.pixels_fast, self.pixels_slow = int(pixels_fast), int(pixels_slow)
        self.pixel_size_mm, self.size_mm = leaf(pixel_size_mm, "pixel_size_mm"), optional_leaf(size_mm, "size_mm")
        self.distance_mm = leaf(distance_mm, "distance_mm")
        self.close_distance_mm = optional_leaf(close_distance_mm, "close_distance_mm")
        self.convention = convention
        self.pivot = pivot or named.pivot or "beam"
        self.reference_pivot = named.pivot or reference_pivot or self.pivot
        size = np.array((pixels_fast, pixels_slow)) * pixel_size_mm if size_mm is None else np.asarray(size_mm)
        if close_point_mm is None and named.pivot == "sample":
            close_point_mm = size / 2
        self.close_point_mm = optional_leaf(close_point_mm, "close_point_mm")
        if beam_center_mm is None:
            foot = size / 2 if close_point_mm is None else close_point_mm
            beam_center_mm = default_beam_center_mm(convention, size, pixel_size_mm, foot)
        self.beam_center_mm = leaf(beam_center_mm, "beam_center_mm")
        self.pix0_mm = optional_leaf(pix0_mm, "pix0_mm")
        self.fast_axis = leaf(named.fast if fast_axis is None else fast_axis, "fast_axis")
        self.slow_axis = leaf(named.slow if slow_axis is None else slow_axis, "slow_axis")
        self.normal_axis = optional_leaf(normal_axis, "normal_axis")
        if normal_axis is None and fast_axis is None and slow_axis is None:
            self.normal_axis = leaf(named.normal, "normal_axis")
        self.rotations_deg, self.twotheta_deg = leaf(rotations_deg, "rotations_deg"), leaf(twotheta_deg, "twotheta_deg")
        self.twotheta_axis = leaf(named.twotheta_axis if twotheta_axis is None else twotheta_axis, "twotheta_axis")
        self.thickness_um = optional_leaf(thickness_um, "thickness_um")
        if isinstance(attenuation_depth_um, str) and attenuation_depth_um == "auto":
            attenuation_depth_um = thickness_um
        self.attenuation_depth_um = optional_leaf(attenuation_depth_um, "attenuation_depth_um")
        self.thickness_steps = int(thickness_steps)
        layer_fraction = 1.0 / thickness_steps if layer_fraction is None else layer_fraction
        self.layer_fraction = leaf(layer_fraction, "layer_fraction")
        self.curved, self.point_pixel = curved, point_pixel
        self.mean_depth = bool(mean_depth)
        checks.usual("pixel_size_mm", self.pixel_size_mm, 5e-4, 50, "it is in millimetres")
        checks.usual("distance_mm", self.distance_mm, 0.99, 1e5, "it is in millimetres")

    @property
    def has_parallax(self) -> bool:
        """Whether slanted rays leave their photons in other pixels than those that they meet at the front."""
        if self.thickness_um is None or self.attenuation_depth_um is None:
            return False
        return self.thickness_steps > 1 or self.mean_depth

    @property
    def size_mm_or_default(self):
        """Size (fast, slow) in mm: as given, or pixel count × pixel size."""
        if self.size_mm is not None:
            return self.size_mm
        return self.pixel_size_mm * leaf((self.pixels_fast, self.pixels_slow))

    def __check_init__(self):
        checks.positive("pixel_size_mm", self.pixel_size_mm)
        checks.positive("size_mm", self.size_mm, (2,))
        checks.positive("distance_mm", self.distance_mm)
        checks.positive("close_distance_mm", self.close_distance_mm)
        checks.finite("beam_center_mm", self.beam_center_mm, (2,))
        checks.finite("close_point_mm", self.close_point_mm, (2,))
        checks.finite("pix0_mm", self.pix0_mm, (3,))
        checks.axis("fast_axis", self.fast_axis)
        checks.axis("slow_axis", self.slow_axis)
        checks.not_parallel("fast_axis and slow_axis", self.fast_axis, self.slow_axis)
        if self.normal_axis is not None:
            checks.axis("normal_axis", self.normal_axis)
        checks.finite("rotations_deg", self.rotations_deg, (3,))
        checks.finite("twotheta_deg", self.twotheta_deg)
        checks.axis("twotheta_axis", self.twotheta_axis)
        checks.positive("thickness_um", self.thickness_um)
        checks.positive("attenuation_depth_um", self.attenuation_depth_um)
        checks.one_of("pivot", self.pivot, ("beam", "sample"))
        checks.one_of("reference_pivot", self.reference_pivot, ("beam", "sample"))

    def __repr__(self) -> str:
        return described(self)


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
    facing: Scalar
    """−1 for a panel whose normal points towards the sample, which sees it from behind: the frame's normal is turned
    round, so that the sensor begins at the pixels and lies beyond them, as for any other panel."""
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


def _origin_and_distance(detector: Detector, basis, axes, beam, slips: Slips):
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
    if detector.pix0_mm is not None and not slips.pix0_ignored:
        return detector.pix0_mm * 1e-3, ratio
    pixel, size = detector.pixel_size_mm * 1e-3, detector.size_mm_or_default * 1e-3
    f_beam, s_beam = beam_point(detector.convention, detector.beam_center_mm * 1e-3, size, pixel)
    pivot = detector.reference_pivot if slips.pivot_ignored else detector.pivot
    if pivot == "sample":
        f_close, s_close = (f_beam, s_beam) if detector.close_point_mm is None else detector.close_point_mm * 1e-3
        flat = -f_close * fast - s_close * slow + close_distance * normal
        return turned(twotheta, turned(xyz_rotation(detector.rotations_deg / DEG_PER_RAD), flat)), ratio
    return -f_beam * turned_fast - s_beam * turned_slow + distance * beam, ratio


def detector_frame(detector: Detector, beam: Beam, slips: Slips = NO_SLIPS) -> DetectorFrame:
    """The detector's frame in the lab, derived from distance, beam centre and tilts.

    **Returns** a `DetectorFrame`; `close_distance` and `distance` are measured on the finished frame, as the
    reference reports them. Source: docs/reference.md section 3.
    """
    fast, slow = unit(detector.fast_axis), unit(detector.slow_axis)
    normal = unit(cross(fast, slow)) if detector.normal_axis is None else detector.normal_axis
    usual = CONVENTIONS[detector.convention].beam
    direction = unit(leaf(usual) if beam.direction is None else beam.direction)
    tilt = xyz_rotation(detector.rotations_deg / DEG_PER_RAD)
    twotheta = axis_rotation(detector.twotheta_axis, detector.twotheta_deg / DEG_PER_RAD)
    tilted_normal = turned(tilt, normal)
    turned_fast, turned_slow, turned_normal = (
        turned(twotheta, turned(tilt, fast)),
        turned(twotheta, turned(tilt, slow)),
        turned(twotheta, tilted_normal),
    )
    axes = turned_fast, turned_slow, turned_normal, tilted_normal, twotheta
    pix0, ratio = _origin_and_distance(detector, (fast, slow, normal), axes, direction, slips)
    close_distance = jnp.sum(pix0 * turned_normal)
    to_beam = close_distance / ratio * direction - pix0
    if slips.seen_from_behind:
        facing = jnp.ones_like(close_distance)
    else:
        facing = jnp.where(close_distance < 0, -1.0, 1.0)
    return DetectorFrame(
        fast=turned_fast,
        slow=turned_slow,
        normal=facing * turned_normal,
        pix0=pix0,
        beam=direction,
        pixel_size=detector.pixel_size_mm * 1e-3,
        close_distance=facing * close_distance,
        distance=close_distance / ratio if slips.seen_from_behind else jnp.abs(close_distance / ratio),
        facing=facing,
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


def depth_of_absorption(frame: DetectorFrame, obliquity, thickness, attenuation_depth):
    """Depth along the normal (m) at which a ray meets the pixel that DIALS' parallax correction gives it.

    Along the way it is λ − (t + λ)·exp(−t/λ), with λ the attenuation depth and t the way through the sensor: the mean
    depth of absorption, weighted with the fraction that is absorbed at all. DIALS shifts the pixel by it in the
    detector's plane; the same ray meets the pixel itself at the depth a/(1 − a/D), with a the part of the shift along
    the normal and D the distance of the plane.

    **Arguments:** `obliquity`: cosine between ray and normal; `thickness`, `attenuation_depth`: metres.
    """
    way = thickness / obliquity
    along = attenuation_depth - (way + attenuation_depth) * jnp.exp(-way / attenuation_depth)
    inward = along * obliquity
    return inward / (1.0 - inward / frame.close_distance)


def capture_fraction(ray: Ray, layer, layer_thickness, attenuation_depth):
    """Fraction of photons that a sensor layer stops.

    **Arguments:** `layer`: index from the front; `layer_thickness`, `attenuation_depth`: metres.
    """
    reach = layer_thickness / (attenuation_depth * ray.obliquity)
    return jnp.exp(-layer * reach) - jnp.exp(-(layer + 1) * reach)


_traced_frame = jax.jit(detector_frame, static_argnames="slips")


def frame_on_host(detector: Detector, beam: Beam, mode: Mode) -> DetectorFrame:
    """`detector_frame` in numpy numbers, without compiling anything."""
    return on_host(_traced_frame, detector, beam, slips=slips_of(mode))
