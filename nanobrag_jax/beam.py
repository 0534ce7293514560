"""The beam: its sources, and the polarisation of what is scattered (docs/reference.md sections 6 and 8)."""

from typing import no_type_check

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jaxtyping import Float, Int

from . import checks
from .checks import filled_in, leaf, named_arguments, optional_leaf
from .constants import DEFAULT_BEAM_SIZE_MM, DEFAULT_FLUENCE_PER_M2, EV_ANGSTROM
from .described import described
from .errors import InputError
from .io.spectrum import Spectrum
from .numerics.vectors import (
    Vec3,
    as_vec3,
    cross,
    dot,
    rotated,
    unit,
)
from .steps import complete_steps, grid_fractions, spectrum_fractions
from .typing import Scalar, Vector


class Beam(eqx.Module):
    """Wavelength, fluence, polarisation and the sources that stand for divergence and dispersion.

    **Arguments:**

    - `wavelength_A`, 1 unless given; or `energy_eV` of the photons instead;
    - `fluence_per_m2`; or `flux_per_s` instead, with `exposure_s` (1 unless given) and `beam_size_mm`, the edge of the
      square beam (0.1): fluence = flux · exposure/size²;
    - `kahn_factor`: −1 to 1; `polarized`: False for no polarisation factor at all;
    - `direction`, `polarization_vector` (3,): None for the detector convention's;
    - `divergence_mrad` (2,): horizontal and vertical range;
    - `divergence_fractions` (d, 2): where in the ranges the directions stand, in units of the range from its middle;
      "auto": at either end of each range that is not zero;
    - `dispersion_percent` and `dispersion_fractions` (w,): likewise for the wavelength;
    - `source_positions` (s, 3): a list of sources instead, seen from the sample, any length;
    - `source_wavelengths_A` (s,): theirs;
    - `source_weights` (s,): normalised to mean 1, for either;
    - `wavelength_offset_A`, `wavelength_scale`: scattering vectors are those of offset + scale · wavelength, of each
      source.

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
    wavelength_offset_A: Scalar
    wavelength_scale: Scalar
    polarized: bool = eqx.field(static=True)

    @named_arguments
    def __init__(
        self,
        wavelength_A=None,
        *,
        energy_eV=None,
        fluence_per_m2=None,
        flux_per_s=None,
        exposure_s=None,
        beam_size_mm=None,
        kahn_factor=0.0,
        polarized: bool = True,
        direction=None,
        polarization_vector=None,
        divergence_mrad=(0.0, 0.0),
        divergence_fractions="auto",
        dispersion_percent=0.0,
        dispersion_fractions="auto",
        source_positions=None,
        source_wavelengths_A=None,
        source_weights=None,
        wavelength_offset_A=0.0,
        wavelength_scale=1.0,
    ):
        self.wavelength_A = leaf(_wavelength_A(wavelength_A, energy_eV), "wavelength_A")
        self.fluence_per_m2 = leaf(
            _fluence_per_m2(fluence_per_m2, flux_per_s, exposure_s, beam_size_mm), "fluence_per_m2"
        )
        self.kahn_factor = leaf(kahn_factor, "kahn_factor")
        self.direction = optional_leaf(direction, "direction")
        self.polarization_vector = optional_leaf(polarization_vector, "polarization_vector")
        self.divergence_mrad = leaf(divergence_mrad, "divergence_mrad")
        self.divergence_fractions = leaf(
            _divergence_fractions(self.divergence_mrad, divergence_fractions), "divergence_fractions"
        )
        self.dispersion_percent = leaf(dispersion_percent, "dispersion_percent")
        self.dispersion_fractions = leaf(
            _dispersion_fractions(self.dispersion_percent, dispersion_fractions), "dispersion_fractions"
        )
        self.source_positions = optional_leaf(source_positions, "source_positions")
        self.source_wavelengths_A = optional_leaf(source_wavelengths_A, "source_wavelengths_A")
        if source_positions is not None and source_wavelengths_A is None:
            self.source_wavelengths_A = leaf(np.full(len(source_positions), self.wavelength_A), "source_wavelengths_A")
        source_weights = np.ones(self.num_sources) if source_weights is None else source_weights
        self.source_weights = leaf(source_weights, "source_weights")
        self.wavelength_offset_A = leaf(wavelength_offset_A, "wavelength_offset_A")
        self.wavelength_scale = leaf(wavelength_scale, "wavelength_scale")
        self.polarized = polarized
        checks.usual("wavelength_A", self.wavelength_A, 0.01, 100, "it is in Å, of a photon energy in eV 12398.42/E")

    @property
    @no_type_check  # `eqx.tree_at` puts stand-ins in the place of arrays
    def energy_eV(self) -> Scalar:
        """Photon energy."""
        return EV_ANGSTROM / self.wavelength_A

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
        checks.require(
            "source_positions",
            self.source_positions,
            "none of them the sample's own place",
            lambda x: (x * x).sum(-1) > np.finfo(x.dtype).tiny,
            (None, 3),
        )
        checks.positive("source_wavelengths_A", self.source_wavelengths_A, (self.num_sources,))
        if self.num_sources == 0:
            raise InputError("a beam must have at least one source, got none")
        checks.require(
            "source_weights",
            self.source_weights,
            "zero or positive, and not all zero",
            lambda x: (x >= 0) & (x.sum() > 0),
            (self.num_sources,),
        )

        checks.positive("wavelength_scale", self.wavelength_scale)
        checks.finite("wavelength_offset_A", self.wavelength_offset_A)
        numbers = self.wavelength_offset_A, self.wavelength_scale, self.wavelength_A
        if all(checks.is_known(x) and np.ndim(x) == 0 for x in numbers):
            offset, scale, wavelength = (float(x) for x in numbers)
            checks.require(
                "wavelength_offset_A",
                self.wavelength_offset_A,
                f"above minus the scaled wavelength, {-scale * wavelength:g}",
                lambda x: x > -scale * wavelength,
            )

    def __repr__(self) -> str:
        return described(self)


def _wavelength_A(wavelength_A, energy_eV):
    """The wavelength, from a photon energy where that is given. **Raises** `InputError` for both."""
    if energy_eV is None:
        return 1.0 if wavelength_A is None else wavelength_A
    if wavelength_A is not None:
        raise InputError("give wavelength_A or energy_eV, not both")
    checks.positive("energy_eV", leaf(energy_eV, "energy_eV"))
    return EV_ANGSTROM / energy_eV


def _fluence_per_m2(fluence_per_m2, flux_per_s, exposure_s, beam_size_mm):
    """The fluence, from a flux where that is given. **Raises** `InputError` for both, or for half of a flux."""
    if flux_per_s is None:
        for name, value in (("exposure_s", exposure_s), ("beam_size_mm", beam_size_mm)):
            if value is not None:
                raise InputError(f"{name} has no effect without flux_per_s")
        return DEFAULT_FLUENCE_PER_M2 if fluence_per_m2 is None else fluence_per_m2
    if fluence_per_m2 is not None:
        raise InputError("give fluence_per_m2 or flux_per_s, not both")
    exposure_s = 1.0 if exposure_s is None else exposure_s
    beam_size_mm = DEFAULT_BEAM_SIZE_MM if beam_size_mm is None else beam_size_mm
    checks.not_negative("flux_per_s", leaf(flux_per_s, "flux_per_s"))
    checks.positive("exposure_s", leaf(exposure_s, "exposure_s"))
    checks.positive("beam_size_mm", leaf(beam_size_mm, "beam_size_mm"))
    return flux_per_s * exposure_s / (beam_size_mm * 1e-3) ** 2


def _divergence_fractions(ranges_mrad, fractions):
    """Where the directions stand, by the command's rules where that is not given."""
    if isinstance(ranges_mrad, Tracer) or np.shape(ranges_mrad) != (2,):
        return ((0.0, 0.0),) if _is_auto(fractions) else fractions
    ranges = np.asarray(ranges_mrad, float)
    if _is_auto(fractions):
        level, upright = (complete_steps(None, abs(each), None, "divergence") for each in ranges)
        return grid_fractions(level, upright)
    if np.any(ranges) and len(fractions) and not np.any(np.asarray(fractions)[:, ranges != 0]):
        checks.warn(f"divergence_mrad {ranges[0]:g} {ranges[1]:g} has no effect: divergence_fractions are zero")
    return fractions


