"""Mixed precision: single-precision arithmetic on a geometry in double (docs/precision.md)."""

import os
import subprocess
import sys
from pathlib import Path

import compiler_options
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import BY_NAME, GOLDEN, absent
from small import experiment

import nanobrag_jax as nb
from benchmarks import mixed_accuracy
from nanobrag_jax.errors import InputError
from nanobrag_jax.numerics.pairs import index_and_rest, quanta, split, split_vector
from nanobrag_jax.numerics.vectors import Vec3, dot
from nanobrag_jax.render.kernel import miller_indices
from nanobrag_jax.spot_shapes import nearest_index

FEW = "basic ncells_abc shape_round_xtal gauss_small_fudge hkl_interpolate kitchen_sink".split()
SWEEP = {"osc_deg": 1.0, "phi_steps": 3}
RNG = np.random.default_rng(4)


def test_parts_add_up_and_coarse_products_are_exact():
    real = jnp.asarray(RNG.uniform(-300, 300, (5, 3, 3)))
    q = Vec3(*jnp.asarray(RNG.uniform(-1, 1, (3, 1000))))
    by = quanta(jnp.asarray([0.9, 1.1]), real)
    q_parts, real_parts = split_vector(q, by.q), split(real, by.real)
    for pair, number in ((q_parts.coarse.x, q.x), (real_parts.coarse, real)):
        assert pair.dtype == jnp.float32
        assert np.all(np.abs(np.asarray(pair, float) - number) <= max(float(by.q), float(by.real)))
    np.testing.assert_allclose(np.asarray(q_parts.coarse.x, float) + q_parts.fine.x, q.x, atol=2e-11)
    one = dot(real_parts.coarse[0, 0], q_parts.coarse)
    exact = np.asarray(real_parts.coarse[0, 0], float) @ np.stack(q_parts.coarse).astype(float)
    np.testing.assert_array_equal(np.asarray(one, float), exact)


def test_indices_are_as_close_to_lattice_points_as_in_double_precision():
    real = jnp.asarray(np.diag([250.0, 180.0, 310.0]) + RNG.uniform(-5, 5, (3, 3)))
    q = Vec3(*jnp.asarray(RNG.uniform(-1, 1, (3, 4000))))
    by = quanta(jnp.ones(1), real)
    index, rest = index_and_rest(split_vector(q, by.q), split(real, by.real))
    for found, left, h in zip(index, rest, miller_indices(q, real), strict=True):
        assert found.dtype == left.dtype == jnp.float32
        inside = np.abs(h - nearest_index(h)) < 0.499
        np.testing.assert_array_equal(np.asarray(found, float)[inside], nearest_index(h)[inside])
        np.testing.assert_allclose(np.asarray(left, float)[inside], (h - nearest_index(h))[inside], atol=1e-7)
        single = np.asarray(h, np.float32) - np.asarray(nearest_index(h), np.float32)
        assert np.max(np.abs(single - (h - nearest_index(h)))) > 1e-6, "nothing gained over single precision"


@pytest.mark.parametrize("name", [FEW[0], *(pytest.param(name, marks=pytest.mark.slow) for name in FEW[1:])])
def test_golden_cases_in_mixed_precision(name):
    if not BY_NAME:
        absent(GOLDEN / "cases.json")
    case = BY_NAME[name]
    for mode in case["modes"]:
        of_peak, bright = mixed_accuracy.golden_case(case, mode)
        assert bright < mixed_accuracy.LIMIT, mode
        assert 0 < of_peak < mixed_accuracy.LIMIT, mode


@pytest.mark.slow
def test_the_full_frame_in_mixed_precision():
    if not BY_NAME:
        absent(GOLDEN / "cases.json")
    of_peak, bright = mixed_accuracy.deviations(mixed_accuracy.headline())
    assert of_peak < 1e-6 and bright < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["spec", "c-parity"])
