"""What the keys of a configuration may be: read off the fields of the experiment's classes."""

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from ..beam import Beam
from ..crystal import Crystal
from ..detector import Detector
from ..diffuse import Diffuse
from ..errors import InputError
from ..experiment import Sampling
from ..goniometer import Goniometer
from ..mosaicity import (
    AbstractMosaicity,
    AnisotropicMosaicity,
    CapMosaicity,
    IsotropicMosaicity,
    MosaicRotations,
    ThreefoldMosaicity,
)
from ..scatterers import AbstractScatterer, Amorphous
from ..spot_shapes import SPOT_SHAPES, AbstractSpotShape
from ..structure_factors import StructureFactors
from ..typing import Auto

PARTS: dict[str, type] = {
    "crystal": Crystal,
    "beam": Beam,
    "detector": Detector,
    "goniometer": Goniometer,
    "structure_factors": StructureFactors,
    "sampling": Sampling,
}
"""Parts of an experiment, in the order of the file; the scatterers follow."""

KINDS: dict[type, dict[str, type]] = {
    AbstractMosaicity: {
        "cap": CapMosaicity,
        "isotropic": IsotropicMosaicity,
        "anisotropic": AnisotropicMosaicity,
        "rotations": MosaicRotations,
        "threefold": ThreefoldMosaicity,
    },
    AbstractSpotShape: dict(SPOT_SHAPES),
    Diffuse: {"laue": Diffuse},
    AbstractScatterer: {"amorphous": Amorphous},
}
"""Of what may be of several kinds, the name of each kind in a file and its class."""

_ONLY_GIVEN = ("mosaic_spread_deg",)
"""Numbers that a constructor takes and a class does not keep under that name."""


class Rule(NamedTuple):
    """What one key may hold."""

    kind: str
    """number, array, flags (an array of true and false), whole, whole numbers, switch, word, or part."""
    optional: bool = False
    """Whether null is allowed."""
    axes: tuple[str, ...] = ()
    """Of an array: lengths, or names for those that several keys share."""
    choices: tuple[str, ...] = ()
    count: int = 0
    """Of whole numbers: how many."""
    stacked: bool = False
    """Of an array: whether it may have a leading axis of panels or channels."""
    kinds: type | None = None
    """Of a part that may be of several kinds: their abstract class."""

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
            "part": f"a table of keys or a name, of kind {', '.join(KINDS[self.kinds]) if self.kinds else ''}",
        }[self.kind]
        return base + (" or null" if self.optional else "")


@cache
def rules_of(kind: type) -> dict[str, Rule]:
    """The keys of a part: the fields of its class, and numbers that only its constructor takes."""
    hints = typing.get_type_hints(kind)
    found = {field.name: _rule(hints[field.name]) for field in dataclasses.fields(kind)}
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if name in found or name == "self":
            continue
        if parameter.annotation in (int, int | Auto):
            found[name] = Rule("whole")
        elif name in _ONLY_GIVEN:
            found[name] = Rule("number")
    return found


def _rule(hint: Any) -> Rule:
    optional, stacked = False, False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        given = [each for each in typing.get_args(hint) if each is not type(None)]
        optional, stacked, hint = len(given) < len(typing.get_args(hint)), len(given) == 2, given[0]
    if hint in KINDS:
        return Rule("part", optional, kinds=hint)
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
        return Rule("flags", optional, axes, stacked=stacked)
    return Rule("array" if axes else "number", optional, axes, stacked=stacked)


def check_keys(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise `InputError` that names the first unknown key, and the nearest known one."""
    known = list(known)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"{where}{key} is unknown: {hint}")


def value_of(name: str, rule: Rule, value: object, sizes: dict[str, tuple[int, str]]) -> object:
    """The value of a key for the constructor: None, a Python value, or a numpy array.

    **Arguments:** `name`: the full one, for messages; `value`: as in the file, or an array; `sizes`: lengths of shared
    axes met so far in this part, with the name of the key that had them; added to.

    **Raises** `InputError` that names the key, what it must be, and the value.
    """
    if value is None and rule.optional:
        return None
    if rule.kind in ("number", "array", "flags"):
        return _array(name, rule, value, sizes)
    if rule.kind == "whole" and _is_whole(value):
        return int(value)
    if rule.kind == "whole numbers" and isinstance(value, list) and len(value) == rule.count:
        if all(_is_whole(each) for each in value):
            return tuple(int(each) for each in value)
    if (rule.kind == "switch" and isinstance(value, bool)) or (rule.kind == "word" and value in rule.choices):
        return value
    raise InputError(f"{name} must be {rule.words}, got {shown(value)}")


def _is_whole(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or value.is_integer()  # infinity is none


def _array(name: str, rule: Rule, value: object, sizes: dict[str, tuple[int, str]]) -> np.ndarray:
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
    shape = array.shape[1:] if rule.stacked and array.ndim == len(rule.axes) + 1 else array.shape
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


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def shown(value: object) -> str:
    """A value of the file as it can stand in a message."""
    import json

    text = f"an array {value.shape}" if isinstance(value, np.ndarray) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