def _dispersion_fractions(percent, fractions):
    """Where the wavelengths stand, likewise."""
    if isinstance(percent, Tracer):
        return (0.0,) if _is_auto(fractions) else fractions
    if _is_auto(fractions):
        return spectrum_fractions(complete_steps(None, abs(float(percent)), None, "dispersion"))
    if float(percent) != 0 and len(fractions) and not np.any(np.asarray(fractions)):
        checks.warn(f"dispersion_percent {float(percent):g} has no effect: dispersion_fractions are zero")
    return fractions


def _is_auto(value) -> bool:
    return isinstance(value, str) and value == "auto"


class Sources(eqx.Module):
    """Incident unit vectors (sample-ward), wavelengths in Å, weights of mean 1 and polarisation frames.

    One each a source. A loop over sources gives each turn a `Sources` of one, without the leading axis.
    """

    incident: Float[Array, "*sources 3"]
    wavelength: Float[Array, "*sources"]
    weight: Float[Array, "*sources"]
    across: Float[Array, "*sources 3"]
    """Unit vector along B, and below along E."""
    electric: Float[Array, "*sources 3"]
    first: Int[Array, "*sources"] | None = None
    """Where the structure factors of each one's channel begin (`structure_factors.Grid`), None without channels."""


def sources(beam: Beam) -> Sources:
    """The list of sources, wavelengths innermost within each direction."""
    weight = beam.source_weights / jnp.mean(beam.source_weights)
    polarization = unit(filled_in(beam.polarization_vector))

    def listed(incident, wavelength):
        frames = jax.vmap(polarization_frame, (0, None))(incident, polarization)
        moved = beam.wavelength_offset_A + beam.wavelength_scale * wavelength
        return Sources(incident, moved, weight, *frames)

    if beam.source_positions is not None:
        return listed(-jax.vmap(unit)(beam.source_positions), filled_in(beam.source_wavelengths_A))
    direction = unit(filled_in(beam.direction))
    vertical = unit(cross(direction, polarization))
    along, level, upright = as_vec3(direction), as_vec3(polarization), as_vec3(vertical)
    angles = beam.divergence_fractions * (beam.divergence_mrad * 1e-3)[None, :]

    def turned(pair):
        return jnp.stack(rotated(rotated(along, level, pair[1]), upright, pair[0]))

    incident = jax.vmap(unit)(jax.vmap(turned)(angles))
    wavelength = beam.wavelength_A * (1.0 + beam.dispersion_percent * 0.01 * beam.dispersion_fractions)
    count = wavelength.shape[0]
    return listed(jnp.repeat(incident, count, axis=0), jnp.tile(wavelength, incident.shape[0]))


