"""What a constructor is told is heeded, refused, or warned of: nothing is ignored without a word."""

import shlex

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

import nanobrag_jax as nb
from nanobrag_jax.errors import ExperimentWarning

CELL = (50.0, 60.0, 70.0)
FACTORS = nb.StructureFactors(default_F=100.0)

COUNTS = {
    "mosaic spread": (lambda: nb.Crystal(CELL, mosaic_spread_deg=0.5).mosaicity.domains, 10),
    "no mosaic spread": (lambda: nb.Crystal(CELL).mosaicity.domains, 1),
    "rotation": (lambda: nb.Goniometer(0.0, 5.0).phi_steps, 2),
    "no rotation": (lambda: nb.Goniometer(5.0).phi_steps, 1),
    "dispersion": (lambda: nb.Beam(dispersion_percent=5.0).dispersion_fractions.tolist(), [-0.5, 0.5]),
    "no dispersion": (lambda: nb.Beam().dispersion_fractions.tolist(), [0.0]),
    "divergence": (lambda: len(nb.Beam(divergence_mrad=(1.0, 2.0)).divergence_fractions), 4),
    "level divergence": (
        lambda: nb.Beam(divergence_mrad=(1.0, 0.0)).divergence_fractions.tolist(),
        [[-0.5, 0.0], [0.5, 0.0]],
    ),
    "sensor": (lambda: float(nb.Detector(thickness_um=320.0).attenuation_depth_um), 320.0),
    "sensor that absorbs nothing": (
        lambda: nb.Detector(thickness_um=320.0, attenuation_depth_um=None).attenuation_depth_um,
        None,
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_follow_from_ranges(name):
    found, expected = COUNTS[name]
    assert found() == expected


FLAGS = (
    "-cell 50 60 70 80 90 100 -default_F 100 -N 12 -detpixels 64 -pixel 0.2 -distance 90 -lambda 1.1 -mosaic 0.3 -osc 1"
)


def test_python_settles_what_the_command_settles():
    """Sub-pixels, domains, steps, sources and absorption left out on both sides."""
    more = "-dispersion 1 -hdivrange 2 -vdivrange 1 -detector_thick 300"
    theirs = nb.experiment_from_args(shlex.split(f"{FLAGS} {more}"))
    ours = nb.Experiment(
        crystal=nb.Crystal(CELL, (80.0, 90.0, 100.0), n_cells=(12, 12, 12), mosaic_spread_deg=0.3),
        beam=nb.Beam(1.1, dispersion_percent=1.0, divergence_mrad=(2.0, 1.0)),
        detector=nb.Detector(64, 64, pixel_size_mm=0.2, distance_mm=90.0, thickness_um=300.0),
        goniometer=nb.Goniometer(0.0, 1.0),
        structure_factors=FACTORS,
    )
    assert ours.sampling.oversample == theirs.sampling.oversample > 1
    assert ours.sampling.interpolate is theirs.sampling.interpolate is False
    for part in ("crystal", "beam", "goniometer"):
        here, there = (jax.tree.leaves(getattr(e, part)) for e in (ours, theirs))
        for a, b in zip(here, there, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14)
    assert float(ours.detector.attenuation_depth_um) == pytest.approx(float(theirs.detector.attenuation_depth_um))


WARNED = {
    "mosaic_spread_deg 0.5 has no effect": lambda: nb.Crystal(CELL, mosaic_spread_deg=0.5, mosaic_domains=1),
    "osc_deg 5 has no effect": lambda: nb.Goniometer(0.0, 5.0, phi_steps=1),
    "dispersion_percent 5 has no effect": lambda: nb.Beam(dispersion_percent=5.0, dispersion_fractions=(0.0,)),
    "divergence_mrad 1 2 has no effect": lambda: nb.Beam(
        divergence_mrad=(1.0, 2.0), divergence_fractions=((0.0, 0.0),)
    ),
    "oversample 1 is kept, though the spots need": lambda: nb.Experiment(
        crystal=nb.Crystal(CELL, n_cells=(30, 30, 30)), structure_factors=FACTORS, sampling=nb.Sampling(1)
    ),
    "8 amplitudes are negative": lambda: nb.StructureFactors(-np.ones((2, 2, 2))),
    "wavelength_A is 12398": lambda: nb.Beam(12398.0),
    "distance_mm is 0.1": lambda: nb.Detector(distance_mm=0.1),
    "cell_angles_deg is 1.57": lambda: nb.Crystal(CELL, (1.57, 1.57, 1.57)),
    "have no effect|has no effect|are taken": lambda: nb.experiment_from_args(shlex.split(f"{FLAGS} -mosaic 0.3")),
}


@pytest.mark.parametrize("message", WARNED)
def test_warned_of(message):
    with pytest.warns(ExperimentWarning, match=message) as caught:
        WARNED[message]()
    assert caught[0].filename == __file__


def test_what_is_fine_warns_of_nothing():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", ExperimentWarning)
        nb.Experiment(crystal=nb.Crystal(CELL, mosaic_spread_deg=0.1), structure_factors=FACTORS)


OUT_OF_RANGE = {
    "beam.wavelength_A": (-1.2, 0.0, np.nan),
    "detector.distance_mm": (-60.0, 0.0),
    "detector.pixel_size_mm": (-3.0,),
    "crystal.cell_lengths_A": ((40.0, -50.0, 60.0),),
    "crystal.cell_angles_deg": ((30.0, 40.0, 100.0), (90.0, 190.0, 90.0)),
    "crystal.n_cells": ((3.0, -4.0, 5.0),),
    "beam.fluence_per_m2": (-1.0,),
    "beam.source_weights": ((0.0,), (-1.0,)),
    "goniometer.spindle_axis": ((0.0, 0.0, 0.0),),
    "detector.fast_axis": ((0.0, 0.0, 0.0),),
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_a_trace_gives_no_image_of_another_experiment(name):
    """What only a trace sees and no constructor would take: no pixel is a number."""
    start = nb.completed(small.experiment())
    for value in OUT_OF_RANGE[name]:
        image = jax.jit(lambda v: nb.simulate(small.replaced(start, name, v)))(jnp.asarray(value, float))
        assert np.all(np.isnan(image)), value
    assert np.all(np.isfinite(jax.jit(nb.simulate)(start)))


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_outside_a_trace_the_leaf_is_named(name):
    start = nb.completed(small.experiment())
    for value in OUT_OF_RANGE[name]:
        with pytest.raises(nb.InputError, match=name.partition(".")[2]):
            nb.simulate(small.replaced(start, name, jnp.asarray(value, float)))


def test_a_leaf_of_another_shape_is_named():
    start = small.experiment()
    with pytest.raises(nb.InputError, match=r"crystal\.misset_deg must be an array of shape \(3,\), got shape \(2,\)"):
        nb.simulate(eqx.tree_at(lambda e: e.crystal.misset_deg, start, jnp.zeros(2)))
    with pytest.raises(nb.InputError, match=r"beam\.wavelength_A must be a number, got shape \(2,\)"):
        jax.jit(nb.simulate)(eqx.tree_at(lambda e: e.beam.wavelength_A, start, jnp.ones(2)))


REFUSED = {
    "amplitudes must be real numbers": lambda: nb.StructureFactors(np.ones((2, 2, 2), complex)),
    r"given must have the shape of amplitudes, \(2, 2, 2\), got \(2, 2\)": lambda: nb.StructureFactors(
        np.ones((2, 2, 2)), given=np.zeros((2, 2), bool)
    ),
    "orientation must be a rotation matrix": lambda: nb.Crystal(CELL, orientation=2 * np.eye(3)),
    "orientation must be a rotation matrix, got": lambda: nb.Crystal(CELL, orientation=np.diag([1, 1, -1])),
    "orientation must be a rotation matrix, got .0": lambda: nb.Crystal(CELL, orientation=np.zeros((3, 3))),
    "fast_axis and slow_axis must be vectors that are not parallel": lambda: nb.Detector(
        fast_axis=(0, 0, 1), slow_axis=(0, 0, -1)
    ),
    "direction must be a vector that is not zero": lambda: nb.Beam(direction=(1e-170, 0, 0)),
    "source_weights must be zero or positive, and not all zero": lambda: nb.Beam(source_weights=(0.0,)),
    "source_positions must be none of them": lambda: nb.Beam(source_positions=((0.0, 0.0, 0.0),)),
    "at least one source": lambda: nb.Beam(dispersion_fractions=()),
    "at least one mosaic domain": lambda: nb.Crystal(
        CELL, mosaicity=nb.CapMosaicity(0.1, np.zeros((0, 3)), np.zeros(0))
    ),
    "roi must be four whole numbers": lambda: nb.Sampling(roi=(0.5, 3, 0, 3)),
    "wavelength_A must be real numbers, got '1.0'": lambda: nb.Beam("1.0"),
    "wavelength_A must be real numbers, got True": lambda: nb.Beam(True),
    "n_cells must be real numbers, got": lambda: nb.Crystal(CELL, n_cells=((1, 2), 3)),
    "Detector has no argument distance: did you mean distance_mm?": lambda: nb.Detector(distance=3.0),
    "crystal must be a Crystal, got a Beam": lambda: nb.Experiment(crystal=nb.Beam(), structure_factors=FACTORS),
    "beam must be a Beam, got a Crystal": lambda: nb.Experiment(
        crystal=nb.Crystal(CELL), beam=nb.Crystal(CELL), structure_factors=FACTORS
    ),
    "detector must be a Detector or a list of them": lambda: nb.Experiment(
        crystal=nb.Crystal(CELL), detector=nb.Beam(), structure_factors=FACTORS
    ),
    "an experiment must be an Experiment, got a Crystal": lambda: nb.simulate(nb.Crystal(CELL)),
    "flags must be a list of words, got one string": lambda: nb.experiment_from_args("-cell 1 2 3 90 90 90"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("message", REFUSED)
def test_refused(message):
    with pytest.raises(nb.InputError, match=message):
        REFUSED[message]()


BEHIND = {
    "two-theta": {"twotheta_deg": 120.0},
    "pix0": {"pix0_mm": (-60.0, 18.0, -15.0)},
    "normal": {"normal_axis": (-1.0, 0.0, 0.0)},
}


@pytest.mark.parametrize("name", BEHIND)
def test_a_panel_seen_from_behind_has_photons(name):
    image = np.asarray(nb.simulate(small.experiment(detector=BEHIND[name], sampling={"water_um": 10.0})))
    assert image.min() > 0


def test_a_panel_turned_round_has_the_same_image():
    """Its pixels are where they were, so each has the photons that it had; in c-parity their sign changes."""
    there = {"pix0_mm": (60.0, 18.0, -15.0), "normal_axis": (1.0, 0.0, 0.0)}
    turned = there | {"normal_axis": (-1.0, 0.0, 0.0)}
    sensor = {"thickness_um": 300.0, "attenuation_depth_um": 200.0, "thickness_steps": 2}
    images = [nb.simulate(small.experiment(detector=each)) for each in (there, turned)]
    np.testing.assert_allclose(images[0], images[1], rtol=1e-12)
    images = [nb.simulate(small.experiment(detector=each | sensor)) for each in (there, turned)]
    np.testing.assert_allclose(images[0], images[1], rtol=1e-12)
