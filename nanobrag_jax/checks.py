"""Checks of what a user puts into a configuration, and its conversion to arrays."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from .errors import InputError


def leaf(value) -> Array:
    """A differentiable leaf: a floating array of the session's precision."""
    if not any(isinstance(x, jax.Array) for x in jax.tree.leaves(value)):
        value = np.asarray(value, float)  # by numpy, because jax would compile a conversion for each shape
    return jnp.asarray(value, dtype=float)


def optional_leaf(value) -> Array | None:
    """A leaf, or None where the parameter is not used."""
    return None if value is None else leaf(value)


def filled_in(value: Array | None) -> Array:
    """A vector that an `Experiment` has filled in from its convention."""
    assert value is not None, "put the part into an Experiment: it fills in the vectors of the convention"
    return value


def _concrete(value) -> np.ndarray | None:
    """The numbers of a value, or None while a transformation traces it."""
    if value is None or isinstance(value, Tracer) or type(value) is object:
        return None
    return np.asarray(value)


def require(name: str, value, allowed: str, holds, shape: tuple[int | None, ...] = ()) -> None:
    """Raise `InputError` unless `value` has `shape`, is finite and `holds(numbers)` is true everywhere.

    **Arguments:** `name`: the parameter's; `allowed`: what it may be, for the message; `shape`: None for any length.
    """
    numbers = _concrete(value)
    if numbers is None:
        return
    fits = numbers.ndim == len(shape) and all(b is None or a == b for a, b in zip(numbers.shape, shape, strict=True))
    if not fits:
        wanted = "a number" if not shape else f"an array of shape {shape}".replace("None", "n")
        raise InputError(f"{name} must be {wanted}, got shape {numbers.shape}")
    if not (np.all(np.isfinite(numbers)) and np.all(holds(numbers))):
        shown = f"{numbers.item():g}" if numbers.ndim == 0 else np.array2string(numbers.ravel()[:6], precision=6)
        raise InputError(f"{name} must be {allowed}, got {shown}")


def positive(name: str, value, shape: tuple[int | None, ...] = ()) -> None:
    """Raise unless positive."""
    require(name, value, "positive", lambda x: x > 0, shape)


def not_negative(name: str, value, shape: tuple[int | None, ...] = ()) -> None:
    """Raise unless zero or positive."""
    require(name, value, "zero or positive", lambda x: x >= 0, shape)


def finite(name: str, value, shape: tuple[int | None, ...] = ()) -> None:
    """Raise unless finite."""
    require(name, value, "finite", lambda x: np.ones_like(x, bool), shape)


def axis(name: str, value) -> None:
    """Raise unless three finite numbers, not all zero."""
    require(name, value, "a vector that is not zero", lambda x: np.any(x != 0), (3,))


def count(name: str, value) -> None:
    """Raise unless a whole number of at least one."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")


def one_of(name: str, value, choices) -> None:
    """Raise unless `value` is among `choices`."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")


def cell_exists(lengths, angles_deg) -> None:
    """Raise unless three edges and three angles close to a cell of positive volume."""
    positive("cell_lengths_A", lengths, (3,))
    require("cell_angles_deg", angles_deg, "between 0 and 180", lambda x: (x > 0) & (x < 180), (3,))
    numbers = _concrete(angles_deg)
    if numbers is None:
        return
    cosines = np.cos(np.radians(numbers))
    if 1 - np.sum(cosines**2) + 2 * np.prod(cosines) <= 1e-12 or math.isclose(float(np.sum(numbers)), 360.0):
        raise InputError(f"cell_angles_deg make no cell: {', '.join(f'{x:g}' for x in numbers)}")
