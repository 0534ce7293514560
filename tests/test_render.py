"""Properties of the image that no single golden file can show."""

from functools import partial
from operator import attrgetter

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import ANGLES, CELL, experiment, factors_grid, replaced

import nanobrag_jax as nb
from nanobrag_jax.numerics import loops
from nanobrag_jax.typing import Mode

EXACT = 1e-12
"""Relative, for numbers that differ in the order of a sum; dark pixels are compared with the peak."""


def image_of(mode: Mode = "spec", block_pixels=None, **parts):
    return np.asarray(nb.simulate(experiment(**parts), mode, block_pixels=block_pixels))


def assert_same(image, expected, relative=EXACT):
    assert np.max(expected) > 0
    np.testing.assert_allclose(image, expected, rtol=relative, atol=relative * np.max(expected))


def test_intensity_goes_with_the_square_of_F():
    plain = image_of()
    tripled = factors_grid(amplitudes=3 * factors_grid().amplitudes, default_F=6.0)
    assert_same(image_of(factors=tripled), 9 * plain)


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
def test_intensity_goes_with_the_fluence(mode):
    assert_same(image_of(mode, beam={"fluence_per_m2": 4e29}), 4 * image_of(mode))


DIRECT_BEAM = {
    "factors": nb.StructureFactors(default_F=10.0),
    "detector": {"convention": "denzo", "beam_center_mm": (13.5, 16.5)},
}
"""The beam hits the middle of the pixel at slow 4, fast 5."""


@pytest.mark.parametrize("shape", ["square", "round", "gauss_star", "tophat"])
def test_a_peak_goes_with_the_sixth_power_of_N(shape):
    """At the direct beam every lattice factor is at its maximum, Na·Nb·Nc times a constant of the shape."""
    peaks = []
    for n in (3, 6, 7.5):
        image = image_of(crystal={"n_cells": (n, n, n), "shape": shape}, **DIRECT_BEAM)
        assert image[4, 5] == image.max()
        peaks.append(image.max())
    np.testing.assert_allclose(np.array(peaks) / peaks[0], [1, 2**6, 2.5**6], rtol=1e-12)


def test_intensity_of_the_direct_beam():
    """r_e²·fluence·(F·Na·Nb·Nc)²·Ω, in numbers, at the pixel that the beam hits."""
    expected = 7.94079248018965e-30 * 1e29 * (10.0 * 5 * 6 * 4) ** 2 * (3.0 / 60.0) ** 2
    assert image_of(**DIRECT_BEAM)[4, 5] == pytest.approx(expected, rel=1e-12)


TWO_SOURCES = {"source_positions": [(-10, 0, 0), (-1, 0, 0)], "source_wavelengths_A": (1.2, 1.25)}


def test_a_weight_of_zero_removes_a_source():
    first, second = ({k: v[i : i + 1] for k, v in TWO_SOURCES.items()} for i in (0, 1))
    first, second = image_of(beam=first), image_of(beam=second)
    assert_same(image_of(beam={**TWO_SOURCES, "source_weights": (3, 0)}), first)
    assert_same(image_of(beam={**TWO_SOURCES, "source_weights": (1, 3)}), 0.25 * first + 0.75 * second)
    assert not np.allclose(first, second)


def test_only_the_ratio_of_weights_counts():
    weights = [image_of(beam={**TWO_SOURCES, "source_weights": w}) for w in ((1, 3), (10, 30))]
    assert_same(*weights)


def test_a_list_of_wavelengths_is_the_mean_of_images():
    fractions = (-0.5, 0.5)
    wavelengths = [1.2 * (1 + 0.04 * f) for f in fractions]
    together = image_of(beam={"dispersion_percent": 4.0, "dispersion_fractions": fractions})
    assert_same(together, np.mean([image_of(beam={"wavelength_A": w}) for w in wavelengths], axis=0))
    assert_same(image_of(beam={"source_positions": [(-1, 0, 0)] * 2, "source_wavelengths_A": wavelengths}), together)


