"""An arrow-shaped stand-in for a large normal matrix: few parameters in full, many on a diagonal."""

import numpy as np

from .model import Problem
from .products import Operator

SMALL = 64
"""A parameter with more values than this counts as many: its values are taken as independent of each other."""


def few_numbers(problem: Problem) -> np.ndarray:
    """Numbers of the parameters that are few, in the joined order."""
    sides, at, few = problem.layout, 0, []
    for size in sides.shared.sizes:
        if size <= SMALL:
            few += range(at, at + size)
        at += size
    few += range(at, at + problem.num_images * sides.own.count)
    return np.array(few, int)


class Arrow:
    """The normal matrix with the off-diagonal elements between the many set to zero.

    `few`: numbers of the few; the others' diagonal is estimated from random signs.
    """

    def __init__(self, operator: Operator, few: np.ndarray, probes: int, seed: int):
        total = len(operator.gradient)
        self.few, self.many = few, np.setdiff1d(np.arange(total), few)
        columns = np.zeros((total, len(few)))
        for number, index in enumerate(few):
            columns[:, number] = operator(np.eye(1, total, index)[0])
        self.diagonal = np.zeros(total)
        if len(self.many):
            self.diagonal = operator.diagonal(probes, seed, np.isin(np.arange(total), self.many))
        self.diagonal[few] = columns[few, np.arange(len(few))]
        self.block = (columns[few] + columns[few].T) / 2
        self.mixed = columns[self.many]

    @property
    def floor(self) -> np.ndarray:
        """The diagonal, 1 where nothing depends on a parameter."""
        return np.where(self.diagonal > 0, self.diagonal, 1.0)

    def inverse_block(self, damping: float) -> np.ndarray:
        """Inverse of the few's block with the many eliminated."""
        inverse = 1.0 / (self.floor[self.many] * (1.0 + damping))
        left = self.block + np.diag(damping * self.floor[self.few] + np.where(self.diagonal[self.few] > 0, 0.0, 1.0))
        left = left - self.mixed.T @ (self.mixed * inverse[:, None])
        scale = 1.0 / np.sqrt(self.floor[self.few])
        values, vectors = np.linalg.eigh(left * np.outer(scale, scale)) if len(left) else (np.ones(0), left)
        values = np.maximum(values, 1e-10)
        return (vectors / values) @ vectors.T * np.outer(scale, scale)

    def preconditioner(self, damping: float):
        """A function that applies the inverse of the damped arrow matrix; positive definite."""
        inverse, few, many = self.inverse_block(damping), self.few, self.many
        thin = 1.0 / (self.floor[many] * (1.0 + damping))

        def apply(v: np.ndarray) -> np.ndarray:
            found = np.zeros_like(v)
            found[few] = inverse @ (v[few] - self.mixed.T @ (thin * v[many]))
            found[many] = thin * (v[many] - self.mixed @ found[few])
            return found

        return apply

    def covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """Covariance of the few, and the variance of every parameter; infinite where the data say nothing."""
        inverse = self.inverse_block(0.0)
        variance = np.full(len(self.diagonal), np.inf)
        variance[self.few] = np.diag(inverse)
        thin = 1.0 / self.floor[self.many]
        back = self.mixed * thin[:, None]
        variance[self.many] = thin + np.einsum("mi,ij,mj->m", back, inverse, back)
        variance[self.diagonal <= 0] = np.inf
        return inverse, variance
