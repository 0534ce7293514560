"""`fit`: parameters, data, restraints and a driver put together, and the result read out; `fit_with_hops` around it."""

from collections.abc import Iterator, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from ..errors import InputError
from ..experiment import Experiment
from ..numerics.compiler_memory import returning_compiler_memory
from ..numerics.processes import refuse_after_fork
from .background import to_photons
from .data import PixelData
from .drivers.abstract import AbstractDriver, Outcome, minimise
from .drivers.levenberg_marquardt import LevenbergMarquardt
from .losses import AbstractLoss, Poisson
from .model import (
    Problem,
    Unknowns,
    build_problem,
    experiment_at,
    parameter_values,
    restraint_residuals,
    start,
    starting_at,
)
from .parameters.layout import ParameterVector
from .parameters.parameter import Parameter
from .progress import Report, reporter
from .restraints import AbstractRestraint
from .result import Residuals, Result, uncertainties_at


def fit(
    experiments: Experiment | Sequence[Experiment],
    data: PixelData | Sequence[PixelData],
    parameters: Sequence[Parameter],
    *,
    loss: AbstractLoss | None = None,
    restraints: Sequence[AbstractRestraint] = (),
    driver: AbstractDriver | None = None,
    progress: bool | Report = True,
    mesh: Mesh | None = None,
) -> Result:
    """Refine parameters of one or more experiments against the pixels of as many images.

    **Arguments:**

    - `experiments`: where to start; several must differ in numbers only;
    - `data`: from `whole_image` or `shoeboxes`, one for each;
    - `parameters`: what to refine;
    - `loss`: `Poisson()` (the default), `Gaussian(readout)`, or one of your own;
    - `restraints`: what else is known of the parameters;
    - `driver`: `LevenbergMarquardt()` (the default), `ConjugateGradients()` for very many parameters, `FirstOrder()`,
      or one of your own;
    - `progress`: True prints a line for each step to stderr, False nothing, a function is called with each `Step`;
    - `mesh`: devices to share the pixels of every image out to.

    **Returns** a `Result`; look at its `verdict`. Spec mode is used throughout.

    **Raises** `InputError` for names, starts, restraints or data that do not fit.
    """
    many = [experiments] if isinstance(experiments, Experiment) else list(experiments)
    sets = [data] if isinstance(data, PixelData) else list(data)
    problem = build_problem(many, sets, parameters, Poisson() if loss is None else loss, restraints, mesh)
    return _fitted(problem, sets, driver, progress)


def fit_with_hops(
    experiments: Experiment | Sequence[Experiment],
    data: PixelData | Sequence[PixelData],
    parameters: Sequence[Parameter],
    *,
    hops: Mapping[str, float],
    max_fits: int = 20,
    loss: AbstractLoss | None = None,
    restraints: Sequence[AbstractRestraint] = (),
    driver: AbstractDriver | None = None,
    progress: bool | Report = True,
    mesh: Mesh | None = None,
) -> Result:
    """`fit`, and where that ends in a minimum that does not describe the data, fits from around it.

    The number of cells along the beam, for one, is seen only in how much of each spot a still has caught, and such
    intensities fit halfway with a number that is a fifth off.

    **Arguments:**

    - `experiments`, `data`, `parameters`: as for `fit`;
    - `hops`: names of parameters with the factor to try: each of their elements is multiplied and divided by it in
      turn, the other parameters starting from the best fit so far; the first fit that describes the data ends the
      search;
    - `max_fits`: how many fits in all;
    - `loss`, `restraints`, `driver`, `progress`, `mesh`: as for `fit`.

    **Returns** the `Result` with the lowest objective.

    **Raises** `InputError` for a name that is not refined, a factor that leads nowhere, and as `fit`.
    """
    names = [p.name for p in parameters]
    for name, factor in hops.items():
        if name not in names:
            raise InputError(f"{name} cannot be hopped over: it is not among the parameters {', '.join(names)}")
        if not factor > 0 or factor == 1.0:
            raise InputError(f"the hop of {name} must be a positive factor other than 1, got {factor}")

    many = [experiments] if isinstance(experiments, Experiment) else list(experiments)
    sets = [data] if isinstance(data, PixelData) else list(data)
    problem = build_problem(many, sets, parameters, Poisson() if loss is None else loss, restraints, mesh)
    best, fits, better = _fitted(problem, sets, driver, progress), 1, True
    while better and not best.describes_the_data:
        better = False
        for starts in _around(best, hops):
            if fits >= max_fits:
                return best
            moved = starting_at(problem, many, [p.starting_at(starts[p.name]) for p in parameters])
            found, fits = _fitted(moved, sets, driver, progress), fits + 1
            if found.objective < best.objective and np.isfinite(found.objective):
                better, best = better or found.objective < best.objective - 1.0, found
            if best.describes_the_data:
                return best
    return best


