"""The experiment as frozen pytrees: what is known about crystal, beam, detector, goniometer and sampling.

A leaf is a number or array that may be refined; what decides shapes or control flow is static. Independent numbers
only: everything that follows from them is derived inside `simulate`, so that gradients reach their source.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from . import checks
from .amorphous import Amorphous
from .checks import leaf, optional_leaf
from .constants import DEFAULT_FLUENCE_PER_M2
from .conventions import CONVENTIONS, ConventionName, default_beam_center_mm
from .errors import InputError
from .panels import as_panels, num_panels, panel_kinds
from .reference_rng import DEFAULT_MOSAIC_SEED, random_rotations
from .structure_factors import StructureFactors
from .typing import Mask, Matrix, Scalar, Vector

SHAPES = ("square", "round", "gauss", "tophat")


class Crystal(eqx.Module):
    """Unit cell, orientation, size, spot shape and mosaic spread.

    **Arguments:** `cell_lengths_A` (3,), `cell_angles_deg` (3,); `n_cells` (3,) unit cells along a, b, c (any
    positive number); `misset_deg` (3,) rotations about the lab's x, then y, then z; `orientation` (3, 3): rotation
    from the standard setting (a* along x, b* in the xy plane) before the misset, None for a cell without a matrix;
    `shape`: square, round, gauss or tophat; `fudge`: scale of the spot radius; `mosaic_spread_deg` and
    `mosaic_domains`, with the directions drawn from `mosaic_seed` as the reference draws them, or given as
    `mosaic_axes` (d, 3) and `mosaic_fractions` (d,), rotation angles in units of the spread;
    `matrix_cell_lengths_A`: edges given beside a matrix, which only c-parity uses.

    **Raises** `InputError` for numbers that make no crystal. Source: docs/reference.md sections 4, 7, 8.
    """

    cell_lengths_A: Vector
    cell_angles_deg: Vector
    misset_deg: Vector
    n_cells: Vector
    fudge: Scalar
    mosaic_spread_deg: Scalar
    mosaic_axes: Float[Array, "domains 3"]
    mosaic_fractions: Float[Array, " domains"]
    orientation: Matrix | None
    matrix_cell_lengths_A: Vector | None
    shape: Literal["square", "round", "gauss", "tophat"] = eqx.field(static=True)

    def __init__(
        self,
        cell_lengths_A,
        cell_angles_deg=(90.0, 90.0, 90.0),
        *,
        misset_deg=(0.0, 0.0, 0.0),
        n_cells=(1.0, 1.0, 1.0),
        shape: Literal["square", "round", "gauss", "tophat"] = "square",
        fudge=1.0,
        mosaic_spread_deg=0.0,
        mosaic_domains: int = 1,
        mosaic_seed: int = DEFAULT_MOSAIC_SEED,
        mosaic_axes=None,
        mosaic_fractions=None,
        orientation=None,
        matrix_cell_lengths_A=None,
    ):
        checks.count("mosaic_domains", mosaic_domains)
        if mosaic_axes is None or mosaic_fractions is None:
            mosaic_axes, mosaic_fractions = mosaic_directions(mosaic_spread_deg, mosaic_domains, mosaic_seed)
        self.cell_lengths_A = leaf(cell_lengths_A)
        self.cell_angles_deg = leaf(cell_angles_deg)
        self.misset_deg = leaf(misset_deg)
        self.n_cells = leaf(n_cells)
        self.fudge = leaf(fudge)
        self.mosaic_spread_deg = leaf(mosaic_spread_deg)
        self.mosaic_axes = leaf(mosaic_axes)
        self.mosaic_fractions = leaf(mosaic_fractions)
        self.orientation = optional_leaf(orientation)
        self.matrix_cell_lengths_A = optional_leaf(matrix_cell_lengths_A)
        self.shape = shape

    def __check_init__(self):
        checks.cell_exists(self.cell_lengths_A, self.cell_angles_deg)
        checks.finite("misset_deg", self.misset_deg, (3,))
        checks.positive("n_cells", self.n_cells, (3,))
        checks.positive("fudge", self.fudge)
        checks.not_negative("mosaic_spread_deg", self.mosaic_spread_deg)
        checks.finite("mosaic_axes", self.mosaic_axes, (None, 3))
        checks.finite("mosaic_fractions", self.mosaic_fractions, (self.mosaic_axes.shape[0],))
        checks.finite("orientation", self.orientation, (3, 3))
        checks.one_of("shape", self.shape, SHAPES)


def mosaic_directions(spread_deg, domains: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Axes (d, 3) and angles in units of the spread (d,) of mosaic domains; the first is the unrotated crystal.

    The reference rounds each angle to single precision; the fractions carry that rounding at this spread, so that
    the image is the reference's there and smooth in the spread around it. Source: docs/reference.md section 7.
    """
    if domains == 1:
        return np.array([[0.0, 0.0, 1.0]]), np.zeros(1)
    spread = np.radians(float(spread_deg)) if not isinstance(spread_deg, Tracer) else 1.0
    axes, angles = random_rotations(seed, spread if spread > 0 else 1.0, domains)
    return axes, np.asarray(angles, float) / (spread if spread > 0 else 1.0)


