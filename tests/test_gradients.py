"""Every refinable number has a gradient: forward and reverse mode against differences, in both modes and all shapes."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import nanobrag_jax as nb
from nanobrag_jax.numerics.vectors import Vec3, as_vec3
from nanobrag_jax.reference.slips import NO_SLIPS
from nanobrag_jax.render.kernel import sample
from nanobrag_jax.spot_shapes import Lattice, radius_scale, spot_shape, square_intensity
from nanobrag_jax.structure_factors import lookup_grid

AGREEMENT = 1e-6
"""Relative, against fourth-order central differences in double precision."""
ROUNDING = 2e-16
"""Of the loss, which is one."""
NOISE = 1e-10
"""Of a difference: that rounding, a few times over, over a short step (7e-7 is the shortest)."""

LEAVES = {
    "cell_lengths_A": lambda e: e.crystal.cell_lengths_A,
    "cell_angles_deg": lambda e: e.crystal.cell_angles_deg,
    "misset_deg": lambda e: e.crystal.misset_deg,
    "n_cells": lambda e: e.crystal.n_cells,
    "fudge": lambda e: e.crystal.fudge,
    "scale": lambda e: e.crystal.scale,
    "mosaic_spread_deg": lambda e: e.crystal.mosaic_spread_deg,
    "phi_deg": lambda e: e.goniometer.phi_deg,
    "osc_deg": lambda e: e.goniometer.osc_deg,
    "spindle_axis": lambda e: e.goniometer.spindle_axis,
    "wavelength_A": lambda e: e.beam.wavelength_A,
    "dispersion_percent": lambda e: e.beam.dispersion_percent,
    "divergence_mrad": lambda e: e.beam.divergence_mrad,
    "direction": lambda e: e.beam.direction,
    "polarization_vector": lambda e: e.beam.polarization_vector,
    "fluence_per_m2": lambda e: e.beam.fluence_per_m2,
    "kahn_factor": lambda e: e.beam.kahn_factor,
    "source_weights": lambda e: e.beam.source_weights,
    "pixel_size_mm": lambda e: e.detector.pixel_size_mm,
    "distance_mm": lambda e: e.detector.distance_mm,
    "beam_center_mm": lambda e: e.detector.beam_center_mm,
    "rotations_deg": lambda e: e.detector.rotations_deg,
    "twotheta_deg": lambda e: e.detector.twotheta_deg,
    "thickness_um": lambda e: e.detector.thickness_um,
    "attenuation_depth_um": lambda e: e.detector.attenuation_depth_um,
    "amplitudes": lambda e: e.structure_factors.amplitudes,
    "default_F": lambda e: e.structure_factors.default_F,
    "water_um": lambda e: e.sampling.water_um,
}
NEVER = {"square": {"fudge"}, "round": set(), "gauss_star": set(), "tophat": None}
"""Leaves that a shape does not depend on; a top-hat's edges have no slope, so only what scales it is left."""
SCALES_TOPHAT = {
    *(
        "n_cells",
        "scale",
        "fluence_per_m2",
        "kahn_factor",
        "source_weights",
        "distance_mm",
        "beam_center_mm",
        "pixel_size_mm",
    ),
    *("rotations_deg", "twotheta_deg", "thickness_um", "attenuation_depth_um", "amplitudes", "default_F", "water_um"),
    *("direction", "polarization_vector"),
}


OTHERS = ("round", "gauss_star", "tophat")