def uncorrected(beam: Beam) -> Beam:
    """The beam with the wavelengths as they are listed, without offset and scale."""
    leaves = beam.wavelength_offset_A, beam.wavelength_scale
    neutral = jnp.zeros_like(leaves[0]), jnp.ones_like(leaves[1])
    return eqx.tree_at(lambda b: (b.wavelength_offset_A, b.wavelength_scale), beam, neutral)


LEAST_SHARED_SOURCES = 8
"""Up to so many sources a program is compiled for just that number."""


def rounded_up(lit: Sources) -> Sources:
    """The same sources, followed by as many of weight zero as make 10, 12, 14, 16, 20, 24, 28, 32, 40, …

    So that another number of sources seldom needs another program. The mean weight remains 1.
    """
    count = lit.weight.shape[0]
    if count <= LEAST_SHARED_SOURCES:
        return lit
    step = 2 ** ((count - 1).bit_length() - 3)
    number = -(-count // step) * step
    if number == count:
        return lit
    place = np.minimum(np.arange(number), count - 1)
    filled = jax.tree.map(lambda x: np.asarray(x)[place], lit)
    weight = np.where(np.arange(number) < count, filled.weight * (number / count), 0.0).astype(filled.weight.dtype)
    return eqx.tree_at(lambda s: s.weight, filled, weight)


def polarization_frame(incident: Vector, polarization: Vector) -> tuple[Vector, Vector]:
    """Unit vectors across the beam: along B = p × incident, and E = incident × B."""
    across = unit(cross(polarization, incident))
    return across, unit(cross(incident, across))


def polarization_factor(kahn_factor, incident, frame, direction: Vec3) -> Array:
    r"""Fraction of the intensity that polarisation leaves, $\frac12(1+c^2-K\cos2\psi\,(1-c^2))$.

    With $c$ the cosine of the scattering angle. As E, B and the beam are orthonormal, $\cos2\psi(1-c^2)$ is
    $(d\cdot E)^2-(d\cdot B)^2$: no angle, no singular point at the beam.
    """
    across, electric = frame
    cosine = dot(incident, direction)
    b, e = dot(across, direction), dot(electric, direction)
    return 0.5 * (1.0 + cosine * cosine - kahn_factor * (e * e - b * b))


def spectrum_beam(spectrum: Spectrum, **more) -> Beam:
    """A beam with one source for each wavelength of a spectrum, weighted as it says.

    The spectrum is held as fractions of its mean wavelength, so that `wavelength_A` moves it as a whole and
    `dispersion_percent` (here 100) stretches it about the mean; a divergence multiplies the number of sources.

    **Arguments:** `more`: further arguments of `Beam`; the wavelength is the spectrum's own.
    """
    mean = spectrum.mean_wavelength_A
    ranges, given = more.get("divergence_mrad", (0.0, 0.0)), more.get("divergence_fractions", "auto")
    directions = len(_divergence_fractions(ranges, given))
    options = more | {
        "wavelength_A": mean,
        "dispersion_percent": 100.0,
        "dispersion_fractions": spectrum.wavelengths_A / mean - 1.0,
        "source_weights": np.tile(spectrum.weights, directions),
    }
    return Beam(**options)
