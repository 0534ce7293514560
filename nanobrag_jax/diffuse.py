"""Diffuse scattering of a crystal whose displacements are alike over a length (docs/reference.md section 8)."""

import functools
import math
import operator
from functools import partial
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero

from . import checks
from .checks import filled_in, leaf, named_arguments, optional_leaf
from .described import described
from .errors import InputError
from .laue_groups import laue_group_number, rotations_of
from .numerics.loops import mapped, scan
from .numerics.vectors import Vec3, cross, dot, turned
from .structure_factors import Grid, nearest
from .typing import Matrix, Scalar, Vector

Frame = Literal["crystal", "lab"]
Normalization = Literal["level", "reference"]
PrincipalAxes = Literal["cell", "diagonal"]

Rows = tuple[tuple[float, float, float], ...]
"""A matrix (3, 3) of constants."""


class Diffuse(eqx.Module):
    """Diffuse scattering around each lattice point, added to the spots.

    **Arguments:**

    - `gamma_A` (3,): correlation lengths, Å; or `gamma_cells` (3,): the same in unit cells along a, b, c;
    - `sigma_A` (3,): root mean square displacements, Å;
    - `laue_group`: 1 to 14, or the symbol of a Laue or space group (which needs gemmi): over its rotations the
      scattering is averaged;
    - `stencil`: of how many lattice points to either side the scattering counts: more is more exact, and slower;
    - `frame`: the axes that γ and σ belong to: "crystal" has x along a and y in the plane of a and b and turns with the
      crystal; "lab" has those of the lab with the crystal as its orientation matrix puts it, without misset;
    - `normalization`: "level" is independent of the stencil, "reference" is divided by its (2m + 1)³ points, and 0
      where F is, or where the stencil leaves the box of indices;
    - `principal_axes`: "cell", or "diagonal" for a − b and a + b in place of a and b;
    - `only`: whether the spots are left out.

    In `spec` mode only. **Raises** `InputError`. Source: docs/reference.md section 8.
    """

    gamma_A: Vector | None
    gamma_cells: Vector | None
    sigma_A: Vector
    laue_group: int = eqx.field(static=True)
    stencil: int = eqx.field(static=True)
    frame: Frame = eqx.field(static=True)
    normalization: Normalization = eqx.field(static=True)
    principal_axes: PrincipalAxes = eqx.field(static=True)
    only: bool = eqx.field(static=True)

    @named_arguments
    def __init__(
        self,
        gamma_A=None,
        sigma_A=(0.0, 0.0, 0.0),
        laue_group: int | str = 1,
        stencil: int = 1,
        frame: Frame = "crystal",
        normalization: Normalization = "level",
        *,
        gamma_cells=None,
        principal_axes: PrincipalAxes = "cell",
        only: bool = False,
    ):
        self.gamma_A, self.gamma_cells = optional_leaf(gamma_A, "gamma_A"), optional_leaf(gamma_cells, "gamma_cells")
        self.sigma_A = leaf(sigma_A, "sigma_A")
        self.laue_group, self.stencil = laue_group_number(laue_group), stencil
        self.frame, self.normalization = frame, normalization
        self.principal_axes, self.only = principal_axes, only

    def __check_init__(self):
        if (self.gamma_A is None) == (self.gamma_cells is None):
            raise InputError("diffuse scattering needs gamma_A or gamma_cells, and not both")
        checks.not_negative("gamma_A", self.gamma_A, (3,))
        checks.not_negative("gamma_cells", self.gamma_cells, (3,))
        checks.not_negative("sigma_A", self.sigma_A, (3,))
        if self.stencil != 0:
            checks.count("stencil", self.stencil)
        for name, choices in _CHOICES.items():
            checks.one_of(name, getattr(self, name), choices)

    def terms(self, real: Matrix, upright: Matrix, placed: Matrix) -> "DiffuseTerms":
        """What a sample needs of it.

        **Arguments:** rows of the unit cell, (3, 3): `real`: a, b, c in Å with a along x and b in the xy plane;
        `upright`: a*, b*, c* of the same, 1/Å; `placed`: a*, b*, c* as the orientation matrix alone puts them.
        """
        star = upright if self.frame == "crystal" else placed
        if self.gamma_A is not None:
            gamma, correlation = self.gamma_A, self.gamma_A[None] * star
            volume = jnp.prod(gamma)
        else:  # cells along the axes: G·Bᵀ; in the lab's frame G·B, as the reference has it
            gamma = filled_in(self.gamma_cells)
            correlation = gamma[None] * turned(real if self.frame == "crystal" else real.T, star)
            volume = jnp.prod(gamma) * jnp.sum(real[0] * cross(real[1], real[2]))
        matrices = _matrices(self.laue_group, self.principal_axes)
        divisor = len(matrices) * ((2 * self.stencil + 1) ** 3 if self.normalization == "reference" else 1)
        return DiffuseTerms(
            correlation=_FOUR_PI_SQUARED * _gram(correlation),
            displacement=_FOUR_PI_SQUARED * _gram(self.sigma_A[None] * star),
            level=(8.0 * math.pi / divisor) * volume,
            matrices=matrices,
            stencil=self.stencil,
            ends=self.normalization == "reference",
            only=self.only,
        )

    def __repr__(self) -> str:
        return described(self)


