"""Spot shapes: what the transform of a crystal's outline looks like around a lattice point (docs/reference.md 8).

A shape is a class here, or anywhere else: its lattice factor, its intensity with the derivative written out where that
pays, and the size of what it resolves. `SPOT_SHAPES` lists those that flags, help and config files know by name.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from equinox import AbstractClassVar
from jax import Array
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero

from . import checks
from .checks import leaf
from .constants import GAUSS_XTAL_SCALE, ROUND_XTAL_SCALE, TOPHAT_LIMIT
from .errors import InputError
from .numerics.polynomials import cot_pi_rest, exp_negative, sin_pi
from .numerics.vectors import Vec3, added, cross, dot, scaled
from .reference.slips import Slips
from .typing import Matrix, Scalar, Vector


class Lattice(NamedTuple):
    """What a spot shape is told of the crystal."""

    n_cells: Vec3
    """Unit cells along a, b, c."""
    n_by_pixel: Vec3
    """The same, spread over the pixels where many are rendered (see `square_intensity`)."""
    fudge: Scalar
    """Scale of the spot radius."""
    reciprocal: Matrix
    """Rows a*, b*, c* in 1/Å before any rotation."""
    radius_scale: Scalar
    """Å: what |Δq| is multiplied with to give r of a spot that is round in reciprocal space (see `radius_scale`)."""


class AbstractSpotShape(eqx.Module):
    """A spot shape. Its leaves, if it has any, are refinable numbers of the crystal."""

    name: AbstractClassVar[str]
    """What `Crystal(shape=…)`, config files and messages call it."""
    flags: AbstractClassVar[str]
    """Its flags on the command line, separated by spaces."""
    help: AbstractClassVar[str]
    """One line for the help."""

    @abstractmethod
    def factors(self, lattice: Lattice, index: Vec3, rest: Vec3, slips: Slips) -> Vec3:
        """Lattice factors whose product is F_latt: one an axis, or all of it in the first.

        **Arguments:** `index`: the nearest whole Miller indices; `rest`: the fractional ones less these; one a pixel.
        """

    @abstractmethod
    def intensity(self, lattice: Lattice, rest: Vec3, amplitude: Array, weight: Array | float, slips: Slips) -> Array:
        """weight·(F·F_latt)², one a pixel: what the loop over samples adds up. Differentiable in every argument."""

    @abstractmethod
    def width_per_A(self, lattice: Lattice, along: Vec3) -> Array:
        """1/Å: how far a spot reaches from its lattice point in a direction, about to its first zero.

        **Arguments:** `along`: the components of a, b and c along the direction, Å, one a spot.
        """

    @abstractmethod
    def resolved_length_A(self, cell_lengths_A: Sequence[float], n_cells: Sequence[float]) -> float:
        """Å: the inverse of the narrowest spot's width, which decides into how many sub-pixels a pixel is divided."""


def radius_scale(n_cells: Vec3, reciprocal: Matrix, slips: Slips) -> Array:
    """The edge of a cube of the crystal's volume in Å, ∛(Na·Nb·Nc·V): a spot of that radius is round, and holds what a
    square one does.

    The reference takes Na·Nb·Nc, which is no length (docs/reference.md section 10, spot_radius).
    """
    cells = n_cells.x * n_cells.y * n_cells.z
    if slips.spot_radius:
        return cells
    return (cells / jnp.abs(dot(reciprocal[0], cross(reciprocal[1], reciprocal[2])))) ** (1 / 3)


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


_SERIES_BELOW = 1e-7
"""Of t², for the value with cancellation; beyond, the cancellation is below 1e-9 of it."""
_ALL_CANCELS = 1e-17
"""Of t²: below it, in double precision, sin x/x and cos x are both one."""


