"""A recipe as a file: JSON in the manner of a configuration (docs/datasets.md)."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..command.assemble import experiment_from_args
from ..config import load_config
from ..config.schema import check_keys, shown
from ..effects import DetectorEffects
from ..errors import InputError
from ..experiment import Experiment
from ..io.text import read_bytes
from .distributions import KINDS, Distribution, Fixed, Table
from .recipe import Recipe, Storage

FORMAT = "nanobrag_jax dataset"
VERSION = 1
_KEYS = ("format", "version", *(field.name for field in dataclasses.fields(Recipe)))
_BASE_KEYS = ("args", "config", "weight")


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The recipe that a file describes. Names of files in it start where it lies.

    **Raises** `InputError` that names the file, the key and its value for one that cannot be used.
    """
    name, folder = os.fspath(path), Path(path).parent
    try:
        document = json.loads(read_bytes(path, "recipe").decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        got = shown(document.get("format")) if isinstance(document, dict) else shown(document)
        raise InputError(f'{name}: format must be "{FORMAT}", got {got}')
    if document.get("version") != VERSION:
        raise InputError(f"{name}: version must be {VERSION}, got {shown(document.get('version'))}")
    check_keys(f"{name}: ", document, _KEYS)
    try:
        return _recipe(document, folder)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _recipe(document: Mapping[str, object], folder: Path) -> Recipe:
    listed = document.get("base")
    entries = listed if isinstance(listed, list) else [listed]
    bases = [
        _base(entry, f"base.{i}" if isinstance(listed, list) else "base", folder) for i, entry in enumerate(entries)
    ]
    vary = _table(document, "vary")
    options: dict[str, object] = {
        "base": [base for base, _ in bases],
        "base_weights": [weight for _, weight in bases],
        "vary": {key: distribution_of(f"vary.{key}", value, folder) for key, value in vary.items()},
    }
    if "lattices" in document:
        options["lattices"] = distribution_of("lattices", document["lattices"], folder)
    for key, kind in (("effects", DetectorEffects), ("storage", Storage)):
        if key in document:
            options[key] = _made(key, kind, _table(document, key))
    for key in ("images", "seed", "precision"):
        if key in document:
            options[key] = document[key]
    return Recipe(**options)  # type: ignore[arg-type]


def _table(document: Mapping[str, object], key: str) -> dict[str, object]:
    found = document.get(key, {})
    if not isinstance(found, dict):
        raise InputError(f"{key} must be a table of keys, got {shown(found)}")
    return found


def _made(where: str, kind: type, keys: Mapping[str, object]):
    try:
        return kind(**keys)
    except InputError as error:
        raise InputError(f"{where}.{error}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from None


def _base(entry: object, where: str, folder: Path) -> tuple[Experiment, float]:
    if not isinstance(entry, dict) or ("args" in entry) == ("config" in entry):
        raise InputError(f"{where} must be a table with args (a list of flags) or config (a file), got {shown(entry)}")
    check_keys(f"{where}.", entry, _BASE_KEYS)
    weight = entry.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise InputError(f"{where}.weight must be a number, got {shown(weight)}")
    if "config" in entry:
        if not isinstance(entry["config"], str):
            raise InputError(f"{where}.config must be the name of a file, got {shown(entry['config'])}")
        return load_config(folder / entry["config"]).experiment, float(weight)
    args = entry["args"]
    if not isinstance(args, list) or not all(
        isinstance(x, str | int | float) and not isinstance(x, bool) for x in args
    ):
        raise InputError(f"{where}.args must be a list of flags and values, got {shown(args)}")
    return experiment_from_args([str(x) for x in args], folder), float(weight)


def distribution_of(where: str, entry: object, folder: Path = Path()) -> Distribution:
    """A distribution from a table with its `kind`, or from a number or list, which is fixed.

    **Raises** `InputError` that names the key.
    """
    if not isinstance(entry, dict):
        return _made(where, Fixed, {"constant": entry})
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{where}.kind must be one of {', '.join(KINDS)}, got {shown(kind)}")
    keys = {key: value for key, value in entry.items() if key != "kind"}
    made = KINDS[kind]
    if made is Table and "file" in keys:
        keys = {key: value for key, value in keys.items() if key != "file"} | {
            "values": _rows(f"{where}.file", entry["file"], folder)
        }
    check_keys(f"{where}.", keys, [field.name for field in dataclasses.fields(made)])
    return _made(where, made, keys)


def _rows(where: str, name: object, folder: Path) -> np.ndarray:
    if not isinstance(name, str):
        raise InputError(f"{where} must be the name of a file, got {shown(name)}")
    try:
        found = np.load(folder / name, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{where}: {name!r} is no npy file that can be read: {error}") from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iuf":
        raise InputError(f"{where}: {name!r} must hold one array of numbers")
    return found
