"""Sums over the atoms of an element: G(hkl) = Σ occ·exp(−2π²·sᵀUs)·exp(2πi·h·x), by themselves or through a grid.

Through a grid every atom is one gaussian, of its own displacement and a blur that is divided out again in reciprocal
space; form factors are those of the element and multiply G afterwards. Symmetry acts on G.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from .reflection_plan import ReflectionPlan, grid_size
from .sphere import Floats

RATE = 1.5
"""Points of the grid over those that the resolution needs."""
_BLUR_A2_PER_D2 = 16.0
"""B of the narrowest gaussian over dmin²: what aliases is exp(−3/4 of it), 6e-6."""
_NEGLIGIBLE = 13.0
"""Of the exponent of a gaussian, beyond which it is cut off: 2e-6."""
_CHUNK = 1
"""Atoms that are added together: XLA adds the window of one in place, and those of several number by number."""
_DIRECT_TERMS = 1 << 20
TWO_PI_SQR = 2.0 * math.pi**2


class Displaced(NamedTuple):
    """Atoms of one element."""

    positions: Float[Array, "atoms 3"]
    """Fractions of the cell."""
    occupancies: Float[Array, " atoms"]
    u_A2: Float[Array, "atoms 3 3"]
    """Mean square displacements along x, y, z in Å²."""


class AtomGrid(NamedTuple):
    """The points of a grid, and how far around an atom its gaussian reaches."""

    shape: tuple[int, int, int]
    reach: tuple[int, int, int]
    blur_u_A2: float
    """Added to each mean square displacement."""


def direct_sum(plan: ReflectionPlan, atoms: Displaced) -> Array:
    """G of `plan.hkl`, complex (reflections,), term by term: for few atoms."""
    rotations, translations = np.array(plan.rotations, float), np.array(plan.translations)
    terms = max(1, len(rotations) * atoms.occupancies.shape[0])
    count = math.ceil(len(plan.hkl) * terms / _DIRECT_TERMS)
    rows = math.ceil(len(plan.hkl) / count)
    hkl = np.zeros((count * rows, 3))
    hkl[: len(plan.hkl)] = plan.hkl

    @jax.checkpoint
    def some(hkl):
        mates = jnp.einsum("rh,ohk->rok", hkl, rotations)
        s = mates @ plan.fractional
        phase = mates @ atoms.positions.T + (hkl @ translations.T)[:, :, None]
        damped = atoms.occupancies[None, None] * jnp.exp(-TWO_PI_SQR * jnp.einsum("roi,aij,roj->roa", s, atoms.u_A2, s))
        angle = 2.0 * jnp.pi * phase
        return jnp.sum(damped * jnp.cos(angle), (1, 2)), jnp.sum(damped * jnp.sin(angle), (1, 2))

    real, imaginary = lax.map(some, jnp.asarray(hkl.reshape(count, rows, 3)))
    return lax.complex(real.reshape(-1), imaginary.reshape(-1))[: len(plan.hkl)]


def atom_grid(plan: ReflectionPlan, least_u_A2: float, most_u_A2: float, rate: float = RATE) -> AtomGrid:
    """A grid for atoms whose mean square displacements lie between two bounds."""
    edges = np.linalg.norm(np.linalg.inv(plan.fractional), axis=0)
    first, second, third = (grid_size(edge, plan.dmin_A / (2.0 * rate)) for edge in edges)
    shape = first, second, third
    blur = max(_BLUR_A2_PER_D2 * plan.dmin_A**2 / (8.0 * math.pi**2) - least_u_A2, 0.0)
    return AtomGrid(shape, reach_of(plan.fractional, shape, math.sqrt(2.0 * _NEGLIGIBLE * (most_u_A2 + blur))), blur)


def reach_of(fractional: Floats, shape: tuple[int, int, int], radius_A: float) -> tuple[int, int, int]:
    """Points along each axis to the end of a ball."""
    span = radius_A * np.linalg.norm(fractional, axis=1) * np.array(shape)
    h, k, l = (int(math.ceil(x)) for x in span)
    return h, k, l


def grid_sums(plan: ReflectionPlan, grid: AtomGrid, atoms: Displaced, kinds: Sequence[int]) -> Array:
    """G of each kind of atom at `plan.hkl`, complex (kinds, reflections), through densities on a grid.

    **Arguments:** `kinds`: of each atom, whole numbers from 0.
    """
    height, matrix = _gaussian(atoms.u_A2 + grid.blur_u_A2 * jnp.eye(3)[None], plan.fractional)
    densities = densities_on_grid(grid, atoms.positions, atoms.occupancies * height, matrix, kinds)
    sharp = jnp.exp(TWO_PI_SQR * grid.blur_u_A2 * plan.s_sqr)
    return jnp.stack([symmetrised(plan, density) * sharp for density in densities])


def _gaussian(u_A2: Array, fractional: Floats) -> tuple[Array, Array]:
    """Height (1/Å³) of gaussians of such displacements, and the matrix of their exponent −½·dᵀMd for d in fractions."""
    orthogonal = np.linalg.inv(fractional)
    inverse = jnp.linalg.inv(u_A2)
    height = (2.0 * jnp.pi) ** -1.5 / jnp.sqrt(jnp.linalg.det(u_A2))
    return height, jnp.einsum("ji,ajk,kl->ail", orthogonal, inverse, orthogonal)


def densities_on_grid(grid: AtomGrid, positions: Array, weights: Array, matrix: Array, kinds: Sequence[int]) -> Array:
    """Σ weight·exp(−½·dᵀMd) over the atoms of each kind at the points of a grid, periodic, (kinds, a, b, c).

    A gaussian of a skew cell is a product of three functions of two coordinates each; each atom is added as one block,
    to a grid with a rim that is folded back in the end.
    """
    shape = np.array(grid.shape)
    count = len(kinds)
    chunks = max(1, math.ceil(count / _CHUNK))
    size = math.ceil(count / chunks)
    missing = chunks * size - count

    def in_chunks(x):
        padded = jnp.concatenate([x, jnp.broadcast_to(x[-1:], (missing, *x.shape[1:]))]) if missing else x
        return padded.reshape(chunks, size, *x.shape[1:])

    weights = jnp.concatenate([weights, jnp.zeros(missing, weights.dtype)]) if missing else weights
    places = positions - jnp.floor(lax.stop_gradient(positions))
    offsets = [jnp.arange(-r, r + 1) for r in grid.reach]
    rim = tuple(int(n + 2 * r + 1) for n, r in zip(grid.shape, grid.reach, strict=True))
    dimensions = lax.ScatterDimensionNumbers((1, 2, 3), (0,), (0, 1, 2, 3))

    @jax.checkpoint
    def added(total, chunk):
        place, weight, m, kind = chunk
        nearest = jnp.round(lax.stop_gradient(place) * shape[None]).astype(jnp.int32)
        x, y, z = ((nearest[:, i, None] + offsets[i][None]) / shape[i] - place[:, i, None] for i in range(3))
        m = m[:, :, :, None, None]
        xy = jnp.exp(-0.5 * m[:, 0, 0] * x[:, :, None] ** 2 - m[:, 0, 1] * x[:, :, None] * y[:, None, :])
        yz = jnp.exp(-0.5 * m[:, 1, 1] * y[:, :, None] ** 2 - m[:, 1, 2] * y[:, :, None] * z[:, None, :])
        xz = jnp.exp(-0.5 * m[:, 2, 2] * z[:, None, :] ** 2 - m[:, 0, 2] * x[:, :, None] * z[:, None, :])
        xy = xy * weight[:, None, None]
        block = xy[:, :, :, None] * yz[:, None, :, :] * xz[:, :, None, :]
        return lax.scatter_add(
            total, jnp.concatenate([kind, nearest], 1), block, dimensions, mode=lax.GatherScatterMode.CLIP
        ), None

    start = jnp.zeros((max(kinds) + 1, *rim), places.dtype)
    numbers = jnp.asarray(kinds, jnp.int32)[:, None]
    chunked = in_chunks(places), weights.reshape(chunks, size), in_chunks(matrix), in_chunks(numbers)
    total, _ = lax.scan(added, start, chunked)
    for axis, (n, r) in enumerate(zip(grid.shape, grid.reach, strict=True)):
        total = _folded(total, axis + 1, n, r)
    return total


def _folded(grid: Array, axis: int, n: int, reach: int) -> Array:
    """A grid of n points from one with a rim, whose first point is point −reach."""
    front = (-reach) % n
    pad = [(0, 0)] * grid.ndim
    pad[axis] = (front, -(grid.shape[axis] + front) % n)
    shape = [*grid.shape[:axis], -1, n, *grid.shape[axis + 1 :]]
    return jnp.sum(jnp.pad(grid, pad).reshape(shape), axis)


def symmetrised(plan: ReflectionPlan, density: Array, whole: bool = False) -> Array:
    """Σ over operations of the transform of a density at `plan.hkl`, complex (reflections,).

    **Arguments:** `whole`: the density is that of the whole cell, and the identity is all there is to sum.
    """
    volume = 1.0 / abs(np.linalg.det(plan.fractional))
    found = jnp.fft.rfftn(density) * (volume / density.size)
    operations = list(zip(plan.rotations, plan.translations, strict=True))
    total: Array | float = 0.0
    for rotation, translation in [(np.eye(3), np.zeros(3))] if whole else operations:
        mates = (plan.hkl @ np.array(rotation)).astype(np.int64)
        h, k, l = (np.where(mates[:, 2:] < 0, -mates, mates) % np.array(density.shape)).T
        values = found[h, k, l]  # jax and numpy have the sign of the phase the other way: exp(−2πi·h·x)
        values = jnp.where(mates[:, 2] < 0, values, jnp.conj(values))
        total = total + values * np.exp(2j * np.pi * (plan.hkl @ np.array(translation)))
    return jnp.asarray(total)
