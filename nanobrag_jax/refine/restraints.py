"""What is known of parameters besides the pixels: residuals that enter the objective as squares."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike

from ..checks import leaf
from ..errors import InputError
from ..experiment import Experiment
from ..typing import Numbers
from .parameters.paths import ScaledExperiment, check_name, parse_name, read_leaf


class ParameterValues(eqx.Module):
    """The parameters at a point, by name: what a restraint sees.

    `values["crystal.n_cells"]` is a parameter's value in the shape that it has in `Result.values`: one for each group
    where it has groups, with a leading axis of images where it is per image. Any other name of a leaf gives that leaf,
    with a leading axis of images if it differs between them.
    """

    parameters: dict[str, Array]
    start: dict[str, Array]
    """The parameters where the fit started."""
    images: ScaledExperiment
    """Every leaf with a leading axis of images."""
    per_image: frozenset[tuple[str, ...]] = eqx.field(static=True)
    """Fields that lead to the leaves that differ between images."""

    def __getitem__(self, name: str) -> Array:
        """The value of a parameter or a leaf.

        **Raises** `InputError` for a name that does not exist.
        """
        if name in self.parameters:
            return self.parameters[name]

        def read(scaled: ScaledExperiment) -> Array:
            check_name(scaled, name)
            return read_leaf(scaled, name)

        found = jax.vmap(read)(self.images)
        return found if parse_name(name).fields in self.per_image else found[0]

    def at_start(self, name: str) -> Array:
        """The value of a parameter where the fit started.

        **Raises** `InputError` for what is not refined.
        """
        if name not in self.start:
            raise InputError(f"{name} is not among the parameters {', '.join(self.start)}")
        return self.start[name]

    @property
    def experiment(self) -> Experiment:
        """The experiment of a single image.

        **Raises** `InputError` for several images: `jax.vmap` a function over `experiments`.
        """
        if self.images.scale.shape[0] > 1:
            raise InputError("there are several images: values.experiments has all of them, with a leading axis")
        return jax.tree.map(lambda x: x[0], self.images.experiment)

    @property
    def experiments(self) -> Experiment:
        """The experiments of all images, every leaf with a leading axis of images."""
        return self.images.experiment


class AbstractRestraint(eqx.Module):
    """What a restraint brings: residuals of parameter values, in standard deviations; half their squares are added to
    the objective.

    Residuals may couple any parameters, of one image or of several, and enter gradient, normal equations (by their
    Jacobian), uncertainties and chi-square as pixels do.
    """

    @abc.abstractmethod
    def residuals(self, values: ParameterValues) -> Array:
        """Residuals of any shape: (what is − what should be)/σ."""


class TargetRestraint(AbstractRestraint):
    """A value known from elsewhere: (value − target)/σ for each element.

    **Arguments:** `name`: a parameter or any leaf; `target`, `sigma`: in its unit, numbers or its shape.

    **Raises** `InputError` unless sigma is positive.
    """

    name: str = eqx.field(static=True)
    target: Array
    sigma: Array

    def __init__(self, name: str, target: Numbers, sigma: Numbers):
        self.name, self.target, self.sigma = name, leaf(target), _positive_sigma(name, sigma)

    def residuals(self, values: ParameterValues) -> Array:
        """(value − target)/σ."""
        return _in_sigmas(self.name, values[self.name], self.target, self.sigma)


class StartRestraint(AbstractRestraint):
    """A parameter that should stay near where it starts: (value − start)/σ for each element.

    **Arguments:** `name`: a parameter; `sigma`: in its unit, a number or its shape.

    **Raises** `InputError` unless sigma is positive.
    """

    name: str = eqx.field(static=True)
    sigma: Array

    def __init__(self, name: str, sigma: Numbers):
        self.name, self.sigma = name, _positive_sigma(name, sigma)

    def residuals(self, values: ParameterValues) -> Array:
        """(value − start)/σ."""
        return _in_sigmas(self.name, values[self.name], values.at_start(self.name), self.sigma)


class DifferenceRestraint(AbstractRestraint):
    """Two values a known distance apart, or equal: (first − second − difference)/σ for each element.

    **Arguments:** `first`, `second`: parameters or any leaves, one of them perhaps per image and the other shared;
    `sigma`, `difference`: in their unit.

    **Raises** `InputError` unless sigma is positive.
    """

    first: str = eqx.field(static=True)
    second: str = eqx.field(static=True)
    sigma: Array
    difference: Array

    def __init__(self, first: str, second: str, sigma: Numbers, difference: Numbers = 0.0):
        self.first, self.second, self.difference = first, second, leaf(difference)
        self.sigma = _positive_sigma(f"{first} and {second}", sigma)

    def residuals(self, values: ParameterValues) -> Array:
        """(first − second − difference)/σ."""
        first, second = values[self.first], values[self.second]
        try:
            shape = jnp.broadcast_shapes(first.shape, second.shape)
        except ValueError:
            shapes = f"{self.first} has the shape {first.shape}, {self.second} {second.shape}"
            raise InputError(f"values without a common shape have no difference: {shapes}") from None
        apart = jnp.broadcast_to(first, shape) - jnp.broadcast_to(second, shape)
        return _in_sigmas(f"{self.first} and {self.second}", apart, self.difference, self.sigma)


class FunctionRestraint(AbstractRestraint):
    """A known value of any function of the parameters: (function(values) − target)/σ for each element.

    **Arguments:** `function`: of `ParameterValues`, to a number or an array; the same function object compiles once;
    `target`, `sigma`: numbers or arrays of what it returns.

    **Raises** `InputError` unless sigma is positive.
    """

    function: Callable[[ParameterValues], Array] = eqx.field(static=True)
    target: Array
    sigma: Array

    def __init__(self, function: Callable[[ParameterValues], Array], target: Numbers, sigma: Numbers):
        self.function, self.target, self.sigma = function, leaf(target), _positive_sigma("a function", sigma)

    def residuals(self, values: ParameterValues) -> Array:
        """(function(values) − target)/σ."""
        return _in_sigmas("a function", self.function(values), self.target, self.sigma)


def _positive_sigma(what: str, sigma: Numbers) -> Array:
    if not np.all(np.asarray(sigma) > 0):
        raise InputError(f"the restraint of {what} must have a positive sigma, got {sigma}")
    return leaf(sigma)


def _in_sigmas(what: str, value: ArrayLike, target: Array, sigma: Array) -> Array:
    """(value − target)/σ, with target and σ in the shape of the value."""
    value = jnp.asarray(value)
    try:
        target, sigma = (jnp.broadcast_to(v, value.shape) for v in (target, sigma))
    except ValueError:
        got = f"target {target.shape} and sigma {sigma.shape}"
        raise InputError(f"the restraint of {what} must have the shape {value.shape}, got {got}") from None
    return (value - target) / sigma
