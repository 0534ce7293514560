"""c-parity's state from sample to sample, worked out by hand with the kernel (docs/reference.md section 10)."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import experiment, factors_grid

import nanobrag_jax as nb
from nanobrag_jax.render.carryover import State, block_in_order, initial_state, swept
from nanobrag_jax.render.scene import build_scene, first_point, point_ray, sample_at, source_terms
from nanobrag_jax.typing import Mode

PHI_FROM_ZERO = {"osc_deg": 2.0, "phi_steps": 3}
TWO_SOURCES = {"source_positions": [(-10, 0, 0), (-10, 0.05, 0.02)], "source_wavelengths_A": (1.2, 1.25)}
EXACT = {"rtol": 1e-12, "atol": 1e-9}


def one_of(**parts):
    """An experiment with a monoclinic cell, which both modes take for the same."""
    return experiment(crystal={"cell_angles_deg": (90.0, 97.0, 90.0)}, **parts)


def image_of(mode: Mode = "c-parity", block_pixels=None, **parts):
    return np.asarray(nb.simulate(one_of(**parts), mode, block_pixels=block_pixels))


def photons_by_hand(scene, slow, fast, vectors_by_source):
    """One pixel: the kernel at given crystal vectors, (F·F_latt)² added up, times the scales of the first sample."""
    slow, fast = jnp.asarray([slow]), jnp.asarray([fast])
    ray = point_ray(scene, slow, fast, first_point())
    total, polarization = 0.0, None
    for i, vectors in enumerate(vectors_by_source):
        terms = source_terms(scene, ray, jax.tree.map(lambda x, n=i: x[n], scene.sources))
        polarization = terms.polarization if polarization is None else polarization
        for real in vectors:
            term = sample_at(scene, terms.q, real, False)
            total = total + (term.F_cell * term.F_latt) ** 2
    return float((scene.photons / scene.num_steps * total * polarization * ray.solid_angle)[0])


def scene_of(**parts):
    """The scene of an experiment in c-parity."""
    return IN_C_PARITY(one_of(**parts))


IN_C_PARITY = jax.jit(partial(build_scene, mode="c-parity"))


@pytest.mark.slow
def test_two_pixels_by_hand():
    """φ = 0, ⅔, 1⅓ degrees. The first pixel sees the crystal unrotated at φ = 0, the second the first's last step."""
    scene = scene_of(goniometer=PHI_FROM_ZERO)
    first_step, second_step, last_step = scene.phi_steps
    np.testing.assert_allclose(first_step, scene.unrotated, atol=1e-13)
    expected = [
        photons_by_hand(scene, 4, 5, [[scene.unrotated, second_step, last_step]]),
        photons_by_hand(scene, 4, 6, [[last_step, second_step, last_step]]),
    ]
    image = image_of(goniometer=PHI_FROM_ZERO, sampling={"roi": (5, 6, 4, 4)})
    np.testing.assert_allclose(image[4, 5:7], expected, rtol=1e-12)
    unrotated = photons_by_hand(scene, 4, 6, [[scene.unrotated, second_step, last_step]])
    assert abs(unrotated / expected[1] - 1) > 1e-3, "the carry has to matter in this test"
    spec = image_of("spec", goniometer=PHI_FROM_ZERO)
    np.testing.assert_allclose(spec[4, 6], photons_by_hand(scene, 4, 6, [scene.phi_steps]), rtol=1e-12)


@pytest.mark.slow
def test_two_sources_by_hand():
    """The carry runs through the sources of one pixel: only the very first sample sees the crystal unrotated."""
    scene = scene_of(goniometer=PHI_FROM_ZERO, beam=TWO_SOURCES)
    _, second_step, last_step = scene.phi_steps
    fresh, carried = [scene.unrotated, second_step, last_step], [last_step, second_step, last_step]
    expected = [photons_by_hand(scene, 4, 5, [fresh, carried]), photons_by_hand(scene, 4, 6, [carried, carried])]
    image = image_of(goniometer=PHI_FROM_ZERO, beam=TWO_SOURCES, sampling={"roi": (5, 6, 4, 4)})
    np.testing.assert_allclose(image[4, 5:7], expected, rtol=1e-12)


@pytest.mark.parametrize(
    "phi, expected",
    [
        ((0.0, 0.1, 0.2), ["before", 1, 2]),
        ((-0.1, 0.0, 0.1), [0, 0, 2]),
        ((-0.2, -0.1, 0.0), [0, 1, 1]),
        ((0.0, 0.0, 0.0), ["before", "before", "before"]),
        ((0.3, 0.4, 0.5), [0, 1, 2]),
        ((0.0,), ["before"]),
    ],
)
def test_a_step_of_zero_keeps_the_vectors_of_the_step_before(phi, expected):
    numbered = jnp.arange(float(len(phi)))[:, None, None] * jnp.ones((1, 3, 3))
    scene = scene_of(goniometer=PHI_FROM_ZERO)
    scene = eqx.tree_at(lambda s: (s.phi, s.phi_steps), scene, (jnp.asarray(phi), numbered))
    seen, left = swept(scene, jnp.full((3, 3), -1.0))
    wanted = [-1.0 if x == "before" else float(x) for x in expected]
    np.testing.assert_array_equal(seen[:, 0, 0], wanted)
    np.testing.assert_array_equal(left, seen[-1])


