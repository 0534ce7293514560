"""Short polynomials for the trigonometry of the grating factor on |x| ≤ ½.

Chebyshev fits in x², relative error in double precision beside each; `benchmarks/fit_polynomials.py` makes them.
XLA's own sine costs ten times as much on a CPU.
"""

import jax.numpy as jnp
from jax import Array

_SIN_64 = (  # sin(πx)/x, 7.7e-14
    3.141592653589635,
    -5.167712779987959,
    2.550164035906745,
    -0.5992644339357286,
    0.08214479467064854,
    -0.007364005472115722,
    0.0004474920849077101,
)
_SIN_32 = (3.1415926400772034, -5.167710076668315, 2.550077386528912, -0.5982904112834275, 0.07765591227601387)  # 6e-9
_COT_REST = (  # 9e-10, far below what a gradient is asked for
    3.2898681308722235,
    2.1646479106033945,
    2.034566102699369,
    2.0119215536383788,
    1.9446767210694602,
    2.4643895514266805,
    0.00011869561113414325,
    6.065015612479831,
)


def horner(coefficients, y: Array) -> Array:
    """Σ cᵢ yⁱ."""
    total = jnp.asarray(coefficients[-1], y.dtype)
    for c in coefficients[-2::-1]:
        total = total * y + c
    return total


def sin_pi(x: Array) -> Array:
    """sin(πx) for |x| ≤ ½."""
    return x * horner(_SIN_64 if x.dtype == jnp.float64 else _SIN_32, x * x)


def cot_pi_rest(y: Array) -> Array:
    """(1 − πx cot(πx))/x² at y = x², for |x| ≤ ½: what π cot(πx) = 1/x − x·rest(x²) leaves after its pole."""
    return horner(_COT_REST, y)
