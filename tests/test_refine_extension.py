"""A loss, a driver, a restraint and a transform that the package does not know, each defined here and used in a fit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refine_cases import counts_of, small_still

from nanobrag_jax import refine
from nanobrag_jax.refine.losses import terms_and_slopes
from nanobrag_jax.refine.model import build_problem, start
from nanobrag_jax.refine.normal_equations.operator import NormalOperator

A, C, FLUENCE = "crystal.cell_lengths_A[0]", "crystal.cell_lengths_A[2]", "beam.fluence_per_m2"
TRUTH = small_still()
COUNTS = counts_of(TRUTH)
START = eqx.tree_at(
    lambda e: (e.crystal.cell_lengths_A, e.beam.fluence_per_m2),
    TRUTH,
    (jnp.array([55.05, 65.0, 74.95]), jnp.array(2.2e29)),
)
PARAMETERS = (
    refine.Parameter(A, scale=0.05),
    refine.Parameter(C, scale=0.05),
    refine.Parameter(FLUENCE, "positive"),
)


class StudentT(refine.AbstractLoss):
    """Errors with long tails, for pixels that nobody has masked: 5 degrees of freedom."""

    degrees: float = 5.0

    def terms(self, model, counts):
        """Minus the logarithm of the density."""
        return (self.degrees + 1) / 2 * jnp.log1p((counts - model) ** 2 / (self.degrees * model)) + jnp.log(model) / 2

    def curvature(self, model):
        """Fisher's information of location and of the scale that goes with it."""
        return (self.degrees + 1) / (self.degrees + 3) / model + 0.5 * self.degrees / (self.degrees + 3) / model**2

    def variance(self, model):
        """Of this distribution."""
        return model * self.degrees / (self.degrees - 2)


class GaussNewton(refine.AbstractDriver[float]):
    """Undamped steps, halved until they lead down; remembers the length of the last."""

    max_steps: int = 12
    report_every: int = 2

    def init(self, problem, start):
        """The start."""
        return refine.Iterate(start, float(refine.value_and_grad(problem, start)[0]), 1.0)

    def step(self, problem, iterate):
        """A whole step or a part of it."""
        equations = refine.normal_equations_at(problem, iterate.unknowns)
        move, promised = refine.damped_step(problem.layout, equations, 0.0)
        for length in (1.0, 0.5, 0.25):
            trial = jax.tree.map(lambda a, b, part=length: a + part * b, iterate.unknowns, move)
            value = float(refine.value_and_grad(problem, trial)[0])
            if value < iterate.objective:
                break
        ending = refine.Ending(True, "there is little to gain") if promised < 1e-4 else None
        return refine.Iterate(trial, value, length, control=length, ending=ending)


class Product(refine.AbstractRestraint):
    """The product of two values is known."""

    first: str
    second: str
    target: jax.Array = eqx.field(converter=jnp.asarray)
    sigma: jax.Array = eqx.field(converter=jnp.asarray)

    def residuals(self, values):
        """(first·second − target)/σ."""
        return (values[self.first] * values[self.second] - self.target) / self.sigma


class OneValue(refine.AbstractRestraint):
    """A parameter of each image is the same for all of them."""

    name: str
    sigma: jax.Array = eqx.field(converter=jnp.asarray)

    def residuals(self, values):
        """Deviations from the first image's."""
        return (values[self.name][1:] - values[self.name][0]) / self.sigma


class Ranged(refine.AbstractTransform):
    """Between two bounds, which are reached: the sine of what the driver moves."""

    step_limit = 1.0

    lower: float
    upper: float

    def value(self, free):
        """Value of a free number."""
        return self.lower + (self.upper - self.lower) * (1.0 + jnp.sin(free)) / 2

    def free(self, name, value):
        """Free number of a value."""
        return jnp.arcsin(2.0 * (value - self.lower) / (self.upper - self.lower) - 1.0)

    def usual_step(self, value):
        """A hundredth of the range."""
        return np.full(value.shape, 0.01 * (self.upper - self.lower))


def fit(counts=COUNTS, parameters=PARAMETERS, **options):
    return refine.fit(START, refine.whole_image(START, counts), parameters, progress=False, **options)


@pytest.fixture(scope="module")
def plain():
    return fit()


def distances(found, other):
    """How far values are apart, in standard uncertainties of `other`."""
    pairs = [(found.values[name] - value) / other.uncertainties[name] for name, value in other.values.items()]
    return np.array([np.abs(p).max() for p in pairs])


PRODUCT = Product(A, C, 4123.5, 0.5)
"""Against the truth, 4125, and about as strong as the data."""


@pytest.fixture(scope="module")
def restrained():
    return fit(restraints=[PRODUCT])


