"""Checks of what a user puts into a configuration, and its conversion to arrays."""

import dataclasses
import difflib
import functools
import inspect
import operator
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import ParamSpec

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from .constants import DEG_PER_RAD
from .errors import ExperimentWarning, InputError

Arguments = ParamSpec("Arguments")


def leaf(value, name: str = "a number of an experiment") -> Array:
    """A differentiable leaf: a floating array of the session's precision. **Raises** `InputError`, with the name."""
    if not any(isinstance(x, jax.Array) for x in jax.tree.leaves(value)):
        value = _real(value, name)  # by numpy, because jax would compile a conversion for each shape
    elif jnp.iscomplexobj(value):
        raise InputError(f"{name} must be real, got complex numbers")
    return jnp.asarray(value, dtype=float)


def _real(value, name: str) -> np.ndarray:
    """Numbers as they were given, in double precision: not from text, true or false, or complex ones."""
    try:
        numbers = np.asarray(value)
    except ValueError:  # rows of different lengths
        numbers = np.asarray(None)
    if numbers.dtype.kind not in "fiu":
        shown = repr(value) if len(repr(value)) < 60 else f"{repr(value)[:57]}..."
        raise InputError(f"{name} must be real numbers, got {shown}")
    return numbers.astype(float)


def optional_leaf(value, name: str = "a number of an experiment") -> Array | None:
    """A leaf, or None where the parameter is not used."""
    return None if value is None else leaf(value, name)


def optional_mask(value) -> Array | None:
    """An array of true and false, or None where there is none; what is traced stays as it is."""
    if value is None or isinstance(value, Tracer):
        return value
    return jnp.asarray(np.asarray(value, bool))


