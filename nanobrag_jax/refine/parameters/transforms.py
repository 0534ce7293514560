"""Free, positive and bounded parameters: from the number a driver may move anywhere to the value in the experiment."""

import abc
import math
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ...checks import leaf
from ...errors import InputError
from ...typing import Numbers


class AbstractTransform(eqx.Module):
    """What a transform brings: value and free number of each other, a typical step, and a limit on one step."""

    step_limit: eqx.AbstractClassVar[float]
    """How far one step of a driver may move the free number."""

    @abc.abstractmethod
    def value(self, free: Float[Array, "..."]) -> Float[Array, "..."]:
        """Value of a free number, which increases with it."""

    @abc.abstractmethod
    def free(self, name: str, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Free number of a value of the parameter called `name`.

        **Raises** `InputError` for a value that has none.
        """

    @abc.abstractmethod
    def usual_step(self, value: np.ndarray) -> np.ndarray:
        """Change of the value that counts as typical when none is given."""


class Free(AbstractTransform):
    """Any number; the driver moves the value itself."""

    step_limit: ClassVar[float] = math.inf

    def value(self, free: Float[Array, "..."]) -> Float[Array, "..."]:
        """Value of a free number."""
        return free

    def free(self, name: str, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Free number of a value."""
        return value

    def usual_step(self, value: np.ndarray) -> np.ndarray:
        """A thousandth of the value, or 0.1 at zero."""
        return np.where(value == 0.0, 0.1, np.abs(value) * 1e-3)


class Positive(AbstractTransform):
    """Numbers above zero; the driver moves the logarithm."""

    step_limit: ClassVar[float] = 1.0

    def value(self, free: Float[Array, "..."]) -> Float[Array, "..."]:
        """Value of a free number."""
        return jnp.exp(free)

    def free(self, name: str, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Free number of a value.

        **Raises** `InputError` unless the value is positive.
        """
        lowest = np.min(np.asarray(value))
        if not lowest > 0:
            raise InputError(f"{name} must start above zero to be refined as positive, got {lowest:g}")
        return jnp.log(value)

    def usual_step(self, value: np.ndarray) -> np.ndarray:
        """A tenth of the value."""
        return np.abs(value) * 0.1


class Bounded(AbstractTransform):
    """Numbers between `lower` and `upper`, which are never reached; the driver moves the logit of the place between.

    **Raises** `InputError` unless lower < upper.
    """

    step_limit: ClassVar[float] = 1.0

    lower: Array
    upper: Array

    def __init__(self, lower: Numbers, upper: Numbers):
        self.lower, self.upper = leaf(lower), leaf(upper)
        if not np.all(np.asarray(self.lower) < np.asarray(self.upper)):
            raise InputError(f"bounds must be lower < upper, got {lower} and {upper}")

    def value(self, free: Float[Array, "..."]) -> Float[Array, "..."]:
        """Value of a free number."""
        return self.lower + (self.upper - self.lower) / (1.0 + jnp.exp(-free))

    def free(self, name: str, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Free number of a value.

        **Raises** `InputError` unless the value lies between the bounds.
        """
        place = (value - self.lower) / (self.upper - self.lower)
        if not np.all((np.asarray(place) > 0) & (np.asarray(place) < 1)):
            raise InputError(f"{name} must start between its bounds {self.lower} and {self.upper}, got {value}")
        return jnp.log(place / (1.0 - place))

    def usual_step(self, value: np.ndarray) -> np.ndarray:
        """A tenth of the way between the bounds."""
        return np.broadcast_to(np.asarray(self.upper - self.lower) * 0.1, value.shape)


TRANSFORMS: dict[str, Callable[[], AbstractTransform]] = {"free": Free, "positive": Positive}
"""Transforms without numbers of their own, by a short name."""


def transform_of(given: AbstractTransform | str | tuple) -> AbstractTransform:
    """A transform from its short form: a name of `TRANSFORMS`, or a (lower, upper) pair.

    **Raises** `InputError` for anything else.
    """
    if isinstance(given, AbstractTransform):
        return given
    if isinstance(given, str) and given in TRANSFORMS:
        return TRANSFORMS[given]()
    if isinstance(given, tuple | list) and len(given) == 2:
        return Bounded(*given)
    raise InputError(f"transform must be {', '.join(TRANSFORMS)} or a (lower, upper) pair, got {given!r}")