@pytest.mark.slow
def test_a_roi_split_in_two():
    """The second half by itself starts with an unrotated crystal; all its other pixels see the same as in the whole."""
    whole = image_of(goniometer=PHI_FROM_ZERO, sampling={"roi": (2, 9, 1, 8)})
    upper = image_of(goniometer=PHI_FROM_ZERO, sampling={"roi": (2, 9, 1, 4)})
    lower = image_of(goniometer=PHI_FROM_ZERO, sampling={"roi": (2, 9, 5, 8)})
    both = upper + lower
    first = np.zeros(whole.shape, bool)
    first[5, 2] = True
    np.testing.assert_allclose(both[~first], whole[~first], **EXACT)
    spec = image_of("spec", goniometer=PHI_FROM_ZERO)
    np.testing.assert_allclose(both[first], spec[first], rtol=1e-12)
    assert abs(whole[5, 2] / spec[5, 2] - 1) > 1e-3


def unchanged(mask=None, dmin=None):
    """Where the carry makes no difference: pixels that are the same in both modes."""
    parts = {"goniometer": PHI_FROM_ZERO, "sampling": {"mask": mask, "dmin_A": dmin}}
    spec, parity = image_of("spec", **parts), image_of("c-parity", **parts)
    same = np.abs(parity - spec) <= 1e-9 * np.abs(spec)
    return [tuple(x) for x in np.argwhere(same & (spec > 0)).tolist()]


def test_masked_pixels_have_no_successor():
    """The first pixel that is rendered sees the unrotated crystal, as in spec; masked ones before it do not count."""
    mask = np.ones((10, 12), bool)
    mask[0, :] = mask[1, :7] = False
    assert (1, 7) in unchanged(mask)
    assert len(unchanged(mask)) < 5


def test_pixels_cut_by_dmin_have_no_successor():
    """A pixel with no sample inside dmin leaves the state as it was."""
    parts = {"goniometer": PHI_FROM_ZERO, "sampling": {"dmin_A": 3.5}}
    image = image_of("spec", **parts)
    slow, fast = np.argwhere(image > 0)[0]
    assert (slow, fast) != (0, 0)
    assert (slow, fast) in unchanged(dmin=3.5)


def test_the_state_passes_from_block_to_block():
    """Blocks of two pixels: the state after the first is what the second starts from."""
    scene = scene_of(goniometer=PHI_FROM_ZERO)
    pixels = jnp.arange(4)
    run = jax.jit(block_in_order)
    whole, end = run(scene, initial_state(scene), jnp.full(4, 3), pixels, jnp.ones(4, bool))
    first, middle = run(scene, initial_state(scene), jnp.full(2, 3), pixels[:2], jnp.ones(2, bool))
    second, last = run(scene, middle, jnp.full(2, 3), pixels[2:], jnp.ones(2, bool))
    np.testing.assert_allclose(jnp.concatenate([first, second]), whole, rtol=1e-12)
    np.testing.assert_array_equal(end.vectors, scene.phi_steps[-1])
    np.testing.assert_array_equal(last.vectors, end.vectors)
    inactive, state = run(scene, initial_state(scene), jnp.full(2, 3), pixels[:2], jnp.zeros(2, bool))
    np.testing.assert_array_equal(inactive, 0.0)
    np.testing.assert_array_equal(state.vectors, scene.unrotated)
    assert isinstance(state, State)


INTERPOLATED = {
    "factors": factors_grid(half=14),
    "detector": {"convention": "denzo", "beam_center_mm": (3.0, 18.0)},
}


@pytest.mark.slow
def test_interpolation_goes_off_for_good():
    """Up to the first pixel outside the grid the image is interpolated, from there on it is not; blocks of seven."""
    tricubic = image_of("spec", **INTERPOLATED, sampling={"interpolate": True}).ravel()
    nearest = image_of("spec", **INTERPOLATED).ravel()
    latched = image_of("c-parity", 7, **INTERPOLATED, sampling={"interpolate": True}).ravel()
    same = {
        name: np.abs(latched - other) <= 1e-9 * np.abs(other)
        for name, other in {"tricubic": tricubic, "nearest": nearest}.items()
    }
    off = int(np.argmax(~same["tricubic"]))
    assert 7 < off < 110, "the grid has to end in the middle of the image"
    assert np.all(same["nearest"][off:])
    assert np.sum(~same["nearest"][:off]) > 5 and np.sum(~same["tricubic"][off:]) > 5


def test_without_a_step_of_zero_nothing_is_carried():
    parts = {"goniometer": {"phi_deg": 10.0, "osc_deg": 1.0, "phi_steps": 3}}
    np.testing.assert_allclose(image_of("c-parity", **parts), image_of("spec", **parts), **EXACT)