_CHOICES = {
    "frame": ("crystal", "lab"),
    "normalization": ("level", "reference"),
    "principal_axes": ("cell", "diagonal"),
}
_FOUR_PI_SQUARED = 4.0 * math.pi**2


def _gram(rows: Matrix) -> Matrix:
    """Scalar products of rows, (3, 3)."""
    return jnp.sum(rows[:, None, :] * rows[None, :, :], axis=-1)


def _matrices(laue_group: int, principal_axes: str) -> tuple[Rows, ...]:
    """Each rotation of the group after the turn to the principal axes."""
    root = math.sqrt(0.5)
    turn = np.eye(3) if principal_axes == "cell" else np.array([[root, -root, 0], [root, root, 0], [0, 0, 1.0]])
    return tuple(tuple(tuple(row) for row in (one @ turn).tolist()) for one in rotations_of(laue_group))


class DiffuseTerms(eqx.Module):
    """Diffuse scattering ready for samples."""

    correlation: Matrix
    """4π²·(G A*)ᵀ(G A*), (3, 3): of it and fractional indices x the correlation's 1 + xᵀ…x."""
    displacement: Matrix
    """4π²·A*ᵀ W A*, (3, 3): of it and whole indices the exponent e."""
    level: Scalar
    matrices: tuple[Rows, ...] = eqx.field(static=True)
    stencil: int = eqx.field(static=True)
    ends: bool = eqx.field(static=True)
    """Whether it is zero where F is, and where the stencil leaves the box of indices."""
    only: bool = eqx.field(static=True)

    def intensity(self, grid: Grid, index: Vec3, rest: Vec3) -> Array:
        """F²·I_diffuse of a sample.

        **Arguments:** `index`: the nearest lattice point, `rest`: how far the sample is from it, in fractional indices.
        """
        found = self.level * stencil_sum(
            self.matrices, self.stencil, grid, _six(self.correlation), _six(self.displacement), index, rest
        )
        if not self.ends:
            return found
        kept = nearest(grid, index) != 0
        if grid.shape != (1, 1, 1):
            for n, low, count in zip(index, grid.hkl_min, grid.shape, strict=True):
                kept = kept & (n - self.stencil > low) & (n + self.stencil < low + count - 1)
        return jnp.where(kept, found, 0.0)


def _six(symmetric: Matrix) -> Array:
    """xx, yy, zz, yz, xz, xy of a symmetric matrix, those off the diagonal doubled, (6,)."""
    s = symmetric
    return jnp.stack([s[0, 0], s[1, 1], s[2, 2], s[1, 2] + s[2, 1], s[0, 2] + s[2, 0], s[0, 1] + s[1, 0]])


def _products(v: Vec3) -> tuple[Array, ...]:
    """The same of v·vᵀ."""
    return v.x * v.x, v.y * v.y, v.z * v.z, v.y * v.z, v.x * v.z, v.x * v.y


def _quadratic(six, products) -> Array:
    total = six[0] * products[0]
    for factor, product in zip(six[1:], products[1:], strict=True):
        total = total + factor * product
    return total


def _by_constants(matrix: Rows, v: Vec3) -> Vec3:
    """matrix·v without what is multiplied by 0 or 1."""
    found = []
    for row in matrix:
        parts = [
            x if factor == 1 else -x if factor == -1 else factor * x for factor, x in zip(row, v, strict=True) if factor
        ]
        found.append(sum(parts[1:], parts[0]))
    return Vec3(*found)


