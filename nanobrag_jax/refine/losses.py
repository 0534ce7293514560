"""How far a model is from counts: likelihoods of pixels."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike

from ..checks import leaf
from ..errors import InputError
from ..typing import Scalar

FLOOR = 1e-4
"""Photons below which an expectation is bent so that it stays positive."""


def positive_part(photons: Array) -> Array:
    """The expectation itself above `FLOOR`, and a positive number with the same value and slope there below."""
    low = photons < FLOOR
    return jnp.where(low, FLOOR * jnp.exp(jnp.minimum(photons / FLOOR - 1.0, 0.0)), photons)


class AbstractLoss(eqx.Module):
    """What a loss brings, pixel by pixel: minus the logarithm of a likelihood, and what it expects of its errors.

    The model is positive everywhere. Derivatives with respect to the model are taken of `terms`.
    """

    @abc.abstractmethod
    def terms(self, model: Array, counts: Array) -> Array:
        """What each pixel adds to the objective."""

    @abc.abstractmethod
    def curvature(self, model: Array) -> Array:
        """The pixel's weight in the normal equations: the second derivative of its term that is expected where the
        model is true (Fisher's information). Positive, whatever the counts.
        """

    @abc.abstractmethod
    def variance(self, model: Array) -> Array:
        """Variance of the counts where the model is true, for normalized residuals and chi-square."""


def terms_and_slopes(loss: AbstractLoss, model: Array, counts: Array) -> tuple[Array, Array]:
    """What each pixel adds to the objective, and its derivative with respect to the model."""
    return jax.jvp(lambda m: loss.terms(m, counts), (model,), (jnp.ones_like(model),))


class Poisson(AbstractLoss):
    """Photon counts: half the deviance, Σ m − d + d ln(d/m)."""

    def terms(self, model: Array, counts: Array) -> Array:
        """What each pixel adds to the objective."""
        some = counts > 0
        known = jnp.where(some, counts * jnp.log(jnp.where(some, counts, 1.0)) - counts, 0.0)
        return model - counts * jnp.log(model) + known

    def curvature(self, model: Array) -> Array:
        """Expected second derivative."""
        return 1.0 / model

    def variance(self, model: Array) -> Array:
        """The model."""
        return model


class Gaussian(AbstractLoss):
    r"""Normal errors with $\sigma^2 = m + r^2$: Σ (d − m)²/2σ² + ½ ln σ².

    The logarithm belongs to it: as σ depends on the model, without it a model half a photon too high fits best.

    **Arguments:** `readout`: r, in photons.

    **Raises** `InputError` unless r is positive.
    """

    readout: Scalar

    def __init__(self, readout: ArrayLike = 1.0):
        self.readout = leaf(readout)
        if not self.readout > 0:
            raise InputError(f"readout must be positive, got {readout}")

    def terms(self, model: Array, counts: Array) -> Array:
        """What each pixel adds to the objective."""
        variance = self.variance(model)
        return 0.5 * ((counts - model) ** 2 / variance + jnp.log(variance))

    def curvature(self, model: Array) -> Array:
        """Expected second derivative."""
        variance = self.variance(model)
        return (1.0 + 0.5 / variance) / variance

    def variance(self, model: Array) -> Array:
        """m + r²."""
        return model + self.readout**2
