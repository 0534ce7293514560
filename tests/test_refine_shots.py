"""Many shots in batches: the same as `fit`, ends and damping shot by shot, and one compilation for all of them."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from refine_cases import counts_of, small_still

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.errors import InputError
from nanobrag_jax.experiment import completed
from nanobrag_jax.refine.parameters.paths import ScaledExperiment
from nanobrag_jax.refine.shots.batch import Boxes
from nanobrag_jax.refine.shots.driver import refine_batch
from nanobrag_jax.refine.shots.equations import bragg_photons

PARAMETERS = (
    refine.Parameter("crystal.misset_deg", scale=0.1),
    refine.Parameter("crystal.n_cells", "positive"),
    refine.Parameter("scale", "positive"),
)


def shots_of(count: int, first: int = 0, factor: float = 1.15) -> list[refine.Shot]:
    """Stills of one crystal in random orientations, with starts that are off."""
    made = []
    for number in range(first, first + count):
        truth = small_still()
        truth = eqx.tree_at(lambda e: e.crystal, truth, truth.crystal.random_orientation(number))
        rng = np.random.default_rng(number)
        off = truth.crystal.misset_deg + rng.normal(size=3) * 0.1
        start = eqx.tree_at(
            lambda e: (e.crystal.misset_deg, e.crystal.n_cells), truth, (off, truth.crystal.n_cells * factor)
        )
        spots = refine.predict(truth, min_photons=5.0)
        counts = counts_of(truth, seed=number)
        made.append(refine.shot_of(start, counts, spots, half_size=5, name=f"shot {number}", number=number))
    return made


SHOTS = shots_of(5)


@pytest.fixture(scope="module")
def fitted():
    return list(refine.fit_shots(SHOTS, PARAMETERS, tolerance=0.005, outlier_z=None))


def test_shots_end_where_fits_of_one_end(fitted):
    for shot, found in zip(SHOTS[:3], fitted, strict=False):
        alone = refine.fit(*shot.by_panel, PARAMETERS, progress=False)
        assert found.shot is shot and found.converged
        assert found.degrees_of_freedom == alone.degrees_of_freedom
        assert found.chi_square == pytest.approx(alone.chi_square, rel=1e-3)
        assert found.objective == pytest.approx(alone.objective, rel=1e-5)
        for name, value in found.values.items():
            sigma = alone.uncertainties[name]
            assert np.all(np.abs(value - alone.values[name]) < 0.05 * sigma)
            np.testing.assert_allclose(found.uncertainties[name], sigma, rtol=0.02)
        np.testing.assert_allclose(found.correlations, alone.correlations, atol=0.02)
        refined = found.experiment.crystal.misset_deg
        np.testing.assert_allclose(refined, found.values["crystal.misset_deg"])


def test_shots_find_their_truth(fitted):
    for found in fitted:
        assert found.verdict.startswith("converged") and found.describes_the_data, found
        np.testing.assert_allclose(found.values["crystal.n_cells"], [7, 6, 6], rtol=0.05)
        assert found.offset_pixels < 2.0 and not found.masked_boxes.any()
    pulls = [(f.values["crystal.n_cells"] - [7, 6, 6]) / f.uncertainties["crystal.n_cells"] for f in fitted]
    assert 0.4 < np.std(pulls) < 1.6


def test_other_shots_compile_nothing():
    size = refine.batch_size(SHOTS, together=2)
    list(refine.fit_shots(SHOTS[:2], PARAMETERS, size=size))
    before = refine_batch._cached._cache_size()
    others = [s for s in shots_of(4, first=20) if len(s.panel) <= size.boxes]
    assert len(others) >= 3
    assert len(list(refine.fit_shots(others[:3], PARAMETERS, size=size, max_steps=12))) == 3
    assert refine_batch._cached._cache_size() == before > 0


def test_a_restraint_holds_a_shots_values():
    held = refine.Parameter("crystal.n_cells", "positive", restraint=(9.0, 1e-4))
    (found,) = refine.fit_shots(SHOTS[:1], [PARAMETERS[0], held, PARAMETERS[2]])
    np.testing.assert_allclose(found.values["crystal.n_cells"], 9.0, atol=0.01)
    assert not found.describes_the_data

    def volume(values):
        return jnp.prod(values["crystal.n_cells"])

    known = refine.FunctionRestraint(volume, 7 * 7 * 7, 0.01)
    (found,) = refine.fit_shots(SHOTS[:1], PARAMETERS, restraints=[known])
    assert float(np.prod(found.values["crystal.n_cells"])) == pytest.approx(343, abs=0.2)


def test_boxes_may_have_intensities_of_their_own():
    shot = SHOTS[1]
    table = shot.experiment.structure_factors.amplitudes
    flat = eqx.tree_at(lambda e: e.structure_factors.amplitudes, shot.experiment, jnp.where(table > 0, 100.0, 0.0))
    counts = np.random.default_rng(3).poisson(np.asarray(nb.simulate(shot.experiment)) + 2.0)
    wrong = refine.shot_of(flat, counts, refine.predict(flat, min_photons=5.0), half_size=4)
    parameters = PARAMETERS[:2]
    (fixed,) = refine.fit_shots([wrong], parameters, outlier_z=None)
    (free,) = refine.fit_shots([wrong], parameters, free_factors=True, outlier_z=None)
    assert fixed.reduced_chi_square > 5 * free.reduced_chi_square
    amplitudes = np.asarray(shot.experiment.structure_factors.amplitudes)
    place = tuple((wrong.hkl - np.array(shot.experiment.structure_factors.hkl_min)).T)
    seen = free.photons > 200
    assert seen.sum() > 3
    ratio = free.factors[seen] / (amplitudes[place][seen] / 100) ** 2
    assert np.median(ratio) == pytest.approx(1.0, abs=0.06) and np.mean(np.abs(ratio - 1) < 0.1) > 0.7
    assert np.all(free.factor_uncertainties[seen] > 0)


def test_outlying_boxes_are_taken_out_and_hops_leave_local_minima():
    shot = SHOTS[0]
    counts = np.asarray(shot.boxes.counts).copy()
    counts[1] += 400 * np.random.default_rng(1).random(counts.shape[1])
    spoiled = eqx.tree_at(lambda d: d.counts, shot.boxes, jnp.asarray(counts))
    bad = refine.Shot(
        "bad", 0, 1, None, shot.experiment, spoiled, shot.panel, shot.hkl, shot.row, shot.center, shot.left_out
    )
    (found,) = refine.fit_shots([bad], PARAMETERS)
    assert found.masked_boxes.tolist() == [k == 1 for k in range(len(shot.panel))]
    assert found.describes_the_data and np.isnan(found.box_chi_square[1])
    far = shots_of(4, first=40, factor=2.0)
    once = list(refine.fit_shots(far, PARAMETERS, outlier_z=None))
    hopped = list(refine.fit_shots(far, PARAMETERS, outlier_z=None, hops={"crystal.n_cells": 1.4}))
    assert sum(f.describes_the_data for f in hopped) >= sum(f.describes_the_data for f in once)
    assert all(b.objective <= a.objective + 1e-6 for a, b in zip(once, hopped, strict=True))


def test_panels_share_a_program_with_their_own_frames():
    single = small_still()
    corners = ((12.4, 12.9), (-0.4, 12.9))
    halves = [nb.Detector(60, 32, pixel_size_mm=0.4, distance_mm=120.0, beam_center_mm=c) for c in corners]
    stacked = nb.Experiment(
        crystal=single.crystal,
        beam=single.beam,
        detector=halves,
        structure_factors=single.structure_factors,
        sampling=nb.Sampling(1),
    )
    images = np.asarray(nb.simulate(stacked))
    slow, fast = np.meshgrid(np.arange(20), np.arange(30, 50), indexing="ij")
    pixels = [jnp.asarray(np.stack([v.ravel()] * 3), jnp.int32) for v in (slow, fast)]
    used = jnp.ones(pixels[0].shape, bool)
    boxes = Boxes(*pixels, jnp.zeros(used.shape), used, jnp.array([0, 1, 0]), jnp.zeros((3, 2)), jnp.ones(3))
    found = np.asarray(bragg_photons(ScaledExperiment(completed(stacked), jnp.ones(())), boxes, used))
    for row, number in enumerate((0, 1, 0)):
        np.testing.assert_allclose(found[row], images[number][slow, fast].ravel(), rtol=1e-9, atol=1e-12)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="no shots"):
        list(refine.fit_shots([], PARAMETERS))
    with pytest.raises(InputError, match="hops must be factors"):
        list(refine.fit_shots(SHOTS[:1], PARAMETERS, hops={"beam.wavelength_A": 1.1}))
    with pytest.raises(InputError, match="outlier_z must be positive"):
        list(refine.fit_shots(SHOTS[:1], PARAMETERS, outlier_z=-1.0))
    with pytest.raises(InputError, match="has .* boxes, but batches are for 1"):
        list(refine.fit_shots(SHOTS[:1], PARAMETERS, size=refine.BatchSize(2, 1)))
    other = shots_of(1)[0]
    other = eqx.tree_at(lambda e: e.sampling, other.experiment, nb.Sampling(2, interpolate=False))
    mixed = refine.Shot(
        "b", 0, 1, None, other, SHOTS[0].boxes, *(getattr(SHOTS[0], k) for k in "panel hkl row center left_out".split())
    )
    with pytest.raises(InputError, match="differ in numbers only"):
        list(refine.fit_shots([SHOTS[0], mixed], PARAMETERS))
