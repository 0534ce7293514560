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


INDICES = [(0, 0, 1), (1, -2, 3), (-2, 1, 0)]
VALUES = [5.0, 6.0, 7.0]


def amplitude(factors, *hkl):
    return float(nearest(lookup_grid(factors), at(*hkl)))


def test_a_list_of_reflections():
    """Each where it belongs, `default_F` elsewhere."""
    factors = nb.StructureFactors.from_hkl(INDICES, VALUES, default_F=2.0)
    assert factors.hkl_min == (-2, -2, 0) and factors.amplitudes.shape == (4, 4, 4)
    for hkl, value in zip(INDICES, VALUES, strict=True):
        assert amplitude(factors, *hkl) == value
    assert amplitude(factors, 0, 0, 0) == amplitude(factors, 9, 0, 0) == amplitude(factors, 0, 0, -1) == 2.0


def test_a_list_of_reflections_with_symmetry():
    """Mates of P 21 21 21, Friedel's among them, and its absences where the cell says how far the list goes."""
    pytest.importorskip("gemmi")
    listed = [(1, 2, 3), (0, 0, 4)], [6.0, 8.0]
    for group in ("P 21 21 21", 19):
        factors = nb.StructureFactors.from_hkl(*listed, space_group=group, cell=(30, 40, 50, 90, 90, 90), default_F=2)
        assert {amplitude(factors, h, k, l) for h in (-1, 1) for k in (-2, 2) for l in (-3, 3)} == {6.0}
        assert amplitude(factors, 0, 0, -4) == 8.0
        assert amplitude(factors, 0, 0, 1) == 0.0 and amplitude(factors, 0, 1, 1) == 2.0
    with pytest.raises(nb.InputError, match="space_group 'P 99' is unknown"):
        nb.StructureFactors.from_hkl(*listed, space_group="P 99")
    with pytest.raises(nb.InputError, match="space_group 231 is unknown"):
        nb.StructureFactors.from_hkl(*listed, space_group=231)
    with pytest.raises(nb.InputError, match="cell must be six numbers"):
        nb.StructureFactors.from_hkl(*listed, space_group=19, cell=(30, 40, 50))


@pytest.mark.parametrize(
    "indices, values, message",
    [
        (INDICES[:2], VALUES, r"indices must be an array of shape \(3, 3\), as many as values, got shape \(2, 3\)"),
        ([*INDICES[:2], INDICES[0]], VALUES, "unmerged: 1 reflections, the first of them 0 0 1"),
        ([*INDICES[:2], (0, 0.5, 0)], VALUES, "indices must be whole numbers h k l, got 0 0.5 0"),
        ([*INDICES[:2], (0, np.nan, 0)], VALUES, "indices must be whole numbers h k l"),
        ([*INDICES[:2], (10**9, 0, 0)], VALUES, "a grid of more than"),
        ([], [], "is empty"),
        (INDICES, [5.0, np.inf, 6.0], "values must be finite"),
    ],
)
def test_what_is_no_list_of_reflections(indices, values, message):
    indices = np.reshape(indices, (-1, 3))
    with pytest.raises(nb.InputError, match=message):
        nb.StructureFactors.from_hkl(indices, values)


def test_listed_amplitudes_are_differentiable():
    def total(values):
        return jnp.sum(lookup_grid(nb.StructureFactors.from_hkl(INDICES, values)).values ** 2)

    np.testing.assert_allclose(jax.grad(total)(jnp.array(VALUES)), 2 * np.array(VALUES))
    np.testing.assert_allclose(jax.jacfwd(total)(jnp.array(VALUES)), 2 * np.array(VALUES))