class Beam(eqx.Module):
    """Wavelength, fluence, polarisation and the sources that stand for divergence and dispersion.

    **Arguments:** `wavelength_A`; `fluence_per_m2`; `kahn_factor`: −1 to 1; `polarized`: False for no polarisation
    factor at all; `direction`, `polarization_vector` (3,): None for the detector convention's; `divergence_mrad`
    (2,): horizontal and vertical range; `divergence_fractions` (d, 2): where in the ranges the directions stand, in
    units of the range from its middle; `dispersion_percent` and `dispersion_fractions` (w,) likewise for the
    wavelength; or a list of sources instead: `source_positions` (s, 3) seen from the sample, any length,
    `source_wavelengths_A` (s,). `source_weights` (s,), normalised to mean 1, for either.

    **Raises** `InputError`. Source: docs/reference.md sections 6 and 8.
    """

    wavelength_A: Scalar
    fluence_per_m2: Scalar
    kahn_factor: Scalar
    direction: Vector | None
    polarization_vector: Vector | None
    divergence_mrad: Float[Array, "2"]
    divergence_fractions: Float[Array, "directions 2"]
    dispersion_percent: Scalar
    dispersion_fractions: Float[Array, " wavelengths"]
    source_positions: Float[Array, "sources 3"] | None
    source_wavelengths_A: Float[Array, " sources"] | None
    source_weights: Float[Array, " sources"]
    polarized: bool = eqx.field(static=True)

    def __init__(
        self,
        wavelength_A=1.0,
        *,
        fluence_per_m2=DEFAULT_FLUENCE_PER_M2,
        kahn_factor=0.0,
        polarized: bool = True,
        direction=None,
        polarization_vector=None,
        divergence_mrad=(0.0, 0.0),
        divergence_fractions=((0.0, 0.0),),
        dispersion_percent=0.0,
        dispersion_fractions=(0.0,),
        source_positions=None,
        source_wavelengths_A=None,
        source_weights=None,
    ):
        self.wavelength_A = leaf(wavelength_A)
        self.fluence_per_m2 = leaf(fluence_per_m2)
        self.kahn_factor = leaf(kahn_factor)
        self.direction = optional_leaf(direction)
        self.polarization_vector = optional_leaf(polarization_vector)
        self.divergence_mrad = leaf(divergence_mrad)
        self.divergence_fractions = leaf(divergence_fractions)
        self.dispersion_percent = leaf(dispersion_percent)
        self.dispersion_fractions = leaf(dispersion_fractions)
        self.source_positions = optional_leaf(source_positions)
        self.source_wavelengths_A = optional_leaf(source_wavelengths_A)
        if source_positions is not None and source_wavelengths_A is None:
            self.source_wavelengths_A = leaf(np.full(len(source_positions), wavelength_A))
        self.source_weights = leaf(np.ones(self.num_sources) if source_weights is None else source_weights)
        self.polarized = polarized

    @property
    def num_sources(self) -> int:
        """Number of (direction, wavelength) pairs."""
        if self.source_positions is not None:
            return self.source_positions.shape[0]
        return self.divergence_fractions.shape[0] * self.dispersion_fractions.shape[0]

    def __check_init__(self):
        checks.positive("wavelength_A", self.wavelength_A)
        checks.not_negative("fluence_per_m2", self.fluence_per_m2)
        checks.require("kahn_factor", self.kahn_factor, "between -1 and 1", lambda x: abs(x) <= 1)
        if self.direction is not None:
            checks.axis("direction", self.direction)
        if self.polarization_vector is not None:
            checks.axis("polarization_vector", self.polarization_vector)
        checks.not_negative("divergence_mrad", self.divergence_mrad, (2,))
        checks.finite("divergence_fractions", self.divergence_fractions, (None, 2))
        checks.not_negative("dispersion_percent", self.dispersion_percent)
        checks.finite("dispersion_fractions", self.dispersion_fractions, (None,))
        checks.finite("source_positions", self.source_positions, (None, 3))
        checks.positive("source_wavelengths_A", self.source_wavelengths_A, (self.num_sources,))
        checks.not_negative("source_weights", self.source_weights, (self.num_sources,))


