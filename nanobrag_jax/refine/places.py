"""Names of parameters: which leaf of an experiment, or which elements of it, a name stands for."""

import re
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from ..errors import InputError
from ..experiment import Experiment
from ..typing import Scalar

_NAME = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\[\s*(\d+(?:\s*,\s*\d+)*)\s*\])?")


class Subject(eqx.Module):
    """What is refined against one image: an experiment, and a factor on its photons (1 at the start)."""

    experiment: Experiment
    scale: Scalar


class Place(NamedTuple):
    """A name taken apart: the fields that lead to a leaf, and an index into it or None for all of it."""

    fields: tuple[str, ...]
    index: tuple[int, ...] | None


def place_of(name: str) -> Place:
    """The place that a name such as `crystal.cell_lengths_A[0]` stands for. **Raises** `InputError`."""
    match = _NAME.fullmatch(name.strip())
    if match is None:
        raise InputError(f"{name!r} is no parameter name: write crystal.misset_deg or crystal.cell_lengths_A[0]")
    fields, index = match.groups()
    return Place(tuple(fields.split(".")), None if index is None else tuple(int(i) for i in index.split(",")))


def check_place(subject: Subject, name: str) -> None:
    """Raise `InputError` unless the name leads to a floating leaf of the experiment, or is `scale`."""
    place = place_of(name)
    if place.fields == ("background",):
        raise InputError("background is chosen with the data: background='constant', 'plane' or 'none'")
    node: Any = subject.experiment
    if place.fields == ("scale",):
        node = subject.scale
    else:
        for depth, field in enumerate(place.fields):
            known = [f for f in getattr(type(node), "__dataclass_fields__", {}) if not f.startswith("_")]
            if field not in known:
                where = ".".join(place.fields[:depth]) or "an experiment"
                raise InputError(f"there is no parameter {name}: {where} has {', '.join(known) or 'no parts'}")
            if type(node).__dataclass_fields__[field].metadata.get("static"):
                raise InputError(f"{name} cannot be refined: it decides the shape of the computation")
            node = getattr(node, field)
    if node is None:
        raise InputError(f"{name} cannot be refined: this experiment does not set it")
    if not (eqx.is_array(node) and jnp.issubdtype(node.dtype, jnp.floating)):
        raise InputError(f"{name} cannot be refined: it is not a number or an array of numbers")
    if place.index is not None:
        fits = len(place.index) == node.ndim and all(i < n for i, n in zip(place.index, node.shape, strict=True))
        if not fits:
            raise InputError(f"{name} does not exist: {'.'.join(place.fields)} has the shape {node.shape}")


def _walk(node: Any, fields: tuple[str, ...]) -> Any:
    for field in fields:
        node = getattr(node, field)
    return node


def read(subject: Subject, name: str) -> Array:
    """The number or array at a place."""
    place = place_of(name)
    leaf = subject.scale if place.fields == ("scale",) else _walk(subject.experiment, place.fields)
    return leaf if place.index is None else leaf[place.index]


def value_of(experiment: Experiment, name: str) -> Array:
    """The number or array that a parameter's name stands for. **Raises** `InputError` for an unknown name."""
    subject = Subject(experiment, jnp.ones(()))
    check_place(subject, name)
    return read(subject, name)


def write(subject: Subject, name: str, value: Array) -> Subject:
    """The subject with another number or array at a place."""
    place = place_of(name)
    fields = place.fields if place.fields == ("scale",) else ("experiment", *place.fields)
    old = _walk(subject, fields)
    new = value if place.index is None else jnp.asarray(old).at[place.index].set(value)
    return eqx.tree_at(lambda tree: _walk(tree, fields), subject, new)
