"""Fits of one image: convergence, uncertainties, restraints, bounds, losses, boxes, drivers and verdicts."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refine_cases import BACKGROUND, counts_of, small_still

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.errors import InputError

TRUTH = small_still()
START = eqx.tree_at(
    lambda e: (e.crystal.misset_deg, e.crystal.n_cells, e.beam.fluence_per_m2),
    TRUTH,
    (jnp.array([11.1, 16.9, 23.15]), jnp.array([8.0, 5.2, 6.9]), jnp.array(3e29)),
)
PARAMETERS = (
    refine.Parameter("crystal.misset_deg", scale=0.1),
    refine.Parameter("crystal.n_cells", "positive"),
    refine.Parameter("beam.fluence_per_m2", "positive"),
)
TRUE_VALUES = {"crystal.misset_deg": [11.0, 17.0, 23.0], "crystal.n_cells": [7, 6, 6], "beam.fluence_per_m2": 2e29}


def pulls_of(result):
    return {k: (v - np.asarray(TRUE_VALUES[k])) / result.uncertainties[k] for k, v in result.values.items()}


@pytest.fixture(scope="module")
def fitted():
    steps = []
    counts = counts_of(TRUTH)
    result = refine.fit(START, refine.whole_image(START, counts), PARAMETERS, progress=steps.append)
    return result, steps, counts


def test_a_fit_finds_the_truth_within_its_uncertainties(fitted):
    result, _, _ = fitted
    assert result.converged and result.describes_the_data, result.verdict
    assert result.verdict.startswith("converged") and "describes the data" in result.verdict
    for pull in pulls_of(result).values():
        assert np.all(np.abs(pull) < 4)
    assert np.all(result.uncertainties["crystal.misset_deg"] < 0.02)
    assert result.backgrounds[0][0, 0] == pytest.approx(BACKGROUND, abs=0.2)


def test_history_and_progress_tell_the_same(fitted):
    result, steps, _ = fitted
    assert steps == result.history and len(steps) > 4
    assert steps[-1].distance < 0.01 < steps[0].distance
    accepted = [s.objective for s in steps if s.accepted]
    assert accepted[-1] == result.objective < 0.5 * accepted[0]


def test_the_result_holds_the_refined_experiment_and_residuals(fitted):
    result, _, counts = fitted
    refined = result.experiment
    np.testing.assert_allclose(refined.crystal.misset_deg, result.values["crystal.misset_deg"])
    residuals = result.residuals[0]
    model = np.asarray(nb.simulate(refined)) + result.backgrounds[0][0, 0]
    np.testing.assert_allclose(residuals.expected, model[residuals.slow, residuals.fast], rtol=1e-9)
    image = residuals.image(counts.shape)
    np.testing.assert_allclose(image, (counts - model) / np.sqrt(model), rtol=1e-6, atol=1e-9)
    assert result.chi_square == pytest.approx(np.sum(image**2))
    assert result.degrees_of_freedom == 64 * 60 - 8


def test_uncertainties_are_those_of_the_full_normal_matrix(fitted):
    """The same matrix put together from a Jacobian by hand, the background among the parameters."""
    result, _, _ = fitted
    refined = result.experiment

    def model(v):
        leaves = lambda e: (e.crystal.misset_deg, e.crystal.n_cells, e.beam.fluence_per_m2)  # noqa: E731
        return nb.simulate(eqx.tree_at(leaves, refined, (v[:3], v[3:6], v[6]))).reshape(-1) + v[7]

    at = np.concatenate([np.ravel(v) for v in result.values.values()] + [[result.backgrounds[0][0, 0]]])
    jacobian = np.asarray(jax.jit(jax.jacfwd(model))(jnp.asarray(at))) * at
    weight = 1.0 / np.asarray(model(jnp.asarray(at)))
    covariance = np.linalg.inv((jacobian * weight[:, None]).T @ jacobian)
    sigma = np.sqrt(np.diag(covariance))
    found = np.concatenate([np.ravel(v) for v in result.uncertainties.values()])
    np.testing.assert_allclose(found, sigma[:7] * np.abs(at[:7]), rtol=1e-6)
    np.testing.assert_allclose(result.correlations, (covariance / np.outer(sigma, sigma))[:7, :7], atol=1e-6)
    assert result.labels[:2] == ("crystal.misset_deg[0]", "crystal.misset_deg[1]")
    assert result.correlation("crystal.misset_deg[0]", "beam.fluence_per_m2") == result.correlations[0, 6]
    with pytest.raises(InputError, match="no label"):
        result.correlation("scale", "scale")


def test_summary_names_everything(fitted):
    text = fitted[0].summary()
    for name in ("converged", "crystal.n_cells[2]", "beam.fluence_per_m2", "±"):
        assert name in text


def test_progress_is_printed(fitted, capsys):
    counts = fitted[2]
    driver = refine.LevenbergMarquardt(max_steps=2)
    result = refine.fit(START, refine.whole_image(START, counts), PARAMETERS, driver=driver)
    assert capsys.readouterr().err.count("step ") == 3
    assert not result.converged and "2 steps were not enough" in result.verdict


def test_a_wrong_model_is_found_out():
    """Counts of a crystal with other structure factors: the fit ends, and says that it does not fit."""
    other = eqx.tree_at(lambda e: e.structure_factors.amplitudes, TRUTH, TRUTH.structure_factors.amplitudes[::-1])
    result = refine.fit(START, refine.whole_image(START, counts_of(other)), PARAMETERS, progress=False)
    assert not result.describes_the_data and "does NOT describe" in result.verdict


@pytest.mark.slow
def test_hops_lead_out_of_a_local_minimum(fitted):
    """Crystal sizes half too large end in a minimum that the verdict finds out; hops reach the same end as before."""
    counts = fitted[2]
    far = eqx.tree_at(lambda e: e.crystal.n_cells, START, jnp.array([10.0, 9.0, 9.0]))
    data = refine.whole_image(far, counts)
    assert not refine.fit(far, data, PARAMETERS, progress=False).describes_the_data
    result = refine.fit_with_hops(far, data, PARAMETERS, hops={"crystal.n_cells": 1.3}, progress=False)
    assert result.converged and result.objective == pytest.approx(fitted[0].objective, abs=1e-3)
    for hops, message in (({"crystal.fudge": 1.3}, "not among"), ({"crystal.n_cells": 1.0}, "other than 1")):
        with pytest.raises(InputError, match=message):
            refine.fit_with_hops(far, data, PARAMETERS, hops=hops)


@pytest.mark.slow
def test_gaussian_boxes_planes_bounds_and_restraints():
    """One fit with everything else, and a parameter on which nothing depends."""
    rng = np.random.default_rng(5)
    slope = 1.0 + 0.02 * np.arange(64)[:, None]
    counts = counts_of(TRUTH, background=3.0 * slope) + rng.normal(0.0, 2.0, (64, 60))
    point = lambda e: e.detector.close_point_mm  # noqa: E731
    start = eqx.tree_at(point, START, jnp.array([1.0, 2.0]), is_leaf=lambda x: x is None)
    spots = refine.predict(start, widths=1.5)
    data = refine.shoeboxes(start, np.abs(counts), spots.slow, spots.fast, half_size=4, background="plane")
    parameters = [
        refine.Parameter("crystal.misset_deg", scale=0.1),
        refine.Parameter("scale", (0.2, 2.0), start=1.0),
        refine.Parameter("detector.distance_mm", restraint=(120.05, 0.02)),
        refine.Parameter("detector.close_point_mm[0]"),
        *PARAMETERS[1:2],
    ]
    result = refine.fit(start, data, parameters, loss=refine.Gaussian(2.0), progress=False)
    assert result.converged, result.verdict
    misset = "crystal.misset_deg"
    assert np.all(np.abs(result.values[misset] - [11, 17, 23]) < 4 * result.uncertainties[misset])
    assert abs(result.values["scale"] - 2 / 3) < 5 * result.uncertainties["scale"]
    assert float(result.experiment.beam.fluence_per_m2) == pytest.approx(3e29 * float(result.values["scale"]))
    assert result.uncertainties["detector.distance_mm"] < 0.02
    assert abs(result.values["detector.distance_mm"] - 120.05) < 0.1
    assert np.isinf(result.uncertainties["detector.close_point_mm[0]"])
    assert float(result.values["detector.close_point_mm[0]"]) == 1.0
    levels = result.backgrounds[0]
    assert levels.shape == (len(spots.hkl), 3)
    expected = 3.0 * (1.0 + 0.02 * spots.slow)
    assert np.abs(np.median(levels[:, 0] / expected) - 1.0) < 0.15


@pytest.mark.slow
def test_first_order_gets_there_too(fitted):
    counts = fitted[2]
    driver = refine.FirstOrder(rate=0.3, max_steps=150)
    result = refine.fit(START, refine.whole_image(START, counts), PARAMETERS, driver=driver, progress=False)
    for name, value in fitted[0].values.items():
        sigma = fitted[0].uncertainties[name]
        assert np.all(np.abs(result.values[name] - value) < 0.5 * sigma)
        np.testing.assert_allclose(result.uncertainties[name], sigma, rtol=0.05)
    assert result.objective == pytest.approx(fitted[0].objective, abs=0.5)


def test_what_does_not_fit_together_is_refused():
    data = refine.whole_image(START, counts_of(TRUTH))
    with pytest.raises(InputError, match="2 experiments and 1 sets of data"):
        refine.fit([START, START], [data], PARAMETERS)
    other = eqx.tree_at(lambda e: e.sampling, START, nb.Sampling(oversample=2))
    with pytest.raises(InputError, match="differ in numbers only"):
        refine.fit([START, other], [data, data], PARAMETERS)
    with pytest.raises(InputError, match="too many for LevenbergMarquardt"):
        refine.fit(START, data, [refine.Parameter("structure_factors.amplitudes")], progress=False)
    plane = refine.whole_image(START, counts_of(TRUTH), background="plane")
    with pytest.raises(InputError, match="one kind of background"):
        refine.fit([START, START], [data, plane], PARAMETERS)


def test_first_order_without_optax_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "optax", None)
    data = refine.whole_image(START, counts_of(TRUTH))
    with pytest.raises(InputError, match="nanobrag_jax\\[refine\\]"):
        refine.fit(START, data, PARAMETERS, driver=refine.FirstOrder(), progress=False)
