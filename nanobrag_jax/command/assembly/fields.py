"""Fields of an experiment by the flags that name them (see `Flag.field`)."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import equinox as eqx
import numpy as np

from ..flags import FIELDS, Settings
from .asked import Asked

Part = TypeVar("Part", bound=eqx.Module)


def fields_of(part: str, asked: Asked) -> dict[str, Any]:
    """Arguments of a part's class for all fields that flags name: as given, from headers, or their defaults.

    Items of a vector are gathered; what is deeper inside a part is left to the caller, and so is what has to be worked
    out from several settings, which replaces the value here.
    """
    found: dict[str, Any] = {}
    for name, key in _KEYS[part]:
        field, _, inner = key.partition(".")
        if not inner:
            found[field] = asked(name)
        elif inner.isdigit():
            found.setdefault(field, []).append(asked(name))
    return found


def given_fields(part: str, settings: Settings) -> dict[str, Any]:
    """Fields of a part that flags on the line replace: name inside the part → value."""
    return {key: settings.values[name] for name, key in _KEYS[part] if name in settings}


def replaced(part: Part, changes: Mapping[str, Any]) -> Part:
    """A copy of a part with fields replaced, static ones, too; checked as when it is made.

    **Arguments:** `changes`: field → value; `n_cells.0` is an item of a vector, `mosaicity.spread_deg` a field of what
    the field holds.
    """
    if not changes:
        return part
    values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    for key, value in changes.items():
        field, _, inner = key.partition(".")
        if inner.isdigit():
            items = np.array(values[field], float)
            items[int(inner)] = value
            values[field] = items
        else:
            values[field] = replaced(values[field], {inner: value}) if inner else value
    return type(part)(**values)


def _keys() -> dict[str, list[tuple[str, str]]]:
    """Part → (setting, name inside the part) of each flag that names a field of it, items of vectors in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, place in sorted(FIELDS.items(), key=lambda item: item[1]):
        part, _, key = place.partition(".")
        found.setdefault(part, []).append((name, key))
    return found


_KEYS = _keys()
