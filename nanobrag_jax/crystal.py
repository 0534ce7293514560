"""The crystal: unit cell, orientation and size, and the vectors that follow (docs/reference.md sections 4, 7, 8)."""

from typing import no_type_check

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import NDArray

from . import checks
from .checks import filled_in, leaf, named_arguments, optional_leaf
from .constants import DEG_PER_RAD
from .described import described
from .diffuse import Diffuse, DiffuseTerms
from .errors import InputError
from .io.mosflm_matrix import check_spans_space
from .mosaicity import AbstractMosaicity, CapMosaicity
from .numerics.vectors import (
    as_vec3,
    cross,
    dual_basis,
    turned,
    unit,
    xyz_rotation,
)
from .reference.random_numbers import DEFAULT_MOSAIC_SEED
from .reference.slips import NO_SLIPS, Slips
from .spot_shapes import AbstractSpotShape, Gauss, check_size_matrix, spot_shape
from .typing import Auto, Matrix, Scalar, Vector

Floats = NDArray[np.floating]


class Crystal(eqx.Module):
    """Unit cell, orientation, size, spot shape and mosaicity.

    **Arguments:**

    - `cell_lengths_A` (3,), `cell_angles_deg` (3,);
    - `n_cells` (3,): unit cells along a, b, c, any positive number;
    - `misset_deg` (3,): rotations about the lab's x, then y, then z;
    - `orientation` (3, 3): rotation from the standard setting (a* along x, b* in the xy plane) before the misset, None
      for a cell without a matrix;
    - `shape`: a spot shape of `spot_shapes`, by name or as an object;
    - `n_cells_off_diagonal` (3,): of the size matrix of `shape="gauss"`, as for `spot_shapes.Gauss`;
    - `fudge`: scale of the spot radius;
    - `scale`: how many such crystals there are in the beam, whose photons add up;
    - `mosaicity`: a kind of `mosaicity`, None for the reference's with `mosaic_spread_deg`, `mosaic_domains` ("auto":
      10 with a spread, else 1) and `mosaic_seed`;
    - `diffuse`: diffuse scattering, None for none;
    - `matrix_cell_lengths_A`, `matrix_cell_angles_deg` (3,): a cell given beside a matrix, which only c-parity uses.

    **Raises** `InputError` for numbers that make no crystal. Source: docs/reference.md sections 4, 7, 8.
    """

    cell_lengths_A: Vector
    cell_angles_deg: Vector
    misset_deg: Vector
    n_cells: Vector
    fudge: Scalar
    scale: Scalar
    mosaicity: AbstractMosaicity
    diffuse: Diffuse | None
    orientation: Matrix | None
    matrix_cell_lengths_A: Vector | None
    matrix_cell_angles_deg: Vector | None
    shape: AbstractSpotShape

    @named_arguments
    def __init__(
        self,
        cell_lengths_A,
        cell_angles_deg=(90.0, 90.0, 90.0),
        *,
        misset_deg=(0.0, 0.0, 0.0),
        n_cells=(1.0, 1.0, 1.0),
        shape: str | AbstractSpotShape = "square",
        n_cells_off_diagonal=None,
        fudge=1.0,
        scale=1.0,
        mosaicity: AbstractMosaicity | None = None,
        mosaic_spread_deg=0.0,
        mosaic_domains: int | Auto = "auto",
        mosaic_seed: int = DEFAULT_MOSAIC_SEED,
        diffuse: Diffuse | None = None,
        orientation=None,
        matrix_cell_lengths_A=None,
        matrix_cell_angles_deg=None,
    ):
        if mosaicity is None:
            mosaicity = CapMosaicity.drawn(mosaic_spread_deg, mosaic_domains, mosaic_seed)
        elif (mosaic_spread_deg, mosaic_domains) != (0.0, "auto"):
            raise InputError("give mosaicity, or mosaic_spread_deg and mosaic_domains, not both")
        self.cell_lengths_A = leaf(cell_lengths_A, "cell_lengths_A")
        self.cell_angles_deg = leaf(cell_angles_deg, "cell_angles_deg")
        self.misset_deg = leaf(misset_deg, "misset_deg")
        self.n_cells = leaf(n_cells, "n_cells")
        self.fudge = leaf(fudge, "fudge")
        self.scale = leaf(scale, "scale")
        self.mosaicity = mosaicity
        self.diffuse = diffuse
        self.orientation = optional_leaf(orientation, "orientation")
        self.matrix_cell_lengths_A = optional_leaf(matrix_cell_lengths_A, "matrix_cell_lengths_A")
        self.matrix_cell_angles_deg = optional_leaf(matrix_cell_angles_deg, "matrix_cell_angles_deg")
        if n_cells_off_diagonal is not None:
            if shape != "gauss":
                raise InputError(f'n_cells_off_diagonal belongs to shape="gauss", got shape {shape!r}')
            shape = Gauss(n_cells_off_diagonal)
        self.shape = spot_shape(shape)
        checks.usual("cell_lengths_A", self.cell_lengths_A, 1, 1e5, "they are in Å")
        checks.usual("cell_angles_deg", self.cell_angles_deg, 4, 180, "they are in degrees")

    @classmethod
    def from_matrix(cls, matrix, *, wavelength_A: float | None = None, **more) -> "Crystal":
        """The crystal of an orientation matrix.

        **Arguments:** `matrix` (3, 3): columns a*, b*, c* in the lab at φ = 0, 1/Å; `wavelength_A`: of a matrix that
        carries it as a factor, as those of MOSFLM do; `more`: further arguments of `Crystal`, as the number of cells.

        **Raises** `InputError` for anything else, and for columns that do not span space or are left-handed. Source:
        docs/reference.md section 4.
        """
        star = np.asarray(leaf(matrix, "matrix")) / (1.0 if wavelength_A is None else wavelength_A)
        checks.finite("matrix", star, (3, 3))
        check_spans_space(star, "matrix")
        if np.linalg.det(star) < 0:
            raise InputError("matrix must have right-handed columns a*, b*, c*, got left-handed ones")
        lengths, angles, orientation = cell_and_orientation(star)
        return cls(lengths, angles, orientation=orientation, **more)

    def random_orientation(self, key: PRNGKeyArray | int) -> "Crystal":
        """The same crystal turned at random, evenly over all rotations: with another `misset_deg`.

        **Arguments:** `key`: of jax.random, or a whole number as a seed. May be mapped over with `jax.vmap`.
        """
        key = jax.random.key(key) if isinstance(key, int | np.integer) else key
        about_x, tilt, about_z = jax.random.uniform(key, (3,), minval=-1.0)
        misset = jnp.stack([180.0 * about_x, jnp.arcsin(tilt) * DEG_PER_RAD, 180.0 * about_z])
        return eqx.tree_at(lambda crystal: crystal.misset_deg, self, misset)

    @property
    @no_type_check  # `eqx.tree_at` looks for the leaf with stand-ins in the place of arrays
    def mosaic_spread_deg(self) -> Scalar:
        """The spread of the reference's mosaicity: the leaf `mosaicity.spread_deg`."""
        if not isinstance(self.mosaicity, CapMosaicity):
            raise AttributeError(f"a crystal with {type(self.mosaicity).__name__} has no mosaic_spread_deg")
        return self.mosaicity.spread_deg

    @property
    @no_type_check
    def n_cells_off_diagonal(self) -> Vector:
        """The off-diagonal elements of the size matrix: the leaf `shape.n_cells_off_diagonal`."""
        if not isinstance(self.shape, Gauss):
            raise AttributeError(f"a crystal of shape {self.shape.name} has no n_cells_off_diagonal")
        return self.shape.n_cells_off_diagonal

    def __check_init__(self):
        checks.cell_exists(self.cell_lengths_A, self.cell_angles_deg)
        checks.finite("misset_deg", self.misset_deg, (3,))
        checks.positive("n_cells", self.n_cells, (3,))
        if isinstance(self.shape, Gauss):
            check_size_matrix(self.n_cells, self.shape.n_cells_off_diagonal)
        checks.positive("fudge", self.fudge)
        checks.positive("scale", self.scale)
        checks.rotation("orientation", self.orientation)

    def __repr__(self) -> str:
        return described(self)


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