def _around(result: Result, hops: Mapping[str, float]) -> Iterator[dict[str, np.ndarray]]:
    """Values to start from: each element of the hopping parameters up and down by its factor."""
    for name, factor in hops.items():
        for index in np.ndindex(np.shape(result.values[name])):
            for change in (factor, 1.0 / factor):
                values = np.array(result.values[name], float)
                values[index] *= change
                yield {**result.values, name: values}


def _fitted(problem: Problem, sets: list[PixelData], driver: AbstractDriver | None, progress: bool | Report) -> Result:
    refuse_after_fork()
    driver = LevenbergMarquardt() if driver is None else driver
    with returning_compiler_memory():
        outcome = minimise(driver, problem, start(problem), reporter(progress))
        return _result(problem, outcome, sets)


def _result(problem: Problem, outcome: Outcome, sets: list[PixelData]) -> Result:
    at = outcome.unknowns
    found = uncertainties_at(problem, at, outcome.equations)
    sigma, photons, restraints = _compared(problem, at, found.expected)
    values, slopes = _values_and_slopes(problem, at)
    residuals = [_residuals(problem, (found.expected, sigma), image) for image in range(problem.num_images)]
    backgrounds = [np.asarray(b)[: len(d.background)] for b, d in zip(photons, sets, strict=True)]
    restraint_residuals = np.asarray(restraints)
    chi_square = float(sum(np.sum(r.normalized**2) for r in residuals) + np.sum(restraint_residuals**2))
    observations = sum(len(r.slow) for r in residuals) + restraint_residuals.size
    return Result(
        experiments=tuple(_refined(problem, at, jnp.asarray(image)) for image in range(problem.num_images)),
        values={p.name: np.asarray(values[p.name]) for p in problem.layout.parameters},
        uncertainties=_in_units(problem, found.sigma, slopes),
        labels=tuple(np.array(_labels(problem))[found.listed].tolist()),
        correlations=found.correlations,
        backgrounds=backgrounds,
        residuals=residuals,
        restraint_residuals=restraint_residuals,
        history=outcome.history,
        objective=outcome.objective,
        chi_square=chi_square,
        degrees_of_freedom=observations - at.shared.size - at.per_image.size - sum(b.size for b in backgrounds),
        converged=outcome.ending.converged,
        reason=outcome.ending.reason,
    )


@eqx.filter_jit
def _compared(problem: Problem, at: Unknowns, expected: Array) -> tuple[Array, Array, Array]:
    """Standard deviations of expected counts, photons of backgrounds, and residuals of restraints."""
    sigma = jnp.sqrt(problem.loss.variance(expected))
    return sigma, to_photons(at.background), restraint_residuals(problem, at)


def _residuals(problem: Problem, pixels: tuple[Array, Array], image: int) -> Residuals:
    data = problem.data
    used, *arrays = (np.asarray(v)[image] for v in (data.used, data.slow, data.fast, data.counts, *pixels))
    return Residuals(*(array[used] for array in arrays))


@eqx.filter_jit
def _refined(problem: Problem, at: Unknowns, image: Array) -> Experiment:
    """One image's experiment, its scale multiplied into the fluence."""
    varying = jax.tree.map(lambda leaf: leaf[image], problem.varying)
    own = problem.layout.per_image.of_image(image)
    scaled = experiment_at(problem, varying, own, at.shared, at.per_image[image])
    fluence = scaled.experiment.beam.fluence_per_m2 * scaled.scale
    return eqx.tree_at(lambda e: e.beam.fluence_per_m2, scaled.experiment, fluence)


@eqx.filter_jit
def _values_and_slopes(problem: Problem, at: Unknowns) -> tuple[dict[str, Array], dict[str, Array]]:
    """Values by parameter, and their change with their own x."""
    x = at.shared, at.per_image
    return jax.jvp(lambda *x: parameter_values(problem.layout, *x), x, jax.tree.map(jnp.ones_like, x))


def _in_units(problem: Problem, sigma: np.ndarray, slopes: dict[str, Array]) -> dict[str, np.ndarray]:
    """Standard uncertainties of x as those of values, by parameter."""
    shared, own = problem.layout.shared, problem.layout.per_image
    of_images = sigma[shared.count :].reshape(problem.num_images, -1)
    rows = [own.by_name(row) for row in of_images]
    of_x = shared.by_name(sigma[: shared.count]) | {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    finite = {name: np.where(np.isfinite(v), v, 0.0) * np.abs(slopes[name]) for name, v in of_x.items()}
    return {name: np.where(np.isfinite(v), finite[name], np.inf) for name, v in of_x.items()}


def _labels(problem: Problem) -> list[str]:
    """Names of all numbers: shared, then those of each image."""
    shared, own = (_of_vector(v) for v in (problem.layout.shared, problem.layout.per_image))
    return shared + [f"{label} of image {image}" for image in range(problem.num_images) for label in own]


def _of_vector(vector: ParameterVector) -> list[str]:
    labels = []
    for parameter, shape in zip(vector.parameters, vector.shapes, strict=True):
        indices = [f"[{', '.join(map(str, index))}]" for index in np.ndindex(shape)] if shape else [""]
        labels += [parameter.name + index for index in indices]
    return labels
