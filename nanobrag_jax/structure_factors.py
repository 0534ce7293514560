"""The grid of structure factors: nearest index and tricubic look-up (docs/reference.md section 5)."""

import dataclasses
import math
import os
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Bool, Float, Int

from . import checks
from .checks import leaf, named_arguments, optional_leaf
from .constants import DEFAULT_B_SOL_A2, DEFAULT_K_SOL_E_PER_A3
from .described import described
from .errors import InputError
from .numerics.loops import as_integer, lookup_places, stored_first
from .numerics.vectors import Vec3
from .typing import Scalar

if TYPE_CHECKING:
    from .models.atoms import AtomicModel
    from .models.energies import Channels


class StructureFactors(eqx.Module):
    """Amplitudes on a grid of Miller indices.

    **Arguments:**

    - `amplitudes` (h, k, l): F of each index from `hkl_min` up, None for a crystal of `default_F` everywhere; or
      (channel, h, k, l), of photons of each channel;
    - `given` (h, k, l): False where no record names the index and `default_F` stands, None for all given;
    - `default_F`: also outside the grid;
    - `channel_wavelengths_A` (channels,): increasing, with the latter form of amplitudes: a source of the beam belongs
      to the channel whose wavelength is nearest to its own.

    **Raises** `InputError`.
    """

    amplitudes: Float[Array, "h k l"] | Float[Array, "channel h k l"] | None
    given: Bool[Array, "h k l"] | None
    default_F: Scalar
    channel_wavelengths_A: Float[Array, " channel"] | None
    hkl_min: tuple[int, int, int] = eqx.field(static=True)

    @named_arguments
    def __init__(self, amplitudes=None, *, hkl_min=(0, 0, 0), given=None, default_F=0.0, channel_wavelengths_A=None):
        self.amplitudes = optional_leaf(amplitudes, "amplitudes")
        self.channel_wavelengths_A = optional_leaf(channel_wavelengths_A, "channel_wavelengths_A")
        full = given is None or (checks.is_known(given) and np.all(given))
        self.given = None if full else checks.optional_mask(given)
        self.default_F = leaf(default_F, "default_F")
        known = self.amplitudes is not None and checks.is_known(self.amplitudes)
        negative = int(np.sum(np.asarray(self.amplitudes) < 0)) if known else 0
        if negative:
            checks.warn(f"{negative} amplitudes are negative: their signs only matter where F is interpolated")
        h, k, l = hkl_min
        self.hkl_min = int(h), int(k), int(l)

    @classmethod
    def from_mtz(cls, path: str | os.PathLike[str], column: str | None = None, *, default_F=0.0) -> "StructureFactors":
        """Amplitudes of a merged MTZ file for the whole sphere; see `models.reflections.sphere_from_mtz`."""
        from .models.reflections import sphere_from_mtz

        return cls._of(sphere_from_mtz(path, column), default_F)

    @classmethod
    def from_mmcif(
        cls, path: str | os.PathLike[str], column: str | None = None, *, default_F=0.0
    ) -> "StructureFactors":
        """Amplitudes of a structure-factor mmCIF file likewise; see `models.reflections.sphere_from_mmcif`."""
        from .models.reflections import sphere_from_mmcif

        return cls._of(sphere_from_mmcif(path, column), default_F)

    @classmethod
    def from_model(
        cls,
        path: str | os.PathLike[str],
        dmin_A: float,
        *,
        wavelength_A: float | None = None,
        k_sol: float = DEFAULT_K_SOL_E_PER_A3,
        b_sol: float = DEFAULT_B_SOL_A2,
        F000: float | None = 0.0,
        box: float | None = None,
        default_F=0.0,
    ) -> "StructureFactors":
        """Amplitudes of a PDB or mmCIF model to a resolution; see `models.density.sphere_from_model`.

        **Arguments:** `F000`: F(000), which is in the direct beam and would outshine everything; None for the model's
        own, which crystals of a few cells need, whose amplitudes are interpolated; `box`: see `single_molecule`.
        """
        from .models.density import sphere_from_model
        from .models.sphere import with_F000

        sphere = sphere_from_model(path, dmin_A, wavelength_A=wavelength_A, k_sol=k_sol, b_sol=b_sol, box=box)
        if F000 is not None:
            sphere = dataclasses.replace(sphere, table=with_F000(sphere.table, F000))
        return cls._of(sphere, default_F)

    @classmethod
    def from_atoms(
        cls, model: "AtomicModel", *, F000: float | None = 0.0, default_F=0.0, channels: "Channels | None" = None
    ) -> "StructureFactors":
        """Amplitudes of a model of atoms to its resolution, traced and differentiated where the model is.

        **Arguments:** `F000`: as for `from_model`; `channels`: f′ and f″ at several energies (`models.energies`), in
        place of the model's own. Source: docs/structure_factors.md.
        """
        h, k, l = model.plan.most
        if channels is not None:
            from .models.energies import channel_amplitudes

            tables, wavelengths = channel_amplitudes(model, channels, F000), channels.wavelengths_A
            known = {"hkl_min": (-h, -k, -l), "given": model.plan.given, "default_F": default_F}
            return cls(tables, channel_wavelengths_A=wavelengths, **known)
        return cls(model.amplitudes(F000), hkl_min=(-h, -k, -l), given=model.plan.given, default_F=default_F)

    @classmethod
    def from_hkl(cls, indices, values, *, space_group: str | int | None = None, cell=None, default_F=0.0):
        """Amplitudes of a list of reflections.

        **Arguments:**

        - `indices` (n, 3): whole numbers h k l, each reflection once;
        - `values` (n,): their amplitudes; without a space group they may be traced and differentiated;
        - `space_group`: symbol or number; with it the mates by its symmetry and Friedel's law are filled in (needs the
          extra `formats`), without it the list is taken as it is;
        - `cell` (6,): edges (Å) and angles (degrees): with it and a space group, what is systematically absent within
          the list's resolution is 0;
        - `default_F`: of all other indices.

        **Raises** `InputError` for what is no such list.
        """
        from .models.listed import grid_of_list, sphere_of_list

        amplitudes = leaf(values, "values")
        checks.finite("values", amplitudes, (None,))
        if space_group is not None:
            return cls._of(sphere_of_list(indices, amplitudes, space_group, cell), default_F)
        hkl_min, shape, place, given = grid_of_list(indices, len(amplitudes))
        if checks.is_known(amplitudes):
            grid = np.zeros(shape)
            grid[place] = amplitudes
        else:
            grid = jnp.zeros(shape).at[place].set(amplitudes)
        return cls(grid, hkl_min=hkl_min, given=given, default_F=default_F)

    @classmethod
    def _of(cls, sphere, default_F) -> "StructureFactors":
        table = sphere.table
        made = cls(table.values, hkl_min=table.hkl_min, given=table.given, default_F=default_F)
        _remember_cell(made, sphere.cell)
        return made

    def __check_init__(self):
        if not isinstance(self.amplitudes, Tracer):  # a look-up of a NaN gives a NaN, at no cost
            channels = (
                () if self.channel_wavelengths_A is None else getattr(self.channel_wavelengths_A, "shape", (None,))
            )
            checks.finite("amplitudes", self.amplitudes, (*channels, None, None, None))
        checks.finite("default_F", self.default_F)
        checks.require(
            "channel_wavelengths_A",
            self.channel_wavelengths_A,
            "positive and increasing",
            lambda x: (x[:1] > 0).all() & (x[1:] > x[:-1]).all(),
            (None,),
        )
        if self.channel_wavelengths_A is not None and self.amplitudes is None:
            raise InputError("channel_wavelengths_A needs amplitudes of each channel, got None")
        if self.given is not None and (self.amplitudes is None or self.given.shape != self.amplitudes.shape[-3:]):
            held = "None" if self.amplitudes is None else str(self.amplitudes.shape)
            raise InputError(f"given must have the shape of amplitudes, {held}, got {self.given.shape}")

    def channel_of(self, wavelengths_A: Float[Array, " sources"]) -> Int[Array, " sources"]:
        """The channel that each of some wavelengths (Å) belongs to; all to the first where there are no channels."""
        if self.channel_wavelengths_A is None:
            return jnp.zeros(wavelengths_A.shape, jnp.int32)
        known = self.channel_wavelengths_A
        between = 0.5 * (known[1:] + known[:-1])
        return jnp.sum((wavelengths_A[:, None] > between[None, :]).astype(jnp.int32), axis=1, dtype=jnp.int32)

    def __repr__(self) -> str:
        return described(self)


