"""Mosaicity: how the domains of a crystal are turned against each other (docs/reference.md section 7).

A kind of mosaicity is a class here, or anywhere else: it says how its domains are rotated and weighted, and how wide
they spread, which the prediction of spots uses.
"""

import random
from abc import abstractmethod
from statistics import NormalDist
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from equinox import AbstractClassVar, AbstractVar
from jax import Array
from jaxtyping import Float
from numpy.typing import NDArray

from . import checks
from .checks import leaf, named_arguments, optional_leaf
from .constants import DEG_PER_RAD
from .described import described
from .errors import InputError
from .numerics.vectors import axis_rotation, dual_basis, turned, unit
from .reference.random_numbers import DEFAULT_MOSAIC_SEED, random_rotations
from .steps import mosaic_domain_count
from .typing import Auto, Matrix, Scalar, Vector

DEFAULT_DOMAINS = 20
"""Of the kinds with a gaussian distribution."""


class AbstractMosaicity(eqx.Module):
    """The domains of a crystal: rotations of it, with weights."""

    domains: AbstractVar[int]
    """Number of domains."""
    turns_with_phi: AbstractClassVar[bool]
    """Whether the spindle turns the domains with the crystal; else they are turned in the lab, after the spindle."""

    @abstractmethod
    def rotations(self, real: Matrix) -> Float[Array, "domains 3 3"]:
        """Rotation of each domain in the lab; differentiable in the leaves.

        **Arguments:** `real`: rows a, b, c of the crystal at φ = 0.
        """

    @abstractmethod
    def domain_weights(self) -> Float[Array, " domains"] | None:
        """How much each domain counts, with mean 1; None where all count the same."""

    @abstractmethod
    def width_rad(self, axis: Vector, real: Matrix) -> Scalar:
        """How far domains turn about an axis (unit vector, lab) to either side, radians: a reciprocal vector of length
        q at right angles to it spreads by q times that.

        **Arguments:** `real`: rows a, b, c where the crystal stands.
        """


class CapMosaicity(AbstractMosaicity):
    """The reference's domains: axes at random, angles at random within the spread.

    **Arguments:**

    - `spread_deg`: largest angle;
    - `axes` (d, 3): unit vectors; `fractions` (d,): angles in units of the spread.

    The image is differentiable in the spread, which scales all angles. **Raises** `InputError`. Source:
    docs/reference.md section 7.
    """

    spread_deg: Scalar
    axes: Float[Array, "domains 3"]
    fractions: Float[Array, " domains"]
    turns_with_phi: ClassVar[bool] = False

    @named_arguments
    def __init__(self, spread_deg=0.0, axes=((0.0, 0.0, 1.0),), fractions=(0.0,)):
        self.spread_deg, self.axes = leaf(spread_deg, "mosaic_spread_deg"), leaf(axes, "axes")
        self.fractions = leaf(fractions, "fractions")

    @classmethod
    def drawn(cls, spread_deg=0.0, domains: int | Auto = "auto", seed: int = DEFAULT_MOSAIC_SEED) -> "CapMosaicity":
        """Domains drawn as the reference draws them; the first is the unrotated crystal. "auto": 10 for a spread.

        The reference rounds each angle to single precision; the fractions carry that rounding at this spread, so that
        the image is the reference's there and smooth in the spread around it.
        """
        known = checks.known(leaf(spread_deg, "mosaic_spread_deg"))
        if domains == "auto":
            domains = mosaic_domain_count(None, 1.0 if known is None else known)[0]
        checks.count("mosaic_domains", domains)
        if domains == 1:
            if known:
                checks.warn(f"mosaic_spread_deg {known:g} has no effect with 1 of mosaic_domains")
            return cls(spread_deg)
        spread = 1.0 if known is None else np.radians(known)
        scale = spread if spread > 0 else 1.0
        axes, angles = random_rotations(seed, scale, domains)
        return cls(spread_deg, axes, np.asarray(angles, float) / scale)

    def __check_init__(self):
        checks.not_negative("mosaic_spread_deg", self.spread_deg)
        checks.finite("mosaic_axes", self.axes, (None, 3))
        if self.domains == 0:
            raise InputError("a crystal must have at least one mosaic domain, got none")
        checks.finite("mosaic_fractions", self.fractions, (self.axes.shape[0],))

    @property
    def domains(self) -> int:
        """Number of domains."""
        return self.axes.shape[0]

    def rotations(self, real: Matrix) -> Float[Array, "domains 3 3"]:
        """Each about its axis by its fraction of the spread."""
        return jax.vmap(axis_rotation)(self.axes, self.fractions * (self.spread_deg / DEG_PER_RAD))

    def domain_weights(self) -> None:
        """All count the same."""

    def width_rad(self, axis: Vector, real: Matrix) -> Scalar:
        """The spread, about every axis."""
        return self.spread_deg / DEG_PER_RAD

    def __repr__(self) -> str:
        return described(self)