@jax.custom_jvp
def _cancelling_form_factor(t_sqr: Array) -> Array:
    """`_sphere_form_factor` with the reference's loss of digits near zero, where 3(sin x/x − cos x)/x² is noise or 0.

    In double precision the formula as it stands, from a sine and a cosine that are rounded once; in single precision,
    where it would cancel far sooner than the reference's, only the zero. The derivative is that of the smooth
    function. Source: docs/reference.md section 10, sinc3_cancellation.
    """
    smooth = _sphere_form_factor(t_sqr)
    if t_sqr.dtype != jnp.float64:
        return jnp.where((0.0 < t_sqr) & (t_sqr < _ALL_CANCELS), 0.0, smooth)
    near = (0.0 < t_sqr) & (t_sqr < _SERIES_BELOW)
    x = jnp.pi * jnp.sqrt(jnp.where(near, t_sqr, 1.0))
    y = x * x
    sine = x - x * (y / 6 * (1.0 - y / 20))
    cosine = 1.0 - y / 2 * (1.0 - y / 12)
    return jnp.where(near, 3.0 * (sine / x - cosine) / y, smooth)


@_cancelling_form_factor.defjvp
def _cancelling_form_factor_jvp(primals, tangents):
    return _cancelling_form_factor(*primals), jax.jvp(_sphere_form_factor, primals, tangents)[1]


def longest_edge_A(cell_lengths_A: Sequence[float], n_cells: Sequence[float]) -> float:
    """The longest edge of the crystal, whose spots are the narrowest."""
    return max(edge * n for edge, n in zip(cell_lengths_A, n_cells, strict=True))


def _box_width(lattice: Lattice, along: Vec3) -> Array:
    """1/Å: to the first zero of a grating, along the narrowest axis."""
    spans = [n * jnp.abs(edge) for n, edge in zip(lattice.n_cells, along, strict=True)]
    return 1.0 / jnp.maximum(jnp.maximum(spans[0], spans[1]), spans[2])


def _squared(F_latt: Array, amplitude: Array, weight: Array | float) -> Array:
    product = amplitude * F_latt
    return weight * (product * product)


def _alone(F_latt: Array) -> Vec3:
    one = jnp.ones_like(F_latt)
    return Vec3(F_latt, one, one)


def _radius_sqr(lattice: Lattice, rest: Vec3) -> Array:
    """r² of a spot that is round in reciprocal space."""
    star = lattice.reciprocal
    offset = added(added(scaled(star[0], rest.x), scaled(star[1], rest.y)), scaled(star[2], rest.z))
    return dot(offset, offset) * lattice.radius_scale * lattice.radius_scale


def _cells(lattice: Lattice) -> Array:
    return lattice.n_cells.x * lattice.n_cells.y * lattice.n_cells.z


class Square(AbstractSpotShape):
    """A parallelepiped: the product of three gratings."""

    name: ClassVar[str] = "square"
    flags: ClassVar[str] = "-square_xtal"
    help: ClassVar[str] = "parallelepiped crystal"

    def factors(self, lattice: Lattice, index: Vec3, rest: Vec3, slips: Slips) -> Vec3:
        """One grating an axis, with the reference's signs."""
        return grating_factors(index, rest, lattice.n_cells)

    def intensity(self, lattice: Lattice, rest: Vec3, amplitude: Array, weight: Array | float, slips: Slips) -> Array:
        """See `square_intensity`."""
        n_cells = jax.lax.stop_gradient(lattice.n_cells)
        return square_intensity(rest, n_cells, lattice.n_by_pixel, amplitude, weight)

    def width_per_A(self, lattice: Lattice, along: Vec3) -> Array:
        """To the first zero."""
        return _box_width(lattice, along)

    def resolved_length_A(self, cell_lengths_A: Sequence[float], n_cells: Sequence[float]) -> float:
        """The longest edge."""
        return longest_edge_A(cell_lengths_A, n_cells)


