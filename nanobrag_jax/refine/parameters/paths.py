"""Names of parameters: which leaf of an experiment, or which elements of it, a name stands for."""

import dataclasses
import re
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from ...changes import SHORT_NAMES
from ...errors import InputError
from ...experiment import Experiment, completed
from ...typing import Scalar

_NAME = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*)(?:\[\s*(\d+(?:\s*,\s*\d+)*)\s*\])?")


class ScaledExperiment(eqx.Module):
    """What is compared with one image: an experiment, and a factor on its photons (1 at the start)."""

    experiment: Experiment
    scale: Scalar


class LeafPath(NamedTuple):
    """A name taken apart: the fields that lead to a leaf, and an index into it or None for all of it."""

    fields: tuple[str, ...]
    index: tuple[int, ...] | None

    def overlaps(self, other: "LeafPath") -> bool:
        """Whether both have an element in common."""
        return self.fields == other.fields and (None in (self.index, other.index) or self.index == other.index)


def parse_name(name: str) -> LeafPath:
    """The path that a name such as `crystal.cell_lengths_A[0]` stands for.

    **Raises** `InputError` for what is no name.
    """
    match = _NAME.fullmatch(name.strip())
    if match is None:
        raise InputError(f"{name!r} is no parameter name: write crystal.misset_deg or crystal.cell_lengths_A[0]")
    fields, index = match.groups()
    path = tuple(SHORT_NAMES.get(fields, fields).split("."))
    return LeafPath(path, None if index is None else tuple(int(i) for i in index.split(",")))


def check_name(scaled: ScaledExperiment, name: str) -> None:
    """Nothing, if the name leads to a floating leaf of the experiment or is `scale`.

    **Raises** `InputError` otherwise.
    """
    path = parse_name(name)
    if path.fields == ("background",):
        raise InputError("background is chosen with the data: background='constant', 'plane' or 'none'")
    node: object = scaled.experiment
    if path.fields == ("scale",):
        node = scaled.scale
    else:
        for depth, field in enumerate(path.fields):
            fields: dict[str, dataclasses.Field] = getattr(type(node), "__dataclass_fields__", {})
            known = [f for f in fields if not f.startswith("_")]
            if isinstance(node, tuple):
                known = [str(i) for i in range(len(node))]
            if field not in known:
                where = ".".join(path.fields[:depth]) or "an experiment"
                raise InputError(f"there is no parameter {name}: {where} has {', '.join(known) or 'no parts'}")
            if fields and fields[field].metadata.get("static"):
                raise InputError(f"{name} cannot be refined: it decides the shape of the computation")
            node = _child(node, field)
    if node is None:
        raise InputError(f"{name} cannot be refined: this experiment does not set it")
    if not (isinstance(node, Array) and jnp.issubdtype(node.dtype, jnp.floating)):
        raise InputError(f"{name} cannot be refined: it is not a number or an array of numbers")
    if path.index is not None:
        fits = len(path.index) == node.ndim and all(i < n for i, n in zip(path.index, node.shape, strict=True))
        if not fits:
            raise InputError(f"{name} does not exist: {'.'.join(path.fields)} has the shape {node.shape}")


def _full_path(path: LeafPath) -> tuple[str, ...]:
    """Fields that lead to the leaf from a `ScaledExperiment`."""
    return path.fields if path.fields == ("scale",) else ("experiment", *path.fields)


def _child(node: object, field: str) -> object:
    """What a field of a name stands for; a number counts through a tuple, as in `scatterers.0.thickness_mm`."""
    return node[int(field)] if isinstance(node, tuple) else getattr(node, field)


def _node_at(node: object, fields: tuple[str, ...]) -> object:
    for field in fields:
        node = _child(node, field)
    return node


def read_leaf(scaled: ScaledExperiment, name: str) -> Array:
    """The number or array that a name stands for, which has been checked."""
    path = parse_name(name)
    leaf = jnp.asarray(_node_at(scaled, _full_path(path)))
    return leaf if path.index is None else leaf[path.index]


def value_of(experiment: Experiment, name: str) -> Array:
    """The number or array that a parameter's name stands for.

    **Raises** `InputError` for an unknown name.
    """
    scaled = ScaledExperiment(completed(experiment), jnp.ones(()))
    check_name(scaled, name)
    return read_leaf(scaled, name)


def replace_leaf(scaled: ScaledExperiment, name: str, value: Array) -> ScaledExperiment:
    """The same with another number or array where a name points to."""
    path = parse_name(name)
    fields = _full_path(path)
    if path.index is not None:
        value = jnp.asarray(_node_at(scaled, fields)).at[path.index].set(value)
    return eqx.tree_at(lambda tree: _node_at(tree, fields), scaled, value)