def test_binning_sub_pixels_is_oversampling():
    everywhere = {"oversample_omega": True, "oversample_polar": True, "oversample_thick": True}
    sensor = {"thickness_um": 400.0, "attenuation_depth_um": 250.0, "thickness_steps": 2}
    coarse = sensor | {"convention": "dials", "rotations_deg": (3, -8, 2)}
    fine = coarse | {"pixels_fast": 24, "pixels_slow": 20, "pixel_size_mm": 1.5}
    binned = image_of(detector=fine, sampling=everywhere).reshape(10, 2, 12, 2).sum(axis=(1, 3))
    assert_same(image_of(detector=coarse, sampling=everywhere | {"oversample": 2}), binned)


def test_phi_steps_can_be_grouped():
    whole = image_of(goniometer={"osc_deg": 1.5, "phi_steps": 6})
    parts = [image_of(goniometer={"phi_deg": start, "osc_deg": 0.5, "phi_steps": 2}) for start in (0.0, 0.5, 1.0)]
    assert_same(whole, np.mean(parts, axis=0))


def test_one_domain_or_no_spread_is_no_mosaic():
    plain = image_of()
    np.testing.assert_array_equal(image_of(crystal={"mosaic_spread_deg": 3.0, "mosaic_domains": 1}), plain)
    assert_same(image_of(crystal={"mosaic_spread_deg": 0.0, "mosaic_domains": 4}), plain)
    assert not np.allclose(image_of(crystal={"mosaic_spread_deg": 3.0, "mosaic_domains": 4}), plain)


LOADS = {
    "plain": {},
    "sums": {
        "crystal": {"mosaic_spread_deg": 1, "mosaic_domains": 2},
        "beam": {**TWO_SOURCES, "source_weights": (1, 2)},
        "detector": {"thickness_um": 400.0, "attenuation_depth_um": 250.0, "thickness_steps": 2},
        "goniometer": {"osc_deg": 1.0, "phi_steps": 3},
        "sampling": {
            "mask": np.random.default_rng(6).random((10, 12)) > 0.4,
            "roi": (1, 10, 1, 8),
            "dmin_A": 3.5,
            "water_um": 0.05,
        },
    },
    "sequences": {  # c-parity: a running product, and a φ of zero in the middle
        "beam": TWO_SOURCES,
        "goniometer": {"phi_deg": -0.5, "osc_deg": 1.0, "phi_steps": 2},
        "sampling": {"oversample": 2, "oversample_omega": True, "oversample_polar": True},
    },
    "interpolation": {  # that the grid allows for part of the pixels only; for c-parity see test_carryover.py
        "detector": {"convention": "denzo", "beam_center_mm": (24.0, 16.5)},
        "factors": factors_grid(half=8, default_F=3.0),
        "sampling": {"interpolate": True},
    },
}
BOTH_MODES = [("sums", "spec"), ("sums", "c-parity"), ("sequences", "spec"), ("sequences", "c-parity")]


SLOW = pytest.param("interpolation", "spec", marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "load, mode", [("sums", "spec"), *(pytest.param(*of, marks=pytest.mark.slow) for of in BOTH_MODES[1:]), SLOW]
)
def test_the_block_size_does_not_matter(load, mode):
    """A block of seven pixels ends in the middle of a row, and the last one is not full."""
    assert_same(image_of(mode, 7, **LOADS[load]), image_of(mode, **LOADS[load]))


