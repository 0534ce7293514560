"""Several images at once: shared and per-image parameters, and the matrix-free driver against the dense one."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from refine_cases import counts_of, small_still

from nanobrag_jax import refine
from nanobrag_jax.refine import result
from nanobrag_jax.refine.normal_equations import arrowhead

MISSETS = np.array([[11.0, 17.0, 23.0], [40.0, -20.0, 65.0], [5.0, 33.0, -50.0]])
TRUTHS = [small_still(misset_deg=m) for m in MISSETS]
COUNTS = [counts_of(t, seed=i) for i, t in enumerate(TRUTHS)]
OFF = np.array([[0.1, -0.05, 0.08], [-0.07, 0.1, 0.02], [0.03, 0.06, -0.1]])


def starts():
    cell = jnp.array([55.08, 64.9, 75.1])
    return [
        eqx.tree_at(lambda e: (e.crystal.misset_deg, e.crystal.cell_lengths_A), t, (jnp.asarray(m + o), cell))
        for t, m, o in zip(TRUTHS, MISSETS, OFF, strict=True)
    ]


@pytest.fixture(scope="module")
def joint():
    begin = starts()
    data = [refine.whole_image(s, c) for s, c in zip(begin, COUNTS, strict=True)]
    parameters = [
        *refine.cell_parameters("orthorhombic", scale_A=0.1),
        refine.Parameter("crystal.misset_deg", per_image=True, scale=0.1),
        refine.Parameter("scale", "positive", per_image=True, start=[1.2, 0.8, 1.0]),
    ]
    return refine.fit(begin, data, parameters, progress=False)


@pytest.mark.slow
def test_a_shared_cell_and_missets_of_their_own(joint):
    assert joint.converged and joint.describes_the_data, joint.verdict
    assert joint.values["crystal.misset_deg"].shape == (3, 3)
    pulls = [(joint.values["crystal.misset_deg"] - MISSETS) / joint.uncertainties["crystal.misset_deg"]]
    pulls += [(joint.values["scale"] - 1.0) / joint.uncertainties["scale"]]
    for number, length in enumerate((55.0, 65.0, 75.0)):
        name = f"crystal.cell_lengths_A[{number}]"
        pulls.append((joint.values[name] - length) / joint.uncertainties[name])
        lengths = [float(e.crystal.cell_lengths_A[number]) for e in joint.experiments]
        assert len(set(lengths)) == 1
    assert max(np.abs(p).max() for p in pulls) < 4
    assert len(joint.labels) == len(joint.correlations) == 3 + 3 * 4
    assert "crystal.misset_deg[2] of image 1" in joint.labels
    first, third = (f"crystal.misset_deg[0] of image {i}" for i in (0, 2))
    assert 0 < abs(joint.correlation(first, third)) < 0.9
    with pytest.raises(ValueError, match="3 refined experiments"):
        joint.experiment  # noqa: B018


@pytest.fixture(scope="module")
def amplitudes():
    """Amplitudes and the scales of two images: experiments, data, parameters, and the true amplitudes."""
    truths = TRUTHS[:2]
    spots = [refine.predict(t, widths=1.0) for t in truths]
    bright = np.concatenate([s.chosen(s.photons > 60.0).hkl for s in spots])
    groups = refine.reflection_groups(truths[0].structure_factors, only=bright)
    wrong = np.exp(0.2 * np.random.default_rng(4).normal(size=groups.max() + 1))
    true = np.asarray(truths[0].structure_factors.amplitudes)
    started = jnp.asarray(np.where(groups >= 0, true * wrong[groups], true))
    begin = [eqx.tree_at(lambda e: e.structure_factors.amplitudes, e, started) for e in truths]
    data = [refine.shoeboxes(e, c, s.slow, s.fast, half_size=4) for e, c, s in zip(begin, COUNTS, spots, strict=False)]
    parameters = [
        refine.Parameter("structure_factors.amplitudes", "positive", groups=groups),
        refine.Parameter("scale", "positive", per_image=True, restraint=([1.0, 1.0], [1e-3, 0.1])),
    ]
    wanted = np.zeros(groups.max() + 1)
    wanted[groups[groups >= 0]] = true[groups >= 0]
    dense = refine.fit(begin, data, parameters, progress=False)
    return (begin, data, parameters), wanted, dense


@pytest.mark.slow
def test_conjugate_gradients_agree_with_the_dense_matrix(amplitudes):
    problem, true, dense = amplitudes
    free = refine.fit(*problem, driver=refine.ConjugateGradients(tolerance=0.02), progress=False)
    assert dense.converged and free.converged, (dense.verdict, free.verdict)
    for name, sigma in dense.uncertainties.items():
        assert np.all(np.abs(free.values[name] - dense.values[name]) < 0.1 * sigma)
    name = "structure_factors.amplitudes"
    pulls = (dense.values[name] - true) / dense.uncertainties[name]
    assert len(pulls) > 10 and np.abs(pulls).max() < 4.5 and 0.6 < np.sqrt(np.mean(pulls**2)) < 1.5


@pytest.mark.slow
def test_uncertainties_of_many_match_the_dense_ones(amplitudes, monkeypatch):
    """The arrow: few parameters in full, many on a diagonal; good where a pixel sees one reflection."""
    problem, _, dense = amplitudes
    monkeypatch.setattr(arrowhead, "MAX_COUPLED", 3)
    monkeypatch.setattr(result, "DENSE_COLUMNS", 1)
    many = refine.fit(*problem, driver=refine.ConjugateGradients(tolerance=0.02), progress=False)
    assert many.converged and many.labels == ("scale of image 0", "scale of image 1")
    for name, sigma in dense.uncertainties.items():
        assert np.all(np.abs(many.values[name] - dense.values[name]) < 0.1 * sigma)
        np.testing.assert_allclose(many.uncertainties[name], sigma, rtol=0.05)