class Round(AbstractSpotShape):
    """An ellipsoid with the crystal's edges for axes."""

    name: ClassVar[str] = "round"
    flags: ClassVar[str] = "-round_xtal"
    help: ClassVar[str] = "ellipsoid crystal"

    def factors(self, lattice: Lattice, index: Vec3, rest: Vec3, slips: Slips) -> Vec3:
        """The form factor of a sphere, in units of whole cells."""
        n = lattice.n_cells
        fringes = Vec3(rest.x * n.x, rest.y * n.y, rest.z * n.z)
        form_factor = _cancelling_form_factor if slips.sinc3_cancellation else _sphere_form_factor
        return _alone(_cells(lattice) * ROUND_XTAL_SCALE * form_factor(lattice.fudge * dot(fringes, fringes)))

    def intensity(self, lattice: Lattice, rest: Vec3, amplitude: Array, weight: Array | float, slips: Slips) -> Array:
        """weight·(F·F_latt)²."""
        return _squared(self.factors(lattice, rest, rest, slips).x, amplitude, weight)

    def width_per_A(self, lattice: Lattice, along: Vec3) -> Array:
        """To the first zero."""
        return _box_width(lattice, along)

    def resolved_length_A(self, cell_lengths_A: Sequence[float], n_cells: Sequence[float]) -> float:
        """The longest edge."""
        return longest_edge_A(cell_lengths_A, n_cells)


class GaussStar(AbstractSpotShape):
    """A gaussian that is round in reciprocal space."""

    name: ClassVar[str] = "gauss_star"
    flags: ClassVar[str] = "-gauss_xtal"
    help: ClassVar[str] = "gaussian spots, round in reciprocal space"

    def factors(self, lattice: Lattice, index: Vec3, rest: Vec3, slips: Slips) -> Vec3:
        """exp(−r²·fudge/0.63)."""
        exponent = -_radius_sqr(lattice, rest) * lattice.fudge / GAUSS_XTAL_SCALE
        return _alone(_cells(lattice) * exp_negative(exponent))

    def intensity(self, lattice: Lattice, rest: Vec3, amplitude: Array, weight: Array | float, slips: Slips) -> Array:
        """weight·(F·F_latt)²."""
        return _squared(self.factors(lattice, rest, rest, slips).x, amplitude, weight)

    def width_per_A(self, lattice: Lattice, along: Vec3) -> Array:
        """The top hat's radius, in every direction."""
        radius = jnp.sqrt(TOPHAT_LIMIT / lattice.fudge) / lattice.radius_scale
        return jnp.broadcast_to(radius, along.x.shape)

    def resolved_length_A(self, cell_lengths_A: Sequence[float], n_cells: Sequence[float]) -> float:
        """The longest edge, as the reference has it."""
        return longest_edge_A(cell_lengths_A, n_cells)


class Tophat(AbstractSpotShape):
    """A ball of one height with a sharp edge, round in reciprocal space."""

    name: ClassVar[str] = "tophat"
    flags: ClassVar[str] = "-tophat_spots -binary_spots"
    help: ClassVar[str] = "spots of one height and sharp edge"

    def factors(self, lattice: Lattice, index: Vec3, rest: Vec3, slips: Slips) -> Vec3:
        """Na·Nb·Nc inside, 0 outside."""
        inside = _radius_sqr(lattice, rest) * lattice.fudge < TOPHAT_LIMIT
        return _alone(jnp.where(inside, _cells(lattice), 0.0))

    def intensity(self, lattice: Lattice, rest: Vec3, amplitude: Array, weight: Array | float, slips: Slips) -> Array:
        """weight·(F·F_latt)²."""
        return _squared(self.factors(lattice, rest, rest, slips).x, amplitude, weight)

    def width_per_A(self, lattice: Lattice, along: Vec3) -> Array:
        """The top hat's radius, in every direction."""
        radius = jnp.sqrt(TOPHAT_LIMIT / lattice.fudge) / lattice.radius_scale
        return jnp.broadcast_to(radius, along.x.shape)

    def resolved_length_A(self, cell_lengths_A: Sequence[float], n_cells: Sequence[float]) -> float:
        """The longest edge, as the reference has it."""
        return longest_edge_A(cell_lengths_A, n_cells)


