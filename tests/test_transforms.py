"""jit, vmap and scan around the simulator; how often it compiles; how much memory it takes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import experiment, replaced

import nanobrag_jax as nb
from nanobrag_jax.numerics import loops
from nanobrag_jax.render import scene
from nanobrag_jax.render import simulate as render

MODES = ["spec", "c-parity"]
SWEEP = {"osc_deg": 1.0, "phi_steps": 3}


def assert_same(image, expected, relative=1e-12):
    np.testing.assert_allclose(image, expected, rtol=relative, atol=relative * np.max(expected))


def three_crystals():
    """Experiments that differ in orientation, wavelength and distance, and the batch of all three."""
    wholes = [
        experiment(
            crystal={"misset_deg": (10 * i, 5, -20)},
            beam={"wavelength_A": 1.0 + 0.1 * i},
            detector={"distance_mm": 60.0 + i},
            goniometer=SWEEP,
        )
        for i in range(3)
    ]
    return wholes, jax.tree.map(lambda *leaves: jnp.stack(leaves), *wholes)


@pytest.mark.parametrize("mode", MODES)
def test_jit_and_filter_jit(mode):
    whole = experiment(goniometer=SWEEP)
    expected = nb.simulate(whole, mode)
    if mode == "spec":
        assert_same(jax.jit(lambda e: 2.0 * nb.simulate(e))(whole), 2 * expected)
    assert_same(eqx.filter_jit(nb.simulate)(whole, mode), expected)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_vmap_over_experiments(mode):
    wholes, batch = three_crystals()
    images = jax.vmap(lambda e: nb.simulate(e, mode))(batch)
    assert images.shape == (3, 10, 12)
    for image, whole in zip(images, wholes, strict=True):
        assert_same(image, nb.simulate(whole, mode))


def test_vmap_over_one_leaf():
    whole = experiment(goniometer=SWEEP)
    distances = jnp.array([55.0, 60.0, 70.0])
    images = jax.vmap(lambda d: nb.simulate(replaced(whole, "detector.distance_mm", d)))(distances)
    for image, distance in zip(images, distances, strict=True):
        assert_same(image, nb.simulate(replaced(whole, "detector.distance_mm", distance)))


@pytest.mark.parametrize("mode", MODES)
def test_scan_over_a_sweep(mode):
    """Frame after frame of a rotation, added up inside one program."""
    whole = experiment(goniometer=SWEEP)

    def add_frame(total, phi):
        return total + nb.simulate(replaced(whole, "goniometer.phi_deg", phi), mode), phi

    starts = jnp.array([0.0, 1.0, 2.0])
    total, _ = jax.lax.scan(add_frame, jnp.zeros((10, 12)), starts)
    frames = [nb.simulate(replaced(whole, "goniometer.phi_deg", phi), mode) for phi in starts]
    assert_same(total, sum(frames))


def test_lists_of_pixels_under_jit_and_vmap():
    whole = experiment(goniometer=SWEEP)
    image = nb.simulate(whole)
    slow, fast = jnp.array([[0, 3, 9], [5, 5, 5]]), jnp.array([[11, 2, 0], [4, 5, 6]])
    values = jax.jit(jax.vmap(lambda s, f: nb.simulate_pixels(whole, s, f)))(slow, fast)
    assert_same(values, image[slow, fast])


@pytest.mark.parametrize("mode", MODES)
def test_shapes_without_computing(mode):
    shape = jax.eval_shape(lambda e: nb.simulate(e, mode), experiment())
    assert (shape.shape, shape.dtype) == ((10, 12), jnp.float64)


def test_building_an_experiment_inside_a_transformation():
    """What a fitting script does: parameters in, an experiment of them, an image out."""

    def peak(length, n):
        whole = experiment(crystal={"cell_lengths_A": (length, 37.0, 44.0), "n_cells": jnp.stack([n, 6.0, 4.0])})
        return jnp.max(nb.simulate(whole))

    expected = jnp.max(nb.simulate(experiment(crystal={"cell_lengths_A": (31.0, 37, 44), "n_cells": (5, 6, 4)})))
    assert_same(jax.jit(peak)(31.0, jnp.asarray(5.0)), expected)


def full_experiment():
    """One with every optional number in it."""
    return experiment(
        crystal={
            "orientation": np.eye(3),
            "matrix_cell_lengths_A": (31, 37, 44),
            "matrix_cell_angles_deg": (84, 97, 106),
        },
        detector={
            "size_mm": (36.0, 30.0),
            "close_distance_mm": 60.0,
            "close_point_mm": (18.0, 15.0),
            "thickness_um": 450.0,
            "attenuation_depth_um": 300.0,
            "convention": "custom",
        },
        goniometer=SWEEP,
        sampling={"dmin_A": 2.0, "water_um": 1.0, "mask": np.random.default_rng(0).random((10, 12)) > 0.2},
    )


def programs():
    """How many have been compiled for images; for scenes there are none."""
    assert scene.scene_in_trace._cache_size() == 0
    return render._image._cache_size()


@pytest.mark.parametrize("mode", MODES)
def test_changing_a_leaf_compiles_nothing(mode):
    whole = full_experiment()
    leaves, structure = jax.tree.flatten(whole)
    assert len(leaves) > 40
    images = [np.asarray(nb.simulate(whole, mode))]
    compiled = programs()
    for i, leaf in enumerate(leaves):
        changed = ~leaf if leaf.dtype == bool else leaf * 1.001 + 1e-3
        images.append(
            np.asarray(nb.simulate(jax.tree.unflatten(structure, [*leaves[:i], changed, *leaves[i + 1 :]]), mode))
        )
    assert programs() == compiled
    different = sum(not np.array_equal(image, images[0]) for image in images[1:])
    assert different > 25, "most leaves have to change the image"


def test_plain_numbers_for_leaves_compile_nothing():
    whole = experiment(goniometer=SWEEP)
    nb.simulate(whole)
    compiled = programs()
    for value in (61.5, 62, np.float64(63.0), np.int64(64), np.asarray(65.0), jnp.asarray(66.0), jnp.asarray(67)):
        nb.simulate(replaced(whole, "detector.distance_mm", value))
    assert programs() == compiled


RECOMPILES = {  # none of them used in another test, so that each is new
    "pixel count": {"detector": {"pixels_fast": 13, "pixels_slow": 9}},
    "phi steps": {"goniometer": {"osc_deg": 1.0, "phi_steps": 17}},
    "region of interest": {"sampling": {"roi": (0, 3, 0, 7)}},
}


@pytest.mark.parametrize("change", RECOMPILES)
def test_changing_the_structure_compiles_once(change):
    nb.simulate(experiment())
    changed = experiment(**RECOMPILES[change])
    compiled = programs()
    nb.simulate(changed)
    assert programs() == compiled + 1
    nb.simulate(replaced(changed, "detector.distance_mm", 77.0))
    assert programs() == compiled + 1


def scratch_bytes(mode, **parts):
    """Memory that a program needs beside its inputs and its result."""
    detector = {"pixels_fast": 256, "pixels_slow": 256}
    whole = render._as_leaves(experiment(detector=detector, **parts))
    simulate = jax.jit(render._simulate, static_argnames="options")
    program = simulate.lower(whole, render.RenderOptions(mode, None, None, None)).compile()
    return program.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_memory_does_not_grow_with_phi_steps(mode):
    """Ten steps or a thousand: what grows is the list of orientations, not an image a step."""
    image = 256 * 256 * 8
    few, many = (scratch_bytes(mode, goniometer={"osc_deg": 1.0, "phi_steps": steps}) for steps in (10, 1000))
    assert 0 < few < 40 * image
    assert many - few < 2 * image


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float64", "mixed"])
def test_nothing_leaves_the_device(precision):
    """No call back to Python, and no copy between host and device, in a compiled image and its gradient."""
    whole = jax.device_put(experiment(goniometer=SWEEP))

    def total(e):
        return jnp.sum(nb.simulate(e, precision=precision))

    compiled = jax.jit(lambda e: eqx.filter_value_and_grad(total)(e)).lower(whole).compile()
    assert "callback" not in compiled.as_text()
    with jax.transfer_guard("disallow"):
        value, _ = compiled(whole)
        jax.block_until_ready(value)


class Accelerator:
    """A device with memory of its own."""

    platform = "gpu"

    def __init__(self, stats):
        self.stats = stats

    def memory_stats(self):
        return self.stats


@pytest.mark.parametrize(
    "stats, pixels",
    [
        ({"bytes_limit": 16 * 2**30}, 2**21),
        ({"bytes_limit": 128 * 2**30}, 2**24),
        ({"bytes_limit": 2**20}, loops.BLOCK_PIXELS),
        (None, 2**20),
    ],
)
def test_blocks_are_as_large_as_an_accelerator_can_hold(monkeypatch, stats, pixels):
    if jax.default_backend() == "cpu":
        assert loops.default_block_pixels() == loops.BLOCK_PIXELS
    monkeypatch.setattr(jax, "local_devices", lambda: [Accelerator(stats)])
    assert loops.default_block_pixels() == pixels
