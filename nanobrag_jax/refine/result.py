"""What a refinement found: values, uncertainties, correlations, history and residuals."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Float, Int

from ..errors import InputError
from ..experiment import Experiment
from .model import Problem, Unknowns
from .normal_equations.arrowhead import Arrowhead, coupled_parameters
from .normal_equations.equations import NormalEquations, normal_equations_at
from .normal_equations.operator import NormalOperator
from .normal_equations.solve import covariance
from .progress import Step

DENSE_COLUMNS = 256
"""Up to so many parameters of an image the matrix is made in full."""
PROBES = 16
"""Random vectors that estimate the diagonal of more."""

FAR_OFF = 5.0
"""Standard deviations by which a restraint may be missed before the verdict says so."""


class Residuals(NamedTuple):
    """The pixels of one image that were compared, in the order of the data."""

    slow: Int[np.ndarray, " pixels"]
    fast: Int[np.ndarray, " pixels"]
    counts: Float[np.ndarray, " pixels"]
    expected: Float[np.ndarray, " pixels"]
    sigma: Float[np.ndarray, " pixels"]
    """Standard deviation that the loss expects."""

    @property
    def normalized(self) -> Float[np.ndarray, " pixels"]:
        """(counts − expected)/sigma."""
        return (self.counts - self.expected) / self.sigma

    def image(self, shape: tuple[int, int]) -> Float[np.ndarray, "slow fast"]:
        """The normalized residuals in their places in an image of (slow, fast) pixels, NaN elsewhere."""
        image = np.full(shape, np.nan)
        image[self.slow, self.fast] = self.normalized
        return image


@dataclass(frozen=True, repr=False)
class Result:
    """The end of a refinement.

    Values and uncertainties are NumPy arrays in the shape of the parameter (one for each group, where it has groups),
    with a leading axis of images for what each image has of its own.
    """

    experiments: tuple[Experiment, ...]
    """The experiments with the refined values; the scale is multiplied into their fluence."""
    values: dict[str, np.ndarray]
    uncertainties: dict[str, np.ndarray]
    """Standard uncertainties from the normal matrix: correlations, backgrounds and restraints are in them."""
    labels: tuple[str, ...]
    """Names of the rows of `correlations`: `crystal.misset_deg[0]`, `crystal.misset_deg[0] of image 3`."""
    correlations: Float[np.ndarray, "n n"]
    backgrounds: list[np.ndarray]
    """Of each image, (backgrounds, terms)."""
    residuals: list[Residuals]
    restraint_residuals: Float[np.ndarray, " restraints"]
    """Of all restraints one after the other, in standard deviations: those of parameters, then those given to `fit`."""
    history: list[Step]
    objective: float
    chi_square: float
    """Σ ((counts − expected)/sigma)² over pixels, and the squares of the restraints' residuals."""
    degrees_of_freedom: int
    """Pixels and residuals of restraints, less parameters and backgrounds."""
    converged: bool
    reason: str

    @property
    def experiment(self) -> Experiment:
        """The refined experiment, where there was one.

        **Raises** `InputError` where there were several.
        """
        if len(self.experiments) != 1:
            raise InputError(f"there are {len(self.experiments)} refined experiments: take them from experiments")
        return self.experiments[0]

    @property
    def reduced_chi_square(self) -> float:
        """Chi-square for each degree of freedom: near 1 where the model describes the data."""
        return self.chi_square / max(self.degrees_of_freedom, 1)

    @property
    def describes_the_data(self) -> bool:
        """Whether chi-square is no further above its expectation than chance allows (five deviations)."""
        excess = np.mean([_fourth_moment_excess(r) for r in self.residuals])
        deviation = float(np.sqrt((2.0 + excess) * max(self.degrees_of_freedom, 1)))
        return self.chi_square < self.degrees_of_freedom + 5 * deviation

    @property
    def verdict(self) -> str:
        """One line: whether it converged, whether the model describes the data, and a restraint that it misses."""
        ended = f"converged: {self.reason}" if self.converged else f"not converged: {self.reason}"
        fits = "the model describes the data" if self.describes_the_data else "the model does NOT describe the data"
        most = float(np.max(np.abs(self.restraint_residuals), initial=0.0))
        missed = f"; a restraint is missed by {most:.3g} sigma" if most > FAR_OFF else ""
        return f"{ended}; {fits} (reduced chi-square {self.reduced_chi_square:.4g}){missed}"

    def correlation(self, first: str, second: str) -> float:
        """Correlation coefficient of two labels.

        **Raises** `InputError` for a label that is not there.
        """
        for label in (first, second):
            if label not in self.labels:
                raise InputError(f"there is no label {label!r}: the labels are {', '.join(self.labels)}")
        return float(self.correlations[self.labels.index(first), self.labels.index(second)])

    def summary(self) -> str:
        """The verdict and a table of values with their uncertainties."""
        lines = [self.verdict]
        for name, values in self.values.items():
            flat, sigma = np.ravel(values), np.ravel(self.uncertainties[name])
            for number in range(min(flat.size, 12)):
                index = "" if values.ndim == 0 else str([int(i) for i in np.unravel_index(number, values.shape)])
                lines.append(f"  {name + index:36s} {flat[number]:14.7g} ± {sigma[number]:.2g}")
            if flat.size > 12:
                lines.append(f"  … {flat.size - 12} more of {name}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.summary()


def _fourth_moment_excess(residuals: Residuals) -> float:
    """Mean of 1/variance: how much wider than for normal errors the squares of Poisson residuals scatter."""
    return float(np.mean(np.minimum(1.0 / residuals.sigma**2, 1e3))) if residuals.sigma.size else 0.0


class Uncertainties(NamedTuple):
    """How uncertain x is, shared parameters first, then those of each image; and what the model expects there."""

    sigma: np.ndarray
    """Standard uncertainty of each."""
    listed: np.ndarray
    """Numbers of those whose correlations are known."""
    correlations: np.ndarray
    """Of those."""
    expected: Float[Array, "images batches groups pixels"]
    """Expected counts of every pixel."""


def uncertainties_at(problem: Problem, at: Unknowns, equations: NormalEquations | None) -> Uncertainties:
    """Uncertainties and correlations from the normal equations at a point; None if they have to be made.

    Of very many parameters those with many values are taken as independent of each other.
    """
    if equations is None and problem.layout.num_per_image > DENSE_COLUMNS:
        operator = NormalOperator(problem, at)
        arrowhead = Arrowhead(operator, coupled_parameters(problem.layout), PROBES, 0)
        matrix, variance = arrowhead.covariance()
        expected = operator.weights.expected
        return Uncertainties(np.sqrt(variance), arrowhead.coupled, _correlations(matrix), expected)
    equations = normal_equations_at(problem, at) if equations is None else equations
    matrix = covariance(problem.layout, equations)
    listed = np.arange(len(matrix))
    return Uncertainties(np.sqrt(np.diag(matrix)), listed, _correlations(matrix), equations.expected)


def _correlations(covariances: np.ndarray) -> np.ndarray:
    sigma = np.sqrt(np.diag(covariances))
    sigma = np.where(np.isfinite(sigma) & (sigma > 0), sigma, 1.0)
    filled = np.where(np.isfinite(covariances), covariances, 0.0) / np.outer(sigma, sigma)
    np.fill_diagonal(filled, 1.0)
    return filled