def problem_at_a_point(restraint=PRODUCT):
    data = refine.whole_image(START, COUNTS)
    problem = build_problem([START], [data], PARAMETERS, refine.Poisson(), [restraint])
    begin = start(problem)
    return problem, refine.Unknowns(jnp.array([0.3, -0.8, 0.5]), begin.per_image, begin.background)


a, c = 55.05 + 0.3 * 0.05, 74.95 - 0.8 * 0.05
JACOBIAN = np.array([c * 0.05, a * 0.05, 0.0]) / 0.5
"""Of the restraint, at that point."""


@pytest.mark.slow
def test_a_loss_and_a_transform_of_ones_own(plain):
    """Hot pixels pull a likelihood of Poisson's away and hardly that one."""
    hot = COUNTS.copy()
    hot[::7, ::9] += 60.0
    robust, pulled = fit(hot, (refine.Parameter(A, Ranged(54.0, 56.0)), *PARAMETERS[1:]), loss=StudentT()), fit(hot)
    assert robust.converged, robust.verdict
    assert robust.backgrounds[0][0, 0] < 0.7 * pulled.backgrounds[0][0, 0]
    for name, truth in ((A, 55.0), (C, 75.0), (FLUENCE, 2e29)):
        assert abs(robust.values[name] - truth) < 4 * robust.uncertainties[name]
    assert np.max(distances(robust, plain)) < np.max(distances(pulled, plain))
    sigma = robust.residuals[0].sigma
    np.testing.assert_allclose(sigma**2, robust.residuals[0].expected * 5 / 3, rtol=1e-9)


def test_the_curvature_of_a_loss_is_the_mean_square_slope():
    """What the abstract class asks for, of the loss above."""
    model, loss = 6.0, StudentT()
    counts = np.linspace(-400.0, 412.0, 200_001)
    terms, slopes = map(np.asarray, terms_and_slopes(loss, jnp.full(counts.shape, model), jnp.asarray(counts)))
    odds = np.exp(-terms) / np.exp(-terms).sum()
    assert np.sum(odds * slopes) == pytest.approx(0.0, abs=1e-6)
    assert np.sum(odds * slopes**2) == pytest.approx(float(loss.curvature(jnp.array(model))), rel=1e-4)
    assert np.sum(odds * (counts - model) ** 2) == pytest.approx(float(loss.variance(jnp.array(model))), rel=1e-3)


@pytest.mark.slow
def test_a_driver_of_ones_own(restrained):
    found = fit(driver=GaussNewton(), restraints=[PRODUCT])
    assert found.converged and found.reason == "there is little to gain"
    assert distances(found, restrained).max() < 0.02
    assert [s.number for s in found.history][:2] == [0, 2] and np.isnan(found.history[0].distance)
    assert found.history[-1].control in (1.0, 0.5, 0.25)
    few = fit(driver=GaussNewton(max_steps=1), restraints=[PRODUCT])
    assert not few.converged and few.reason == "1 steps were not enough"


@pytest.mark.slow
def test_a_restraint_is_in_objective_and_gradient():
    (problem, at), (other, _) = (problem_at_a_point(Product(A, C, target, 0.5)) for target in (4123.5, 4127.0))
    (value, gradient), (further, slopes) = (refine.value_and_grad(p, at) for p in (problem, other))
    before, after = ((a * c - target) / 0.5 for target in (4123.5, 4127.0))
    assert further - value == pytest.approx((after**2 - before**2) / 2)
    np.testing.assert_allclose(slopes.shared - gradient.shared, (after - before) * JACOBIAN, rtol=1e-9, atol=1e-9)
    assert np.all(np.asarray(gradient.shared) != 0)
    value_at = lambda x: refine.value_and_grad(problem, refine.Unknowns(x, at.per_image, at.background))[0]  # noqa: E731
    for number in range(3):
        step = jnp.zeros(3).at[number].set(1e-4)
        numeric = (value_at(at.shared + step) - value_at(at.shared - step)) / 2e-4
        assert float(numeric) == pytest.approx(float(gradient.shared[number]), rel=1e-5)


def reduced(equations):
    """Gradient and matrix of the first image's pixels with its background eliminated."""
    mixed, own = equations.mixed_matrix[0, 0], equations.background_matrix[0, 0]
    gradient = equations.gradient[0] - mixed.T @ np.linalg.solve(own, equations.background_gradient[0, 0])
    return gradient, equations.matrix[0] - mixed.T @ np.linalg.solve(own, mixed)


