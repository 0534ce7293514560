"""The short polynomials, and where their coefficients come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import polynomial

from benchmarks import fit_polynomials
from nanobrag_jax.numerics import polynomials


@pytest.mark.parametrize("name", fit_polynomials.TABLE)
def test_the_coefficients_are_those_that_the_generator_makes(name):
    """As functions: single coefficients hang on the rounding of the conversion from one basis to the other."""
    function, degree, interval = fit_polynomials.TABLE[name]
    made, kept = fit_polynomials.interpolated(function, degree, interval), np.array(getattr(polynomials, name))
    y = np.linspace(*interval, 1001)
    assert made.shape == kept.shape
    np.testing.assert_allclose(polynomial.polyval(y, made), polynomial.polyval(y, kept), rtol=2e-13)
    error, best = (fit_polynomials.relative_error(function, c, interval) for c in (kept, made))
    assert error < 1.1 * best


@pytest.mark.parametrize(("dtype", "lowest", "error"), [(np.float64, -340, 5e-14), (np.float32, -40, 3e-6)])
def test_exponential_of_negative_numbers(dtype, lowest, error):
    x = np.concatenate([np.linspace(lowest, 0, 10_001), [-1e-300, -0.5, -20.0]]).astype(dtype)
    value = polynomials.exp_negative(jnp.asarray(x))
    assert value.dtype == dtype
    np.testing.assert_allclose(value, np.exp(x.astype(float)), rtol=error)
    np.testing.assert_allclose(value[x > -10], np.exp(x[x > -10].astype(float)), rtol=error / 4)
    beyond = polynomials.exp_negative(jnp.asarray([-1e5, 2 * lowest, -np.inf], dtype))
    np.testing.assert_array_equal(beyond, polynomials.exp_negative(jnp.asarray(lowest, dtype)))
    assert np.isnan(polynomials.exp_negative(jnp.asarray(np.nan, dtype)))


def test_derivatives_of_the_exponential():
    for derivative in (jax.grad, lambda f: jax.grad(jax.grad(f)), lambda f: jax.jacfwd(jax.grad(f))):
        np.testing.assert_allclose(derivative(polynomials.exp_negative)(jnp.asarray(-1.7)), np.exp(-1.7), rtol=1e-14)