@pytest.mark.parametrize(
    "leaf, values",
    [
        ("crystal.misset_deg", [[1.0, 2.0, 3.0], [-2.0, 0.5, 1.0]]),
        pytest.param("detector.distance_mm", [50.0, 60.0], marks=pytest.mark.slow),
    ],
)
def test_a_batch_is_the_same_as_its_images(leaf, values):
    """Images of more than a block; with one geometry they are rendered at once. Derivatives go block by block."""
    mask = np.random.default_rng(3).random((160, 128)) < 0.7
    detector = {"pixels_fast": 128, "pixels_slow": 160, "pixel_size_mm": 0.02}
    whole = experiment(detector=detector, sampling={"mask": mask})
    assert loops.BLOCK_PIXELS < mask.size <= loops.WHOLE_PIXELS

    def image(value, block_pixels=None):
        return nb.simulate(eqx.tree_at(attrgetter(leaf), whole, value), block_pixels=block_pixels)

    values = jnp.asarray(values)
    images = jax.vmap(image)(values)
    assert images[0][mask].min() > 0 and not images[0][~mask].any()
    for block_pixels in (None, 1000):
        program = jax.jit(jax.vmap(partial(image, block_pixels=block_pixels))).lower(values)
        in_blocks = "while" in program.compile().as_text()
        assert in_blocks == (leaf == "detector.distance_mm" or block_pixels is not None)
    for one, value in zip(images, values, strict=True):
        assert_same(one, image(value, 1000))
    slopes = jax.vmap(jax.grad(lambda value: jnp.sum(image(value) ** 2)))(values)
    alone = jax.grad(lambda value: jnp.sum(image(value, 1000) ** 2))(values[1])
    np.testing.assert_allclose(slopes[1], alone, rtol=1e-9, atol=1e-9 * np.abs(alone).max())


@pytest.mark.parametrize("load, mode", [("sums", "spec"), ("plain", "c-parity"), SLOW])
def test_a_list_of_pixels_has_the_images_values(load, mode):
    """In any order, with repetitions, masked pixels and pixels outside the region of interest too."""
    whole = experiment(**LOADS[load])
    image = np.asarray(nb.simulate(whole, mode))
    slow, fast = np.random.default_rng(7).integers(0, (10, 12), (150, 2)).T
    blocks = 16 if load == "interpolation" else None
    assert_same(nb.simulate_pixels(whole, slow, fast, mode, block_pixels=blocks), image[slow, fast])


def test_an_empty_list_of_pixels():
    empty = np.zeros(0, int)
    assert nb.simulate_pixels(experiment(), empty, empty).shape == (0,)


def test_nothing_outside_the_region_of_interest():
    whole, inside = image_of(), image_of(sampling={"roi": (3, 8, 2, 2)})
    expected = np.zeros_like(whole)
    expected[2, 3:9] = whole[2, 3:9]
    assert_same(inside, expected)
    assert np.all((inside == 0) == (expected == 0))


def test_nothing_where_the_mask_is_false():
    mask = np.random.default_rng(8).random((10, 12)) > 0.3
    assert_same(image_of(sampling={"mask": mask}), np.where(mask, image_of(), 0.0))


def test_dmin_cuts_a_disc():
    """spec: photons only where the resolution at the pixel's middle is coarser than dmin."""
    whole = experiment(sampling={"dmin_A": 3.5}, factors=nb.StructureFactors(default_F=1.0))
    image = np.asarray(nb.simulate(whole))
    fast, slow = np.meshgrid(np.arange(12) + 0.5, np.arange(10) + 0.5)
    position = np.stack([np.full((10, 12), 60.0), 18.0 - 3 * slow, 3 * fast - 21.0])
    direction = position / np.linalg.norm(position, axis=0)
    resolution = 1.2 / np.linalg.norm(direction - np.array([1, 0, 0])[:, None, None], axis=0)
    assert np.array_equal(image == 0, resolution < 3.5)
    assert 0 < np.sum(image == 0) < image.size


def test_water_does_not_depend_on_the_number_of_steps():
    """spec: r_e²·fluence·F²·w³·1e6·N_A/18 photons a steradian, however many samples a pixel has."""
    water = {"factors": nb.StructureFactors(default_F=0.0), "sampling": {"water_um": 20.0}}
    image = image_of(**water)
    domains = {"mosaic_spread_deg": 1, "mosaic_domains": 2}
    many = image_of(**water, goniometer={"osc_deg": 1, "phi_steps": 2}, crystal=domains)
    assert_same(many, image)
    lone_electron = image_of(factors=nb.StructureFactors(default_F=1.0), crystal={"n_cells": (1, 1, 1)})
    assert_same(image, 2.57**2 * (20e-6) ** 3 * 1e6 * 6.02214179e23 / 18 * lone_electron)


