"""One sample: one point of the detector, one source, one orientation of the crystal.

The only place where a sample's intensity is put together. It is written for scalars and lifts by broadcasting: in
`render` over a block of pixels, in `carryover` over the pixels that see one state, in `trace` over nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..diffuse import DiffuseTerms
from ..numerics.pairs import Pair, index_and_rest
from ..numerics.vectors import Vec3, added, dot, scaled
from ..reference.slips import NO_SLIPS, Slips
from ..spot_shapes import AbstractSpotShape, Lattice, nearest_index
from ..structure_factors import Grid, can_interpolate, nearest, tricubic


class Sample(NamedTuple):
    """The named terms of one sample (docs/reference.md sections 8 and 11)."""

    hkl: Vec3
    """Fractional Miller indices."""
    nearest_hkl: Vec3
    factors: Vec3
    """Lattice factor of each axis; for spots that are no product of axes all in the first."""
    F_latt: Array
    F_cell: Array
    intensity: Array
    """weight · (F_cell·F_latt)², and diffuse scattering."""
    interpolates: Array
    """Whether tricubic look-up is possible here."""


def scattering_vector(direction: Vec3, incident, wavelength) -> Vec3:
    """(direction − incident)/wavelength, in units of 1/wavelength."""
    return scaled(added(direction, scaled(incident, -1.0)), 1.0 / wavelength)


def _along_axes(q: Vec3, real) -> Vec3:
    return Vec3(*(dot(axis, q) for axis in real))


@jax.custom_jvp
def miller_indices(q: Vec3, real: Array) -> Vec3:
    """Fractional indices a·q, b·q, c·q.

    **Arguments:** `q`: 1/Å, one value a pixel; `real`: rows a, b, c in Å, (3, 3). The derivative with respect to the
    rows is a matrix product over all pixels, which reverse mode needs in that form to be fast.
    """
    return _along_axes(q, real)


@miller_indices.defjvp
def _miller_indices_jvp(primals, tangents):
    (q, real), (d_q, d_real) = primals, tangents
    indices = _along_axes(q, real)
    stacked = jnp.stack(q)
    moved = _along_axes(d_q, real)
    return indices, Vec3(*(m + row @ stacked for m, row in zip(moved, d_real, strict=True)))


def _indices(q: Vec3 | Pair, real) -> tuple[Vec3, Vec3, Vec3]:
    """Fractional indices, the nearest whole ones, and what is left."""
    if isinstance(q, Pair):
        assert isinstance(real, Pair), "both are pairs, or neither"
        index, rest = index_and_rest(q, real)
        return added(index, rest), index, rest
    hkl = miller_indices(q, real)
    index = Vec3(*(nearest_index(x) for x in hkl))
    return hkl, index, Vec3(*(x - whole for x, whole in zip(hkl, index, strict=True)))


def _nearest_indices(q: Vec3 | Pair, real: Array | Pair) -> Vec3:
    return _indices(q, real)[1]


def sample(
    q: Vec3 | Pair,
    real: Array | Pair,
    shape: AbstractSpotShape,
    lattice: Lattice,
    grid: Grid,
    interpolate,
    weight: Array | float = 1.0,
    slips: Slips = NO_SLIPS,
    diffuse: DiffuseTerms | None = None,
) -> Sample:
    """The terms of one sample.

    **Arguments:**

    - `q`: scattering vector, 1/Å; `real`: a, b, c in Å at this φ step and domain, as rows (3, 3); in mixed precision
      both are pairs (`numerics.pairs`);
    - `shape`, `lattice`: the spot shape, and what it is told of the crystal;
    - `grid`: the structure factors;
    - `interpolate`: False for the nearest index everywhere (static), else where tricubic look-up is wanted (it falls
      back to the nearest index where the grid ends);
    - `weight`: multiplies the intensity;
    - `slips`: those of the reference that hold;
    - `diffuse`: diffuse scattering around the lattice points.
    """
    hkl, index, rest = _indices(q, real)
    amplitude = nearest(grid, q, real, _nearest_indices)
    interpolates = jnp.zeros((), bool)
    if interpolate is not False:
        interpolates = can_interpolate(grid, hkl)
        amplitude = jnp.where(interpolates & interpolate, tricubic(grid, hkl), amplitude)
    factors = shape.factors(lattice, index, rest, slips)
    F_latt = factors.x * factors.y * factors.z
    intensity = shape.intensity(lattice, rest, amplitude, weight, slips)
    if diffuse is not None:
        around = weight * diffuse.intensity(grid, index, rest)
        intensity = around if diffuse.only else intensity + around
    return Sample(hkl, index, factors, F_latt, amplitude, intensity, interpolates)
