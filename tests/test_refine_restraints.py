"""Restraints: what they see, and what is refused. What they do to a fit: tests/test_refine_extension.py."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import monitoring
from refine_cases import counts_of, small_still

from nanobrag_jax import refine
from nanobrag_jax.errors import InputError
from nanobrag_jax.refine.losses import Poisson
from nanobrag_jax.refine.model import build_problem, restraint_residuals, start, starting_at

STILLS = [small_still(misset_deg=(11.0, 17.0, 23.0)), small_still(misset_deg=(40.0, -20.0, 65.0))]
COUNTS = [counts_of(e, seed=i) for i, e in enumerate(STILLS)]
CORNER = np.arange(64)[:, None] + np.arange(60)[None] < 40
A, C, ANGLES = "crystal.cell_lengths_A[0]", "crystal.cell_lengths_A[2]", "crystal.cell_angles_deg"
MISSET, CELLS = "crystal.misset_deg", "crystal.n_cells"


def problem(restraints, parameters=None, stills=STILLS):
    """Two stills with a shared cell and missets of their own."""
    if parameters is None:
        parameters = [
            refine.Parameter(A, "positive", scale=0.5),
            refine.Parameter(C, scale=0.2),
            refine.Parameter(MISSET, scale=0.1, per_image=True),
        ]
    data = [refine.whole_image(e, c, mask=CORNER) for e, c in zip(stills, COUNTS, strict=False)]
    return build_problem(stills, data, parameters, Poisson(), restraints)


def away(of):
    """A point that is not the start."""
    begin = start(of)
    shared = jnp.linspace(0.5, 1.5, len(begin.shared))
    per_image = jnp.linspace(-1.0, 2.0, begin.per_image.size).reshape(begin.per_image.shape)
    return refine.Unknowns(shared, per_image, begin.background)


def value_of_residuals(restraint, **options):
    of = problem([restraint], **options)
    return np.asarray(jax.jit(restraint_residuals)(of, away(of)))


a, c = 55.0 * np.exp(0.5 * 0.5 / 55.0), 75.0 + 1.5 * 0.2
MISSETS = np.array([[11.0, 17.0, 23.0], [40.0, -20.0, 65.0]]) + 0.1 * np.linspace(-1, 2, 6).reshape(2, 3)
SHIPPED = {
    "shared": (refine.TargetRestraint(A, 55.5, 0.25), [(a - 55.5) / 0.25]),
    "leaf": (refine.TargetRestraint(ANGLES, [90.0, 94.0, 90.0], 0.5), [0.0, 2.0, 0.0]),
    "all elements": (
        refine.TargetRestraint(MISSET, [11.0, 17.0, 23.0], [1.0, 2.0, 4.0]),
        ((MISSETS - [11.0, 17.0, 23.0]) / [1.0, 2.0, 4.0]).ravel(),
    ),
    "start": (refine.StartRestraint(MISSET, 0.05), np.linspace(-2.0, 4.0, 6)),
    "difference": (refine.DifferenceRestraint(C, A, 0.1, 20.0), [(c - a - 20.0) / 0.1]),
    "per image and shared": (refine.DifferenceRestraint(MISSET, CELLS, 2.0), ((MISSETS - [7, 6, 6]) / 2.0).ravel()),
    "function": (refine.FunctionRestraint(lambda v: v[A] * v[C], 4100.0, 8.0), [(a * c - 4100.0) / 8.0]),
    "experiments": (
        refine.FunctionRestraint(lambda v: jax.vmap(lambda e: e.crystal.misset_deg[2])(v.experiments), 40.0, 1.0),
        MISSETS[:, 2] - 40.0,
    ),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_residuals_are_those_of_the_formula(name):
    restraint, expected = SHIPPED[name]
    np.testing.assert_allclose(value_of_residuals(restraint), expected, rtol=1e-9, atol=1e-9)


def test_a_leaf_that_differs_between_images_has_an_axis_of_them():
    stills = [small_still(misset_deg=m, n_cells=n) for m, n in zip(MISSETS, ((7, 7, 7), (5, 5, 5)), strict=True)]
    restraint = refine.TargetRestraint("crystal.n_cells[1]", 6.0, 1.0)
    np.testing.assert_allclose(value_of_residuals(restraint, stills=[stills[0], stills[0]]), [1.0])
    np.testing.assert_allclose(value_of_residuals(restraint, stills=stills), [1.0, -1.0])


def test_the_restraint_of_a_parameter_is_a_target():
    parameter = refine.Parameter(C, restraint=(75.5, 0.25))
    found = value_of_residuals(refine.TargetRestraint(A, 54.0, 1.0), parameters=[parameter])
    np.testing.assert_allclose(found, [(75.0 + 0.5 * 0.25 - 75.5) / 0.25, 1.0])  # σ is the typical change as well


def test_the_experiment_of_a_single_image():
    restraint = refine.FunctionRestraint(lambda v: v.experiment.crystal.cell_angles_deg[1], 94.0, 1.0)
    assert value_of_residuals(restraint, stills=STILLS[:1]) == pytest.approx([1.0])
    with pytest.raises(InputError, match="several images"):
        problem([restraint])


WRONG = {
    "no such leaf": (refine.TargetRestraint("crystal.wobble", 1.0, 1.0), "crystal has"),
    "not refined": (refine.StartRestraint(CELLS, 1.0), "not among the parameters"),
    "shape": (refine.TargetRestraint(MISSET, np.zeros(2), 1.0), "must have the shape"),
    "shapes apart": (refine.DifferenceRestraint(MISSET, "structure_factors.amplitudes", 1.0), "without a common shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_exist_is_refused_before_the_fit(name):
    restraint, message = WRONG[name]
    with pytest.raises(InputError, match=message):
        problem([restraint])


@pytest.mark.parametrize("make", [lambda s: refine.TargetRestraint(A, 1.0, s), lambda s: refine.StartRestraint(A, s)])
def test_sigma_is_positive(make):
    for sigma in (0.0, -1.0):
        with pytest.raises(InputError, match="positive sigma"):
            make(sigma)


def test_hops_do_not_move_the_start():
    """The start that a restraint holds on to is that of the first fit, wherever a later one begins."""
    still = STILLS[0]
    parameters = [refine.Parameter(CELLS, "positive")]
    of = problem([refine.StartRestraint(CELLS, 0.5)], parameters, [still])
    moved = starting_at(of, [still], [parameters[0].starting_at([9.0, 6.0, 6.0])])
    np.testing.assert_allclose(restraint_residuals(of, start(of)), 0.0)
    np.testing.assert_allclose(restraint_residuals(moved, start(moved)), [4.0, 0.0, 0.0], atol=1e-9)


@pytest.mark.slow
def test_starts_and_targets_compile_nothing():
    """Only the first of these fits compiles; the others differ in numbers."""
    compiled = []
    monitoring.register_event_duration_secs_listener(lambda event, _, **about: compiled.append((event, about)))
    still = eqx.tree_at(lambda e: e.crystal.misset_deg, STILLS[0], jnp.array([11.05, 16.95, 23.1]))
    data = refine.whole_image(still, COUNTS[0], mask=CORNER)

    def fit(target, **options):
        restraints = [refine.TargetRestraint(CELLS, target, 1.0)]
        parameters = [refine.Parameter(MISSET, **options), refine.Parameter(CELLS, "positive")]
        return refine.fit(still, data, parameters, restraints=restraints, progress=False)

    def count():
        return sum(event == "/jax/core/compile/backend_compile_duration" for event, _ in compiled)

    fit(7.0, scale=0.1, start=[11.0, 17.0, 23.0])
    first = count()
    fit(6.0, scale=0.3)
    fit(5.0)
    assert count() == first > 0
