"""Spots of every shape hold the same: ∫F_latt² over reciprocal space, as the kernel has it, over the square spot's.

In spec mode a gaussian spot holds (0.63·π/2)^(3/2) = 0.984 of it and a top-hat one 4π/3·0.63³ = 1.047, whatever the
cell and the number of cells (docs/reference.md section 10, spot_radius). A spot that is wider than the distance to its
neighbours is cut off where they begin, so the whole of it is measured by itself, and what the kernel gives for one
reciprocal cell where it fits in.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nanobrag_jax as nb
from nanobrag_jax.crystal import real_basis
from nanobrag_jax.numerics.vectors import Vec3, as_vec3, dual_basis
from nanobrag_jax.reference.slips import NO_SLIPS, slips_of
from nanobrag_jax.render.kernel import sample
from nanobrag_jax.spot_shapes import Lattice, radius_scale
from nanobrag_jax.structure_factors import lookup_grid

ALLOWED = {"gauss_star": 0.02, "tophat": 0.06}
"""Of the integral of a square spot."""
EXACT = {"gauss_star": (0.63 * np.pi / 2) ** 1.5, "tophat": 4 * np.pi / 3 * 0.63**3}

CELLS = {
    "20 Å": ((20, 20, 20), (90, 90, 90)),
    "60 Å": ((60, 60, 60), (90, 90, 90)),
    "300 Å": ((300, 300, 300), (90, 90, 90)),
    "20 to 300 Å": ((20, 80, 300), (90, 90, 90)),
    "flat": ((300, 290, 20), (90, 90, 120)),
    "oblique": ((62, 71, 83), (84, 97, 106)),
}
FAST = ("60 Å", "oblique")
"""The others run with -m "slow or not slow"."""
COUNTS = ((4, 4, 4), (16, 16, 16), (64, 64, 64), (4, 16, 64), (64, 5, 11), (7, 30, 4))
REACH = {"gauss_star": 1.9, "tophat": 0.7}
"""Largest r: a gaussian amplitude is 3e-3 there, its square 1e-5."""
GRID = 100
"""Points along each axis: a gaussian is then integrated to rounding, a sphere with an edge to a few thousandths."""


def lattice_of(shape, cell, n_cells, mode):
    crystal = nb.Crystal(*cell, misset_deg=(10, 20, 30), n_cells=n_cells, shape=shape)
    real = real_basis(crystal)
    star, n = dual_basis(real), as_vec3(crystal.n_cells)
    return real, Lattice(n, n, jnp.asarray(1.0), star, radius_scale(n, star, slips_of(mode))), crystal.shape


def middles(reach):
    """Middles of GRID³ equal boxes of the cube from −reach to reach, and their volume."""
    line = (jnp.arange(GRID) + 0.5) / GRID * 2 * reach - reach
    return jnp.stack(jnp.meshgrid(line, line, line, indexing="ij")).reshape(3, -1), (2 * reach / GRID) ** 3


@jax.jit
def whole_spot(real, lattice, shape):
    """∫F_latt² d³q of one spot (1/Å³), neighbours left out."""
    q, volume = middles(REACH[shape.name] / lattice.radius_scale)
    rest = Vec3(*(row @ q for row in real))
    return jnp.sum(shape.intensity(lattice, rest, jnp.ones(()), 1.0, NO_SLIPS)) * volume


@jax.jit
def by_kernel(real, lattice, shape):
    """The same around a lattice point by the kernel, for which other points may be nearer."""
    star, grid = lattice.reciprocal, lookup_grid(nb.StructureFactors(default_F=1.0))
    if shape.name == "square":
        hkl, volume = middles(0.5)
        q, volume = star.T @ hkl, volume * jnp.abs(jnp.linalg.det(star))
    else:
        q, volume = middles(REACH[shape.name] / lattice.radius_scale)
    q = q + (star.T @ jnp.array([3.0, -2.0, 5.0]))[:, None]
    return jnp.sum(sample(as_vec3(q), real, shape, lattice, grid, False).intensity) * volume


def square_spot(real, n_cells):
    """The same of a square spot: Na·Nb·Nc times the volume of the reciprocal cell (`test_square_spots` measures it)."""
    return np.prod(n_cells) / abs(np.linalg.det(real))


@pytest.mark.parametrize("n_cells", COUNTS)
def test_square_spots(n_cells):
    """A grid as fine as N, or finer, integrates a grating exactly."""
    real, lattice, spot = lattice_of("square", CELLS["oblique"], n_cells, "spec")
    assert float(by_kernel(real, lattice, spot)) == pytest.approx(square_spot(real, n_cells), rel=1e-9)


@pytest.mark.parametrize("shape", ALLOWED)
@pytest.mark.parametrize("cell", [pytest.param(c, marks=[pytest.mark.slow] * (c not in FAST)) for c in CELLS])
def test_spots_hold_what_a_square_one_does(shape, cell):
    ratios = []
    for n_cells in COUNTS:
        real, lattice, spot = lattice_of(shape, CELLS[cell], n_cells, "spec")
        ratios.append(float(whole_spot(real, lattice, spot)) / square_spot(real, n_cells))
    assert max(abs(ratio - 1) for ratio in ratios) < ALLOWED[shape]
    np.testing.assert_allclose(ratios, EXACT[shape], rtol=4e-3)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ALLOWED)
def test_the_kernel_gives_the_whole_spot_where_neighbours_are_far(shape):
    """Where the cube of the integral ends before half the way to any neighbour."""
    measured = 0
    for cell, n_cells in itertools.product(CELLS.values(), COUNTS):
        real, lattice, spot = lattice_of(shape, cell, n_cells, "spec")
        corner = np.sqrt(3) * REACH[shape] * np.linalg.norm(np.asarray(real), axis=1) / float(lattice.radius_scale)
        if max(corner) < 0.5:
            measured += 1
            ratio = float(by_kernel(real, lattice, spot)) / square_spot(real, n_cells)
            assert ratio == pytest.approx(float(whole_spot(real, lattice, spot)) / square_spot(real, n_cells), rel=1e-9)
            assert abs(ratio - 1) < ALLOWED[shape], (cell, n_cells)
    assert measured >= 12


def test_the_references_spots_do_not():
    """They are too strong where crystals are small, and too weak where they are large."""
    ratios = []
    for n in (4, 16):
        real, lattice, spot = lattice_of("gauss_star", CELLS["60 Å"], (n, n, n), "c-parity")
        ratios.append(float(whole_spot(real, lattice, spot)) / square_spot(real, (n, n, n)))
    assert ratios[0] > 20 and ratios[1] < 0.014