def experiment(shape="square", interpolate=False, **changes):
    """A little of everything: eight by six pixels around the beam's side of a tilted, thick detector."""
    rng = np.random.default_rng(5)
    amplitudes = rng.uniform(20, 60, (9, 9, 9))
    given = rng.random(amplitudes.shape) > 0.1
    parts = {
        "crystal": nb.Crystal(
            (31.0, 36.0, 42.0),
            (84.0, 97.0, 106.0),
            misset_deg=(11.0, -27.0, 41.0),
            n_cells=(3.2, 4.0, 2.7),
            shape=shape,
            fudge={"tophat": 0.001, "gauss_star": 0.004}.get(shape, 0.8),
            scale=1.3,
            mosaic_spread_deg=0.7,
            mosaic_domains=3,
        ),
        "beam": nb.Beam(
            1.1,
            kahn_factor=0.6,
            divergence_mrad=(4.0, 3.0),
            divergence_fractions=((-0.5, 0.2), (0.5, -0.3)),
            dispersion_percent=2.0,
            dispersion_fractions=(-0.3, 0.6),
            source_weights=(0.5, 1.0, 1.4, 0.9),
        ),
        "detector": nb.Detector(
            24,
            20,
            pixel_size_mm=0.9,
            distance_mm=70.0,
            beam_center_mm=(8.3, 9.7),
            rotations_deg=(4.0, -3.0, 6.0),
            twotheta_deg=5.0,
            thickness_um=400.0,
            attenuation_depth_um=300.0,
            thickness_steps=2,
        ),
        "goniometer": nb.Goniometer(0.0, 1.5, phi_steps=3, spindle_axis=(0.2, 0.1, 1.0)),
        "structure_factors": nb.StructureFactors(amplitudes, hkl_min=(-4, -4, -4), given=given, default_F=9.0),
        "sampling": nb.Sampling(1, roi=(3, 10, 4, 9), water_um=0.01, interpolate=interpolate),
    }
    return nb.completed(nb.Experiment(**{**parts, **changes}))


@functools.cache
def compiled(shape, mode):
    """`losses` of the experiment above."""
    return losses(experiment(shape), mode)


def losses(start, mode, block_pixels=None):
    """Loss, gradient and directional derivative of a weighted image over all leaves, each compiled once."""
    weights = jnp.asarray(np.random.default_rng(1).uniform(0.5, 1.5, (20, 24)))
    scale = 1.0 / jnp.sum(weights * nb.simulate(start, mode=mode))
    numbers, rest = eqx.partition(start, eqx.is_inexact_array)

    def loss(leaves):
        image = nb.simulate(eqx.combine(leaves, rest), mode=mode, block_pixels=block_pixels)
        return scale * jnp.sum(weights * image)

    return numbers, jax.jit(loss), jax.jit(jax.grad(loss)), jax.jit(lambda x, t: jax.jvp(loss, (x,), (t,))[1])


def along(numbers, leaf, direction):
    """The tree of zeros with `direction` at one leaf."""
    return eqx.tree_at(leaf, jax.tree.map(jnp.zeros_like, numbers), direction)


def difference(loss, numbers, leaf, direction, largest=1e-3):
    """Fourth-order central difference along a direction, at the step where it changes least with the step.

    The shorter the step, the more it may change by rounding alone, which counts against it.
    """

    def at(t):
        return float(loss(eqx.tree_at(leaf, numbers, leaf(numbers) + t * direction)))

    steps = largest * 0.3 ** np.arange(7)
    estimates = [(8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step) for step in steps]
    changes = np.abs(np.diff(estimates)) + ROUNDING / steps[1:]
    return estimates[int(np.argmin(changes)) + 1]


def check_leaf(name, leaf, numbers, loss, gradient, jvp):
    value = leaf(numbers)
    size = np.maximum(np.abs(np.asarray(value)), 1e-3)
    direction = jnp.asarray(np.random.default_rng(len(name)).uniform(0.5, 1.0, value.shape) * size)
    reverse = float(jnp.sum(leaf(gradient) * direction))
    forward = float(jvp(numbers, along(numbers, leaf, direction)))
    expected = difference(loss, numbers, leaf, direction)
    assert abs(expected) > 10 * NOISE, f"the loss does not depend on {name}"
    assert reverse == pytest.approx(expected, rel=AGREEMENT, abs=NOISE), name
    assert forward == pytest.approx(expected, rel=AGREEMENT, abs=NOISE), name


@pytest.mark.parametrize(
    ("shape", "mode"),
    [
        ("square", "spec"),
        pytest.param("square", "c-parity", marks=pytest.mark.slow),
        *(pytest.param(s, m, marks=pytest.mark.slow) for s in OTHERS for m in ("spec", "c-parity")),
    ],
)
def test_every_leaf_against_differences(shape, mode):
    numbers, loss, grad, jvp = compiled(shape, mode)
    gradient = grad(numbers)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradient))
    names = SCALES_TOPHAT if shape == "tophat" else set(LEAVES) - NEVER[shape]
    if mode == "c-parity":
        names = names - {"source_weights", "phi_deg"}
    for name in sorted(names):
        check_leaf(name, LEAVES[name], numbers, loss, gradient, jvp)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["spec", "c-parity"])
