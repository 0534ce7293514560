"""The configuration classes: defaults, immutability, leaves, and what they refuse."""

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import ANGLES, CELL, experiment, factors_grid, replaced

import nanobrag_jax as nb
from nanobrag_jax.constants import DEFAULT_FLUENCE_PER_M2
from nanobrag_jax.experiment import settled
from nanobrag_jax.mosaicity import CapMosaicity

CRYSTAL = {"cell_lengths_A": CELL, "cell_angles_deg": ANGLES}

REFUSED = [
    # (class, arguments, what the message has to say)
    (nb.Crystal, {"cell_lengths_A": (31, 0, 44)}, "cell_lengths_A must be positive, got [31. 0. 44.]"),
    (nb.Crystal, {"cell_lengths_A": (31, -2, 44)}, "cell_lengths_A must be positive"),
    (nb.Crystal, {"cell_lengths_A": (31, np.nan, 44)}, "cell_lengths_A must be positive, got [31. nan 44.]"),
    (nb.Crystal, {"cell_lengths_A": (31, 37)}, "cell_lengths_A must be an array of shape (3,), got shape (2,)"),
    (nb.Crystal, CRYSTAL | {"cell_angles_deg": (0, 90, 90)}, "cell_angles_deg must be between 0 and 180"),
    (nb.Crystal, CRYSTAL | {"cell_angles_deg": (90, 90, 180)}, "cell_angles_deg must be between 0 and 180"),
    (
        nb.Crystal,
        CRYSTAL | {"cell_angles_deg": (30, 40, 100)},
        "cell_angles_deg must be angles that close to a cell, got [ 30.  40. 100.]",
    ),
    (
        nb.Crystal,
        CRYSTAL | {"cell_angles_deg": (120, 120, 120)},
        "cell_angles_deg must be angles that close to a cell, got [120. 120. 120.]",
    ),
    (nb.Crystal, CRYSTAL | {"misset_deg": (0, np.inf, 0)}, "misset_deg must be finite, got [ 0. inf 0.]"),
    (nb.Crystal, CRYSTAL | {"n_cells": (5, 0, 5)}, "n_cells must be positive"),
    (nb.Crystal, CRYSTAL | {"n_cells": 5}, "n_cells must be an array of shape (3,), got shape ()"),
    (nb.Crystal, CRYSTAL | {"fudge": 0}, "fudge must be positive, got 0"),
    (nb.Crystal, CRYSTAL | {"mosaic_spread_deg": -0.1}, "mosaic_spread_deg must be zero or positive, got -0.1"),
    (nb.Crystal, CRYSTAL | {"mosaic_domains": 0}, "mosaic_domains must be a whole number of at least 1, got 0"),
    (CapMosaicity, {"axes": [[0, 0, 1]], "fractions": [0, 1]}, "mosaic_fractions must be"),
    (CapMosaicity, {"spread_deg": -0.1}, "mosaic_spread_deg must be zero or positive, got -0.1"),
    (nb.Crystal, CRYSTAL | {"mosaicity": CapMosaicity(1.0), "mosaic_domains": 2}, "give mosaicity, or mosaic_spread"),
    (nb.Crystal, CRYSTAL | {"orientation": np.eye(2)}, "orientation must be an array of shape (3, 3)"),
    (nb.Crystal, CRYSTAL | {"shape": "gaus"}, "shape must be one of square, round, gauss_star, tophat, gauss, or"),
    (
        nb.Crystal,
        CRYSTAL | {"shape": "cube"},
        "shape must be one of square, round, gauss_star, tophat, gauss, or a spot shape of your own, got 'cube'",
    ),
    (nb.Beam, {"wavelength_A": 0}, "wavelength_A must be positive, got 0"),
    (nb.Beam, {"wavelength_A": (1, 2)}, "wavelength_A must be a number, got shape (2,)"),
    (nb.Beam, {"fluence_per_m2": -1e20}, "fluence_per_m2 must be zero or positive, got -1e+20"),
    (nb.Beam, {"kahn_factor": 1.5}, "kahn_factor must be between -1 and 1, got 1.5"),
    (nb.Beam, {"direction": (0, 0, 0)}, "direction must be a vector that is not zero"),
    (nb.Beam, {"polarization_vector": (0, 1)}, "polarization_vector must be an array of shape (3,)"),
    (nb.Beam, {"divergence_mrad": (1, -1)}, "divergence_mrad must be zero or positive"),
    (nb.Beam, {"divergence_fractions": (0, 0)}, "divergence_fractions must be an array of shape (n, 2)"),
    (nb.Beam, {"dispersion_percent": np.nan}, "dispersion_percent must be zero or positive, got nan"),
    (nb.Beam, {"source_positions": [[0, 0]]}, "source_positions must be an array of shape (n, 3)"),
    (nb.Beam, {"source_weights": (1, 1)}, "source_weights must be an array of shape (1,), got shape (2,)"),
    (nb.Beam, {"dispersion_fractions": (0, 1), "source_weights": (1, -1)}, "source_weights must be zero or positive"),
    (nb.Detector, {"pixels_fast": 0}, "pixels_fast must be a whole number of at least 1, got 0"),
    (nb.Detector, {"pixels_slow": 2.5}, "pixels_slow must be a whole number of at least 1, got 2.5"),
    (nb.Detector, {"pixels_slow": True}, "pixels_slow must be a whole number of at least 1, got True"),
    (nb.Detector, {"pixel_size_mm": 0}, "pixel_size_mm must be positive, got 0"),
    (nb.Detector, {"size_mm": (10, -1)}, "size_mm must be positive"),
    (nb.Detector, {"distance_mm": -3.0}, "distance_mm must be positive, got -3"),
    (nb.Detector, {"close_distance_mm": 0.0}, "close_distance_mm must be positive, got 0"),
    (nb.Detector, {"beam_center_mm": (1, np.inf)}, "beam_center_mm must be finite"),
    (nb.Detector, {"close_point_mm": (1, 2, 3)}, "close_point_mm must be an array of shape (2,)"),
    (nb.Detector, {"pix0_mm": (1, np.nan, 3)}, "pix0_mm must be finite"),
    (nb.Detector, {"convention": "nexus"}, "convention must be one of mosflm"),
    (nb.Detector, {"pivot": "corner"}, "pivot must be one of beam, sample, got 'corner'"),
    (nb.Detector, {"fast_axis": (0, 0, 0)}, "fast_axis must be a vector that is not zero"),
    (nb.Detector, {"normal_axis": (0, 0, 0)}, "normal_axis must be a vector that is not zero"),
    (nb.Detector, {"rotations_deg": (0, 0)}, "rotations_deg must be an array of shape (3,)"),
    (nb.Detector, {"twotheta_deg": np.nan}, "twotheta_deg must be finite, got nan"),
    (nb.Detector, {"twotheta_axis": (0, 0, 0)}, "twotheta_axis must be a vector that is not zero"),
    (nb.Detector, {"thickness_um": 0.0}, "thickness_um must be positive, got 0"),
    (nb.Detector, {"attenuation_depth_um": -1.0}, "attenuation_depth_um must be positive, got -1"),
    (nb.Detector, {"thickness_steps": 0}, "thickness_steps must be a whole number of at least 1, got 0"),
    (nb.Goniometer, {"phi_steps": 0}, "phi_steps must be a whole number of at least 1, got 0"),
    (nb.Goniometer, {"phi_deg": np.nan}, "phi_deg must be finite, got nan"),
    (nb.Goniometer, {"osc_deg": np.inf}, "osc_deg must be finite, got inf"),
    (nb.Goniometer, {"spindle_axis": (0, 0, 0)}, "spindle_axis must be a vector that is not zero"),
    (nb.Sampling, {"oversample": 0}, "oversample must be a whole number of at least 1, got 0"),
    (nb.Sampling, {"dmin_A": -2.0}, "dmin_A must be zero or positive, got -2"),
    (nb.Sampling, {"water_um": np.nan}, "water_um must be zero or positive, got nan"),
    (nb.Sampling, {"roi": (0, 1, 2)}, "roi must be four whole numbers, got (0, 1, 2)"),
    (nb.StructureFactors, {"amplitudes": np.ones((2, 2))}, "amplitudes must be an array of shape (n, n, n)"),
    (nb.StructureFactors, {"amplitudes": np.full((2, 2, 2), np.nan)}, "amplitudes must be finite"),
    (nb.StructureFactors, {"default_F": np.inf}, "default_F must be finite, got inf"),
    (nb.StructureFactors, {"given": np.zeros((2, 2, 2), bool)}, "given must have the shape of amplitudes"),
    (experiment, {"sampling": {"roi": (0, 12, 0, 5)}}, "roi 0 12 0 5 does not lie on the detector of 12 x 10 pixels"),
    (experiment, {"sampling": {"roi": (5, 4, 0, 5)}}, "roi 5 4 0 5 does not lie on the detector"),
    (experiment, {"sampling": {"mask": np.ones((12, 10), bool)}}, "mask has 10 x 12 pixels, the detector 12 x 10"),
]