_cells: dict[int, tuple[weakref.ref, np.ndarray]] = {}
"""Cells of the files that amplitudes came from, by the arrays' identity: no part of an experiment, which has one."""


def _remember_cell(factors: StructureFactors, cell: np.ndarray) -> None:
    held, place = factors.amplitudes, id(factors.amplitudes)
    if held is not None and np.all(np.isfinite(cell)):
        _cells[place] = weakref.ref(held, lambda _: _cells.pop(place, None)), np.asarray(cell, float)


def cell_of_file(factors: StructureFactors) -> np.ndarray | None:
    """Edges (Å) and angles (degrees), (6,), of the file that amplitudes were read from; None where nothing is known."""
    reference, cell = _cells.get(id(factors.amplitudes), (lambda: None, None))
    return cell if factors.amplitudes is not None and reference() is factors.amplitudes else None


CELL_TOLERANCE = 0.02
"""By how much cells may differ before it is worth a word."""


def other_cell_note(what: str, cell: np.ndarray, crystal_cell: np.ndarray) -> str | None:
    """A sentence where structure factors were measured from another cell than the crystal's: maybe another setting."""
    if np.allclose(cell, crystal_cell, rtol=CELL_TOLERANCE):
        return None
    file, crystal = (" ".join(f"{x:.5g}" for x in numbers) for numbers in (cell, crystal_cell))
    note = f"the cell of {what}, {file}, differs from the crystal's, {crystal}"
    if np.allclose(sorted(cell[:3]), sorted(crystal_cell[:3]), rtol=CELL_TOLERANCE):
        note += ": it may be another setting, whose indices h k l mean other reflections"
    return note