def test_interpolated_structure_factors(mode):
    """Tricubic look-up, with the latch in c-parity; φ away from zero, where the start is a number like others."""
    start = experiment(
        interpolate=True,
        goniometer=nb.Goniometer(0.4, 1.5, phi_steps=3),
        structure_factors=nb.StructureFactors(
            np.random.default_rng(2).uniform(20, 60, (11, 11, 11)), hkl_min=(-5, -5, -5), default_F=30.0
        ),
    )
    numbers, loss, grad, jvp = losses(start, mode)
    gradient = grad(numbers)
    for name in ("amplitudes", "misset_deg", "phi_deg", "osc_deg", "wavelength_A", "n_cells", "distance_mm"):
        check_leaf(name, LEAVES[name], numbers, loss, gradient, jvp)


def test_only_touched_reflections_have_a_gradient():
    numbers, _, grad, _ = compiled("square", "spec")
    gradient = np.asarray(grad(numbers).structure_factors.amplitudes)
    assert 0 < np.count_nonzero(gradient) < gradient.size / 2
    assert np.all(gradient[~np.asarray(experiment().structure_factors.given)] == 0)


@pytest.mark.slow
def test_c_parity_gradient_passes_through_the_carry():
    """With every other pixel's φ = 0 step inherited, blocks of two pixels and one block agree."""
    numbers, _, grad, _ = compiled("square", "c-parity")
    *_, grad_small, _ = losses(experiment(), "c-parity", block_pixels=2)
    one, many = jax.tree.leaves(grad(numbers)), jax.tree.leaves(grad_small(numbers))
    for a, b in zip(one, many, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12 * float(jnp.max(jnp.abs(a)) + 1e-300))


