"""The short polynomials, and where their coefficients come from."""

import numpy as np
import pytest
from numpy.polynomial import polynomial

from benchmarks import fit_polynomials
from nanobrag_jax.numerics import polynomials


@pytest.mark.parametrize("name", fit_polynomials.TABLE)
def test_the_coefficients_are_those_that_the_generator_makes(name):
    """As functions: single coefficients hang on the rounding of the conversion from one basis to the other."""
    function, degree = fit_polynomials.TABLE[name]
    made, kept = fit_polynomials.interpolated(function, degree), np.array(getattr(polynomials, name))
    y = np.linspace(0, fit_polynomials.LARGEST, 1001)
    assert made.shape == kept.shape
    np.testing.assert_allclose(polynomial.polyval(y, made), polynomial.polyval(y, kept), rtol=2e-13)
    assert fit_polynomials.relative_error(function, kept) < 1.1 * fit_polynomials.relative_error(function, made)
