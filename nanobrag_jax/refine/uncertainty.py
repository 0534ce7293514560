"""Uncertainties and correlations from the normal matrix at the end of a refinement."""

from typing import NamedTuple

import numpy as np

from .arrow import Arrow, few_numbers
from .equations import Matrices, as_numpy, covariance
from .model import Problem, Unknowns, normal_equations
from .products import Operator

DENSE_COLUMNS = 256
"""Up to so many parameters of an image the matrix is made in full."""
PROBES = 16
"""Random vectors that estimate the diagonal of more."""


class Spread(NamedTuple):
    """How uncertain x is: shared first, then each image's own."""

    sigma: np.ndarray
    """Standard uncertainty of each."""
    listed: np.ndarray
    """Numbers of those whose correlations are known."""
    correlations: np.ndarray
    """Of those."""


def spread(problem: Problem, at: Unknowns, normal: Matrices | None) -> Spread:
    """The spread of x at a point; `normal`: its equations, if they are known already."""
    columns = problem.layout.shared.count + problem.layout.own.count
    if normal is None and columns > DENSE_COLUMNS:
        return _spread_of_many(problem, at)
    full = covariance(problem, as_numpy(normal_equations(problem, at)) if normal is None else normal)
    return Spread(np.sqrt(np.diag(full)), np.arange(len(full)), _correlations(full))


def _correlations(matrix: np.ndarray) -> np.ndarray:
    sigma = np.sqrt(np.diag(matrix))
    sigma = np.where(np.isfinite(sigma) & (sigma > 0), sigma, 1.0)
    filled = np.where(np.isfinite(matrix), matrix, 0.0) / np.outer(sigma, sigma)
    np.fill_diagonal(filled, 1.0)
    return filled


def _spread_of_many(problem: Problem, at: Unknowns) -> Spread:
    """Few parameters with all their correlations, the many with a diagonal of their own between them."""
    arrow = Arrow(Operator(problem, at), few_numbers(problem), PROBES, 0)
    covariance_few, variance = arrow.covariance()
    return Spread(np.sqrt(variance), arrow.few, _correlations(covariance_few))