CUSTOM = {
    "pixel_size_mm": 0.9,
    "convention": "custom",
    "fast_axis": (0.02, 0.01, 1.0),
    "slow_axis": (0.01, -1.0, 0.03),
    "distance_mm": 70.0,
}
LISTED = {"source_positions": ((-9.0, 0.4, 0.3), (-10.0, 0.1, -0.5)), "source_wavelengths_A": (1.1, 1.12)}
SET_UPS = {
    "placed by its corner, listed sources, dmin": (
        {
            "detector": nb.Detector(24, 20, pix0_mm=(70.0, 9.0, -11.0), **CUSTOM),
            "beam": nb.Beam(1.1, kahn_factor=0.4, **LISTED),
            "sampling": nb.Sampling(
                2, roi=(3, 10, 4, 9), dmin_A=6.0, oversample_omega=True, oversample_polar=True, oversample_thick=True
            ),
        },
        {
            "pix0_mm": lambda e: e.detector.pix0_mm,
            "fast_axis": lambda e: e.detector.fast_axis,
            "source_positions": lambda e: e.beam.source_positions,
            "source_wavelengths_A": lambda e: e.beam.source_wavelengths_A,
            "misset_deg": lambda e: e.crystal.misset_deg,
        },
    ),
    "close distance": (
        {"detector": nb.Detector(24, 20, close_distance_mm=68.0, beam_center_mm=(9.0, 8.0), pivot="sample", **CUSTOM)},
        {"close_distance_mm": lambda e: e.detector.close_distance_mm},
    ),
    "curved": (
        {"detector": nb.Detector(24, 20, pixel_size_mm=0.9, distance_mm=70.0, curved=True, point_pixel=True)},
        {"distance_mm": lambda e: e.detector.distance_mm},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SET_UPS)
def test_leaves_of_other_set_ups(name):
    changes, leaves = SET_UPS[name]
    numbers, loss, grad, jvp = losses(experiment(**changes), "spec")
    gradient = grad(numbers)
    for leaf_name, leaf in leaves.items():
        check_leaf(leaf_name, leaf, numbers, loss, gradient, jvp)


SINGULAR = {
    "zero spread": [(lambda e: e.crystal.mosaic_spread_deg, 0.0)],
    "one cell": [(lambda e: e.crystal.n_cells, (1.0, 1.0, 1.0))],
    "no polarisation": [(lambda e: e.beam.kahn_factor, 0.0)],
    "phi zero": [(lambda e: e.goniometer.phi_deg, 0.0), (lambda e: e.goniometer.osc_deg, 0.0)],
    "zero ranges": [(lambda e: e.beam.divergence_mrad, (0.0, 0.0)), (lambda e: e.beam.dispersion_percent, 0.0)],
    "no F": [(lambda e: e.structure_factors.default_F, 0.0)],
    "all at once": [],
}
SINGULAR["all at once"] = [change for changes in SINGULAR.values() for change in changes]


@pytest.mark.parametrize("mode", ["spec", pytest.param("c-parity", marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", ["square", *(pytest.param(s, marks=pytest.mark.slow) for s in OTHERS)])
def test_finite_at_singular_points(shape, mode):
    """The beam hits the middle of a pixel, where q = 0, in every one of them."""
    start = nb.Experiment(
        crystal=nb.Crystal((40, 50, 60), n_cells=(3, 4, 5), shape=shape, mosaic_spread_deg=0.3, mosaic_domains=2),
        beam=nb.Beam(1.1, kahn_factor=0.5, divergence_mrad=(1, 1), divergence_fractions=((-0.5, 0.5), (0.0, 0.0))),
        detector=nb.Detector(
            5, 5, pixel_size_mm=0.5, distance_mm=60.0, convention="denzo", beam_center_mm=(1.25, 1.25)
        ),
        goniometer=nb.Goniometer(1.0, 1.0, phi_steps=2),
        structure_factors=nb.StructureFactors(default_F=10.0),
        sampling=nb.Sampling(1),
    )
    numbers, rest = eqx.partition(start, eqx.is_inexact_array)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(nb.simulate(eqx.combine(x, rest), mode=mode))))
    for name, changes in SINGULAR.items():
        at = numbers
        for leaf, value in changes:
            at = eqx.tree_at(leaf, at, jnp.asarray(value, float))
        found = jax.tree_util.tree_leaves_with_path(gradient(at))
        bad = [jax.tree_util.keystr(path) for path, value in found if not np.all(np.isfinite(value))]
        assert not bad, (name, bad)


@pytest.mark.parametrize("h", [0.0, 1e-12, 1e-6, 1e-3, 0.07, 0.25, 0.499, -0.31, 3.0, -2.0])
@pytest.mark.parametrize("n", [1.0, 2.0, 5.0, 36.0])
def test_square_intensity_near_lattice_points(h, n):
    """The written-out derivative against the limit at the point and and against its textbook form beside it."""
    one, zero = jnp.ones(()), jnp.zeros(())

    def intensity(h, n):
        cells = Vec3(n, one, one)
        return square_intensity(Vec3(h - jnp.round(h), zero, zero), jax.lax.stop_gradient(cells), cells, one, one)

    x, cells = jnp.asarray(h), jnp.asarray(n)
    value, (d_h, d_n) = jax.value_and_grad(intensity, argnums=(0, 1))(x, cells)
    delta = h - round(h)
    if abs(delta) < 1e-9:
        expected = n * n, -2 * np.pi**2 / 3 * n**2 * (n**2 - 1) * delta, 2 * n
    else:
        sin_n, cos_n = np.sin(np.pi * n * delta), np.cos(np.pi * n * delta)
        sin_d, cos_d = np.sin(np.pi * delta), np.cos(np.pi * delta)
        g = sin_n / sin_d
        expected = g * g, 2 * g * np.pi * (n * cos_n - g * cos_d) / sin_d, 2 * g * np.pi * delta * cos_n / sin_d
    np.testing.assert_allclose(value, expected[0], rtol=1e-9, atol=1e-20)
    np.testing.assert_allclose(d_h, expected[1], rtol=AGREEMENT, atol=1e-8 * n**2)
    np.testing.assert_allclose(d_n, expected[2], rtol=AGREEMENT, atol=1e-8 * n)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "shape", [*(pytest.param(s, marks=pytest.mark.slow) for s in OTHERS[:1] + ("square",)), "gauss_star"]
)
def test_sample_kernel_check_grads(shape):
    cells = as_vec3(jnp.asarray([3.3, 4.1, 2.6]))
    rows = jnp.asarray([[31.0, 1, 2], [3, 36.0, -2], [1, 4, 42.0]])
    star = jnp.linalg.inv(rows).T
    grid = lookup_grid(nb.StructureFactors(np.full((7, 7, 7), 3.0), hkl_min=(-3, -3, -3)))

    def intensity(q, real, cells, weight):
        lattice = Lattice(cells, cells, jnp.asarray(0.3), star, radius_scale(cells, star, NO_SLIPS))
        return sample(as_vec3(q), real, spot_shape(shape), lattice, grid, False, weight).intensity

    q = jnp.asarray([[0.031, 0.044], [0.02, -0.03], [-0.051, 0.012]])
    check_grads(
        intensity, (q, rows, cells, jnp.asarray([0.7, 1.2])), order=1, modes=("fwd", "rev"), eps=1e-6, rtol=1e-5
    )


def small_experiment():
    """Six by five pixels with a few reflections."""
    return nb.Experiment(
        crystal=nb.Crystal((40, 50, 60), (90, 95, 90), misset_deg=(3, 20, 7), n_cells=(3, 4, 5)),
        detector=nb.Detector(6, 5, pixel_size_mm=3.0, distance_mm=60.0),
        structure_factors=nb.StructureFactors(default_F=10.0),
        sampling=nb.Sampling(1),
    )


def image_of(misset_deg, wavelength_A, edges_A):
    """The image as a function of an orientation, a wavelength and a cell."""
    start = small_experiment()
    leaves = lambda e: (e.crystal.misset_deg, e.beam.wavelength_A, e.crystal.cell_lengths_A)  # noqa: E731
    return nb.simulate(eqx.tree_at(leaves, start, (misset_deg, wavelength_A, edges_A)))


def batch():
    """Three orientations, wavelengths and cells."""
    rng = np.random.default_rng(8)
    start = small_experiment()
    misset = start.crystal.misset_deg[None] + jnp.asarray(rng.normal(0, 5, (3, 3)))
    edges = start.crystal.cell_lengths_A[None] + jnp.asarray(rng.normal(0, 0.3, (3, 3)))
    return misset, jnp.asarray([1.0, 1.1, 0.9]), edges


def loss_of(*values):
    """A scalar of the image."""
    return jnp.sum(image_of(*values) ** 2) * 1e-4


@pytest.mark.slow
def test_vmap_of_grad_and_grad_of_vmap():
    values = batch()
    each = jax.jit(jax.vmap(jax.grad(loss_of, argnums=(0, 1, 2))))(*values)
    together = jax.jit(jax.grad(lambda *v: jnp.sum(jax.vmap(loss_of)(*v)), argnums=(0, 1, 2)))(*values)
    one_by_one = jax.jit(jax.grad(loss_of, argnums=(0, 1, 2)))
    for i in range(3):
        for lone, a, b in zip(one_by_one(*(v[i] for v in values)), each, together, strict=True):
            assert np.all(np.asarray(lone) != 0)
            np.testing.assert_allclose(a[i], lone, rtol=1e-9)
            np.testing.assert_allclose(b[i], lone, rtol=1e-9)


@pytest.mark.slow
def test_gauss_newton_product():
    """JᵀJv from a jvp and a vjp is what the whole Jacobian gives."""
    misset, wavelength, edges = (v[0] for v in batch())

    def model(x):
        return image_of(x[:3], wavelength, x[3:]).reshape(-1)

    x = jnp.concatenate([misset, edges])
    v = jnp.asarray(np.random.default_rng(4).normal(size=6))

    @jax.jit
    def product(x, v):
        _, moved = jax.jvp(model, (x,), (v,))
        return jax.vjp(model, x)[1](moved)[0]

    jacobian = jax.jit(jax.jacfwd(model))(x)
    np.testing.assert_allclose(product(x, v), jacobian.T @ (jacobian @ v), rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [10, 1000])
def test_memory_of_a_full_frame_gradient(steps):
    """Below 1.5 GB for 2463 × 2527 pixels, whatever the number of φ steps; the program is compiled, not run."""
    start = experiment(
        detector=nb.Detector(2463, 2527, pixel_size_mm=0.172, distance_mm=231.0),
        goniometer=nb.Goniometer(0.0, 0.1, phi_steps=steps),
        sampling=nb.Sampling(1),
        beam=nb.Beam(1.1),
    )
    numbers, rest = eqx.partition(start, eqx.is_inexact_array)

    def loss(leaves, data):
        return jnp.sum((nb.simulate(eqx.combine(leaves, rest)) - data) ** 2)

    program = jax.jit(jax.value_and_grad(loss)).lower(numbers, jnp.zeros((2527, 2463))).compile()
    memory = program.memory_analysis()
    assert memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes < 1.5e9
