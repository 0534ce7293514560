"""Sources of the beam and the polarisation of what is scattered (docs/reference.md sections 6 and 8)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from .checks import filled_in
from .experiment import Beam
from .typing import Vector
from .vectors import Vec3, as_vec3, cross, dot, rotated, unit


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


def sources(beam: Beam) -> Sources:
    """The list of sources, wavelengths innermost within each direction."""
    weight = beam.source_weights / jnp.mean(beam.source_weights)
    polarization = unit(filled_in(beam.polarization_vector))

    def listed(incident, wavelength):
        frames = jax.vmap(polarization_frame, (0, None))(incident, polarization)
        return Sources(incident, wavelength, weight, *frames)

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
