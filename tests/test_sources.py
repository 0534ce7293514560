"""Wavelengths as offset and scale of those of the sources; programs that many numbers of sources share."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import experiment, factors_grid

import nanobrag_jax as nb
from nanobrag_jax.beam import rounded_up, sources
from nanobrag_jax.experiment import completed
from nanobrag_jax.render import simulate as render
from nanobrag_jax.render.scene import build_scene

LIT = {"wavelength_A": 1.2, "fluence_per_m2": 1e28}


def beam(count, **more):
    """A spectrum of unequal weights."""
    weights = 1.0 + np.random.default_rng(count).uniform(size=count)
    return LIT | {
        "dispersion_percent": 3.0,
        "dispersion_fractions": np.linspace(-0.5, 0.5, count),
        "source_weights": weights,
        **more,
    }


def test_offset_and_scale_are_other_wavelengths():
    moved = experiment(beam=beam(3, wavelength_offset_A=0.02, wavelength_scale=0.99), factors=factors_grid())
    wavelengths = 1.2 * (1 + 0.03 * np.linspace(-0.5, 0.5, 3))
    plain = completed(moved).beam
    listed = {"source_positions": [-np.asarray(plain.direction)] * 3, "source_weights": plain.source_weights}
    given = experiment(beam=LIT | listed | {"source_wavelengths_A": 0.02 + 0.99 * wavelengths}, factors=factors_grid())
    image = np.asarray(nb.simulate(given))
    np.testing.assert_allclose(nb.simulate(moved), image, rtol=1e-9, atol=1e-12 * image.max())
    neutral = np.asarray(nb.simulate(experiment(beam=beam(3), factors=factors_grid())))
    assert np.abs(neutral - image).max() > 0.01 * image.max()


@pytest.mark.parametrize("name, step", [("wavelength_offset_A", 1e-6), ("wavelength_scale", 1e-6)])
def test_their_derivatives(name, step):
    whole = experiment(beam=beam(3), factors=factors_grid())
    at = getattr(whole.beam, name)

    def total(value):
        image = nb.simulate(eqx.tree_at(lambda e: getattr(e.beam, name), whole, value))
        return jnp.sum(image * jnp.cos(jnp.arange(image.size, dtype=float)).reshape(image.shape))

    difference = (total(at + step) - total(at - step)) / (2 * step)
    assert float(difference) != 0
    assert jax.grad(total)(at) == pytest.approx(float(difference), rel=1e-6)
    assert jax.jvp(total, (at,), (jnp.ones(()),))[1] == pytest.approx(float(difference), rel=1e-6)


def test_many_sources_share_a_program():
    """Eleven, and filled up to twelve: the image is that of a trace, which fills up nothing."""
    images, compiled = {}, []
    for count in (11, 12, 17, 19, 20):
        whole = experiment(beam=beam(count), factors=factors_grid())
        images[count] = np.asarray(nb.simulate(whole)), np.asarray(jax.jit(nb.simulate)(whole))
        compiled.append(render._image._cache_size())
    assert compiled[0] == compiled[1] and compiled[2] == compiled[3] == compiled[4] == compiled[1] + 1
    for filled, exact in images.values():
        np.testing.assert_allclose(filled, exact, rtol=1e-12, atol=1e-14 * exact.max())


@pytest.mark.parametrize("count, number", [(1, 1), (5, 5), (8, 8), (9, 10), (13, 14), (16, 16), (17, 20), (100, 112)])
def test_how_many_there_are(count, number):
    lit = rounded_up(sources(completed(experiment(beam=beam(count))).beam))
    weight = np.asarray(lit.weight)
    assert len(weight) == number == len(lit.incident) and weight.mean() == pytest.approx(1)
    assert (weight[count:] == 0).all() and (weight[:count] > 0).all()


def test_channels_are_those_of_the_listed_wavelengths():
    factors = nb.StructureFactors(
        np.random.default_rng(0).uniform(1, 9, (2, 5, 5, 5)), hkl_min=(-2, -2, -2), channel_wavelengths_A=(1.19, 1.21)
    )
    lit = [
        build_scene(experiment(beam=beam(11, wavelength_offset_A=offset), factors=factors), "spec").sources.first
        for offset in (0.0, 0.02)
    ]
    assert len(set(np.asarray(lit[0]).tolist())) == 2 and np.array_equal(*lit)
    filled = experiment(beam=beam(11), factors=factors)
    exact = np.asarray(jax.jit(nb.simulate)(filled))
    np.testing.assert_allclose(nb.simulate(filled), exact, rtol=1e-12, atol=1e-14 * exact.max())


def test_flags_and_refusals():
    args = "-cell 40 50 60 90 90 90 -default_F 1 -oversample 1 -lambda_offset 0.01 -lambda_scale 0.99".split()
    lit = nb.experiment_from_args(args).beam
    assert (float(lit.wavelength_offset_A), float(lit.wavelength_scale)) == (0.01, 0.99)
    with pytest.raises(
        nb.InputError, match="wavelength_offset_A must be above minus the scaled wavelength, -1, got -2"
    ):
        nb.Beam(1.0, wavelength_offset_A=-2.0)
    with pytest.raises(nb.InputError, match="wavelength_scale must be positive, got 0"):
        nb.Beam(1.0, wavelength_scale=0.0)
