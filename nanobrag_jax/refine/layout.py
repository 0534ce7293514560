"""Parameters laid out as one vector: which numbers a driver moves, and how they get back into an experiment.

A driver sees x, which starts at zero and whose unit is a typical change of the parameter.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ..errors import InputError
from .parameters import Parameter, current, placed
from .places import Place, Subject, check_place, place_of
from .transforms import Free


class Side(eqx.Module):
    """Some of the parameters, one after the other; the vectors have a leading axis of images if they are per image."""

    parameters: tuple[Parameter, ...]
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    start: Float[Array, "... n"]
    """Free numbers at x = 0."""
    step: Float[Array, "... n"]
    """Change of the free numbers with x."""
    target: Float[Array, "... n"]
    """Values that restraints ask for."""
    strength: Float[Array, "... n"]
    """1/σ of the restraint, 0 for none."""

    @property
    def sizes(self) -> list[int]:
        """How many numbers each parameter has (for each image)."""
        return [int(np.prod(shape, dtype=int)) for shape in self.shapes]

    @property
    def count(self) -> int:
        """How many numbers there are (for each image)."""
        return sum(self.sizes)

    def values(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """Values at x; of one image."""
        free = self.start + self.step * x
        parts, at = [], 0
        for parameter, size in zip(self.parameters, self.sizes, strict=True):
            parts.append(parameter.transform.value(free[at : at + size]))
            at += size
        return jnp.concatenate(parts) if parts else free

    def slopes(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """Change of each value with its own x."""
        return jax.jvp(self.values, (x,), (jnp.ones_like(x),))[1]

    def placed(self, subject: Subject, x: Float[Array, " n"]) -> Subject:
        """The subject with the values at x in place."""
        values, at = self.values(x), 0
        for parameter, size, shape in zip(self.parameters, self.sizes, self.shapes, strict=True):
            subject = placed(parameter, subject, values[at : at + size].reshape(shape))
            at += size
        return subject

    def limits(self) -> Float[Array, "... n"]:
        """How far one step may move x: by 1 in a logarithm or logit, any way for what is free."""
        parts, at = [], 0
        for parameter, size in zip(self.parameters, self.sizes, strict=True):
            reach = jnp.inf if isinstance(parameter.transform, Free) else 1.0 / jnp.abs(self.step[..., at : at + size])
            parts.append(jnp.broadcast_to(reach, self.step[..., at : at + size].shape))
            at += size
        return jnp.concatenate(parts, axis=-1) if parts else self.step

    def image(self, number) -> "Side":
        """The side of one image, where the vectors have a row for each."""
        rows = (self.start[number], self.step[number], self.target[number], self.strength[number])
        return Side(self.parameters, self.shapes, *rows)

    def restraint(self, x: Float[Array, " n"]) -> Array:
        """What the restraints add to the objective."""
        return 0.5 * jnp.sum(((self.values(x) - self.target) * self.strength) ** 2)

    def restraint_slope(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """Its derivative."""
        return (self.values(x) - self.target) * self.strength**2 * self.slopes(x)

    def restraint_curvature(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """Its diagonal in the normal matrix."""
        return (self.strength * self.slopes(x)) ** 2


class Layout(eqx.Module):
    """All parameters: those shared by the images, and those that each image has of its own."""

    shared: Side
    own: Side


def layout(parameters: Sequence[Parameter], subjects: Sequence[Subject]) -> Layout:
    """Lay out parameters for images. **Raises** `InputError` for names that do not exist or are refined twice."""
    if not parameters:
        raise InputError("give at least one parameter to refine")
    _check_names(parameters, subjects[0])
    shared = _side([p for p in parameters if not p.per_image], subjects[:1])
    own = _side([p for p in parameters if p.per_image], subjects)
    return Layout(shared.image(0), own)


def _check_names(parameters: Sequence[Parameter], subject: Subject) -> None:
    taken: list[tuple[Place, str]] = []
    for parameter in parameters:
        for name in (parameter.name, *parameter.ties):
            check_place(subject, name)
            place = place_of(name)
            for other, its_name in taken:
                if place.fields == other.fields and (None in (place.index, other.index) or place.index == other.index):
                    raise InputError(f"{name} is refined twice: it is also part of {its_name}")
            taken.append((place, name))


def _side(parameters: Sequence[Parameter], subjects: Sequence[Subject]) -> Side:
    rows: list[list[np.ndarray]] = [[], [], [], []]
    shapes = []
    images = len(subjects)
    for parameter in parameters:
        values = np.stack([current(parameter, s) for s in subjects])
        shape = values.shape[1:]
        shapes.append(shape)
        if parameter.start is not None:
            values = _spread(parameter, "start", parameter.start, values.shape)
        value = jnp.asarray(values.reshape(images, -1))
        free = parameter.transform.free(parameter.name, value)
        slope = np.asarray(jax.jvp(parameter.transform.value, (free,), (jnp.ones_like(free),))[1])
        target, strength = np.zeros(value.shape), np.zeros(value.shape)
        usual = parameter.transform.usual_step(np.asarray(value))
        if parameter.restraint is not None:
            target = _spread(parameter, "restraint", parameter.restraint[0], values.shape).reshape(images, -1)
            sigma = _spread(parameter, "restraint", parameter.restraint[1], values.shape).reshape(images, -1)
            strength, usual = 1.0 / sigma, sigma
        if parameter.scale is not None:
            usual = _spread(parameter, "scale", parameter.scale, values.shape).reshape(images, -1)
        for row, entry in zip(rows, (free, usual / slope, target, strength), strict=True):
            row.append(np.asarray(entry))
    vectors = [jnp.asarray(np.concatenate(row, axis=1)) if row else jnp.zeros((images, 0)) for row in rows]
    return Side(tuple(parameters), tuple(shapes), *vectors)


def _spread(parameter: Parameter, what: str, given: Array, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.broadcast_to(np.asarray(given), shape)
    except ValueError:
        wanted = shape[1:] if not parameter.per_image else f"{shape[1:]} or {shape}"
        got = np.shape(given)
        raise InputError(f"the {what} of {parameter.name} must have the shape {wanted}, got {got}") from None