def test_a_sensor_without_absorption():
    """`-detector_abs inf`: nothing is lost in spec mode (in c-parity everything is; a golden case has that)."""
    assert_same(image_of(detector={"thickness_um": 450.0, "attenuation_depth_um": None}), image_of())


def test_triclinic_cells_differ_between_the_modes():
    assert np.abs(image_of() - image_of("c-parity")).max() > 1e-3 * image_of().max()
    upright = {"cell_lengths_A": CELL, "cell_angles_deg": (90, 97, 90)}
    assert_same(image_of("c-parity", crystal=upright), image_of(crystal=upright))


REFUSED_PIXELS = [
    ([0, 10], [0, 0], "slow must lie in 0 to 9, got 0 to 10"),
    ([0], [-1], "fast must lie in 0 to 11, got -1 to -1"),
    ([0, 1], [0], "slow and fast must be equally long"),
    ([0.5], [1], "slow must be a list of whole numbers"),
    ([[0]], [[0]], "slow must be a list of whole numbers"),
]


@pytest.mark.parametrize("slow, fast, message", REFUSED_PIXELS)
def test_pixels_that_are_not_there(slow, fast, message, unchecked):
    with pytest.raises(nb.InputError, match=message):
        nb.simulate_pixels(experiment(), slow, fast)


def test_unknown_modes_are_refused(unchecked):
    with pytest.raises(nb.InputError, match="mode must be one of spec, c-parity, got 'fast'"):
        nb.simulate(experiment(), "fast")
    with pytest.raises(nb.InputError, match="mode must be one of spec, c-parity, got 'fast'"):
        nb.simulate_pixels(experiment(), [0], [0], "fast")


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
def test_without_photons_there_is_no_image(mode):
    np.testing.assert_array_equal(image_of(mode, beam={"fluence_per_m2": 0.0}), 0.0)


def test_symmetry_of_a_beam_along_the_axis():
    """A cubic crystal with its axes along the lab's gives an image with the symmetry of the square."""
    image = image_of(
        crystal={"cell_lengths_A": (30, 30, 30), "cell_angles_deg": (90, 90, 90), "misset_deg": (0, 0, 0)}
        | {"n_cells": (5, 5, 5)},
        beam={"kahn_factor": 0.0},
        **DIRECT_BEAM,
    )[0:9, 1:10]
    assert_same(image, image[::-1], 1e-9)
    assert_same(image, image.T, 1e-9)


def test_structure_is_what_decides_the_cost_of_c_parity():
    """The spec program has no carry; the search for the last φ that was not zero is only in the other."""
    whole = experiment(goniometer={"osc_deg": 1.0, "phi_steps": 3})
    text = {mode: str(jax.make_jaxpr(lambda e, m=mode: nb.simulate(e, m))(whole)) for mode in ("spec", "c-parity")}
    assert "cummax" not in text["spec"] and "cummax" in text["c-parity"]


def test_a_leaf_can_be_any_kind_of_number():
    whole = experiment()
    expected = nb.simulate(replaced(whole, "detector.distance_mm", jnp.asarray(61.0, float)))
    for value in (61, 61.0, np.float64(61.0), np.asarray(61.0)):
        np.testing.assert_array_equal(nb.simulate(replaced(whole, "detector.distance_mm", value)), expected)


def test_a_cell_of_one_angle_short_of_flat_is_fine():
    flat = {"cell_lengths_A": CELL, "cell_angles_deg": (ANGLES[0], 60.0, 143.9)}
    assert np.all(np.isfinite(image_of(crystal=flat)))