class Grid(eqx.Module):
    """Amplitudes with a rim of default_F around them, flat, ready for look-ups."""

    values: Float[Array, " points"]
    shape: tuple[int, int, int] = eqx.field(static=True)
    """Of the grid with its rim."""
    hkl_min: tuple[int, int, int] = eqx.field(static=True)
    """Index of the rim's first point."""
    first: Int[Array, ""] | None = None
    """Place of the rim's first point in `values`, where these are the grids of several channels; None for 0."""


def lookup_grid(factors: StructureFactors) -> Grid:
    """The grid that look-ups use."""
    if factors.amplitudes is None:
        return Grid(factors.default_F.reshape(1), (1, 1, 1), (0, 0, 0))
    values = factors.amplitudes
    if factors.given is not None:
        values = jnp.where(factors.given, values, factors.default_F)
    # stored, or what is rendered without a loop over blocks would go through mask and rim for each look-up
    rimmed = stored_first(lambda: _rimmed(values, factors.default_F))
    h, k, l = factors.hkl_min
    rows, columns, layers = rimmed.shape[-3:]
    return Grid(rimmed.reshape(-1), (rows, columns, layers), (h - 1, k - 1, l - 1))


def channel_starts(factors: StructureFactors, wavelengths_A: Float[Array, " sources"]) -> Array | None:
    """`Grid.first` for each source, (sources,), None where there are no channels.

    **Raises** `InputError` for more amplitudes than can be counted.
    """
    if factors.channel_wavelengths_A is None or factors.amplitudes is None:
        return None
    channels, *edges = factors.amplitudes.shape
    points = math.prod(n + 2 for n in edges)
    if channels * points >= 2**31:
        raise InputError(f"amplitudes of {channels} channels of {points} points are more than 2^31")
    return factors.channel_of(wavelengths_A) * points


def _rim(values: Array):
    """What is added to each axis: nothing to that of the channels."""
    return ((0, 0, 0),) * (values.ndim - 3) + ((1, 1, 0),) * 3


@jax.custom_jvp
def _rimmed(values: Array, rim: Array) -> Array:
    """A grid with one more point at each end of each axis. jax cannot transpose a padding of constants."""
    return lax.pad(values, rim, _rim(values))


@_rimmed.defjvp
def _rimmed_jvp(primals, tangents):
    (values, rim), (d_values, d_rim) = primals, tangents
    at_rim = lax.pad(jnp.zeros_like(values), jnp.ones_like(rim), _rim(values))
    return lax.pad(values, rim, _rim(values)), lax.pad(d_values, jnp.zeros_like(rim), _rim(values)) + at_rim * d_rim


def nearest(grid: Grid, lanes, shared=None, index: Callable[[Any, Any], Vec3] = lambda hkl, _: hkl) -> Array:
    """F at whole Miller indices, default_F outside the grid.

    **Arguments:** `index(lanes, shared)`: gives the indices, from a pytree of one number a pixel each, all of one
    shape, and from what pixels share; without it `lanes` are the indices.
    """
    if grid.shape == (1, 1, 1):
        return grid.values[0]

    def place(lanes, shared, to_integer):
        axes = zip(index(lanes, shared), grid.hkl_min, grid.shape, strict=True)
        return _place(grid.shape, [_within(i - low, count - 1) for i, low, count in axes], to_integer)

    return _at(grid, lookup_places(place, lanes, shared))


def _within(x: Array, last: int) -> Array:
    """x, or the nearer of 0 and `last`; 0 for what is no number. Unlike jnp.clip one instruction for each side."""
    x = jnp.where(x > 0, x, jnp.zeros_like(x))
    return jnp.where(x < last, x, jnp.full_like(x, last))


def _place(shape: tuple[int, int, int], steps: list[Array], to_integer: Callable) -> Array:
    """Place of a point in a flat grid, from whole numbers of steps along each axis."""
    (h, k, l), (_, columns, layers) = steps, shape
    if math.prod(shape) >= 2 ** jnp.finfo(h.dtype).nmant:
        h, k, l = to_integer(h), to_integer(k), to_integer(l)
        return (h * columns + k) * layers + l
    return to_integer((h * columns + k) * layers + l)


