"""Losses: slopes are derivatives, weights their expectation, and the truth is where the expected slope vanishes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanobrag_jax.errors import InputError
from nanobrag_jax.refine.losses import FLOOR, Gaussian, Poisson, positive_part, terms_and_slopes

LOSSES = {"poisson": Poisson(), "gaussian": Gaussian(1.5)}


SLOPES = {
    "poisson": lambda model, counts: 1.0 - counts / model,
    "gaussian": lambda m, d: (0.5 - (d - m) - 0.5 * (d - m) ** 2 / (m + 1.5**2)) / (m + 1.5**2),
}


@pytest.mark.parametrize("name", LOSSES)
def test_slopes_are_those_of_the_formula(name):
    model, counts = np.array([0.3, 2.0, 10.0, 400.0]), np.array([0.0, 3.0, 7.0, 430.0])
    terms, slopes = terms_and_slopes(LOSSES[name], jnp.asarray(model), jnp.asarray(counts))
    np.testing.assert_allclose(slopes, SLOPES[name](model, counts), rtol=1e-12)
    np.testing.assert_array_equal(terms, LOSSES[name].terms(jnp.asarray(model), jnp.asarray(counts)))
    assert np.all(np.asarray(slopes) != 0)


@pytest.mark.parametrize("name", LOSSES)
def test_no_bias_and_weight_is_the_mean_square_slope(name):
    loss, mean = LOSSES[name], 6.0
    counts = np.arange(60.0)
    if name == "poisson":
        odds = np.exp(-mean + counts * np.log(mean) - np.cumsum(np.log(np.maximum(counts, 1.0))))
    else:
        counts = np.linspace(-30.0, 42.0, 4001)
        variance = mean + 1.5**2
        odds = np.exp(-((counts - mean) ** 2) / (2 * variance))
        odds /= odds.sum()
    slope = np.asarray(terms_and_slopes(loss, jnp.full(counts.shape, mean), jnp.asarray(counts))[1])
    assert np.sum(odds * slope) == pytest.approx(0.0, abs=1e-9)
    assert np.sum(odds * slope**2) == pytest.approx(float(loss.curvature(jnp.array(mean))), rel=1e-6)


def test_poisson_is_half_the_deviance():
    loss = Poisson()
    assert float(loss.terms(jnp.array(5.0), jnp.array(5.0))) == pytest.approx(0.0)
    assert float(loss.terms(jnp.array(5.0), jnp.array(0.0))) == pytest.approx(5.0)


def test_positive_part_is_smooth_and_positive():
    photons = jnp.array([-1.0, 0.0, FLOOR, 2 * FLOOR, 7.0])
    value = np.asarray(positive_part(photons))
    assert np.all(value[1:] > 0) and np.all(value >= 0) and value[-1] == 7.0
    slope = jax.vmap(jax.grad(positive_part))(jnp.array([FLOOR * (1 - 1e-9), FLOOR * (1 + 1e-9)]))
    np.testing.assert_allclose(slope, 1.0, rtol=1e-6)


def test_gaussian_needs_a_readout():
    with pytest.raises(InputError, match="readout"):
        Gaussian(0.0)
