"""`python -m benchmarks.fit_polynomials`: the coefficients of nanobrag_jax/numerics/polynomials.py.

Each polynomial in y = x² interpolates its function at the Chebyshev nodes of 0 ≤ y ≤ ¼, that is |x| ≤ ½: within a few
per cent of the smallest possible largest error.
"""

from collections.abc import Callable

import numpy as np
from numpy.polynomial import chebyshev, polynomial

LARGEST = 0.25


def sine(y: np.ndarray) -> np.ndarray:
    """sin(πx)/x."""
    x = np.sqrt(y)
    return np.sin(np.pi * x) / x


def cotangent(y: np.ndarray) -> np.ndarray:
    """(1 − πx cot(πx))/x², from the differences that do not cancel: a series near zero."""
    x = np.pi * np.sqrt(y)
    near = 1 / 3 + x**2 / 45 + 2 * x**4 / 945 + x**6 / 4725 + 2 * x**8 / 93555
    return np.pi**2 * np.where(x < 0.05, near, (1 - x / np.tan(x)) / x**2)


def interpolated(function: Callable[[np.ndarray], np.ndarray], degree: int) -> np.ndarray:
    """Coefficients of y⁰, y¹, … of the interpolating polynomial, (degree + 1,)."""
    in_nodes = chebyshev.chebinterpolate(lambda t: function(LARGEST * (t + 1) / 2), degree)
    total, power = np.zeros(1), np.ones(1)
    for coefficient in chebyshev.cheb2poly(in_nodes):
        total = polynomial.polyadd(total, coefficient * power)
        power = polynomial.polymul(power, [-1.0, 2.0 / LARGEST])
    return total


def relative_error(function: Callable[[np.ndarray], np.ndarray], coefficients: np.ndarray) -> float:
    """The largest on a fine grid."""
    y = np.linspace(1e-9, LARGEST, 100_001)
    return float(np.max(np.abs(polynomial.polyval(y, coefficients) / function(y) - 1)))


TABLE = {"_SIN_64": (sine, 6), "_SIN_32": (sine, 4), "_COT_REST": (cotangent, 7)}
"""Name in the module → function and degree."""


def main() -> None:
    """Print them."""
    for name, (function, degree) in TABLE.items():
        coefficients = interpolated(function, degree)
        print(f"{name} = (  # {relative_error(function, coefficients):.2g}")
        print("".join(f"    {float(c)!r},\n" for c in coefficients) + ")")


if __name__ == "__main__":
    main()