def named_arguments(init: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """A constructor that answers an unknown keyword with the nearest one that it has. **Raises** `InputError`."""
    known = list(inspect.signature(init).parameters)[1:]

    @functools.wraps(init)
    def checked(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        for name in kwargs:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise InputError(f"{type(args[0]).__name__} has no argument {name}: {hint}")
        return init(*args, **kwargs)

    return checked


def usual(name: str, value, low: float, high: float, hint: str) -> None:
    """Warn of numbers so far from what is usual that the unit may be another one."""
    if value is None or isinstance(value, Tracer):
        return
    numbers = np.asarray(value)
    if numbers.size and not (low <= abs(numbers).min() and abs(numbers).max() <= high):
        shown = " ".join(f"{x:g}" for x in numbers.ravel()[:3])
        warn(f"{name} is {shown}: {hint}")


def is_known(tree) -> bool:
    """Whether no transformation traces a number of a pytree."""
    return not any(isinstance(x, Tracer) for x in jax.tree.leaves(tree))


_OURS = (f"{__package__}.", "equinox.", "jaxtyping.")


def warn(sentence: str) -> None:
    """Tell whoever called the package of something that was hardly meant."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(sentence, ExperimentWarning, stacklevel=level)


def known(value) -> float | None:
    """The value of a leaf that is one number, None while a transformation traces it."""
    return None if isinstance(value, Tracer) or np.ndim(value) else float(value)


def filled_in(value: Array | None) -> Array:
    """A vector that `experiment.completed` has filled in from the convention."""
    if value is None:
        raise InputError("a part of this experiment follows its detector's convention: see experiment.completed")
    return value


def require(name: str, value, allowed: str, holds, shape: tuple[int | None, ...] = ()) -> None:
    """Raise `InputError` unless `value` has `shape`, is finite and `holds(numbers)` is true everywhere.

    The numbers of a traced value are not known: within `conditions_of` they become a condition, else only the shape
    is looked at.

    **Arguments:** `name`: the parameter's; `allowed`: what it may be, for the message; `holds`: of numpy or jax arrays;
    `shape`: None for any length.
    """
    if isinstance(value, int | float):
        value = np.asarray(value)
    if not hasattr(value, "shape"):  # None, or what stands in for a leaf while a tree is taken apart
        return
    fits = len(value.shape) == len(shape) and all(b is None or a == b for a, b in zip(value.shape, shape, strict=True))
    if not fits:
        wanted = "a number" if not shape else f"an array of shape {shape}".replace("None", "n")
        raise InputError(f"{name} must be {wanted}, got shape {value.shape}")
    if isinstance(value, Tracer):
        if _conditions is not None:
            _conditions.append(jnp.all(jnp.isfinite(value)) & jnp.all(holds(value)))
        return
    numbers = np.asarray(value)
    if not (np.all(np.isfinite(numbers)) and np.all(holds(numbers))):
        shown = f"{numbers.item():g}" if numbers.ndim == 0 else np.array2string(numbers.ravel()[:6], precision=6)
        raise InputError(f"{name} must be {allowed}, got {shown}")


_conditions: list[Array] | None = None
"""Conditions on traced values, while `conditions_of` collects them."""


def conditions_of(model: eqx.Module, apart: Sequence[str] = ()) -> tuple[Array | None, Array | None]:
    """Whether every traced number of a model and of its parts may be used, () of bool; None where all are known.

    **Arguments:** `apart`: fields for whose numbers there is a second answer of their own.

    **Raises** `InputError` for known numbers that may not, and for shapes that do not fit, with the part's name.
    """
    global _conditions
    outer = _conditions
    answers: tuple[list[Array], list[Array]] = ([], [])
    try:
        _conditions = answers[0]
        _check(model)
        for field in dataclasses.fields(model):
            _conditions = answers[field.name in apart]
            _check_parts(getattr(model, field.name), field.name)
    finally:
        _conditions = outer
    first, second = (functools.reduce(operator.and_, found) if found else None for found in answers)
    return first, second


def _check(model: eqx.Module) -> None:
    check = getattr(model, "__check_init__", None)
    if check is not None:
        check()


def _check_parts(model: object, name: str) -> None:
    """Run `__check_init__` of a model and of all models in it."""
    if isinstance(model, tuple):
        for i, each in enumerate(model):
            _check_parts(each, f"{name}.{i}")
    if not isinstance(model, eqx.Module):
        return
    try:
        _check(model)
    except InputError as error:
        raise InputError(f"{name}.{error}") from None
    for field in dataclasses.fields(model):
        _check_parts(getattr(model, field.name), f"{name}.{field.name}")


def positive(name: str, value, shape: tuple[int | None, ...] = ()) -> None:
    """Raise unless positive."""
    require(name, value, "positive", lambda x: x > 0, shape)


def not_negative(name: str, value, shape: tuple[int | None, ...] = ()) -> None:
    """Raise unless zero or positive."""
    require(name, value, "zero or positive", lambda x: x >= 0, shape)


def finite(name: str, value, shape: tuple[int | None, ...] = ()) -> None:
    """Raise unless finite."""
    require(name, value, "finite", lambda x: x == x, shape)


def axis(name: str, value) -> None:
    """Raise unless three finite numbers, not all zero."""
    require(name, value, "a vector that is not zero", lambda x: (x * x).sum() > np.finfo(x.dtype).tiny, (3,))


def not_parallel(names: str, one, other) -> None:
    """Raise unless the angle between two vectors is that of two axes: neither 0 nor 180° to a millionth."""

    def holds(x):
        (ax, ay, az), (bx, by, bz) = x
        sine = (ay * bz - az * by) ** 2 + (az * bx - ax * bz) ** 2 + (ax * by - ay * bx) ** 2
        return sine > 1e-12 * (ax * ax + ay * ay + az * az) * (bx * bx + by * by + bz * bz)

    stacked = jnp.stack if isinstance(one, Tracer) or isinstance(other, Tracer) else np.stack
    require(names, stacked([one, other]), "vectors that are not parallel", holds, (2, 3))


def rotation(name: str, value) -> None:
    """Raise unless a matrix that turns without stretching or mirroring, to half a hundredth."""

    def holds(x):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = x
        volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
        return (((x @ x.T - np.eye(3)) ** 2).sum() < 1e-4) & (volume > 0)

    require(name, value, "a rotation matrix", holds, (3, 3))


def count(name: str, value, most: int = 2**31 - 1) -> None:
    """Raise unless a whole number of at least one, and at most `most`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")
    if value > most:
        raise InputError(f"{name} must be at most {most}, got {value}")


def one_of(name: str, value, choices) -> None:
    """Raise unless `value` is among `choices`."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")


def cell_exists(lengths, angles_deg) -> None:
    """Raise unless three edges and three angles close to a cell of positive volume."""
    positive("cell_lengths_A", lengths, (3,))
    require("cell_angles_deg", angles_deg, "between 0 and 180", lambda x: (x > 0) & (x < 180), (3,))
    require("cell_angles_deg", angles_deg, "angles that close to a cell", _close_to_a_cell, (3,))


def _close_to_a_cell(angles_deg):
    cosines = (jnp if isinstance(angles_deg, jax.Array) else np).cos(angles_deg / DEG_PER_RAD)
    squared = 1 - (cosines**2).sum() + 2 * cosines.prod()  # of the volume of a cell with edges of 1
    return (squared > 1e-12) & (abs(angles_deg.sum() - 360.0) > 3.6e-7)
