"""`fit`: parameters, data and a driver put together, and the result read out."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..experiment import Experiment
from .data import PixelData, background_photons
from .layout import Side
from .levenberg import LevenbergMarquardt, Outcome
from .losses import Loss, Poisson
from .model import Problem, Unknowns, build, expected, start, subject_at
from .parameters import Parameter
from .progress import Report, reporter
from .result import Residuals, Result
from .uncertainty import Spread, spread


def fit(
    experiments: Experiment | Sequence[Experiment],
    data: PixelData | Sequence[PixelData],
    parameters: Sequence[Parameter],
    *,
    loss: Loss | None = None,
    driver=None,
    progress: bool | Report = True,
    mesh: Mesh | None = None,
) -> Result:
    """Refine parameters of one or more experiments against the pixels of as many images.

    **Arguments:** `experiments`: where to start; several must differ in numbers only; `data`: from `whole_image` or
    `shoeboxes`, one for each; `parameters`: what to refine; `loss`: `Poisson()` (the default) or `Gaussian(readout)`;
    `driver`: `LevenbergMarquardt()` (the default), `ConjugateGradients()` for very many parameters, or
    `FirstOrder()`; `progress`: True prints a line for each step to stderr, False nothing, a function is called with
    each `Step`; `mesh`: devices to share the pixels of every image out to.

    **Returns** a `Result`; look at its `verdict`. Spec mode is used throughout.

    **Raises** `InputError` for names, starts or data that do not fit.
    """
    many = [experiments] if isinstance(experiments, Experiment) else list(experiments)
    sets = [data] if isinstance(data, PixelData) else list(data)
    problem = build(many, sets, parameters, Poisson() if loss is None else loss, mesh)
    driver = LevenbergMarquardt() if driver is None else driver
    outcome: Outcome = driver.run(problem, start(problem), reporter(progress))
    return _result(problem, outcome, sets)


def _result(problem: Problem, outcome: Outcome, sets: list[PixelData]) -> Result:
    at = outcome.unknowns
    spread_of_x = spread(problem, at, outcome.normal)
    experiments = tuple(_finished(problem, at, i) for i in range(problem.num_images))
    values, sigmas, labels = _named(problem, at, spread_of_x)
    residuals = _residuals(problem, at)
    chi_square = float(sum(np.sum(r.normalized**2) for r in residuals))
    parameters = int(np.asarray(at.shared).size + np.asarray(at.own).size)
    photons = background_photons(at.background) if at.background.shape[-1] else at.background
    backgrounds = [np.asarray(b)[: len(d.background)] for b, d in zip(photons, sets, strict=True)]
    freedom = sum(len(r.slow) for r in residuals) - parameters - sum(b.size for b in backgrounds)
    return Result(
        experiments=experiments,
        values=values,
        uncertainties=sigmas,
        labels=labels,
        correlations=spread_of_x.correlations,
        backgrounds=backgrounds,
        residuals=residuals,
        history=outcome.history,
        objective=outcome.history[-1].objective,
        chi_square=chi_square,
        degrees_of_freedom=freedom,
        converged=outcome.converged,
        reason=outcome.reason,
    )


def _finished(problem: Problem, at: Unknowns, image: int) -> Experiment:
    varying = jax.tree.map(lambda leaf: leaf[image], problem.varying)
    side = problem.layout.own.image(image)
    subject = subject_at(problem, varying, side, jnp.asarray(at.shared), jnp.asarray(at.own[image]))
    fluence = subject.experiment.beam.fluence_per_m2 * subject.scale
    return eqx.tree_at(lambda e: e.beam.fluence_per_m2, subject.experiment, fluence)


def _named(problem: Problem, at: Unknowns, found: Spread):
    """Values, uncertainties and labels by parameter."""
    sides, images = problem.layout, problem.num_images
    values: dict[str, np.ndarray] = {}
    sigmas: dict[str, np.ndarray] = {}
    labels: list[str] = []
    shared = _of_side(sides.shared, np.asarray(at.shared), found.sigma[: sides.shared.count])
    own_sigma = found.sigma[sides.shared.count :].reshape(images, -1)
    own = [_of_side(sides.own.image(i), np.asarray(at.own[i]), own_sigma[i]) for i in range(images)]
    for parameter, shape, value, sigma in shared:
        values[parameter.name], sigmas[parameter.name] = value, sigma
        labels += _labels(parameter.name, shape)
    for number, (parameter, *_) in enumerate(own[0]):
        values[parameter.name] = np.stack([o[number][2] for o in own])
        sigmas[parameter.name] = np.stack([o[number][3] for o in own])
    for image in range(images):
        for parameter, shape, *_ in own[image]:
            labels += [f"{label} of image {image}" for label in _labels(parameter.name, shape)]
    return values, sigmas, tuple(labels[i] for i in found.listed)


def _of_side(side: Side, x: np.ndarray, sigma: np.ndarray):
    values = np.asarray(side.values(jnp.asarray(x)))
    slopes = np.abs(np.asarray(side.slopes(jnp.asarray(x))))
    sigma = np.where(np.isfinite(sigma), np.where(np.isfinite(sigma), sigma, 0.0) * slopes, np.inf)
    listed, at = [], 0
    for parameter, size, shape in zip(side.parameters, side.sizes, side.shapes, strict=True):
        listed.append((parameter, shape, values[at : at + size].reshape(shape), sigma[at : at + size].reshape(shape)))
        at += size
    return listed


def _labels(name: str, shape: tuple[int, ...]) -> list[str]:
    if not shape:
        return [name]
    return [f"{name}[{', '.join(map(str, index))}]" for index in np.ndindex(shape)]


def _residuals(problem: Problem, at: Unknowns) -> list[Residuals]:
    model = expected(problem, at)
    sigma = np.sqrt(np.asarray(problem.loss.variance(model)))
    data, found = problem.data, []
    for image in range(problem.num_images):
        used = np.asarray(data.used[image])
        pixels = [np.asarray(v[image])[used] for v in (data.slow, data.fast, data.counts, model, sigma)]
        found.append(Residuals(*pixels))
    return found