def real_basis(crystal: Crystal, slips: Slips = NO_SLIPS) -> Matrix:
    """Rows a, b, c (Å) in the lab at φ = 0, after orientation and misset."""
    from_cell = crystal.orientation is None
    slipped = slips.triclinic_cell and from_cell
    star = reciprocal_basis(crystal.cell_lengths_A, crystal.cell_angles_deg, exact=not slipped)
    if not from_cell:
        star = turned(filled_in(crystal.orientation), star)
    star = turned(xyz_rotation(crystal.misset_deg / DEG_PER_RAD), star)
    real = dual_basis(star)
    lengths = crystal.cell_lengths_A if slipped else crystal.matrix_cell_lengths_A
    if slips.mat_and_cell and lengths is not None:
        real = jax.vmap(unit)(real) * lengths[:, None]
    return real


def reciprocal_of(crystal: Crystal, real: Matrix, slips: Slips = NO_SLIPS) -> Matrix:
    """Rows a*, b*, c* (1/Å) that belong to the rows a, b, c of `real_basis`.

    The reference scales them with the volume of the cell that was asked for, which is not quite that of its vectors
    when more than one angle is oblique, or where the directions are those of a matrix.
    """
    star = dual_basis(real)
    lengths, angles = crystal.cell_lengths_A, crystal.cell_angles_deg
    if crystal.orientation is not None:
        lengths, beside = crystal.matrix_cell_lengths_A, crystal.matrix_cell_angles_deg
        angles = angles if beside is None else beside
    if slips.triclinic_cell and lengths is not None:
        volume = jnp.sum(real[0] * cross(real[1], real[2]))
        star = star * (volume / cell_volume(lengths, angles))
    return star


