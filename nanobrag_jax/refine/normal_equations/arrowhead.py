"""An arrowhead matrix in place of a large normal matrix: few parameters in full, many on a diagonal."""

import numpy as np

from ..parameters.layout import Layout
from .operator import NormalOperator, Preconditioner

MAX_COUPLED = 64
"""The values of a larger parameter are taken as independent of each other."""


def coupled_parameters(layout: Layout) -> np.ndarray:
    """Numbers of the parameters whose correlations are kept: all but those of many values."""
    at, coupled = 0, []
    for size in layout.shared.sizes:
        if size <= MAX_COUPLED:
            coupled += range(at, at + size)
        at += size
    coupled += range(at, at + layout.num_images * layout.per_image.count)
    return np.array(coupled, int)


class Arrowhead:
    """The normal matrix with the off-diagonal elements between independent parameters set to zero.

    **Arguments:** `coupled`: numbers of the parameters that are kept in full; `probes`, `seed`: random signs that
    estimate the diagonal of the others.
    """

    def __init__(self, operator: NormalOperator, coupled: np.ndarray, probes: int, seed: int):
        total = len(operator.gradient)
        self.coupled, self.independent = coupled, np.setdiff1d(np.arange(total), coupled)
        columns = np.zeros((total, len(coupled)))
        for number, index in enumerate(coupled):
            columns[:, number] = operator(np.eye(1, total, index)[0])
        self.diagonal = np.zeros(total)
        if len(self.independent):
            self.diagonal = operator.diagonal(probes, seed, np.isin(np.arange(total), self.independent))
        self.diagonal[coupled] = columns[coupled, np.arange(len(coupled))]
        self.block = (columns[coupled] + columns[coupled].T) / 2
        self.border = columns[self.independent]

    @property
    def safe_diagonal(self) -> np.ndarray:
        """The diagonal, 1 where nothing depends on a parameter."""
        return np.where(self.diagonal > 0, self.diagonal, 1.0)

    def inverse_block(self, damping: float) -> np.ndarray:
        """Inverse of the coupled parameters' block with the independent ones eliminated."""
        inverse = 1.0 / (self.safe_diagonal[self.independent] * (1.0 + damping))
        unseen = np.where(self.diagonal[self.coupled] > 0, 0.0, 1.0)
        left = self.block + np.diag(damping * self.safe_diagonal[self.coupled] + unseen)
        left = left - self.border.T @ (self.border * inverse[:, None])
        scale = 1.0 / np.sqrt(self.safe_diagonal[self.coupled])
        values, vectors = np.linalg.eigh(left * np.outer(scale, scale)) if len(left) else (np.ones(0), left)
        values = np.maximum(values, 1e-10)
        return (vectors / values) @ vectors.T * np.outer(scale, scale)

    def preconditioner(self, damping: float) -> Preconditioner:
        """A function that applies the inverse of the damped arrowhead matrix; positive definite."""
        inverse, coupled, independent = self.inverse_block(damping), self.coupled, self.independent
        reciprocal = 1.0 / (self.safe_diagonal[independent] * (1.0 + damping))

        def apply(v: np.ndarray) -> np.ndarray:
            found = np.zeros_like(v)
            found[coupled] = inverse @ (v[coupled] - self.border.T @ (reciprocal * v[independent]))
            found[independent] = reciprocal * (v[independent] - self.border @ found[coupled])
            return found

        return apply

    def covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """Covariance of the coupled parameters, and everyone's variance; infinite where nothing depends on one."""
        inverse = self.inverse_block(0.0)
        variance = np.full(len(self.diagonal), np.inf)
        variance[self.coupled] = np.diag(inverse)
        reciprocal = 1.0 / self.safe_diagonal[self.independent]
        back = self.border * reciprocal[:, None]
        variance[self.independent] = reciprocal + np.einsum("mi,ij,mj->m", back, inverse, back)
        variance[self.diagonal <= 0] = np.inf
        return inverse, variance
