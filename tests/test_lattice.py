"""Spot shapes: the factors of square, round, gaussian and top-hat crystals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanobrag_jax.numerics.polynomials import sin_pi
from nanobrag_jax.numerics.vectors import Vec3, as_vec3
from nanobrag_jax.reference.slips import slips_of
from nanobrag_jax.spot_shapes import (
    Lattice,
    grating_factors,
    nearest_index,
    radius_scale,
    spot_shape,
    square_intensity,
)

N_CELLS = (5.0, 6.0, 9.0)
RECIPROCAL = np.array([[0.03, 0.002, -0.004], [0.0, 0.027, 0.003], [0.005, -0.001, 0.022]])


VOLUME = 1 / np.linalg.det(RECIPROCAL)


def lattice(shape="square", n_cells=N_CELLS, fudge=1.0, mode="spec"):
    n, star = Vec3(*(jnp.asarray(x, float) for x in n_cells)), jnp.asarray(RECIPROCAL)
    return Lattice(n, n, jnp.asarray(fudge), star, radius_scale(n, star, slips_of(mode)))


def lattice_factor(left, shape="square", n_cells=N_CELLS, fudge=1.0, mode="spec"):
    """F_latt of a shape by its name."""
    factors = spot_shape(shape).factors(lattice(shape, n_cells, fudge, mode), left, left, slips_of(mode))
    return factors.x * factors.y * factors.z


def at(*hkl):
    return Vec3(*(jnp.asarray(x, float) for x in hkl))


def parts(*hkl):
    """Nearest indices, and what is left."""
    index = Vec3(*(nearest_index(x) for x in at(*hkl)))
    return index, Vec3(*(x - whole for x, whole in zip(at(*hkl), index, strict=True)))


def rest(*hkl):
    return parts(*hkl)[1]


def some_points(count=200, spread=30.0):
    return np.random.default_rng(5).uniform(-spread, spread, (3, count))


def test_sine_polynomial():
    x = np.linspace(-0.5, 0.5, 1001)
    np.testing.assert_allclose(sin_pi(jnp.asarray(x)), np.sin(np.pi * x), rtol=2e-13, atol=1e-16)


@pytest.mark.parametrize(
    "x, expected", [(0.5, 0.0), (-0.5, -1.0), (0.5000001, 1.0), (2.3, 2.0), (-2.7, -3.0), (1.5, 1.0)]
)
def test_halves_belong_to_the_lower_index(x, expected):
    assert nearest_index(jnp.asarray(x)) == expected


def sine_ratio(n, h):
    return np.sin(np.pi * n * h) / np.sin(np.pi * h)


def test_gratings_are_ratios_of_sines():
    points = some_points()
    for found, n, h in zip(
        grating_factors(*parts(*points), as_vec3(jnp.asarray(N_CELLS))), N_CELLS, points, strict=True
    ):
        np.testing.assert_allclose(found, sine_ratio(n, h), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("n", [1.0, 2.0, 7.0, 100.0])
@pytest.mark.parametrize("h", [0.0, 3.0, -4.0])
def test_gratings_at_a_lattice_point(n, h):
    """Always N in size; for an even N the ratio of sines changes sign from one lattice point to the next."""
    (found, *_) = grating_factors(*parts(h, 0, 0), at(n, 1, 1))
    sign = -1.0 if n % 2 == 0 and h % 2 == 1 else 1.0
    assert found == pytest.approx(sign * n, rel=1e-13)


def test_one_cell_scatters_the_same_everywhere():
    np.testing.assert_allclose(np.stack(grating_factors(*parts(*some_points()), at(1, 1, 1))), 1.0, rtol=1e-12)


@pytest.mark.parametrize("delta", [0.0, 1e-300, 1e-16, 1e-9, 1e-5, 0.5])
def test_square_intensity_near_a_lattice_point(delta):
    near_one, cells = rest(2 + delta, -1, 4), at(*N_CELLS)
    found = float(square_intensity(near_one, cells, cells, jnp.asarray(3.0), jnp.asarray(2.0)))
    near = N_CELLS[0] if delta < 1e-12 else sine_ratio(N_CELLS[0], delta)
    assert found == pytest.approx(2 * (3 * near * 6 * 9) ** 2, rel=1e-9)


def test_square_intensity_is_the_square_of_the_factors():
    (index, left), cells = parts(*some_points()), at(*N_CELLS)
    product = np.prod(np.stack(grating_factors(index, left, cells)), axis=0)
    found = square_intensity(left, cells, cells, jnp.full(200, 3.0), jnp.full(200, 0.5))
    np.testing.assert_allclose(found, 0.5 * (3 * product) ** 2, rtol=1e-12)


def test_zeros_between_the_lattice_points():
    """F_latt vanishes at h = m/N: N − 1 zeros, and N − 2 side maxima, between two lattice points."""
    (found, *_) = grating_factors(*parts(np.arange(1, 5) / 5, np.zeros(4), np.zeros(4)), at(*N_CELLS))
    np.testing.assert_allclose(found, 0.0, atol=1e-14)


def test_the_number_of_cells_is_continuous():
    """Between whole numbers N the factor is sin(πNδ)/sin(πδ) with δ the distance to the lattice point."""
    cells = at(5.3, 1, 1)
    found = float(square_intensity(rest(2.07, 0, 0), cells, cells, jnp.asarray(1.0), jnp.asarray(1.0)))
    assert found == pytest.approx(sine_ratio(5.3, 0.07) ** 2, rel=1e-11)


def sinc3(x):
    return 3 * (np.sin(x) / x - np.cos(x)) / x**2


@pytest.mark.parametrize("fudge", [1.0, 0.3])
def test_round_crystal(fudge):
    points = some_points()
    delta = points - np.ceil(points - 0.5)
    radius = np.pi * np.sqrt(fudge * np.sum((delta * np.array(N_CELLS)[:, None]) ** 2, axis=0))
    expected = 270 * 0.723601254558268 * sinc3(radius)
    np.testing.assert_allclose(lattice_factor(rest(*points), "round", fudge=fudge), expected, atol=1e-11)


@pytest.mark.parametrize("shape, peak", [("round", 270 * 0.723601254558268), ("gauss_star", 270.0), ("tophat", 270.0)])
def test_peak_at_a_lattice_point(shape, peak):
    assert float(lattice_factor(rest(3, -2, 7), shape)) == pytest.approx(peak, rel=1e-14)


def slipped(t):
    """F_latt at a distance of t fringes from a lattice point in c-parity, over its limit there."""
    found = lattice_factor(rest(t, 0 * t, 0 * t), "round", (1, 1, 1), mode="c-parity")
    return np.asarray(found) / 0.723601254558268


@pytest.mark.slow
def test_the_references_round_spots_lose_their_middle():
    """One at the lattice point itself, nothing around it, then noise up to three, and the smooth function."""
    assert slipped(np.array([0.0])) == pytest.approx(1.0, rel=1e-14)
    np.testing.assert_array_equal(slipped(np.array([1e-150, 1e-16, 1e-12, -3e-9])), 0.0)
    x = np.pi * np.geomspace(3e-9, 1e-4, 2000)
    noisy, as_it_stands = slipped(x / np.pi), sinc3(x)
    assert np.ptp(as_it_stands[x < 1e-7]) > 2
    # sine, cosine or x may be rounded the other way: a unit in the last place, which the division by x² blows up
    np.testing.assert_array_less(np.abs(noisy - as_it_stands), 1e-9 + 8e-16 / x**2)
    assert np.mean(np.abs(noisy - as_it_stands) < 1e-6) > 0.4
    t = np.geomspace(1e-5, 0.4, 1000)
    np.testing.assert_allclose(slipped(t[t > 1e-3]), sinc3(np.pi * t[t > 1e-3]), rtol=1e-9)
    np.testing.assert_allclose(slipped(t), 1.0 - np.pi**2 * t**2 / 10, rtol=2e-6, atol=np.pi**4 * 0.4**4 / 280)


def test_spec_has_the_limit_around_a_lattice_point():
    points = np.array([0.0, 1e-150, 1e-16, 1e-12, -3e-9, 1e-8, 1e-7])
    found = lattice_factor(rest(points, 0 * points, 0 * points), "round")
    np.testing.assert_allclose(found, 270 * 0.723601254558268, rtol=1e-11)


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
@pytest.mark.parametrize("shape", ["round", "gauss_star", "tophat"])
@pytest.mark.parametrize(
    "delta", [0.0, 1e-3, *(pytest.param(d, marks=pytest.mark.slow) for d in (1e-200, 1e-13, 1e-9, 1e-6))]
)
def test_slopes_are_finite_at_a_lattice_point_and_around_it(shape, mode, delta):
    """Both ways, in everything that the factor depends on: those of the smooth function, which vanish at the point."""

    def factor(hkl, n_cells, fudge):
        n, star, slips = as_vec3(n_cells), jnp.asarray(RECIPROCAL), slips_of(mode)
        lattice = Lattice(n, n, fudge, star, radius_scale(n, star, slips))
        return spot_shape(shape).factors(lattice, as_vec3(hkl), as_vec3(hkl), slips).x

    point = jnp.array([delta, -0.4 * delta, 0.0]), jnp.asarray(N_CELLS), jnp.asarray(0.7)
    forward = jax.jacfwd(factor, argnums=(0, 1, 2))(*point)
    reverse = jax.jacrev(factor, argnums=(0, 1, 2))(*point)
    for a, b in zip(forward, reverse, strict=True):
        assert np.all(np.isfinite(a))
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    assert np.all(np.abs(forward[0]) <= 1e5 * delta)
    if delta == 1e-3 and shape != "tophat":
        assert np.all(np.asarray(forward[0])[:2] != 0) and np.all(np.asarray(forward[1]) != 0)


def test_round_crystal_is_smooth_where_its_series_ends():
    radius = np.linspace(0.08, 0.12, 41)  # of π: the series is used up to 0.1
    found = lattice_factor(rest(radius, 0 * radius, 0 * radius), "round", (1, 1, 1))
    np.testing.assert_allclose(found, 0.723601254558268 * sinc3(np.pi * radius), rtol=1e-11)


RADIUS = {"spec": (270.0 * VOLUME) ** (1 / 3), "c-parity": 270.0}


def offsets_sqr(points, mode):
    delta = points - np.ceil(points - 0.5)
    return np.sum((RECIPROCAL.T @ delta) ** 2, axis=0) * RADIUS[mode] ** 2


@pytest.mark.parametrize("mode", RADIUS)
@pytest.mark.parametrize("fudge", [1.0, 0.01])
def test_gaussian_crystal(fudge, mode):
    points = some_points()
    expected = 270 * np.exp(-offsets_sqr(points, mode) * fudge / 0.63)
    found = lattice_factor(rest(*points), "gauss_star", fudge=fudge, mode=mode)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("mode", RADIUS)
def test_top_hat_crystal(mode):
    points = some_points(spread=0.5)
    found = np.asarray(lattice_factor(rest(*points), "tophat", fudge=0.05, mode=mode))
    np.testing.assert_array_equal(found, np.where(offsets_sqr(points, mode) * 0.05 < 0.3969, 270.0, 0.0))
    assert 0 < np.sum(found > 0) < found.size


@pytest.mark.parametrize("shape", ["square", "round", "gauss_star", "tophat"])
def test_spots_repeat_from_index_to_index(shape):
    points = some_points(spread=0.49)
    moved = points + np.array([[3.0], [-8.0], [2.0]])

    def peak(left):
        if shape == "square":
            cells = at(*N_CELLS)
            return square_intensity(left, cells, cells, jnp.ones(200), jnp.ones(200))
        return lattice_factor(left, shape)

    np.testing.assert_allclose(peak(rest(*moved)), peak(rest(*points)), rtol=1e-9, atol=1e-9)