def test_gradients_in_mixed_precision(mode):
    """The same as in double precision, to what single precision resolves."""
    whole = experiment(goniometer=SWEEP)
    numbers, rest = eqx.partition(whole, eqx.is_inexact_array)

    def gradient(precision):
        def loss(leaves):
            return jnp.sum(nb.simulate(eqx.combine(leaves, rest), mode, precision=precision).astype(float))

        return jax.jit(jax.grad(loss))(numbers)

    exact, mixed = gradient("float64"), gradient("mixed")
    for name in ("misset_deg", "cell_lengths_A", "n_cells"):
        a, b = getattr(exact.crystal, name), getattr(mixed.crystal, name)
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4 * float(jnp.max(jnp.abs(a))))
    for name in ("distance_mm", "rotations_deg"):
        a, b = getattr(exact.detector, name), getattr(mixed.detector, name)
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4 * float(jnp.max(jnp.abs(a))))
    np.testing.assert_allclose(mixed.beam.wavelength_A, exact.beam.wavelength_A, rtol=1e-4)
    touched, expected = mixed.structure_factors.amplitudes, exact.structure_factors.amplitudes
    np.testing.assert_allclose(touched, expected, rtol=1e-4, atol=1e-5 * float(jnp.max(expected)))


def test_lists_of_pixels_and_single_precision():
    whole = experiment(goniometer=SWEEP)
    slow, fast = np.arange(10), np.arange(10)
    exact = np.asarray(nb.simulate(whole))
    for precision, relative in (("mixed", 1e-5), ("float32", 1e-3), ("float64", 1e-15)):
        image = nb.simulate(whole, precision=precision)
        assert image.dtype == (jnp.float64 if precision == "float64" else jnp.float32)
        np.testing.assert_allclose(image, exact, rtol=relative, atol=relative * exact.max())
        listed = nb.simulate_pixels(whole, slow, fast, precision=precision)
        np.testing.assert_allclose(listed, image[slow, fast], rtol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_unknown_precisions_are_refused():
    with pytest.raises(InputError, match="precision must be one of float64, mixed, float32, got 'half'"):
        nb.simulate(experiment(), precision="half")  # pyright: ignore[reportArgumentType]


WITHOUT_X64 = """
import jax, jax.numpy as jnp, numpy as np, equinox as eqx
from small import experiment
import nanobrag_jax as nb
assert jnp.zeros(1).dtype == jnp.float32
whole = experiment(goniometer={"osc_deg": 1.0, "phi_steps": 3})
mixed = nb.simulate(whole, precision="mixed")
assert mixed.dtype == jnp.float32
gradient = jax.grad(lambda m: nb.simulate(eqx.tree_at(lambda e: e.crystal.misset_deg, whole, m),
                                          precision="mixed").sum())(whole.crystal.misset_deg)
try:
    nb.simulate(whole, precision="float64")
except nb.InputError as error:
    assert "JAX_ENABLE_X64" in str(error)
else:
    raise SystemExit("float64 without x64")
with jax.enable_x64(True):
    same = jax.tree.map(lambda x: x.astype(float) if x.dtype == jnp.float32 else x, whole)
    exact = np.asarray(nb.simulate(same))
    slope = jax.grad(lambda m: nb.simulate(eqx.tree_at(lambda e: e.crystal.misset_deg, same, m)).sum())(
        same.crystal.misset_deg)
assert exact.dtype == np.float64
print(np.max(np.abs(mixed - exact)) / exact.max(), np.max(np.abs(gradient - slope)) / np.max(np.abs(slope)))
"""


@pytest.mark.slow
def test_mixed_precision_where_x64_is_off():
    """The experiment's own numbers are then single; the image is as exact as if they had been given in double."""
    here = Path(__file__).parent
    environment = os.environ | {"JAX_ENABLE_X64": "0", "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"}
    environment |= {"XLA_FLAGS": compiler_options.flags()}
    done = subprocess.run([sys.executable, "-c", WITHOUT_X64], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    image, gradient = map(float, done.stdout.split())
    assert image < 1e-6 and gradient < 1e-4