def _quantile_set(domains: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Axes (domains/2, 3), evenly over half a sphere, and the quantile of a half-normal distribution for each.

    Each stands for two domains, turned to either side: so their mean is the crystal. Source: docs/reference.md
    section 7.
    """
    half = domains // 2
    t = (np.arange(half) + 0.5) / half
    polar, around = np.arccos(t), np.sqrt(np.pi * half) * np.arcsin(t)
    axes = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), t], axis=1)
    shares = [i / half for i in range(half)]
    random.Random(_SHUFFLE_SEED).shuffle(shares)
    return axes, np.array([NormalDist().inv_cdf(0.5 + 0.5 * share) for share in shares])


_SHUFFLE_SEED = 8675309


def _in_pairs(axes: NDArray[np.float64], angles: Float[Array, " half"]) -> Float[Array, "domains 3 3"]:
    """Turns by an angle about each axis, and back, one after the other."""
    both = jnp.stack([angles, -angles], axis=1).reshape(-1)
    return jax.vmap(axis_rotation)(jnp.asarray(np.repeat(axes, 2, axis=0)), both)


def _check_pairs(domains: int) -> None:
    checks.count("domains", domains)
    if domains % 2:
        raise InputError(f"domains must be an even number, as they come in pairs, got {domains}")


class IsotropicMosaicity(AbstractMosaicity):
    """Domains whose angles have a gaussian distribution, the same about every axis.

    **Arguments:** `eta_deg`: its standard deviation; `domains`: an even number; always the same set, of zero mean, that
    turns with the crystal. **Raises** `InputError`. Source: docs/reference.md section 7.
    """

    eta_deg: Scalar
    domains: int = eqx.field(static=True)
    turns_with_phi: ClassVar[bool] = True

    @named_arguments
    def __init__(self, eta_deg, domains: int = DEFAULT_DOMAINS):
        self.eta_deg, self.domains = leaf(eta_deg, "eta_deg"), domains

    def __check_init__(self):
        checks.not_negative("eta_deg", self.eta_deg)
        _check_pairs(self.domains)

    def rotations(self, real: Matrix) -> Float[Array, "domains 3 3"]:
        """Pairs about axes all over half a sphere, by the quantiles of the distribution."""
        axes, quantiles = _quantile_set(self.domains)
        return _in_pairs(axes, jnp.asarray(quantiles) * (self.eta_deg / DEG_PER_RAD))

    def domain_weights(self) -> None:
        """All count the same."""

    def width_rad(self, axis: Vector, real: Matrix) -> Scalar:
        """The largest angle there is."""
        return _quantile_set(self.domains)[1].max() * self.eta_deg / DEG_PER_RAD

    def __repr__(self) -> str:
        return described(self)


class AnisotropicMosaicity(AbstractMosaicity):
    """The same with another standard deviation about each of the crystal's axes.

    **Arguments:** `eta_deg` (3,): about a, b and c, all positive; `domains`: an even number. About another axis v it is
    |vᵀTv|^(−½), where T has the unit vectors of a, b, c for eigenvectors and their 1/η² for eigenvalues. **Raises**
    `InputError`. Source: docs/reference.md section 7.
    """

    eta_deg: Vector
    domains: int = eqx.field(static=True)
    turns_with_phi: ClassVar[bool] = True

    @named_arguments
    def __init__(self, eta_deg, domains: int = DEFAULT_DOMAINS):
        self.eta_deg, self.domains = leaf(eta_deg, "eta_deg"), domains

    def __check_init__(self):
        checks.positive("eta_deg", self.eta_deg, (3,))
        _check_pairs(self.domains)

    def _about(self, axis: Vector, real: Matrix) -> Scalar:
        """Standard deviation about an axis, degrees."""
        edges = jax.vmap(unit)(real)
        along = (edges @ axis) * (dual_basis(edges) @ axis)
        return 1.0 / jnp.sqrt(jnp.abs(jnp.sum(along / self.eta_deg**2)))

    def rotations(self, real: Matrix) -> Float[Array, "domains 3 3"]:
        """As for the isotropic kind, each by what there is about its axis."""
        axes, quantiles = _quantile_set(self.domains)
        eta = jax.vmap(self._about, (0, None))(jnp.asarray(axes), real)
        return _in_pairs(axes, jnp.asarray(quantiles) * (eta / DEG_PER_RAD))

    def domain_weights(self) -> None:
        """All count the same."""

    def width_rad(self, axis: Vector, real: Matrix) -> Scalar:
        """The largest angle that there would be about the axis."""
        return _quantile_set(self.domains)[1].max() * self._about(axis, real) / DEG_PER_RAD

    def __repr__(self) -> str:
        return described(self)


class MosaicRotations(AbstractMosaicity):
    """Domains that are given.

    **Arguments:** `matrices` (d, 3, 3): rotations in the lab at φ = 0; `weights` (d,): how much each counts, in any
    unit, None for all the same. **Raises** `InputError` for what is no rotation.
    """

    matrices: Float[Array, "domains 3 3"]
    weights: Float[Array, " domains"] | None
    turns_with_phi: ClassVar[bool] = True

    @named_arguments
    def __init__(self, matrices, weights=None):
        self.matrices = leaf(matrices, "matrices")
        self.weights = optional_leaf(weights, "weights")

    def __check_init__(self):
        checks.finite("matrices", self.matrices, (None, 3, 3))
        if self.domains == 0:
            raise InputError("a crystal must have at least one mosaic domain, got none")
        if checks.is_known(self.matrices):
            for i, matrix in enumerate(np.asarray(self.matrices)):
                checks.rotation(f"matrices[{i}]", matrix)
        if self.weights is not None:
            checks.not_negative("weights", self.weights, (self.domains,))
            checks.require("weights", self.weights, "not all zero", lambda x: x.sum() > 0, (self.domains,))

    @property
    def domains(self) -> int:
        """Number of domains."""
        return self.matrices.shape[0]

    def rotations(self, real: Matrix) -> Float[Array, "domains 3 3"]:
        """As given."""
        return self.matrices

    def domain_weights(self) -> Float[Array, " domains"] | None:
        """With mean 1."""
        return None if self.weights is None else self.weights / jnp.mean(self.weights)

    def width_rad(self, axis: Vector, real: Matrix) -> Scalar:
        """The largest component of a rotation along the axis."""
        skew = self.matrices - jnp.swapaxes(self.matrices, 1, 2)
        turns = 0.5 * jnp.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], axis=1)
        return jnp.max(jnp.abs(turns @ axis))

    def __repr__(self) -> str:
        return described(self)


class ThreefoldMosaicity(AbstractMosaicity):
    """Each domain of another kind three times, turned by a third of a turn about c: for spots that have the symmetry.

    **Arguments:** `mosaicity`: the other kind. The cell must have the symmetry (a = b, γ = 120°), the spots need not.
    Source: docs/reference.md section 7.
    """

    mosaicity: AbstractMosaicity
    turns_with_phi: ClassVar[bool] = True

    @property
    def domains(self) -> int:
        """Three times as many."""
        return 3 * self.mosaicity.domains

    def rotations(self, real: Matrix) -> Float[Array, "domains 3 3"]:
        """The threefold's turn first, then that of the domain."""
        thirds = jax.vmap(axis_rotation, (None, 0))(unit(real[2]), jnp.arange(3) * (2.0 * jnp.pi / 3.0))
        return jnp.einsum("dij,tjk->tdik", self.mosaicity.rotations(real), thirds).reshape(-1, 3, 3)

    def domain_weights(self) -> Float[Array, " domains"] | None:
        """Those of the other kind."""
        weights = self.mosaicity.domain_weights()
        return None if weights is None else jnp.tile(weights, 3)

    def width_rad(self, axis: Vector, real: Matrix) -> Scalar:
        """That of the other kind: a third of a turn takes the lattice to itself."""
        return self.mosaicity.width_rad(axis, real)

    def __repr__(self) -> str:
        return described(self)


def orientations(
    steps: Float[Array, "phi 3 3"], domains: Float[Array, "domains 3 3"]
) -> Float[Array, "phi_domains 3 3"]:
    """Rows a, b, c of every (φ step, domain), domain innermost."""
    of_domains = jax.vmap(turned, (0, None))
    return jax.vmap(of_domains, (None, 0))(domains, steps).reshape(-1, 3, 3)