def diffuse_terms(crystal: Crystal) -> DiffuseTerms | None:
    """What samples need of the crystal's diffuse scattering."""
    if crystal.diffuse is None:
        return None
    lengths, angles = crystal.cell_lengths_A, crystal.cell_angles_deg
    placed = reciprocal_basis(lengths, angles)
    a, b, c = dual_basis(placed)
    along = unit(a)
    upward = unit(cross(a, b))
    frame = jnp.stack([along, cross(upward, along), upward])
    if crystal.orientation is not None:
        placed_in_lab = turned(filled_in(crystal.orientation), placed)
    else:
        placed_in_lab = placed
    return crystal.diffuse.terms(turned(frame, jnp.stack([a, b, c])), turned(frame, placed), placed_in_lab)


def cell_and_orientation(columns: Floats) -> tuple[Floats, Floats, Floats]:
    """Cell edges (Å), angles (degrees) and orientation (3, 3) of reciprocal vectors a*, b*, c* in columns, 1/Å.

    The orientation takes the standard setting (a* along x, b* in the xy plane) to the given vectors; it is a
    reflection where they are left-handed.
    """
    try:
        a, b, c = np.linalg.inv(columns)
    except np.linalg.LinAlgError:
        raise InputError("the axes of the cell lie in a plane: they span no volume") from None
    lengths = np.array([np.linalg.norm(v) for v in (a, b, c)])
    pairs = ((b, c, 1, 2), (c, a, 2, 0), (a, b, 0, 1))
    angles = [np.degrees(np.arccos(u @ v / (lengths[i] * lengths[j]))) for u, v, i, j in pairs]
    a_star, b_star, c_star = columns.T
    x = a_star / np.linalg.norm(a_star)
    y = b_star - (b_star @ x) * x
    y /= np.linalg.norm(y)
    z = np.cross(x, y)
    return lengths, np.array(angles), np.stack([x, y, z if z @ c_star > 0 else -z], axis=1)
