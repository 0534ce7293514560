"""Linear algebra of the normal equations: backgrounds eliminated, images added up, damped steps and covariances.

Small dense matrices in NumPy's double precision, whatever the precision of the model.
"""

import jax.numpy as jnp
import numpy as np

from ..model import Unknowns
from ..parameters.layout import Layout
from .equations import NormalEquations


def assemble(layout: Layout, per_image: np.ndarray) -> np.ndarray:
    """Vectors (images, n) or matrices (images, n, n) added up for all parameters: shared, then those of each image."""
    shared, own = layout.shared.count, layout.per_image.count
    total = np.zeros((shared + layout.num_images * own,) * (per_image.ndim - 1))
    for image in range(layout.num_images):
        index = np.r_[:shared, shared + image * own : shared + (image + 1) * own]
        total[np.ix_(*[index] * total.ndim)] += per_image[image]
    return total


def split_by_image(layout: Layout, vector: np.ndarray) -> np.ndarray:
    """A vector of all parameters as (images, n)."""
    shared, own = layout.shared.count, layout.per_image.count
    starts = shared + own * np.arange(layout.num_images)
    return np.stack([np.r_[vector[:shared], vector[i : i + own]] for i in starts])


def _lift(diagonal: np.ndarray, damping: float) -> np.ndarray:
    """What damping adds to a diagonal; 1 where nothing depends on the parameter, so that it stays where it is."""
    return np.where(diagonal > 0, diagonal * damping, 1.0)


def _without_backgrounds(equations: NormalEquations, damping: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient and matrix of each image with its backgrounds eliminated, and what damping adds to their diagonal."""
    lift = _lift(np.einsum("ibtt->ibt", equations.background_matrix), damping)
    if not lift.shape[-1]:
        return np.asarray(equations.gradient), np.asarray(equations.matrix), lift
    block = equations.background_matrix + lift[..., None] * np.eye(lift.shape[-1])
    solved = np.linalg.solve(block, equations.mixed_matrix)
    gradient = equations.gradient - np.einsum("ibtn,ibt->in", solved, equations.background_gradient)
    return gradient, equations.matrix - np.einsum("ibtn,ibtm->inm", equations.mixed_matrix, solved), lift


def _diagonal(layout: Layout, equations: NormalEquations) -> np.ndarray:
    """Of the matrix of all parameters, backgrounds not eliminated."""
    return assemble(layout, np.einsum("inn->in", equations.matrix)) + np.diag(equations.restraint_matrix)


def damped_step(layout: Layout, equations: NormalEquations, damping: float) -> tuple[Unknowns, float]:
    """A damped Gauss–Newton step (damping 0: the full one), and the decrease of the objective that it promises."""
    image_gradient, image_matrix, background_lift = _without_backgrounds(equations, damping)
    gradient = assemble(layout, image_gradient) + equations.restraint_gradient
    matrix = assemble(layout, image_matrix) + equations.restraint_matrix
    lift = _lift(_diagonal(layout, equations), damping)
    move = _solved(matrix + np.diag(lift), -gradient)
    moves = split_by_image(layout, move)
    slope = equations.background_gradient + np.einsum("ibtn,in->ibt", equations.mixed_matrix, moves)
    background = -slope
    if slope.shape[-1]:
        block = equations.background_matrix + background_lift[..., None] * np.eye(slope.shape[-1])
        background = np.linalg.solve(block, -slope[..., None])[..., 0]
    gain = -np.sum(equations.gradient * moves) - np.sum(equations.background_gradient * background)
    gain -= np.sum(equations.restraint_gradient * move)
    held = np.sum(lift * move**2) + np.sum(background_lift * background**2)
    shared = layout.shared.count
    step = Unknowns(jnp.asarray(move[:shared]), jnp.asarray(moves[:, shared:]), jnp.asarray(background))
    return step, float(0.5 * (gain + held))


def distance_to_minimum(layout: Layout, equations: NormalEquations) -> float:
    """How far the minimum seems to be, in standard uncertainties: √(gᵀN⁻¹g), backgrounds included."""
    return float(np.sqrt(max(2.0 * damped_step(layout, equations, 0.0)[1], 0.0)))


def covariance(layout: Layout, equations: NormalEquations) -> np.ndarray:
    """Covariance of x, the inverse of the normal matrix; infinite variance where nothing depends on a parameter."""
    matrix = assemble(layout, _without_backgrounds(equations, 0.0)[1]) + equations.restraint_matrix
    blind = ~(_diagonal(layout, equations) > 0)
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
