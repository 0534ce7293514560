"""Short polynomials for the trigonometry of the grating factor on |x| ≤ ½, and for gaussians.

Chebyshev fits (of sine and cotangent in x²), relative error in double precision beside each;
`benchmarks/fit_polynomials.py` makes them. XLA's own sine costs ten times as much on a CPU.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax

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


_EXP2_64 = (  # 2^x, 1.6e-15
    1.0000000000000007,
    0.6931471805599483,
    0.24022650695901254,
    0.055504108664544756,
    0.00961812911053657,
    0.0013333558214738293,
    0.00015403526882354606,
    1.525266622014565e-05,
    1.3217210256367588e-06,
    1.0206977921453389e-07,
    6.767963482574983e-09,
)
_EXP2_32 = (  # 2.5e-9
    1.0,
    0.6931472067028329,
    0.24022650922289554,
    0.05550327226669895,
    0.00961805667843204,
    0.0013400428177711937,
    0.00015461444724808513,
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


@jax.custom_jvp
def exp_negative(x: Array) -> Array:
    """exp(x) for x ≤ 0, to 1e-14, and exp(−340) (in single precision exp(−40)) for all below, whose square is normal.

    Inside a loop with a look-up newer versions of XLA evaluate their own exponential number by number on a CPU: three
    times the time of all else in a sample. Other devices have a fast one.
    """
    lowest = jnp.maximum(x, -340.0 if x.dtype == jnp.float64 else -40.0)
    return lax.platform_dependent(lowest, cpu=_exp_by_polynomial, default=jnp.exp)


def _exp_by_polynomial(x: Array) -> Array:
    double = x.dtype == jnp.float64
    exponent = x * 1.4426950408889634
    whole = jnp.round(exponent)
    power = horner(_EXP2_64 if double else _EXP2_32, exponent - whole)
    integer, bias, fraction_bits = (jnp.int64, 1023, 52) if double else (jnp.int32, 127, 23)
    bits = (whole.astype(jnp.int32).astype(integer) + bias) << fraction_bits
    return power * lax.bitcast_convert_type(bits, x.dtype)


@exp_negative.defjvp
def _exp_negative_jvp(primals, tangents):
    value = exp_negative(*primals)
    return value, value * tangents[0]
