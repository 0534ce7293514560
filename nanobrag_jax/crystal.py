"""Crystal vectors: unit cell, misset, φ rotation and mosaic domains (docs/reference.md sections 4, 7, 8)."""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from .checks import filled_in
from .constants import DEG_PER_RAD
from .experiment import Crystal, Goniometer
from .typing import Matrix, Mode, Scalar, Vector
from .vectors import as_vec3, axis_rotation, cross, turned, unit, xyz_rotation


def cell_volume(lengths: Vector, angles_deg: Vector) -> Scalar:
    """Volume of a cell of edges in Å, in Å³."""
    (a, b, c), (alpha, beta, gamma) = as_vec3(lengths), as_vec3(angles_deg / DEG_PER_RAD)
    half = (alpha + beta + gamma) / 2
    product = jnp.sin(half) * jnp.sin(half - alpha) * jnp.sin(half - beta) * jnp.sin(half - gamma)
    return 2 * a * b * c * jnp.sqrt(jnp.abs(product))


def reciprocal_basis(lengths: Vector, angles_deg: Vector, *, exact: bool = True) -> Matrix:
    """Rows a*, b*, c* (1/Å) of a cell in the standard setting: a* along x, b* in the xy plane.

    **Arguments:** `lengths` in Å; `exact`: False for the reference's c*, which is slightly off when more than one
    angle is oblique. Source: docs/reference.md section 4.
    """
    a, b, c = as_vec3(lengths)
    alpha, beta, gamma = as_vec3(angles_deg / DEG_PER_RAD)
    volume = cell_volume(lengths, angles_deg)
    a_star, b_star, c_star = (
        b * c * jnp.sin(alpha) / volume,
        c * a * jnp.sin(beta) / volume,
        a * b * jnp.sin(gamma) / volume,
    )
    cos_alpha, cos_beta, cos_gamma = jnp.cos(alpha), jnp.cos(beta), jnp.cos(gamma)
    cos_alpha_star = (cos_beta * cos_gamma - cos_alpha) / (jnp.sin(beta) * jnp.sin(gamma))
    cos_beta_star = (cos_gamma * cos_alpha - cos_beta) / (jnp.sin(gamma) * jnp.sin(alpha))
    cos_gamma_star = (cos_alpha * cos_beta - cos_gamma) / (jnp.sin(alpha) * jnp.sin(beta))
    sin_gamma_star = c / (volume * a_star * b_star)
    if exact:
        height = 1 / (volume * a_star * b_star * sin_gamma_star)
    else:
        height = c_star * volume / (a * b * c * sin_gamma_star)
    zero = jnp.zeros_like(a)
    along_y = c_star * (cos_alpha_star - cos_beta_star * cos_gamma_star) / sin_gamma_star
    rows = [
        [a_star, zero, zero],
        [b_star * cos_gamma_star, b_star * sin_gamma_star, zero],
        [c_star * cos_beta_star, along_y, height],
    ]
    return jnp.stack([jnp.stack(row) for row in rows])


def dual_basis(rows: Matrix) -> Matrix:
    """Rows of the dual basis: real vectors from reciprocal ones, and back."""
    a, b, c = as_vec3(rows)
    first = cross(b, c)
    return jnp.stack([first, cross(c, a), cross(a, b)]) / jnp.sum(a * first)


def real_basis(crystal: Crystal, mode: Mode = "spec") -> Matrix:
    """Rows a, b, c (Å) in the lab at φ = 0, after orientation and misset."""
    from_cell = crystal.orientation is None
    slipped = mode == "c-parity" and from_cell
    star = reciprocal_basis(crystal.cell_lengths_A, crystal.cell_angles_deg, exact=not slipped)
    if not from_cell:
        star = turned(filled_in(crystal.orientation), star)
    star = turned(xyz_rotation(crystal.misset_deg / DEG_PER_RAD), star)
    real = dual_basis(star)
    lengths = crystal.cell_lengths_A if slipped else crystal.matrix_cell_lengths_A
    if mode == "c-parity" and lengths is not None:
        real = jax.vmap(unit)(real) * lengths[:, None]
    return real


def reciprocal_of(crystal: Crystal, real: Matrix, mode: Mode = "spec") -> Matrix:
    """Rows a*, b*, c* (1/Å) that belong to the rows a, b, c of `real_basis`.

    The reference scales them with the volume of the cell that was asked for, which is not quite that of its vectors
    when more than one angle is oblique.
    """
    star = dual_basis(real)
    if mode == "c-parity" and crystal.orientation is None:
        volume = jnp.sum(real[0] * cross(real[1], real[2]))
        star = star * (volume / cell_volume(crystal.cell_lengths_A, crystal.cell_angles_deg))
    return star


def phi_angles(goniometer: Goniometer) -> Float[Array, " phi"]:
    """Start of each φ slice, radians.

    The product and the sum are rounded one by one, as the reference does: whether an angle is exactly zero matters
    in c-parity.
    """
    step = goniometer.osc_deg / DEG_PER_RAD / goniometer.phi_steps * goniometer.step_ratio
    advance = lax.optimization_barrier(step * jnp.arange(goniometer.phi_steps, dtype=step.dtype))
    return goniometer.phi_deg / DEG_PER_RAD + advance


def phi_rotated(real: Matrix, goniometer: Goniometer) -> Float[Array, "phi 3 3"]:
    """Rows a, b, c at each φ step."""
    axis = unit(filled_in(goniometer.spindle_axis))
    rotations = jax.vmap(axis_rotation, (None, 0))(axis, phi_angles(goniometer))
    return jax.vmap(turned, (0, None))(rotations, real)


def domain_rotations(crystal: Crystal) -> Float[Array, "domains 3 3"]:
    """Rotation matrix of each mosaic domain."""
    angles = crystal.mosaic_fractions * (crystal.mosaic_spread_deg / DEG_PER_RAD)
    return jax.vmap(axis_rotation)(crystal.mosaic_axes, angles)


def orientations(
    steps: Float[Array, "phi 3 3"], domains: Float[Array, "domains 3 3"]
) -> Float[Array, "phi_domains 3 3"]:
    """Rows a, b, c of every (φ step, domain), domain innermost."""
    of_domains = jax.vmap(turned, (0, None))
    return jax.vmap(of_domains, (None, 0))(domains, steps).reshape(-1, 3, 3)