@pytest.mark.parametrize("make, arguments, message", REFUSED, ids=[f"{m.__name__}-{s[:40]}" for m, _, s in REFUSED])
def test_refuses(make, arguments, message, unchecked):
    with pytest.raises(nb.InputError, match=re.escape(message).replace(r"\ ", r"\s+")):
        make(**arguments)


def test_an_input_error_is_a_value_error():
    assert issubclass(nb.InputError, ValueError)


@pytest.mark.parametrize("part", ["crystal", "beam", "detector", "goniometer", "structure_factors", "sampling"])
def test_everything_is_frozen(part):
    whole = experiment()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(whole, part, None)
    piece = getattr(whole, part)
    name = dataclasses.fields(piece)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(piece, name, 1.0)


def test_numbers_are_leaves_of_double_precision():
    leaves = jax.tree.leaves(nb.completed(experiment(sampling={"dmin_A": 2, "water_um": 1})))
    assert len(leaves) >= 35
    assert all(isinstance(x, jax.Array) and x.dtype == jnp.float64 and not x.weak_type for x in leaves)


@pytest.mark.parametrize("kind", [float, int, np.float32, np.int64, np.asarray, jnp.asarray])
def test_any_number_will_do(kind):
    distance = nb.Detector(4, 4, distance_mm=kind(90)).distance_mm
    assert distance.dtype == jnp.float64 and distance == 90.0