@pytest.mark.slow
def test_a_restraint_is_in_the_normal_equations():
    """The square of its Jacobian, in the matrix and in products with it alike."""
    problem, at = problem_at_a_point()
    equations, operator = refine.normal_equations_at(problem, at), NormalOperator(problem, at)
    assert equations.objective == pytest.approx(float(refine.value_and_grad(problem, at)[0]))
    np.testing.assert_allclose(equations.restraint_matrix, np.outer(JACOBIAN, JACOBIAN), rtol=1e-9)
    np.testing.assert_allclose(equations.restraint_gradient, (a * c - 4123.5) / 0.5 * JACOBIAN, rtol=1e-7)
    gradient, matrix = reduced(equations)
    np.testing.assert_allclose(operator.gradient, gradient + equations.restraint_gradient, rtol=1e-8)
    for v in np.eye(3):
        np.testing.assert_allclose(operator(v), (matrix + equations.restraint_matrix) @ v, rtol=1e-8)
    move, _ = refine.damped_step(problem.layout, equations, 0.0)
    expected = -np.linalg.solve(matrix + equations.restraint_matrix, gradient + equations.restraint_gradient)
    np.testing.assert_allclose(move.shared, expected, rtol=1e-6)


@pytest.mark.slow
def test_a_restraint_is_in_uncertainties_and_correlations(plain, restrained):
    """Of two linear problems that differ by one observation of a·c."""
    assert restrained.converged, restrained.verdict
    assert restrained.values[A] * restrained.values[C] < plain.values[A] * plain.values[C] - 0.1
    names = (A, C, FLUENCE)
    sigma = np.array([plain.uncertainties[n] for n in names])
    before = plain.correlations * np.outer(sigma, sigma)
    row = np.array([restrained.values[C], restrained.values[A], 0.0]) / 0.5
    after = np.linalg.inv(np.linalg.inv(before) + np.outer(row, row))
    found = np.array([restrained.uncertainties[n] for n in names])
    np.testing.assert_allclose(found, np.sqrt(np.diag(after)), rtol=0.01)
    assert np.all(found[:2] < 0.95 * sigma[:2])
    expected = after[0, 1] / np.sqrt(after[0, 0] * after[1, 1])
    assert restrained.correlation(A, C) == pytest.approx(expected, abs=0.02)
    assert restrained.correlation(A, C) < plain.correlation(A, C) - 0.05


def test_a_restraint_is_in_the_verdict(plain, restrained):
    """As one more observation; one that the data contradict is named."""
    assert plain.restraint_residuals.size == 0
    assert restrained.degrees_of_freedom == plain.degrees_of_freedom + 1
    far = fit(restraints=[Product(A, C, 4100.0, 0.5)])
    for found in (restrained, far):
        (residual,) = found.restraint_residuals
        pixels = np.sum(found.residuals[0].normalized ** 2)
        assert found.chi_square == pytest.approx(pixels + residual**2)
    assert far.verdict.endswith(f"a restraint is missed by {far.restraint_residuals[0]:.3g} sigma")
    assert "missed" not in plain.verdict + restrained.verdict


@pytest.mark.slow
@pytest.mark.parametrize("driver", [refine.ConjugateGradients(tolerance=0.01), refine.FirstOrder(max_steps=150)])
def test_a_restraint_with_other_drivers(driver, restrained):
    found = fit(restraints=[PRODUCT], driver=driver)
    assert found.converged, found.verdict
    assert distances(found, restrained).max() < 0.5
    for name, sigma in restrained.uncertainties.items():
        np.testing.assert_allclose(found.uncertainties[name], sigma, rtol=0.01)


@pytest.mark.slow
def test_a_restraint_couples_images():
    """Each image with a cell of its own, and the two the same but for a hair: as if both had one cell."""
    truths = [TRUTH, small_still(misset_deg=(40.0, -20.0, 65.0))]
    counts = [COUNTS, counts_of(truths[1], seed=2)]
    begin = [eqx.tree_at(lambda e: e.crystal.cell_lengths_A, t, START.crystal.cell_lengths_A) for t in truths]
    data = [refine.whole_image(e, n) for e, n in zip(begin, counts, strict=True)]
    parameters = [refine.Parameter(name, scale=0.05, per_image=True) for name in (A, C)]
    restraints = [OneValue(A, 1e-5), OneValue(C, 1e-5)]
    alike = refine.fit(begin, data, parameters, restraints=restraints, progress=False)
    assert alike.converged, alike.verdict
    problem = build_problem(alike.experiments, data, parameters, refine.Poisson(), restraints)
    equations = refine.normal_equations_at(problem, start(problem))
    matrices = []
    for image in range(2):
        mixed, own = equations.mixed_matrix[image, 0], equations.background_matrix[image, 0]
        matrices.append(equations.matrix[image] - mixed.T @ np.linalg.solve(own, mixed))
    together, first = (np.sqrt(np.diag(np.linalg.inv(m))) * 0.05 for m in (sum(matrices), matrices[0]))
    assert np.all(together < 0.9 * first)
    for name, sigma in zip((A, C), together, strict=True):
        assert abs(alike.values[name][0] - alike.values[name][1]) < 5e-5
        np.testing.assert_allclose(alike.uncertainties[name], [sigma, sigma], rtol=0.02)
    assert alike.correlation(f"{A} of image 0", f"{A} of image 1") > 0.999
