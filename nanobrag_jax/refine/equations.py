"""Linear algebra of the normal equations: backgrounds eliminated, images joined, damped steps and covariances.

Small dense matrices in NumPy's double precision, whatever the precision of the model.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from .model import Normal, Problem, Unknowns


class Matrices(NamedTuple):
    """`model.Normal` in NumPy, double precision."""

    objective: np.ndarray
    gradient: np.ndarray
    matrix: np.ndarray
    background_gradient: np.ndarray
    background_matrix: np.ndarray
    mixed: np.ndarray


def as_numpy(normal: Normal) -> Matrices:
    """The same in NumPy, double precision."""
    return Matrices(*(np.asarray(v, float) for v in normal))


def joined(problem: Problem, per_image: np.ndarray) -> np.ndarray:
    """Vectors (images, n) or matrices (images, n, n) of the images added up: shared first, then each image's own."""
    shared, own, images = problem.layout.shared.count, problem.layout.own.count, problem.num_images
    total = np.zeros((shared + images * own,) * (per_image.ndim - 1))
    for image in range(images):
        index = np.r_[:shared, shared + image * own : shared + (image + 1) * own]
        total[np.ix_(*[index] * total.ndim)] += per_image[image]
    return total


def apart(problem: Problem, vector: np.ndarray) -> np.ndarray:
    """A joined vector as (images, n)."""
    shared, own = problem.layout.shared.count, problem.layout.own.count
    starts = shared + own * np.arange(problem.num_images)
    return np.stack([np.r_[vector[:shared], vector[i : i + own]] for i in starts])


def _raised(diagonal: np.ndarray, damping: float) -> np.ndarray:
    """What damping adds to a diagonal; 1 where nothing depends on the parameter, so that it stays where it is."""
    return np.where(diagonal > 0, diagonal * damping, 1.0)


def _eliminated(normal: Matrices, damping: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient and matrix of each image without its backgrounds, and what damping adds to their diagonal."""
    lift = _raised(np.einsum("ibtt->ibt", normal.background_matrix), damping)
    if not lift.shape[-1]:
        return normal.gradient, normal.matrix, lift
    block = normal.background_matrix + lift[..., None] * np.eye(lift.shape[-1])
    solved = np.linalg.solve(block, normal.mixed)
    gradient = normal.gradient - np.einsum("ibtn,ibt->in", solved, normal.background_gradient)
    return gradient, normal.matrix - np.einsum("ibtn,ibtm->inm", normal.mixed, solved), lift


def damped_step(problem: Problem, normal: Matrices, damping: float) -> tuple[Unknowns, float]:
    """A damped Gauss–Newton step (damping 0: the full one), and the decrease of the objective that it promises."""
    gradient, matrix, lift_behind = _eliminated(normal, damping)
    diagonal = joined(problem, np.einsum("inn->in", normal.matrix))
    lift = _raised(diagonal, damping)
    move = _solved(joined(problem, matrix) + np.diag(lift), -joined(problem, gradient))
    moves = apart(problem, move)
    pull = normal.background_gradient + np.einsum("ibtn,in->ibt", normal.mixed, moves)
    behind = -pull
    if pull.shape[-1]:
        block = normal.background_matrix + lift_behind[..., None] * np.eye(pull.shape[-1])
        behind = np.linalg.solve(block, -pull[..., None])[..., 0]
    gain = np.sum(-normal.gradient * moves) + np.sum(-normal.background_gradient * behind)
    held = np.sum(lift * move**2) + np.sum(lift_behind * behind**2)
    shared = problem.layout.shared.count
    step = Unknowns(jnp.asarray(move[:shared]), jnp.asarray(moves[:, shared:]), jnp.asarray(behind))
    return step, float(0.5 * (gain + held))


def distance_to_minimum(problem: Problem, normal: Matrices) -> float:
    """How far the minimum seems to be, in standard uncertainties: √(gᵀN⁻¹g), backgrounds included."""
    return float(np.sqrt(max(2.0 * damped_step(problem, normal, 0.0)[1], 0.0)))


def covariance(problem: Problem, normal: Matrices) -> np.ndarray:
    """Covariance of x, the inverse of the normal matrix; infinite variance where the data say nothing."""
    matrix = joined(problem, _eliminated(normal, 0.0)[1])
    blind = ~(np.diag(joined(problem, normal.matrix)) > 0)
    matrix[blind, blind] = 1.0
    scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    inverse = np.linalg.pinv(matrix * np.outer(scale, scale), rcond=1e-13, hermitian=True) * np.outer(scale, scale)
    inverse[blind, blind] = np.inf
    return inverse


def _solved(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Solution of a symmetric system, its diagonal scaled to 1; combinations that the data do not see stay put."""
    scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    values, vectors = np.linalg.eigh(matrix * np.outer(scale, scale))
    kept = values > 1e-13 * values[-1]
    return vectors[:, kept] @ ((vectors[:, kept].T @ (vector * scale)) / values[kept]) * scale
