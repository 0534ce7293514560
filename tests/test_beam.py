"""Sources and polarisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import experiment

import nanobrag_jax as nb
from nanobrag_jax.beam import polarization_factor, polarization_frame, sources
from nanobrag_jax.numerics.vectors import as_vec3


def sources_of(convention="mosflm", **beam):
    return sources(nb.completed(experiment(beam=beam, detector={"convention": convention})).beam)


def test_one_source_along_the_beam():
    listed = sources_of("dials", wavelength_A=1.3, direction=(0, 0, 4))
    np.testing.assert_allclose(listed.incident, [[0, 0, 1]], atol=1e-16)
    assert listed.wavelength.tolist() == [1.3]
    assert listed.weight.tolist() == [1.0]


def test_wavelengths_are_innermost():
    listed = sources_of(
        divergence_mrad=(2.0, 4.0),
        divergence_fractions=[(-0.5, 0.0), (0.5, 0.25)],
        dispersion_percent=3.0,
        dispersion_fractions=(-0.5, 0.0, 0.5),
    )
    np.testing.assert_allclose(listed.wavelength, np.tile(1.2 * np.array([0.985, 1, 1.015]), 2), rtol=1e-14)
    for first in (0, 3):
        np.testing.assert_array_equal(listed.incident[first], listed.incident[first + 2])
    assert np.abs(listed.incident[0] - listed.incident[3]).max() > 1e-4


@pytest.mark.parametrize("mrad", [(3.0, 0.0), (0.0, 3.0)], ids=["horizontal", "vertical"])
def test_divergence_turns_the_beam(mrad):
    """Vertical about the polarisation vector, horizontal about beam × polarisation: MOSFLM has x along z here."""
    incident = np.asarray(sources_of(divergence_mrad=mrad, divergence_fractions=[(0.5, 0.5)]).incident[0])
    np.testing.assert_allclose(np.linalg.norm(incident), 1.0, rtol=1e-15)
    sideways, angle = (2 if mrad[0] else 1), 1.5e-3
    np.testing.assert_allclose(np.abs(incident[sideways]), np.sin(angle), rtol=1e-12)
    np.testing.assert_allclose(incident[0], np.cos(angle), rtol=1e-14)


def test_listed_sources_are_seen_from_the_sample():
    listed = sources_of(source_positions=[(-10, 0, 0), (-3, -4, 0)], source_wavelengths_A=(1.0, 1.1))
    np.testing.assert_allclose(listed.incident, [(1, 0, 0), (0.6, 0.8, 0)], rtol=1e-15)
    assert listed.wavelength.tolist() == [1.0, 1.1]


def test_weights_have_mean_one():
    weight = sources_of(dispersion_fractions=(-0.5, 0.0, 0.5), source_weights=(1, 2, 6)).weight
    np.testing.assert_allclose(weight, [1 / 3, 2 / 3, 2], rtol=1e-15)


def factor(kahn, direction, incident=(1.0, 0, 0), polarization=(0, 0, 1.0)):
    incident, polarization = jnp.asarray(incident), jnp.asarray(polarization)
    direction = jnp.asarray(direction) / jnp.linalg.norm(jnp.asarray(direction))
    return float(polarization_factor(kahn, incident, polarization_frame(incident, polarization), as_vec3(direction)))


@pytest.mark.parametrize("kahn", [-1.0, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("direction", [(1.0, 0, 0), (-1.0, 0, 0)], ids=["forward", "back"])
def test_along_the_beam_polarisation_takes_nothing(kahn, direction):
    assert factor(kahn, direction) == 1.0


@pytest.mark.parametrize(
    "kahn, direction, expected",
    [
        (1.0, (0, 0, 1.0), 0.0),  # along the electric field: nothing
        (1.0, (0, 1.0, 0), 1.0),  # across it: all
        (-1.0, (0, 0, 1.0), 1.0),
        (-1.0, (0, 1.0, 0), 0.0),
        (0.0, (0, 1.0, 1.0), 0.5),  # unpolarised: half at right angles
        (0.0, (1.0, 1.0, 0), 0.75),
    ],
)
def test_limits_of_polarisation(kahn, direction, expected):
    assert factor(kahn, direction) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("kahn", [-1.0, -0.3, 0.0, 0.95])
def test_polarisation_is_kahns_formula(kahn):
    """½(1 + c² − K cos 2ψ (1 − c²)) with ψ = −atan2(d·B, d·E), written with angles in numpy."""
    incident, polarization = np.array([0.96, 0.28, 0.0]), np.array([0.1, -0.2, 1.0])
    across = np.cross(polarization, incident)
    across /= np.linalg.norm(across)
    electric = np.cross(incident, across)
    for direction in np.random.default_rng(1).normal(size=(20, 3)):
        direction = direction / np.linalg.norm(direction)
        cosine = incident @ direction
        psi = -np.arctan2(direction @ across, direction @ electric)
        expected = 0.5 * (1 + cosine**2 - kahn * np.cos(2 * psi) * (1 - cosine**2))
        assert factor(kahn, direction, incident, polarization) == pytest.approx(expected, rel=1e-13)


def test_polarisation_without_a_kahn_factor_needs_no_vector():
    for direction in np.random.default_rng(2).normal(size=(5, 3)):
        cosine = direction[0] / np.linalg.norm(direction)
        assert factor(0.0, direction) == pytest.approx((1 + cosine**2) / 2, rel=1e-14)


def test_energy_in_place_of_the_wavelength():
    beam = nb.Beam(energy_eV=12658.0, kahn_factor=0.9)
    np.testing.assert_allclose(beam.wavelength_A, 12398.42 / 12658, rtol=1e-15)
    np.testing.assert_allclose(beam.energy_eV, 12658, rtol=1e-15)
    np.testing.assert_allclose(nb.replace(experiment(), energy_eV=9000.0).beam.energy_eV, 9000, rtol=1e-15)


def test_flux_in_place_of_the_fluence():
    """With the command's numbers, and its defaults."""
    flags = ["-cell", "50", "50", "50", "90", "90", "90", "-default_F", "1", "-flux", "1e12"]
    for more, given in (
        ([], {}),
        (["-exposure", "0.2", "-beamsize", "0.05"], {"exposure_s": 0.2, "beam_size_mm": 0.05}),
    ):
        beam = nb.Beam(flux_per_s=1e12, **given)
        asked = nb.experiment_from_args(flags + more).beam
        np.testing.assert_allclose(beam.fluence_per_m2, asked.fluence_per_m2, rtol=1e-14)
    bright = nb.replace(experiment(), flux_per_s=1e12, exposure_s=0.2, beam_size_mm=0.05)
    np.testing.assert_allclose(bright.beam.fluence_per_m2, beam.fluence_per_m2, rtol=1e-15)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"wavelength_A": 1.0, "energy_eV": 12000}, "give wavelength_A or energy_eV, not both"),
        ({"fluence_per_m2": 1e20, "flux_per_s": 1e12}, "give fluence_per_m2 or flux_per_s, not both"),
        ({"exposure_s": 1.0}, "exposure_s has no effect without flux_per_s"),
        ({"fluence_per_m2": 1e20, "beam_size_mm": 1.0}, "beam_size_mm has no effect without flux_per_s"),
        ({"energy_eV": -3}, "energy_eV must be positive, got -3"),
        ({"flux_per_s": 1e12, "beam_size_mm": 0}, "beam_size_mm must be positive, got 0"),
        ({"flux_per_s": -1}, "flux_per_s must be zero or positive, got -1"),
    ],
)
def test_one_way_to_say_it(arguments, message):
    with pytest.raises(nb.InputError, match=message):
        nb.Beam(**arguments)


def test_derivatives_reach_energy_and_flux():
    slope = jax.grad(lambda x: nb.Beam(energy_eV=12398.42 * x).wavelength_A)(2.0)
    np.testing.assert_allclose(slope, -0.25, rtol=1e-12)
    slope = jax.grad(lambda x: nb.Beam(flux_per_s=1e12, beam_size_mm=x).fluence_per_m2)(0.1)
    np.testing.assert_allclose(slope, -2 * 1e12 / 1e-6 / 1e-3, rtol=1e-12)
