"""Structure factors on their grid: the nearest one, and tricubic interpolation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from small import factors_grid

import nanobrag_jax as nb
from nanobrag_jax.numerics.vectors import Vec3
from nanobrag_jax.structure_factors import can_interpolate, lookup_grid, nearest, tricubic

MIN = (-2, -3, 1)
SHAPE = (7, 8, 9)
AMPLITUDES = np.random.default_rng(3).uniform(1, 100, SHAPE)


def grid(**changes):
    return lookup_grid(nb.StructureFactors(**({"amplitudes": AMPLITUDES, "hkl_min": MIN, "default_F": 7.0} | changes)))


def at(*hkl):
    return Vec3(*(jnp.asarray(x, float) for x in hkl))


def all_indices():
    return np.stack(np.meshgrid(*(np.arange(n) + low for n, low in zip(SHAPE, MIN, strict=True)), indexing="ij"))


def test_every_index_of_the_grid():
    np.testing.assert_array_equal(nearest(grid(), at(*all_indices())), AMPLITUDES)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("beyond", [1, 2, 1000, 10**7])
def test_outside_the_grid_is_default_F(axis, beyond):
    inside = [0.0, 0.0, 4.0]
    for edge, sign in ((MIN[axis], -1), (MIN[axis] + SHAPE[axis] - 1, 1)):
        index = list(inside)
        index[axis] = edge + sign * beyond
        assert nearest(grid(), at(*index)) == 7.0
        index[axis] = edge
        assert nearest(grid(), at(*index)) != 7.0


def test_holes_are_default_F():
    given = np.ones(SHAPE, bool)
    given[2, 3, 4] = given[0, 0, 0] = False
    values = nearest(grid(given=given), at(*all_indices()))
    np.testing.assert_array_equal(values, np.where(given, AMPLITUDES, 7.0))


def test_a_crystal_of_default_F():
    values = nearest(lookup_grid(nb.StructureFactors(default_F=12.0)), at([0, 5, -90], [0, 0, 1], [0, 3, 3]))
    np.testing.assert_array_equal(jnp.broadcast_to(values, (3,)), [12.0] * 3)


def cubic(h, k, l):
    return (2 + h - 0.3 * h**2 + 0.1 * h**3) * (1 - k + 0.2 * k**3) * (3 + 0.5 * l**2 - 0.05 * l**3)


def inside_points(count=50, seed=4):
    """Fractional indices whose 4 × 4 × 4 neighbourhood the reference accepts."""
    numbers = np.random.default_rng(seed)
    return [numbers.uniform(low + 2, low + n - 3, count) for low, n in zip(MIN, SHAPE, strict=True)]


def test_tricubic_is_exact_for_cubic_polynomials():
    values = grid(amplitudes=cubic(*all_indices().astype(float)))
    points = inside_points()
    assert np.all(can_interpolate(values, at(*points)))
    np.testing.assert_allclose(tricubic(values, at(*points)), cubic(*points), rtol=1e-11)


def test_tricubic_goes_through_the_points():
    h, k, l = (x.ravel() for x in all_indices()[:, 2:-2, 2:-2, 2:-2])
    np.testing.assert_allclose(tricubic(grid(), at(h, k, l)), nearest(grid(), at(h, k, l)), rtol=1e-13)


def test_tricubic_interpolates_amplitudes_not_intensities():
    flat = grid(amplitudes=np.full(SHAPE, 5.0))
    np.testing.assert_allclose(tricubic(flat, at(*inside_points())), 5.0, rtol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("points", [inside_points(), [0.25, 0.5, 4.75]], ids=["many", "one"])
def test_tricubic_derivatives_in_place_and_amplitudes(points):
    def interpolated(amplitudes, hkl):
        return tricubic(lookup_grid(nb.StructureFactors(amplitudes, hkl_min=MIN)), hkl)

    start = jnp.asarray(AMPLITUDES), at(*points)
    check_grads(interpolated, start, order=1, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6, eps=1e-4)
    place_only = jax.grad(lambda hkl: jnp.sum(interpolated(start[0], hkl)))(start[1])
    both = jax.grad(lambda *x: jnp.sum(interpolated(*x)), (0, 1))(*start)
    np.testing.assert_array_equal(place_only, both[1])
    assert np.sum(both[0]) == pytest.approx(np.size(points[0]))  # the weights of a point add up to one


@pytest.mark.parametrize("axis", range(3))
def test_where_interpolation_is_possible(axis):
    """h − h_min + 3 ≤ h_max − h_min + 1 and h − 2 ≥ h_min, and the same for k and l."""
    low, high = MIN[axis], MIN[axis] + SHAPE[axis] - 1
    point = [0.5, 0.5, 5.5]
    for x in (low + 2.0, low + 2.5, high - 2.0):
        point[axis] = x
        assert can_interpolate(grid(), at(*point)), x
    for x in (low - 1.0, low + 1.999, high - 1.999, high + 5.0):
        point[axis] = x
        assert not can_interpolate(grid(), at(*point)), x


def test_interpolation_is_finite_where_it_is_not_possible():
    anywhere = at([-50.0, 3.2, 1e6], [0.5, -9.0, -1e6], [5.5, 99.0, 0.0])
    assert np.all(np.isfinite(tricubic(grid(), anywhere)))
    assert np.all(np.isfinite(tricubic(lookup_grid(nb.StructureFactors(default_F=1.0)), anywhere)))


def test_a_grid_keeps_its_lowest_index_beside_the_rim():
    rimmed = lookup_grid(factors_grid(half=2))
    assert (rimmed.shape, rimmed.hkl_min) == ((7, 7, 7), (-3, -3, -3))
