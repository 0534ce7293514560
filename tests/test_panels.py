import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from atoms import make_structure, write_structure
from expt_files import crystal, experiment_list, panel, turn, write

from nanobrag_jax.beam import Beam
from nanobrag_jax.crystal import Crystal
from nanobrag_jax.detector import Detector
from nanobrag_jax.dials.to_experiment import experiment_from_expt
from nanobrag_jax.errors import InputError
from nanobrag_jax.experiment import Experiment, Sampling, panel_experiment
from nanobrag_jax.goniometer import Goniometer
from nanobrag_jax.panels import as_panels, num_panels, split_panels, stack_panels
from nanobrag_jax.render.simulate import _image, simulate, simulate_pixels
from nanobrag_jax.structure_factors import StructureFactors

SAME = 1e-12
"""Of the maximum, between one detector and the same in two panels: their corners are rounded apart."""
GRADIENT = 1e-6
"""Relative, against central differences of fourth order."""

PIXEL = 0.4


def part(first_slow: int, rows: int, **more) -> Detector:
    """Rows of one flat detector of 20 pixels a row, as a panel of its own."""
    place = (-4.0, 6.0 - PIXEL * first_slow, -50.0)
    axes = {"fast_axis": (1.0, 0.0, 0.0), "slow_axis": (0.0, -1.0, 0.0)}
    return Detector(20, rows, pixel_size_mm=PIXEL, pix0_mm=place, convention="custom", **(axes | more))


def experiment(detector, **sampling) -> Experiment:
    return Experiment(
        crystal=Crystal((32.0, 41.0, 53.0), n_cells=(5, 6, 4), misset_deg=(10.0, 20.0, 30.0)),
        beam=Beam(1.0, direction=(0.0, 0.0, -1.0), polarization_vector=(1.0, 0.0, 0.0), kahn_factor=0.9),
        detector=detector,
        goniometer=Goniometer(0.0, 1.0, phi_steps=2, spindle_axis=(1.0, 0.0, 0.0)),
        structure_factors=StructureFactors(default_F=100.0),
        sampling=Sampling(**{"oversample": 1, **sampling}),
    )


def close(image, expected):
    expected = np.asarray(expected)
    assert expected.max() > 0
    np.testing.assert_allclose(image, expected, rtol=1e-9, atol=SAME * expected.max())


@pytest.fixture(scope="module")
def whole():
    return simulate(experiment(part(0, 24)))


def test_two_panels_are_the_whole_detector(whole):
    two = simulate(experiment([part(0, 12), part(12, 12)]))
    assert two.shape == (2, 12, 20)
    close(two.reshape(24, 20), whole)


def test_unequal_panels_come_as_a_list(whole):
    images = simulate(experiment([part(0, 12), part(12, 8)]))
    assert isinstance(images, list) and [image.shape for image in images] == [(12, 20), (8, 20)]
    close(images[0], whole[:12])
    close(images[1], whole[12:20])


@pytest.mark.slow
def test_c_parity_renders_each_panel_as_a_run_of_its_own():
    """The panels' place has to be said without pix0 there, and the state at phi = 0 is not carried between them."""
    single = [
        part(first, 12, pivot="sample", close_distance_mm=50.0, close_point_mm=(4.0, 6.0 - PIXEL * first))
        for first in (0, 12)
    ]
    both = simulate(experiment(single), "c-parity")
    for image, detector in zip(both, single, strict=True):
        close(image, simulate(experiment(detector), "c-parity"))


@pytest.mark.slow
def test_masks_and_regions_of_panels(whole):
    masks = np.random.default_rng(0).random((2, 12, 20)) > 0.4
    images = simulate(experiment([part(0, 12), part(12, 12)], mask=masks, roi=(2, 17, 1, 10)))
    keep = np.zeros((12, 20), bool)
    keep[1:11, 2:18] = True
    close(images, np.where(masks & keep, np.asarray(whole).reshape(2, 12, 20), 0.0))
    shared = simulate(experiment([part(0, 12), part(12, 12)], mask=masks[0]))
    close(shared, np.where(masks[0], np.asarray(whole).reshape(2, 12, 20), 0.0))


def test_one_panel_by_itself(whole):
    stacked = experiment([part(0, 12), part(12, 12)], mask=np.ones((2, 12, 20), bool))
    unequal = experiment([part(0, 8), part(12, 12)])
    slow, fast = np.array([0, 5, 11]), np.array([3, 19, 7])
    for many in (stacked, unequal):
        close(simulate_pixels(panel_experiment(many, 1), slow, fast), whole[slow + 12, fast])
        with pytest.raises(InputError, match=r"this needs one panel: choose it with panel_experiment"):
            simulate_pixels(many, slow, fast)
        with pytest.raises(InputError, match="panel must be 0 to 1, got 2"):
            panel_experiment(many, 2)


def test_stacks():
    first, second = part(0, 12), part(12, 12)
    stacked = stack_panels([first, second])
    assert (num_panels(stacked), num_panels(first), num_panels((first, second))) == (2, None, 2)
    assert as_panels([first]) is first and as_panels(stacked) is stacked
    assert eqx.tree_equal(split_panels(stacked), (first, second)) and split_panels(first) == (first,)
    with pytest.raises(InputError, match="panel 1 has 20 x 8 pixels, panel 0 has 20 x 12"):
        stack_panels([first, part(12, 8)])
    with pytest.raises(InputError, match="panel 1 has other options than panel 0"):
        stack_panels([first, part(12, 12, thickness_um=100.0)])
    with pytest.raises(InputError, match="a detector needs at least one panel"):
        experiment([])
    with pytest.raises(InputError, match="mask has 20 x 12 x 3 pixels, the detector 20 x 12"):
        experiment([first, second], mask=np.ones((3, 12, 20), bool))
    with pytest.raises(InputError, match="roi 0 19 0 11 does not lie on the detector of 20 x 8"):
        experiment([first, part(12, 8)], roi=(0, 19, 0, 11))