class Detector(eqx.Module):
    """A flat (or curved) detector: size, place, tilts, convention and sensor.

    **Arguments:** `pixels_fast`, `pixels_slow`: counts; `pixel_size_mm`; `size_mm` (2,): fast, slow, None for count
    × pixel; `distance_mm`, or `close_distance_mm` instead: along the normal; `beam_center_mm` (2,): Xbeam, Ybeam in
    the convention's own sense, None for its default; `close_point_mm` (2,): fast, slow foot of the perpendicular
    from the sample, used with pivot sample, None for the beam's; `pix0_mm` (3,): corner of the first pixel, wins over
    distance and beam centre in spec mode; `convention`; `pivot`: what stays in place when the detector turns, None
    for the convention's; `reference_pivot`: the one c-parity uses; `fast_axis`, `slow_axis`, `normal_axis` (3,):
    None for the convention's (normal: fast × slow); `rotations_deg` (3,) about the lab axes; `twotheta_deg` about
    `twotheta_axis` (3,); `curved`, `point_pixel`; `thickness_um` in `thickness_steps` layers, each `layer_fraction`
    of it (None: equal layers); `attenuation_depth_um`: None for no absorption.

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
        attenuation_depth_um=None,
        thickness_steps: int = 1,
        layer_fraction=None,
    ):
        checks.one_of("convention", convention, CONVENTIONS)
        checks.count("pixels_fast", pixels_fast)
        checks.count("pixels_slow", pixels_slow)
        checks.count("thickness_steps", thickness_steps)
        named = CONVENTIONS[convention]
        self.pixels_fast, self.pixels_slow = int(pixels_fast), int(pixels_slow)
        self.pixel_size_mm, self.size_mm = leaf(pixel_size_mm), optional_leaf(size_mm)
        self.distance_mm, self.close_distance_mm = leaf(distance_mm), optional_leaf(close_distance_mm)
        self.convention = convention
        self.pivot = pivot or named.pivot or "beam"
        self.reference_pivot = named.pivot or reference_pivot or self.pivot
        size = np.array((pixels_fast, pixels_slow)) * pixel_size_mm if size_mm is None else np.asarray(size_mm)
        if close_point_mm is None and named.pivot == "sample":
            close_point_mm = size / 2
        self.close_point_mm = optional_leaf(close_point_mm)
        if beam_center_mm is None:
            foot = size / 2 if close_point_mm is None else close_point_mm
            beam_center_mm = default_beam_center_mm(convention, size, pixel_size_mm, foot)
        self.beam_center_mm = leaf(beam_center_mm)
        self.pix0_mm = optional_leaf(pix0_mm)
        self.fast_axis = leaf(named.fast if fast_axis is None else fast_axis)
        self.slow_axis = leaf(named.slow if slow_axis is None else slow_axis)
        self.normal_axis = optional_leaf(normal_axis)
        if normal_axis is None and fast_axis is None and slow_axis is None:
            self.normal_axis = leaf(named.normal)
        self.rotations_deg, self.twotheta_deg = leaf(rotations_deg), leaf(twotheta_deg)
        self.twotheta_axis = leaf(named.twotheta_axis if twotheta_axis is None else twotheta_axis)
        self.thickness_um = optional_leaf(thickness_um)
        self.attenuation_depth_um = optional_leaf(attenuation_depth_um)
        self.thickness_steps = int(thickness_steps)
        self.layer_fraction = leaf(1.0 / thickness_steps if layer_fraction is None else layer_fraction)
        self.curved, self.point_pixel = curved, point_pixel

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
        if self.normal_axis is not None:
            checks.axis("normal_axis", self.normal_axis)
        checks.finite("rotations_deg", self.rotations_deg, (3,))
        checks.finite("twotheta_deg", self.twotheta_deg)
        checks.axis("twotheta_axis", self.twotheta_axis)
        checks.positive("thickness_um", self.thickness_um)
        checks.positive("attenuation_depth_um", self.attenuation_depth_um)
        checks.one_of("pivot", self.pivot, ("beam", "sample"))
        checks.one_of("reference_pivot", self.reference_pivot, ("beam", "sample"))


class Goniometer(eqx.Module):
    """The rotation during the exposure.

    **Arguments:** `phi_deg`: start; `osc_deg`: range; `phi_steps`: count; `spindle_axis` (3,): None for the
    convention's; `step_ratio`: step × count / range, 1 unless steps overlap or leave gaps. The angle of step i is
    the start of its slice. Source: docs/reference.md section 6.
    """

    phi_deg: Scalar
    osc_deg: Scalar
    step_ratio: Scalar
    spindle_axis: Vector | None
    phi_steps: int = eqx.field(static=True)

    def __init__(self, phi_deg=0.0, osc_deg=0.0, *, phi_steps: int = 1, spindle_axis=None, step_ratio=1.0):
        checks.count("phi_steps", phi_steps)
        self.phi_deg, self.osc_deg, self.step_ratio = leaf(phi_deg), leaf(osc_deg), leaf(step_ratio)
        self.spindle_axis = optional_leaf(spindle_axis)
        self.phi_steps = int(phi_steps)

    def __check_init__(self):
        checks.finite("phi_deg", self.phi_deg)
        checks.finite("osc_deg", self.osc_deg)
        checks.finite("step_ratio", self.step_ratio)
        if self.spindle_axis is not None:
            checks.axis("spindle_axis", self.spindle_axis)


class Sampling(eqx.Module):
    """How pixels are sampled, and which.

    **Arguments:** `oversample`: sub-pixels along each edge; `oversample_thick`, `oversample_polar`,
    `oversample_omega`: evaluate absorption, polarisation and solid angle at every sub-pixel instead of once a pixel;
    `interpolate`: tricubic structure factors; `dmin_A`: resolution cut, None for none; `roi`: (fast_min, fast_max,
    slow_min, slow_max), both ends included, None for all; `mask` (slow, fast): True where rendered, None for all;
    `water_um`: edge of a cube of water behind the background, None for none.
    """

    dmin_A: Scalar | None
    water_um: Scalar | None
    mask: Mask | None
    oversample: int = eqx.field(static=True)
    oversample_thick: bool = eqx.field(static=True)
    oversample_polar: bool = eqx.field(static=True)
    oversample_omega: bool = eqx.field(static=True)
    interpolate: bool = eqx.field(static=True)
    roi: tuple[int, int, int, int] | None = eqx.field(static=True)

    def __init__(
        self,
        oversample: int = 1,
        *,
        oversample_thick: bool = False,
        oversample_polar: bool = False,
        oversample_omega: bool = False,
        interpolate: bool = False,
        dmin_A=None,
        roi=None,
        mask=None,
        water_um=None,
    ):
        checks.count("oversample", oversample)
        self.oversample = int(oversample)
        self.oversample_thick, self.oversample_polar = oversample_thick, oversample_polar
        self.oversample_omega, self.interpolate = oversample_omega, interpolate
        self.dmin_A, self.water_um = optional_leaf(dmin_A), optional_leaf(water_um)
        if roi is not None and len(roi) != 4:
            raise InputError(f"roi must be four pixel numbers, got {roi}")
        self.roi = None if roi is None else (int(roi[0]), int(roi[1]), int(roi[2]), int(roi[3]))
        self.mask = None if mask is None else jnp.asarray(np.asarray(mask, bool))

    def __check_init__(self):
        checks.not_negative("dmin_A", self.dmin_A)
        checks.not_negative("water_um", self.water_um)


if TYPE_CHECKING:
    DetectorOrPanels = Detector
else:
    DetectorOrPanels = Detector | tuple[Detector, ...]
"""Type checkers are told the usual case; a tuple stands for panels of different sizes."""


class Experiment(eqx.Module):
    """Everything `simulate` needs. Vectors left out are filled in from the detector's convention.

    **Arguments:** `detector`: one, or a list of panels, each placed in the lab as a detector of its own; equal panels
    are stacked into one `Detector` whose leaves have a leading panel axis (see `panels`), unequal ones stay a tuple;
    `amorphous`: what else scatters in the beam, None for nothing; c-parity knows none.

    **Raises** `InputError` where the parts do not fit together.
    """

    crystal: Crystal
    beam: Beam
    detector: DetectorOrPanels
    goniometer: Goniometer
    structure_factors: StructureFactors
    sampling: Sampling
    amorphous: Amorphous | None

    def __init__(
        self,
        *,
        crystal: Crystal,
        structure_factors: StructureFactors,
        beam: Beam | None = None,
        detector: Detector | Sequence[Detector] | None = None,
        goniometer: Goniometer | None = None,
        sampling: Sampling | None = None,
        amorphous: Amorphous | None = None,
    ):
        self.crystal = crystal
        self.detector = Detector() if detector is None else as_panels(detector)
        named = CONVENTIONS[panel_kinds(self.detector)[0].convention]
        self.beam = Beam() if beam is None else beam
        self.beam = _filled(self.beam, direction=named.beam, polarization_vector=named.polarization)
        self.goniometer = _filled(Goniometer() if goniometer is None else goniometer, spindle_axis=named.spindle)
        self.structure_factors = structure_factors
        self.sampling = Sampling() if sampling is None else sampling
        self.amorphous = amorphous

    @classmethod
    def from_expt(cls, path: str | os.PathLike[str], structure_factors: StructureFactors, **options) -> "Experiment":
        """The experiment of a DIALS experiment list; see `dials.experiment_from_expt` for the options."""
        from .dials import experiment_from_expt

        return experiment_from_expt(path, structure_factors, **options)

    def __check_init__(self):
        roi, mask = self.sampling.roi, self.sampling.mask
        stacked = num_panels(self.detector)
        for panel in panel_kinds(self.detector):
            fast, slow = panel.pixels_fast, panel.pixels_slow
            if roi is not None and not (0 <= roi[0] <= roi[1] < fast and 0 <= roi[2] <= roi[3] < slow):
                numbers = " ".join(str(x) for x in roi)
                raise InputError(f"roi {numbers} does not lie on the detector of {fast} x {slow} pixels (fast x slow)")
            if mask is None or mask.shape == (slow, fast) or (mask.ndim == 3 and mask.shape == (stacked, slow, fast)):
                continue
            raise InputError(
                f"mask has {' x '.join(str(n) for n in mask.shape[::-1])} pixels, the detector {fast} x {slow}"
            )


def _filled(part, **defaults):
    """`part` with the fields that are None replaced by defaults."""
    for name, value in defaults.items():
        if getattr(part, name) is None:
            part = eqx.tree_at(lambda p, n=name: getattr(p, n), part, leaf(value), is_leaf=lambda x: x is None)
    return part