STATIC = ["pixels_fast", "pixels_slow", "convention", "pivot", "reference_pivot", "curved", "point_pixel"]


def test_what_decides_shapes_is_static():
    leaves = jax.tree.structure(experiment())
    assert leaves != jax.tree.structure(experiment(detector={"pixels_fast": 13}))
    assert leaves != jax.tree.structure(experiment(goniometer={"phi_steps": 2}))
    assert leaves != jax.tree.structure(experiment(sampling={"oversample": 2}))
    assert leaves == jax.tree.structure(experiment(detector={"distance_mm": 61.0}, crystal={"fudge": 2.0}))
    static = {f.name for f in dataclasses.fields(nb.Detector) if f.metadata.get("static")}
    assert static == {*STATIC, "thickness_steps", "mean_depth"}
    hash(leaves)


DEFAULTS = {  # convention: (beam, fast, slow, normal, two-theta axis, polarisation, spindle, pivot)
    "mosflm": ((1, 0, 0), (0, 0, 1), (0, -1, 0), (1, 0, 0), (0, 0, -1), (0, 0, 1), (0, 0, 1), "beam"),
    "denzo": ((1, 0, 0), (0, 0, 1), (0, -1, 0), (1, 0, 0), (0, 0, -1), (0, 0, 1), (0, 0, 1), "beam"),
    "adxv": ((0, 0, 1), (1, 0, 0), (0, -1, 0), (0, 0, 1), (-1, 0, 0), (1, 0, 0), (1, 0, 0), "beam"),
    "xds": ((0, 0, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0), (1, 0, 0), (1, 0, 0), "sample"),
    "dials": ((0, 0, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 0), (0, 1, 0), (0, 1, 0), "sample"),
    "custom": ((1, 0, 0), (0, 0, 1), (0, -1, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 1), "beam"),
}

BEAM_CENTERS = {  # for 12 x 10 pixels of 3 mm
    "mosflm": (16.5, 19.5),
    "denzo": (16.5, 19.5),
    "adxv": (19.5, 13.5),
    "xds": (18.0, 15.0),
    "dials": (18.0, 15.0),
    "custom": (18.0, 15.0),
}


@pytest.mark.parametrize("convention", DEFAULTS)
def test_defaults_of_a_convention(convention):
    whole = nb.completed(experiment(detector={"convention": convention}))
    detector = whole.detector
    vectors = (
        whole.beam.direction,
        detector.fast_axis,
        detector.slow_axis,
        detector.normal_axis,
        detector.twotheta_axis,
        whole.beam.polarization_vector,
        whole.goniometer.spindle_axis,
    )
    *expected, pivot = DEFAULTS[convention]
    for found, wanted in zip(vectors, expected, strict=True):
        assert found.tolist() == list(wanted)
    assert detector.pivot == detector.reference_pivot == pivot
    np.testing.assert_allclose(detector.beam_center_mm, BEAM_CENTERS[convention], rtol=1e-15)