def test_moving_panels_compiles_nothing():
    stacked = experiment([part(0, 12), part(12, 12)])
    simulate(stacked)
    before = _image._cache_size()
    moved = eqx.tree_at(lambda e: e.detector.panels.pix0_mm, stacked, stacked.detector.panels.pix0_mm + 0.1)
    assert not np.allclose(simulate(moved), simulate(stacked))
    assert _image._cache_size() == before


def slope(loss, value, step):
    """Central difference of fourth order along every element of an array."""
    value = np.asarray(value, float)
    result = np.zeros(value.shape)
    for place in np.ndindex(value.shape):
        move = np.zeros(value.shape)
        move[place] = step
        near, far = (loss(value + s * move) - loss(value - s * move) for s in (1, 2))
        result[place] = (8 * near - far) / (12 * step)
    return result


PLACES = {"pix0_mm": 1e-4, "rotations_deg": 1e-4, "fast_axis": 1e-6, "slow_axis": 1e-6, "pixel_size_mm": 1e-6}


@pytest.mark.slow
def test_gradients_in_each_panels_place():
    many = experiment([part(0, 12), part(12, 12, fast_axis=(0.98, 0.0, 0.2), slow_axis=(0.0, -1.0, 0.0))])
    weights = jnp.asarray(np.random.default_rng(3).random((2, 12, 20)))

    def loss(values):
        moved = many
        for name, value in values.items():
            moved = eqx.tree_at(lambda e, n=name: getattr(e.detector.panels, n), moved, value)
        return jnp.sum(weights * simulate(moved)) * 1e-3

    both = jax.jit(jax.value_and_grad(loss))  # one program serves the differences, too
    start = {name: getattr(many.detector.panels, name) for name in PLACES}
    _, gradients = both(start)
    for name, step in PLACES.items():
        expected = slope(lambda value, n=name: both(start | {n: jnp.asarray(value)})[0], start[name], step)
        scale = np.abs(expected).max()
        assert np.all(np.abs(expected).reshape(2, -1).max(axis=1) > 1e-3 * scale), name
        np.testing.assert_allclose(gradients[name], expected, atol=GRADIENT * scale, rtol=GRADIENT, err_msg=name)
    rng = np.random.default_rng(4)
    tangents = {name: jnp.asarray(rng.normal(size=value.shape)) for name, value in start.items()}
    _, forward = jax.jvp(loss, (start,), (tangents,))
    assert float(forward) == pytest.approx(float(sum(jnp.sum(gradients[n] * tangents[n]) for n in start)), rel=1e-9)


@pytest.mark.slow
def test_from_a_model_and_an_experiment_list_to_an_image_and_its_gradient(tmp_path):
    """A PDB model and two panels tilted against each other; how a loss changes as one of the panels moves."""
    model = write_structure(make_structure("P 43 21 2"), tmp_path / "model.pdb")
    wavelength = 0.979
    factors = StructureFactors.from_model(model, 1.7, wavelength_A=wavelength)
    panels = []
    for angle, x in ((14.0, -10.5), (-14.0, 0.5)):
        tilt = turn([0, 1, 0], angle)
        axes = {"fast_axis": tilt[:, 0].tolist(), "slow_axis": [0.0, -1.0, 0.0], "origin": [x, 6.0, -30.0]}
        panels.append(panel(**axes, thickness=0.3, mu=3.0) | {"image_size": [24, 30], "pixel_size": [0.4, 0.4]})
    cell = np.diag([18.0, 18.0, 27.0]) @ turn([1, 1, 0], 33.0).T
    document = experiment_list(
        beam={"direction": [0.0, 0.0, 1.0], "wavelength": wavelength, "polarization_fraction": 0.99},
        detector={"panels": panels},
        crystal=crystal(**{f"real_space_{x}": row.tolist() for x, row in zip("abc", cell, strict=True)}),
    )
    path = write(tmp_path / "two.expt", document)
    made = experiment_from_expt(path, factors, image=3, phi_steps=2, crystal={"n_cells": (8, 8, 6)})
    images = simulate(made)
    assert images.shape == (2, 30, 24) and np.all(np.isfinite(images)) and np.all(images.max(axis=(1, 2)) > 0)
    for i, detector in enumerate(split_panels(made.detector)):
        close(images[i], simulate(eqx.tree_at(lambda e: e.detector, made, detector)))

    seen = jnp.sqrt(images)

    def loss(origin):
        moved = eqx.tree_at(lambda e: e.detector.panels.pix0_mm, made, made.detector.panels.pix0_mm.at[1].set(origin))
        return jnp.sum((jnp.sqrt(simulate(moved) + 1e-3) - seen) ** 2)

    both = jax.jit(jax.value_and_grad(loss))
    start = made.detector.panels.pix0_mm[1] + jnp.array([0.05, -0.04, 0.1])
    expected = slope(lambda origin: both(jnp.asarray(origin))[0], start, 1e-4)
    assert np.abs(expected).min() > 0
    np.testing.assert_allclose(both(start)[1], expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_panels_of_the_same_file_in_different_sizes(tmp_path):
    places = [panel(), panel(origin=[-3.2, -2.6, -80.0], image_size=[32, 10])]
    path = write(tmp_path / "two.expt", experiment_list(detector={"panels": places}, still=True))
    images = simulate(experiment_from_expt(path, StructureFactors(default_F=100.0)))
    assert [image.shape for image in images] == [(24, 32), (10, 32)]
