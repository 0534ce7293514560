"""`python -m benchmarks.fit_polynomials`: the coefficients of nanobrag_jax/numerics/polynomials.py.

Each polynomial interpolates its function at the Chebyshev nodes of an interval: those of the sine and the cotangent in
y = x² for 0 ≤ y ≤ ¼, that is |x| ≤ ½, that of 2^y for |y| ≤ ½. The largest error is within a few per cent of the
smallest possible.
"""

from collections.abc import Callable

import numpy as np
from numpy.polynomial import chebyshev, polynomial

SQUARES, HALVES = (0.0, 0.25), (-0.5, 0.5)


def sine(y: np.ndarray) -> np.ndarray:
    """sin(πx)/x."""
    x = np.sqrt(y)
    return np.sin(np.pi * x) / x


def cotangent(y: np.ndarray) -> np.ndarray:
    """(1 − πx cot(πx))/x², from the differences that do not cancel: a series near zero."""
    x = np.pi * np.sqrt(y)
    near = 1 / 3 + x**2 / 45 + 2 * x**4 / 945 + x**6 / 4725 + 2 * x**8 / 93555
    return np.pi**2 * np.where(x < 0.05, near, (1 - x / np.tan(x)) / x**2)


def interpolated(
    function: Callable[[np.ndarray], np.ndarray], degree: int, interval: tuple[float, float]
) -> np.ndarray:
    """Coefficients of y⁰, y¹, … of the interpolating polynomial, (degree + 1,)."""
    middle, half = sum(interval) / 2, (interval[1] - interval[0]) / 2
    in_nodes = chebyshev.chebinterpolate(lambda t: function(middle + half * t), degree)
    total, power = np.zeros(1), np.ones(1)
    for coefficient in chebyshev.cheb2poly(in_nodes):
        total = polynomial.polyadd(total, coefficient * power)
        power = polynomial.polymul(power, [-middle / half, 1.0 / half])
    return total


def relative_error(
    function: Callable[[np.ndarray], np.ndarray], coefficients: np.ndarray, interval: tuple[float, float]
) -> float:
    """The largest on a fine grid."""
    y = np.linspace(interval[0] + 1e-9, interval[1], 100_001)
    return float(np.max(np.abs(polynomial.polyval(y, coefficients) / function(y) - 1)))


TABLE = {
    "_SIN_64": (sine, 6, SQUARES),
    "_SIN_32": (sine, 4, SQUARES),
    "_COT_REST": (cotangent, 7, SQUARES),
    "_EXP2_64": (np.exp2, 10, HALVES),
    "_EXP2_32": (np.exp2, 6, HALVES),
}
"""Name in the module → function, degree and interval."""


def main() -> None:
    """Print them."""
    for name, (function, degree, interval) in TABLE.items():
        coefficients = interpolated(function, degree, interval)
        print(f"{name} = (  # {relative_error(function, coefficients, interval):.2g}")
        print("".join(f"    {float(c)!r},\n" for c in coefficients) + ")")


if __name__ == "__main__":
    main()