class Gauss(AbstractSpotShape):
    r"""A gaussian in units of whole cells: $\det N\,\exp(-\mathrm{fudge}\,|N\Delta|^2/0.63)$.

    N is the symmetric size matrix, with the crystal's `n_cells` on its diagonal.

    **Arguments:** `n_cells_off_diagonal` (3,): Nd couples a and b, Ne b and c, Nf a and c. That N is positive definite
    is checked with the crystal. **Raises** `InputError`. Source: docs/reference.md section 8.
    """

    name: ClassVar[str] = "gauss"
    flags: ClassVar[str] = "-gauss_cells"
    help: ClassVar[str] = "gaussian spots, round in units of whole cells"
    n_cells_off_diagonal: Vector

    def __init__(self, n_cells_off_diagonal=(0.0, 0.0, 0.0)):
        self.n_cells_off_diagonal = leaf(n_cells_off_diagonal, "n_cells_off_diagonal")

    def __check_init__(self):
        checks.finite("n_cells_off_diagonal", self.n_cells_off_diagonal, (3,))

    def _size(self, n: Vec3, offset: Vec3) -> Vec3:
        """N times three numbers."""
        d, e, f = self.n_cells_off_diagonal
        return Vec3(
            n.x * offset.x + d * offset.y + f * offset.z,
            d * offset.x + n.y * offset.y + e * offset.z,
            f * offset.x + e * offset.y + n.z * offset.z,
        )

    def _determinant(self, n: Vec3) -> Array:
        d, e, f = self.n_cells_off_diagonal
        return n.x * (n.y * n.z - e * e) - d * (d * n.z - e * f) + f * (d * e - n.y * f)

    def factors(self, lattice: Lattice, index: Vec3, rest: Vec3, slips: Slips) -> Vec3:
        """All of it in the first."""
        inside = self._size(lattice.n_cells, rest)
        exponent = -dot(inside, inside) * lattice.fudge / GAUSS_XTAL_SCALE
        return _alone(self._determinant(lattice.n_cells) * exp_negative(exponent))

    def intensity(self, lattice: Lattice, rest: Vec3, amplitude: Array, weight: Array | float, slips: Slips) -> Array:
        """weight·(F·F_latt)²."""
        return _squared(self.factors(lattice, rest, rest, slips).x, amplitude, weight)

    def width_per_A(self, lattice: Lattice, along: Vec3) -> Array:
        """Where the exponent is the top hat's edge."""
        inside = self._size(lattice.n_cells, along)
        return jnp.sqrt(TOPHAT_LIMIT / lattice.fudge / dot(inside, inside))

    def resolved_length_A(self, cell_lengths_A: Sequence[float], n_cells: Sequence[float]) -> float:
        """The longest edge, of N's rows."""
        d, e, f = (abs(float(x)) for x in self.n_cells_off_diagonal)
        rows = (n_cells[0] + d + f, n_cells[1] + d + e, n_cells[2] + e + f)
        return longest_edge_A(cell_lengths_A, rows)


def check_size_matrix(n_cells: Vector, off_diagonal: Vector) -> None:
    """Nothing, if the size matrix is positive definite. **Raises** `InputError` otherwise."""

    def holds(x):
        (a, b, c), (d, e, f) = x
        return (a * b > d * d) & (a * (b * c - e * e) - d * (d * c - e * f) + f * (d * e - b * f) > 0)

    stacked = jnp.stack if isinstance(n_cells, Tracer) or isinstance(off_diagonal, Tracer) else np.stack
    numbers = stacked([n_cells, off_diagonal])
    checks.require("n_cells and n_cells_off_diagonal", numbers, "a positive definite matrix", holds, (2, 3))


SPOT_SHAPES: dict[str, type[Square | Round | GaussStar | Tophat | Gauss]] = {
    kind.name: kind for kind in (Square, Round, GaussStar, Tophat, Gauss)
}
"""What can be chosen by name: classes, as an object may have leaves, and importing is to make no array.

A shape of one's own is given as an object."""


def spot_shape(shape: str | AbstractSpotShape) -> AbstractSpotShape:
    """A shape by its name, or the one given. **Raises** `InputError` for an unknown name."""
    if isinstance(shape, AbstractSpotShape):
        return shape
    if shape not in SPOT_SHAPES:
        raise InputError(f"shape must be one of {', '.join(SPOT_SHAPES)}, or a spot shape of your own, got {shape!r}")
    return SPOT_SHAPES[shape]()
