"""How far a model is from counts: Poisson and Gaussian likelihoods."""

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from ..checks import leaf
from ..errors import InputError
from ..typing import Scalar

FLOOR = 1e-4
"""Photons below which an expectation is bent so that it stays positive."""


def positive_part(photons: Array) -> Array:
    """The expectation itself above `FLOOR`, and a positive number with the same value and slope there below."""
    low = photons < FLOOR
    return jnp.where(low, FLOOR * jnp.exp(jnp.minimum(photons / FLOOR - 1.0, 0.0)), photons)


class Poisson(eqx.Module):
    """Photon counts: half the deviance, Σ m − d + d ln(d/m)."""

    def variance(self, model: Array) -> Array:
        """Variance of the counts that a model of positive numbers expects."""
        return model

    def terms(self, model: Array, counts: Array) -> Array:
        """What each pixel adds to the objective."""
        some = counts > 0
        known = jnp.where(some, counts * jnp.log(jnp.where(some, counts, 1.0)) - counts, 0.0)
        return model - counts * jnp.log(model) + known

    def slope(self, model: Array, counts: Array) -> Array:
        """Derivative of a pixel's term with respect to the model."""
        return 1.0 - counts / model

    def curvature(self, model: Array) -> Array:
        """Expected second derivative: the pixel's weight in the normal matrix."""
        return 1.0 / model


class Gaussian(eqx.Module):
    r"""Normal errors with $\sigma^2 = m + r^2$: Σ (d − m)²/2σ² + ½ ln σ².

    The logarithm belongs to it: as σ depends on the model, without it a model half a photon too high fits best.

    **Arguments:** `readout`: r, in photons. **Raises** `InputError` unless positive.
    """

    readout: Scalar

    def __init__(self, readout=1.0):
        if not readout > 0:
            raise InputError(f"readout must be positive, got {readout}")
        self.readout = leaf(readout)

    def variance(self, model: Array) -> Array:
        """Variance of the counts that a model of positive numbers expects."""
        return model + self.readout**2

    def terms(self, model: Array, counts: Array) -> Array:
        """What each pixel adds to the objective."""
        variance = self.variance(model)
        return 0.5 * ((counts - model) ** 2 / variance + jnp.log(variance))

    def slope(self, model: Array, counts: Array) -> Array:
        """Derivative of a pixel's term with respect to the model."""
        variance, miss = self.variance(model), counts - model
        return (0.5 - miss - 0.5 * miss**2 / variance) / variance

    def curvature(self, model: Array) -> Array:
        """Expected second derivative: the pixel's weight in the normal matrix."""
        variance = self.variance(model)
        return (1.0 + 0.5 / variance) / variance


Loss = Poisson | Gaussian
