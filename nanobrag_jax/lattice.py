"""Spot shapes: the lattice factor of square, round, gaussian and top-hat crystals (docs/reference.md section 8)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from .constants import GAUSS_XTAL_SCALE, ROUND_XTAL_SCALE, TOPHAT_LIMIT
from .polynomials import cot_pi_rest, sin_pi
from .typing import Matrix, Scalar
from .vectors import Vec3, added, dot, scaled


class Lattice(eqx.Module):
    """What the lattice factor needs to know of the crystal.

    `n_cells`: unit cells along a, b, c; `n_by_pixel`: the same, spread over the pixels where many are rendered (see
    `square_intensity`); `reciprocal`: rows a*, b*, c* in 1/Å before any rotation.
    """

    n_cells: Vec3
    n_by_pixel: Vec3
    fudge: Scalar
    reciprocal: Matrix
    shape: str = eqx.field(static=True)


def nearest_index(x: Array) -> Array:
    """The index a fractional one belongs to: the reference's ceil(x − ½)."""
    return jnp.ceil(x - 0.5)


def _nudge(x: Array) -> float:
    """A number far below every rounding error: added to an argument it takes 0/0 to its limit, and its gradient."""
    return 1e-30 if x.dtype == jnp.float64 else 1e-12


def _grating_arguments(rest: Array, n: Array) -> tuple[Array, Array, Array]:
    """δ, the distance to the nearest lattice point, then Nδ − m and the whole number m of fringes in it."""
    delta = rest + _nudge(rest)
    fringe = n * delta
    whole = jnp.round(fringe)
    return delta, (fringe - whole) + _nudge(rest) * whole, whole


def _grating_product(rest: Vec3, n_cells: Vec3) -> Array:
    r"""$\prod \sin(\pi N\delta)/\sin(\pi\delta)$ up to its sign, with a single division."""
    numerator = denominator = jnp.ones((), rest.x.dtype)
    for x, n in zip(rest, n_cells, strict=True):
        delta, fringe, _ = _grating_arguments(x, n)
        numerator = numerator * sin_pi(fringe)
        denominator = denominator * sin_pi(delta)
    return numerator / denominator


def grating_factors(index: Vec3, rest: Vec3, n_cells: Vec3) -> Vec3:
    r"""The three factors $\sin(\pi N h)/\sin(\pi h)$ with the signs of the reference (for whole N)."""
    factors = []
    for h0, x, n in zip(index, rest, n_cells, strict=True):
        delta, fringe, whole = _grating_arguments(x, n)
        odd = jnp.mod(whole + (jnp.round(n) - 1) * h0, 2.0)
        factors.append((1.0 - 2.0 * odd) * sin_pi(fringe) / sin_pi(delta))
    return Vec3(*factors)


@jax.custom_jvp
def square_intensity(rest: Vec3, n_cells: Vec3, n_by_pixel: Vec3, amplitude: Array, weight: Array | float) -> Array:
    """weight·(F·F_latt)² of a square crystal.

    **Arguments:** `rest`: fractional indices less the nearest whole ones; `n_by_pixel`: the same numbers as `n_cells`,
    which carry the derivative with respect to them. Given one a pixel, reverse mode adds up over samples pixel by
    pixel and over pixels only once, at the end; the forward pass never reads them.

    The derivative is written out: with L = N cot(πNδ) − cot(πδ) of an axis, dI = 2·I·π·L·dh, and with respect to N
    2·I·πδ·cot(πNδ). The poles of the two cotangents are joined analytically, so nothing cancels at a lattice point.
    In reverse mode the derivative of each axis ends in a division: XLA evaluates an expensive operation once, but what
    is cheap, however long, once for each of its users.
    """
    total = amplitude * _grating_product(rest, n_cells)
    return weight * (total * total)


def _square_intensity_jvp(primals, tangents):
    rest, n_cells, _, amplitude, weight = primals
    d_rest, _, d_n, d_amplitude, d_weight = tangents
    product = _grating_product(rest, n_cells)
    lattice_sqr = product * product
    intensity = amplitude * amplitude * lattice_sqr
    twice = 2.0 * weight * intensity
    tangent = jnp.zeros_like(intensity)
    for x, n, d_x, d_n_axis in zip(rest, n_cells, d_rest, d_n, strict=True):
        if _zero(d_x) and _zero(d_n_axis):
            continue
        delta, fringe, whole = _grating_arguments(x, n)
        beyond = cot_pi_rest(delta * delta)
        smooth = delta * beyond - n * fringe * cot_pi_rest(fringe * fringe)
        poles = fringe * delta
        shift = jnp.zeros_like(delta) if _zero(d_x) else d_x
        if not _zero(d_n_axis):
            relative = d_n_axis * (1.0 / n)
            shift = shift + delta * relative
            tangent = tangent + twice * (1.0 - delta * delta * beyond) * relative
        tangent = tangent + twice * (whole + poles * smooth) * (shift / poles)
    if not _zero(d_amplitude):
        tangent = tangent + 2.0 * weight * amplitude * lattice_sqr * d_amplitude
    if not _zero(d_weight):
        tangent = tangent + intensity * d_weight
    return weight * intensity, tangent


def _zero(tangent) -> bool:
    return isinstance(tangent, SymbolicZero)


square_intensity.defjvp(_square_intensity_jvp, symbolic_zeros=True)


def _sin_cos_pi(x: Array) -> tuple[Array, Array]:
    """sin(πx), cos(πx) for x ≥ 0."""
    whole = jnp.round(x)
    sign = 1.0 - 2.0 * jnp.mod(whole, 2.0)
    rest = x - whole
    sine = sin_pi(rest)
    return sign * sine, sign * sin_pi(0.5 - jnp.abs(rest))


def _sphere_form_factor(t_sqr: Array) -> Array:
    """3(sin x − x cos x)/x³ at x = π√t_sqr, 1 at zero, smooth in t_sqr there."""
    near = t_sqr < 0.01
    t = jnp.sqrt(jnp.where(near, 1.0, t_sqr))
    sine, cosine = _sin_cos_pi(t)
    x = jnp.pi * t
    far = 3.0 * (sine / x - cosine) / (x * x)
    y = jnp.where(near, jnp.pi**2 * t_sqr, 0.0)
    series = 1.0 - y / 10 * (1.0 - y / 28 * (1.0 - y / 54 * (1.0 - y / 88 * (1.0 - y / 130 * (1.0 - y / 180)))))
    return jnp.where(near, series, far)


def lattice_factor(lattice: Lattice, rest: Vec3) -> Array:
    """F_latt of a round, gaussian or top-hat crystal; the square one is a product of gratings.

    **Arguments:** `rest`: fractional indices less the nearest whole ones.
    """
    n_a, n_b, n_c = lattice.n_cells
    cells = n_a * n_b * n_c
    if lattice.shape == "round":
        fringes = Vec3(rest.x * n_a, rest.y * n_b, rest.z * n_c)
        return cells * ROUND_XTAL_SCALE * _sphere_form_factor(lattice.fudge * dot(fringes, fringes))
    star = lattice.reciprocal
    offset = added(added(scaled(star[0], rest.x), scaled(star[1], rest.y)), scaled(star[2], rest.z))
    radius_sqr = dot(offset, offset) * cells * cells
    if lattice.shape == "gauss":
        return cells * jnp.exp(-radius_sqr * lattice.fudge / GAUSS_XTAL_SCALE)
    return jnp.where(radius_sqr * lattice.fudge < TOPHAT_LIMIT, cells, 0.0)