def _at(grid: Grid, place: Array) -> Array:
    """F at places in `grid.values`. Numbers without a sign cannot count from the end, which saves half the work."""
    place = place if grid.first is None else place + grid.first
    return grid.values.at[place.astype(jnp.uint32)].get(mode="promise_in_bounds")


def can_interpolate(grid: Grid, hkl: Vec3) -> Array:
    """Whether the 4 × 4 × 4 points around fractional indices are all given, with the reference's margin."""
    inside = jnp.ones((), bool)
    for x, low, count in zip(hkl, grid.hkl_min, grid.shape, strict=True):
        first, last = low + 1, low + count - 2
        inside = inside & (x - first + 3 <= last - first + 1) & (x - 2 >= first)
    return inside


def _lagrange(x):
    """Weights of the cubic through the points −1, 0, 1, 2 at x in [0, 1)."""
    before, at, after, beyond = x + 1, x, x - 1, x - 2
    return -at * after * beyond / 6, before * after * beyond / 2, -before * at * beyond / 2, before * at * after / 6


def _lagrange_slopes(x):
    """Their derivatives."""
    square = x * x
    return x - square / 2 - 1 / 3, 1.5 * square - 2 * x - 0.5, 1 + x - 1.5 * square, square / 2 - 1 / 6


def _cube(grid: Grid, hkl: Vec3) -> tuple[Array, Vec3]:
    """Place of the first of the 4 × 4 × 4 points around fractional indices, and how far these are beyond the second."""
    floors = Vec3(*(jnp.floor(x) for x in hkl))
    axes = zip(floors, grid.hkl_min, grid.shape, strict=True)
    steps = [_within(f - 1 - low, max(count - 4, 0)) for f, low, count in axes]
    corner = _place(grid.shape, steps, as_integer)
    return corner, Vec3(*(x - f for x, f in zip(hkl, floors, strict=True)))


def _step(grid: Grid, i, j, m):
    """From the first of them to another, in places."""
    return (i * grid.shape[1] + j) * grid.shape[2] + m


def _weighted(terms: list[Array], weights: Sequence[Array]) -> Array:
    """Σ weight·term over four of them."""
    (a, b, c, d), (w_a, w_b, w_c, w_d) = terms, weights
    return w_a * a + w_b * b + w_c * c + w_d * d


@jax.custom_jvp
def tricubic(grid: Grid, hkl: Vec3) -> Array:
    """F at fractional Miller indices by cubic Lagrange polynomials through the 4 × 4 × 4 points around them.

    Only meaningful where `can_interpolate`; elsewhere finite and to be discarded. The derivative is written out: one
    sum of 64 terms an axis, and one look-up of all points for that of the amplitudes, where reverse mode would make
    64 of everything.
    """
    corner, inside = _cube(grid, hkl)
    w_h, w_k, w_l = (_lagrange(x) for x in inside)

    def row(i, j):
        return _weighted([_at(grid, corner + _step(grid, i, j, m)) for m in range(4)], w_l)

    return _weighted([_weighted([row(i, j) for j in range(4)], w_k) for i in range(4)], w_h)


def _tricubic_jvp(primals, tangents):
    (grid, hkl), (d_grid, d_hkl) = primals, tangents
    corner, inside = _cube(grid, hkl)
    w_h, w_k, w_l = (_lagrange(x) for x in inside)
    d_h, d_k, d_l = (_lagrange_slopes(x) for x in inside)
    points = [[[_at(grid, corner + _step(grid, i, j, m)) for m in range(4)] for j in range(4)] for i in range(4)]
    rows = [[_weighted(row, w_l) for row in plane] for plane in points]
    planes = [_weighted(plane, w_k) for plane in rows]
    slopes = (
        _weighted(planes, d_h),
        _weighted([_weighted(plane, d_k) for plane in rows], w_h),
        _weighted([_weighted([_weighted(row, d_l) for row in plane], w_k) for plane in points], w_h),
    )
    total = _weighted(planes, w_h)
    tangent = jnp.zeros_like(total)
    for slope, d_x in zip(slopes, d_hkl, strict=True):
        if not isinstance(d_x, SymbolicZero):
            tangent = tangent + slope * d_x
    if not isinstance(d_grid.values, SymbolicZero):
        count = np.arange(4)
        offsets = _step(grid, count[:, None, None], count[:, None], count).reshape(64, *[1] * corner.ndim)
        weights = jnp.stack([a * b * c for a in w_h for b in w_k for c in w_l])
        first = 0 if grid.first is None else grid.first
        moved = d_grid.values.at[(corner[None] + offsets + first).astype(jnp.uint32)].get(mode="promise_in_bounds")
        tangent = tangent + jnp.sum(weights * moved, 0)
    return total, tangent


tricubic.defjvp(_tricubic_jvp, symbolic_zeros=True)