def test_defaults_are_the_references():
    whole = nb.Experiment(crystal=nb.Crystal(CELL), structure_factors=nb.StructureFactors(default_F=1.0))
    assert whole.crystal.cell_angles_deg.tolist() == [90.0] * 3
    assert whole.crystal.n_cells.tolist() == [1.0] * 3
    assert (whole.crystal.shape.name, float(whole.crystal.fudge)) == ("square", 1.0)
    assert float(whole.beam.wavelength_A) == 1.0
    assert float(whole.beam.fluence_per_m2) == DEFAULT_FLUENCE_PER_M2 == 1.25932015286227086e29
    assert (float(whole.beam.kahn_factor), whole.beam.polarized) == (0.0, True)
    assert (whole.detector.pixels_fast, whole.detector.pixels_slow) == (1024, 1024)
    assert (float(whole.detector.pixel_size_mm), float(whole.detector.distance_mm)) == (0.1, 100.0)
    assert whole.detector.size_mm_or_default == pytest.approx([102.4, 102.4])
    assert (whole.goniometer.phi_steps, float(whole.goniometer.osc_deg)) == (1, 0.0)
    assert (whole.sampling.oversample, whole.sampling.interpolate, whole.sampling.roi) == (1, False, None)


def test_given_vectors_are_kept():
    whole = experiment(beam={"direction": (0, 2, 0)}, goniometer={"spindle_axis": (1, 1, 0)})
    assert whole.beam.direction.tolist() == [0, 2, 0]
    assert whole.goniometer.spindle_axis.tolist() == [1, 1, 0]
    kept = nb.completed(whole)
    assert kept.beam.direction.tolist() == [0, 2, 0] and kept.beam.polarization_vector.tolist() == [0, 0, 1]
    assert kept.goniometer.spindle_axis.tolist() == [1, 1, 0] and nb.completed(kept) is kept


REPLACED = {  # part: what takes its place; the detectors' conventions have other beams, spindles and polarisations
    "beam": lambda: nb.Beam(1.0),
    "goniometer": lambda: nb.Goniometer(3.0, 1.0, phi_steps=2),
    "detector": lambda: nb.Detector(12, 10, pixel_size_mm=3.0, distance_mm=50.0, convention="dials"),
    "crystal": lambda: nb.Crystal(CELL, n_cells=(4, 4, 4), shape="gauss_star"),
    "structure_factors": lambda: nb.StructureFactors(default_F=7.0),
    "sampling": lambda: nb.Sampling(2),
    "scatterers": lambda: (nb.amorphous_sample("water", 1.0),),
}


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
@pytest.mark.parametrize("name", REPLACED)
def test_a_part_can_be_replaced(name, mode, tmp_path):
    """In an experiment as it was built, and in one loaded from a file: the image is the one of building it so."""
    start = experiment(goniometer={"osc_deg": 2.0})
    nb.save_config(tmp_path / "run.json", start)
    part = REPLACED[name]()
    built = nb.Experiment(**{f.name: getattr(start, f.name) for f in dataclasses.fields(start)} | {name: part})
    expected = np.asarray(nb.simulate(built, mode))
    for whole in (start, nb.load_config(tmp_path / "run.json").experiment):
        changed = eqx.tree_at(lambda e: getattr(e, name), whole, part)
        assert eqx.tree_equal(settled(changed), built)
        np.testing.assert_array_equal(nb.simulate(changed, mode), expected)
    differs = not np.array_equal(expected, nb.simulate(start, mode))
    assert differs != (name == "scatterers" and mode == "c-parity")


def test_sources_are_counted():
    assert nb.Beam().num_sources == 1
    assert nb.Beam(divergence_fractions=np.zeros((3, 2)), dispersion_fractions=np.zeros(4)).num_sources == 12
    listed = nb.Beam(1.5, source_positions=-np.eye(3))
    assert listed.num_sources == 3
    assert listed.source_wavelengths_A.tolist() == [1.5] * 3
    assert listed.source_weights.tolist() == [1.0] * 3


def test_an_experiment_can_be_changed_leaf_by_leaf():
    whole = replaced(experiment(), "detector.distance_mm", jnp.asarray(70.0))
    assert float(whole.detector.distance_mm) == 70.0
    assert float(experiment().detector.distance_mm) == 60.0


def test_checks_let_traced_values_pass():
    def build(distance):
        return nb.Detector(4, 4, distance_mm=distance).distance_mm * 2.0

    assert jax.jit(build)(45.0) == 90.0
    assert jax.grad(build)(45.0) == 2.0


def test_given_structure_factors_keep_their_holes():
    given = np.ones((13, 13, 13), bool)
    assert factors_grid(given=given).given is None
    given[3, 4, 5] = False
    assert factors_grid(given=given).given.sum() == given.size - 1


def test_equinox_can_partition_it():
    numbers, rest = eqx.partition(experiment(), eqx.is_inexact_array)
    assert jax.tree.leaves(rest) == []
    assert jax.tree.structure(eqx.combine(numbers, rest)) == jax.tree.structure(experiment())
