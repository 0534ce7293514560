"""What the keys of a configuration may be: read off the fields of the experiment's classes."""

import dataclasses
import difflib
import inspect
import math
import types
import typing
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from ..amorphous import Amorphous
from ..errors import InputError
from ..experiment import Beam, Crystal, Detector, Goniometer, Sampling
from ..structure_factors import StructureFactors

PARTS: dict[str, type] = {
    "crystal": Crystal,
    "beam": Beam,
    "detector": Detector,
    "goniometer": Goniometer,
    "structure_factors": StructureFactors,
    "sampling": Sampling,
}
"""Parts of an experiment, in the order of the file."""

OPTIONAL_PARTS: dict[str, type] = {"amorphous": Amorphous}
"""Parts that an experiment may do without; after the others."""

KINDS = PARTS | OPTIONAL_PARTS

_PANEL_STACKED = ("mask",)
"""Arrays that may have a leading axis of panels."""


class Rule(NamedTuple):
    """What one key may hold."""

    kind: str
    """number, array, flags (an array of true and false), whole, whole numbers, switch, or word."""
    optional: bool = False
    """Whether null is allowed."""
    axes: tuple[str, ...] = ()
    """Of an array: lengths, or names for those that several keys share."""
    choices: tuple[str, ...] = ()
    count: int = 0
    """Of whole numbers: how many."""

    @property
    def words(self) -> str:
        """What the key must be, for a message."""
        shape = " x ".join(self.axes)
        base = {
            "number": "a number",
            "array": f"{shape} numbers",
            "flags": f"{shape} times true or false",
            "whole": "a whole number",
            "whole numbers": f"{self.count} whole numbers",
            "switch": "true or false",
            "word": f"one of {', '.join(self.choices)}",
        }[self.kind]
        return base + (" or null" if self.optional else "")


@cache
def rules_of(part: str) -> dict[str, Rule]:
    """The keys of a part: the fields of its class, and whole numbers that only its constructor takes."""
    kind = KINDS[part]
    hints = typing.get_type_hints(kind)
    found = {field.name: _rule(hints[field.name]) for field in dataclasses.fields(kind)}
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if name not in found and parameter.annotation is int:
            found[name] = Rule("whole")
    return found


def _rule(hint: Any) -> Rule:
    optional = False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        optional = True
        (hint,) = (each for each in typing.get_args(hint) if each is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        return Rule("word", optional, choices=typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return Rule("whole numbers", optional, count=len(typing.get_args(hint)))
    if hint is bool:
        return Rule("switch", optional)
    if hint is int:
        return Rule("whole", optional)
    axes = tuple(hint.dim_str.split())
    if "bool" in hint.dtypes:
        return Rule("flags", optional, axes)
    return Rule("array" if axes else "number", optional, axes)


def check_keys(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise `InputError` that names the first unknown key, and the nearest known one."""
    known = list(known)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"{where}{key} is unknown: {hint}")


def value_of(name: str, key: str, rule: Rule, value: Any, sizes: dict[str, tuple[int, str]]) -> Any:
    """The value of a key for the constructor: None, a Python value, or a numpy array.

    **Arguments:** `name`: the full one, for messages; `value`: as in the file, or an array; `sizes`: lengths of shared
    axes met so far in this part, with the name of the key that had them; added to.

    **Raises** `InputError` that names the key, what it must be, and the value.
    """
    if value is None and rule.optional:
        return None
    if rule.kind in ("number", "array", "flags"):
        return _array(name, key, rule, value, sizes)
    if rule.kind == "whole" and _is_whole(value):
        return int(value)
    if rule.kind == "whole numbers" and isinstance(value, list) and len(value) == rule.count:
        if all(_is_whole(each) for each in value):
            return tuple(int(each) for each in value)
    if (rule.kind == "switch" and isinstance(value, bool)) or (rule.kind == "word" and value in rule.choices):
        return value
    raise InputError(f"{name} must be {rule.words}, got {shown(value)}")


def _is_whole(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == math.floor(value)


def _array(name: str, key: str, rule: Rule, value: Any, sizes: dict[str, tuple[int, str]]) -> np.ndarray:
    if isinstance(value, np.ndarray):
        array = value
    else:
        kinds = {type(each) for each in _leaves(value)}
        if not kinds <= ({bool} if rule.kind == "flags" else {int, float}):
            raise InputError(f"{name} must be {rule.words}, got {shown(value)}")
        try:
            array = np.asarray(value, bool if rule.kind == "flags" else float)
        except (ValueError, OverflowError):
            raise InputError(f"{name} must be {rule.words} in rows of one length, got {shown(value)}") from None
    if array.dtype.kind not in ("b" if rule.kind == "flags" else "f"):
        raise InputError(f"{name} must be {rule.words}, got an array of {array.dtype}")
    shape = array.shape[1:] if key in _PANEL_STACKED and array.ndim == len(rule.axes) + 1 else array.shape
    got = " x ".join(str(n) for n in array.shape) or "a single one"
    if len(shape) != len(rule.axes):
        raise InputError(f"{name} must be {rule.words}, got {got}: {shown(value)}")
    for length, axis in zip(shape, rule.axes, strict=True):
        wanted, owner = (int(axis), "") if axis.isdigit() else sizes.setdefault(axis, (length, name))
        if length != wanted:
            why = f", as many {axis} as {owner} has" if owner else ""
            raise InputError(f"{name} must be {rule.words}, got {got}{why and f', not {wanted}{why}'}: {shown(value)}")
    bad = None if rule.kind == "flags" else array[~np.isfinite(array)]
    if bad is not None and bad.size:
        raise InputError(f"{name} must be finite, got {bad.ravel()[0]:g}")
    return array


def _leaves(value: Any):
    if isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def shown(value: Any) -> str:
    """A value of the file as it can stand in a message."""
    import json

    text = f"an array {value.shape}" if isinstance(value, np.ndarray) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