def _inverses(numbers: list[Array]) -> list[Array]:
    """1/x of each, four with one division."""
    found = []
    for first in range(0, len(numbers), 4):
        group = numbers[first : first + 4]
        if len(group) == 4:
            a, b, c, d = group
            ab, cd = a * b, c * d
            one = 1.0 / (ab * cd)
            over_ab, over_cd = one * cd, one * ab
            found += [over_ab * b, over_ab * a, over_cd * d, over_cd * c]
        else:
            found += [1.0 / x for x in group]
    return found


def _shifts(stencil: int, dtype) -> Array:
    along = np.arange(-stencil, stencil + 1)
    return jnp.asarray(np.stack(np.meshgrid(along, along, along, indexing="ij"), -1).reshape(-1, 3), dtype)


def _shifted(index: Vec3, shift: Array) -> Vec3:
    return Vec3(*(n + step for n, step in zip(index, shift, strict=True)))


def _turn(step, start, items):
    """A loop without one where there is one turn."""
    if items.shape[0] == 1:
        return step(start, items[0])
    return scan(lambda carry, item: (step(carry, item), None), start, items)[0]


def _exponents(matrices, displacement, index: Vec3) -> list[Array]:
    return [_quadratic(displacement, _products(_by_constants(matrix, index))) for matrix in matrices]


def _near(matrices, correlation, weights: list[Array], rest: Vec3, shift: Array) -> Array:
    """Σ over rotations of weight/(1 + 4π²|G A* M (Δ − δ)|²)²."""
    away = Vec3(*(x - step for x, step in zip(rest, shift, strict=True)))
    inverses = _inverses([1.0 + _quadratic(correlation, _products(_by_constants(m, away))) for m in matrices])
    return functools.reduce(operator.add, [w * (one * one) for w, one in zip(weights, inverses, strict=True)])


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def stencil_sum(
    matrices: tuple[Rows, ...],
    stencil: int,
    grid: Grid,
    correlation: Array,
    displacement: Array,
    index: Vec3,
    rest: Vec3,
) -> Array:
    """Σ over lattice points n + δ of F(n + δ)²·Σ over rotations of e·exp(−e)/(1 + 4π²|G A* M (Δ − δ)|²)².

    **Arguments:**

    - `matrices`: of the rotations; `stencil`: lattice points to either side; `grid`: the structure factors;
    - `correlation`, `displacement` (6,): of the symmetric matrices of `DiffuseTerms`;
    - `index`: n; `rest`: Δ, one a pixel.
    """
    weights = [e * jnp.exp(-e) for e in _exponents(matrices, displacement, index)]

    def step(total, shift):
        amplitude = nearest(grid, index, shift, _shifted)
        return total + amplitude * amplitude * _near(matrices, correlation, weights, rest, shift)

    return _turn(step, jnp.zeros_like(rest.x), _shifts(stencil, rest.x.dtype))


class _Moments(NamedTuple):
    """Derivatives of the sum, (…, pixels): by `correlation` and `displacement` (6), and by Δ (3)."""

    correlation: Array
    displacement: Array
    rest: Array


