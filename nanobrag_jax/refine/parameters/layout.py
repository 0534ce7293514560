"""Parameters laid out as one vector: which numbers a driver moves, and how they get back into an experiment.

A driver sees x, which starts at zero and whose unit is a typical change of the parameter.
"""

from collections.abc import Sequence
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ...errors import InputError
from .parameter import Parameter, initial_values, insert
from .paths import LeafPath, ScaledExperiment, check_name, parse_name
from .transforms import AbstractTransform

AnyArray = TypeVar("AnyArray", Array, np.ndarray)


class ParameterVector(eqx.Module):
    """Some of the parameters, one after the other; the vectors have a leading axis of images if they are per image."""

    parameters: tuple[Parameter, ...]
    """Without start, scale and restraint, which are in the vectors: so that these compile nothing."""
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    start: Float[Array, "... n"]
    """Free numbers at x = 0."""
    step: Float[Array, "... n"]
    """Change of the free numbers with x."""

    @property
    def sizes(self) -> list[int]:
        """How many numbers each parameter has (for each image)."""
        return [int(np.prod(shape, dtype=int)) for shape in self.shapes]

    @property
    def count(self) -> int:
        """How many numbers there are (for each image)."""
        return sum(self.sizes)

    def _slices(self) -> list[slice]:
        ends = np.cumsum([0, *self.sizes]).tolist()
        return [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]

    def values(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """Values at x; of one image."""
        free = self.start + self.step * x
        pairs = zip(self.parameters, self._slices(), strict=True)
        parts = [parameter.transform.value(free[here]) for parameter, here in pairs]
        return jnp.concatenate(parts) if parts else free

    def slopes(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """Change of each value with its own x."""
        return jax.jvp(self.values, (x,), (jnp.ones_like(x),))[1]

    def by_name(self, vector: AnyArray) -> dict[str, AnyArray]:
        """Parts of a vector in the shapes of the parameters that they belong to."""
        triples = zip(self.parameters, self._slices(), self.shapes, strict=True)
        return {parameter.name: vector[here].reshape(shape) for parameter, here, shape in triples}

    def insert(self, scaled: ScaledExperiment, x: Float[Array, " n"]) -> ScaledExperiment:
        """The experiment with the values at x."""
        values = self.by_name(self.values(x))
        for parameter in self.parameters:
            scaled = insert(parameter, scaled, values[parameter.name])
        return scaled

    def step_limits(self) -> Float[Array, "... n"]:
        """How far one step may move x: by 1 in a logarithm or logit, any way for what is free."""
        pairs = zip(self.parameters, self._slices(), strict=True)
        parts = [parameter.transform.step_limit / jnp.abs(self.step[..., here]) for parameter, here in pairs]
        return jnp.concatenate(parts, axis=-1) if parts else self.step

    def of_image(self, number: int | Array) -> "ParameterVector":
        """The vector of one image, where there is a row for each."""
        return ParameterVector(self.parameters, self.shapes, self.start[number], self.step[number])


class Layout(eqx.Module):
    """All parameters: those shared by the images, and those that each image has for itself."""

    shared: ParameterVector
    per_image: ParameterVector

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Shared ones first."""
        return self.shared.parameters + self.per_image.parameters

    @property
    def num_images(self) -> int:
        """How many images."""
        return self.per_image.start.shape[0]

    @property
    def num_per_image(self) -> int:
        """How many numbers one image depends on."""
        return self.shared.count + self.per_image.count


def lay_out(parameters: Sequence[Parameter], experiments: Sequence[ScaledExperiment]) -> Layout:
    """Lay out parameters for images, one experiment each.

    **Raises** `InputError` for names that do not exist or are refined twice, and for starts that do not fit.
    """
    if not parameters:
        raise InputError("give at least one parameter to refine")
    _check_names(parameters, experiments[0])
    shared = _vector([p for p in parameters if not p.per_image], experiments[:1])
    per_image = _vector([p for p in parameters if p.per_image], experiments)
    return Layout(shared.of_image(0), per_image)


def _check_names(parameters: Sequence[Parameter], scaled: ScaledExperiment) -> None:
    taken: list[tuple[LeafPath, str]] = []
    for parameter in parameters:
        for name in (parameter.name, *parameter.ties):
            check_name(scaled, name)
            path = parse_name(name)
            for other, its_name in taken:
                if path.overlaps(other):
                    raise InputError(f"{name} is refined twice: it is also part of {its_name}")
            taken.append((path, name))


def _vector(parameters: Sequence[Parameter], experiments: Sequence[ScaledExperiment]) -> ParameterVector:
    starts, steps, shapes = [], [], []
    images = len(experiments)
    for parameter in parameters:
        values = np.stack([initial_values(parameter, s) for s in experiments])
        shapes.append(values.shape[1:])
        if parameter.start is not None:
            values = _broadcast(parameter, "start", parameter.start, values.shape)
        value = jnp.asarray(values.reshape(images, -1))
        free = parameter.transform.free(parameter.name, value)
        slope = np.asarray(_slope(parameter.transform, free))
        usual = parameter.transform.usual_step(np.asarray(value))
        if parameter.restraint is not None:
            target, sigma = (_broadcast(parameter, "restraint", v, values.shape) for v in parameter.restraint)
            usual = sigma.reshape(images, -1)
        if parameter.scale is not None:
            usual = _broadcast(parameter, "scale", parameter.scale, values.shape).reshape(images, -1)
        starts.append(np.asarray(free))
        steps.append(usual / slope)
    start, step = (jnp.asarray(np.concatenate(v, 1)) if v else jnp.zeros((images, 0)) for v in (starts, steps))
    return ParameterVector(tuple(p.without_numbers() for p in parameters), tuple(shapes), start, step)


@eqx.filter_jit
def _slope(transform: AbstractTransform, free: Array) -> Array:
    """Change of the value with the free number."""
    return jax.jvp(transform.value, (free,), (jnp.ones_like(free),))[1]


def _broadcast(parameter: Parameter, what: str, given: Array, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.broadcast_to(np.asarray(given), shape)
    except ValueError:
        wanted = shape[1:] if not parameter.per_image else f"{shape[1:]} or {shape}"
        got = np.shape(given)
        raise InputError(f"the {what} of {parameter.name} must have the shape {wanted}, got {got}") from None
