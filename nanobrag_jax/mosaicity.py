"""Mosaicity: how the domains of a crystal are turned against each other (docs/reference.md section 7).

A kind of mosaicity is a class here, or anywhere else: it says how its domains are rotated and weighted, and how wide
they spread, which the prediction of spots uses.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from . import checks
from .checks import leaf, named_arguments
from .constants import DEG_PER_RAD
from .errors import InputError
from .numerics.vectors import axis_rotation, turned
from .reference.random_numbers import DEFAULT_MOSAIC_SEED, random_rotations
from .steps import mosaic_domain_count
from .typing import Auto, Scalar, Vector


class AbstractMosaicity(eqx.Module):
    """The domains of a crystal: rotations of it, with weights."""

    @property
    @abstractmethod
    def domains(self) -> int:
        """Number of domains."""

    @abstractmethod
    def rotations(self) -> Float[Array, "domains 3 3"]:
        """Rotation of each domain in the lab, after the spindle's; differentiable in the leaves."""

    @abstractmethod
    def weights(self) -> Float[Array, " domains"] | None:
        """How much each domain counts, with mean 1; None where all count the same."""

    @abstractmethod
    def width_rad(self, axis: Vector) -> Scalar:
        """How far domains turn about an axis (unit vector, lab) to either side, radians: a reciprocal vector of length
        q at right angles to it spreads by q times that."""


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

    def rotations(self) -> Float[Array, "domains 3 3"]:
        """Each about its axis by its fraction of the spread."""
        return jax.vmap(axis_rotation)(self.axes, self.fractions * (self.spread_deg / DEG_PER_RAD))

    def weights(self) -> None:
        """All count the same."""

    def width_rad(self, axis: Vector) -> Scalar:
        """The spread, about every axis."""
        return self.spread_deg / DEG_PER_RAD


def orientations(
    steps: Float[Array, "phi 3 3"], domains: Float[Array, "domains 3 3"]
) -> Float[Array, "phi_domains 3 3"]:
    """Rows a, b, c of every (φ step, domain), domain innermost."""
    of_domains = jax.vmap(turned, (0, None))
    return jax.vmap(of_domains, (None, 0))(domains, steps).reshape(-1, 3, 3)


def orientation_weights(mosaicity: AbstractMosaicity, phi_steps: int) -> Float[Array, " phi_domains"] | None:
    """The weight of each of `orientations`, None where all count the same."""
    weights = mosaicity.weights()
    return None if weights is None else jnp.tile(weights, phi_steps)