def _moments(matrices, stencil, grid, correlation, displacement, index: Vec3, rest: Vec3) -> _Moments:
    """One rotation after the other, with the points of the stencil side by side.

    What would be a dozen sums over the stencil are moments of its points: one matrix product. XLA on a CPU makes a
    kernel of each sum, which would compute all of its terms once more.
    """
    shifts = _shifts(stencil, rest.x.dtype)
    squares = _squares(grid, index, shifts)
    x, y, z = shifts.T
    powers = jnp.stack([jnp.ones_like(x), x, y, z, x * x, y * y, z * z, y * z, x * z, x * y])
    of_index = jnp.stack(_products(index))
    bilinear = jnp.asarray([_bilinear(matrix) for matrix in matrices], rest.x.dtype)

    def turn(sums: _Moments, matrix: Array) -> _Moments:
        """`matrix` (6, 6): what the rotation does to products of components."""
        length, place = turned(matrix.T, correlation), turned(matrix.T, displacement)
        xx, yy, zz, yz, xz, xy = length
        form = jnp.stack([2.0 * xx, xy, xz, xy, 2.0 * yy, yz, xz, yz, 2.0 * zz]).reshape(3, 3)
        # multiplied out: products of Δ − δ would be the same for each rotation, and XLA would store them all
        along = Vec3(*(dot(row, rest) for row in form))
        far = (1.0 + 0.5 * dot(along, rest))[None] + _quadratic(length, powers[4:])[:, None]
        one = 1.0 / (
            far - functools.reduce(operator.add, [s[:, None] * a[None] for s, a in zip((x, y, z), along, strict=True)])
        )
        found = powers @ (squares * (one * one * one))
        count, first, second = found[0], Vec3(*found[1:4]), found[4:]
        by_axis = Vec3(*(x * count - moved for x, moved in zip(rest, first, strict=True)))
        crossed = [a * b * count - a * v - b * u for a, b, u, v in _pairs(rest, first)]
        by_length = jnp.stack(crossed) + second
        total = count + functools.reduce(operator.add, [f * m for f, m in zip(length, by_length, strict=True)])
        e = functools.reduce(operator.add, [f * m for f, m in zip(place, of_index, strict=True)])
        decay = jnp.exp(-e)
        slope = (-2.0 * e * decay)[None]
        return _Moments(
            sums.correlation + matrix @ (slope * by_length),
            sums.displacement + matrix @ (((1.0 - e) * decay * total)[None] * of_index),
            sums.rest + form @ (slope * jnp.stack(by_axis)),
        )

    start = _Moments(*(jnp.zeros((count, *rest.x.shape), rest.x.dtype) for count in (6, 6, 3)))
    return _turn(turn, start, bilinear)


def _squares(grid: Grid, index: Vec3, shifts: Array) -> Array:
    """F(n + δ)² of each point of the stencil, (points, pixels)."""

    def square(shift):
        amplitude = nearest(grid, index, shift, _shifted)
        return jnp.broadcast_to(amplitude * amplitude, index.x.shape)

    return mapped(square, shifts)


def _pairs(u: Vec3, v: Vec3) -> list[tuple[Array, Array, Array, Array]]:
    """u_a, u_b, v_a, v_b for xx, yy, zz, yz, xz, xy."""
    return [(u[a], u[b], v[a], v[b]) for a, b in _ORDER]


_ORDER = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def _bilinear(matrix: Rows) -> list[list[float]]:
    """(6, 6): from products of the components of v to those of matrix·v."""
    m = np.array(matrix)
    return [[m[a, c] * m[b, d] + (m[a, d] * m[b, c] if c != d else 0.0) for c, d in _ORDER] for a, b in _ORDER]


def _stencil_sum_jvp(matrices, stencil, primals, tangents):
    grid, correlation, displacement, index, rest = primals
    d_grid, d_correlation, d_displacement, _, d_rest = tangents
    total = stencil_sum(matrices, stencil, *primals)
    flat = Vec3(*(n.reshape(-1) for n in index)), Vec3(*(x.reshape(-1) for x in rest))
    slopes = _moments(matrices, stencil, grid, correlation, displacement, *flat)
    tangent = jnp.zeros_like(total)
    for slope, d_x in zip(slopes.rest, d_rest, strict=True):
        if not isinstance(d_x, SymbolicZero):
            tangent = tangent + slope.reshape(total.shape) * d_x
    for slope, moved in ((slopes.correlation, d_correlation), (slopes.displacement, d_displacement)):
        if not isinstance(moved, SymbolicZero):
            tangent = tangent + (moved @ slope).reshape(total.shape)
    if not isinstance(d_grid.values, SymbolicZero):
        moved_grid = eqx.tree_at(lambda g: g.values, grid, d_grid.values)
        weights = [e * jnp.exp(-e) for e in _exponents(matrices, displacement, index)]

        def add(total, shift):
            near = _near(matrices, correlation, weights, rest, shift)
            amplitude = nearest(grid, index, shift, _shifted)
            return total + 2.0 * amplitude * near * nearest(moved_grid, index, shift, _shifted)

        tangent = tangent + _turn(add, jnp.zeros_like(total), _shifts(stencil, total.dtype))
    return total, tangent


stencil_sum.defjvp(_stencil_sum_jvp, symbolic_zeros=True)
