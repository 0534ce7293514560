"""Configurations as files: JSON for people, and beside it a npz for what is too long to read (docs/config.md)."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from ..constants import MODES, PRECISIONS
from ..errors import InputError
from ..experiment import Experiment
from ..io.text import read_bytes
from ..output import Output, write_outputs
from ..panels import as_panels, num_panels, split_panels, stack_panels
from ..precision import has_double
from ..typing import Mode, Precision
from ..version import __version__
from .schema import KINDS, OPTIONAL_PARTS, check_keys, rules_of, shown, value_of

FORMAT = "nanobrag_jax run"
VERSION = 1
INLINE_NUMBERS = 200
"""Longer arrays go into the npz file."""

_HEAD = ("format", "version", "written_by", "mode", "precision", "output")
_LINE = 100


class Config(NamedTuple):
    """A run: the experiment, how it is simulated, and the settings of the files written from it."""

    experiment: Experiment
    mode: Mode
    precision: Precision | None
    output: dict[str, Any]


def save_config(
    path: str | os.PathLike[str], experiment: Experiment, *, mode: Mode = "spec", precision: Precision | None = None
) -> list[str]:
    """The names of the files written: the JSON, and where there are long arrays the npz of the same name beside it.

    Every number of the experiment is written with all its digits. Both files appear or none.

    **Arguments:** `mode`, `precision`: as for `simulate`; None is written as that of the session.

    **Raises** `InputError` if a file cannot be written, or a number of the experiment is not finite.
    """
    outputs = config_outputs("save_config", os.fspath(path), experiment, mode, precision, {})
    write_outputs(outputs)
    return [output.path for output in outputs]


def arrays_path(path: str | os.PathLike[str]) -> str:
    """The npz file that belongs to a JSON file. **Raises** `InputError` for a name that itself ends in .npz."""
    stem, extension = os.path.splitext(os.fspath(path))
    if extension.lower() == ".npz":
        raise InputError(f"a configuration needs a name that does not end in .npz, got {os.fspath(path)!r}")
    return stem + ".npz"


def config_outputs(
    flag: str, path: str, experiment: Experiment, mode: Mode, precision: Precision | None, output: Mapping[str, Any]
) -> list[Output]:
    """The files of `save_config`, with settings of the output."""
    arrays: dict[str, NDArray[Any]] = {}
    beside = os.path.basename(arrays_path(path))
    document: dict[str, Any] = {"format": FORMAT, "version": VERSION, "written_by": f"nanobrag_jax {__version__}"}
    document |= {"mode": mode, "precision": precision or ("float64" if has_double() else "float32")}
    for part in KINDS:
        model = getattr(experiment, part)
        if model is None and part in OPTIONAL_PARTS:
            continue
        if part == "detector" and (isinstance(model, tuple) or num_panels(model) is not None):
            panels = split_panels(model)
            document[part] = [_section(panel, part, f"{part}.{i}", beside, arrays) for i, panel in enumerate(panels)]
        else:
            document[part] = _section(model, part, part, beside, arrays)
    document["output"] = dict(output)
    outputs = [Output(flag, path, [(_text(document) + "\n").encode()])]
    if arrays:
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        outputs.append(Output(flag, arrays_path(path), [content.getvalue()]))
    return outputs


def _section(model: Any, part: str, where: str, beside: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """The keys of one part; its long arrays are added to `arrays`."""
    found = {}
    for key in rules_of(part):
        if not hasattr(model, key):  # what only the constructor takes
            continue
        value = getattr(model, key)
        if isinstance(value, jax.Array | np.ndarray):
            array = np.asarray(value)
            if array.dtype.kind == "f":
                array = array.astype("<f8")
                if not np.isfinite(array).all():
                    raise InputError(f"{where}.{key} must be finite, got {shown(array.tolist())}")
            value = array.tolist()
            if array.size > INLINE_NUMBERS:
                arrays[f"{where}.{key}"] = array
                place = {"file": beside, "array": f"{where}.{key}", "shape": list(array.shape)}
                value = place | {"sha256": _digest(array)}
        found[key] = list(value) if isinstance(value, tuple) else value
    return found


def _digest(array: NDArray[Any]) -> str:
    """SHA-256 of the numbers, little end first, the last axis fastest."""
    return hashlib.sha256(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def _text(value: Any, indent: int = 0) -> str:
    """JSON with one key a line, and arrays in one line or one line for each of their rows."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or (len(line) <= _LINE and not _has_tables(value)):
        return line
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        inner = [f"{pad}{json.dumps(key)}: {_text(each, indent + 2)}" for key, each in value.items()]
        return "{\n" + ",\n".join(inner) + "\n" + " " * indent + "}"
    rows = [_text(each, indent + 2) for each in value]
    if any(isinstance(each, list | dict) for each in value):
        return "[\n" + ",\n".join(pad + row for row in rows) + "\n" + " " * indent + "]"
    lines, current = [], ""
    for row in rows:
        if current and len(current) + len(row) > _LINE:
            lines.append(current)
            current = ""
        current += f"{', ' if current else ''}{row}"
    return "[\n" + ",\n".join(pad + each for each in [*lines, current]) + "\n" + " " * indent + "]"


def _has_tables(value: Any) -> bool:
    return isinstance(value, dict) and "file" not in value


def load_config(path: str | os.PathLike[str]) -> Config:
    """The run that a file describes: `experiment`, `mode`, `precision` and `output`.

    Keys that are left out have the defaults of the classes. **Raises** `InputError` that names the key and its value
    for a file that cannot be used: unknown keys, wrong types and lengths, numbers that are not finite, parts that do
    not fit together, arrays that are not those the file was written with.
    """
    document = read_document(path)
    name = os.fspath(path)
    place = Path(path).parent
    held: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for part in KINDS:
        section = document.get(part, None if part in OPTIONAL_PARTS else {})
        if section is None and part in OPTIONAL_PARTS:
            continue
        if part == "detector" and isinstance(section, list):
            panels = [_model(part, f"{part}.{i}", each, name, place, held) for i, each in enumerate(section)]
            if not panels:
                raise InputError(f"{name}: detector must have at least one panel, got []")
            parts[part] = stack_panels(panels) if len(panels) == 1 else as_panels(panels)
        else:
            parts[part] = _model(part, part, section, name, place, held)
    try:
        experiment = Experiment(**parts)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    mode, precision = how_of(document, name)
    return Config(experiment, mode, precision, dict(document.get("output", {})))


def read_document(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON of a configuration, its head checked. **Raises** `InputError`."""
    name = os.fspath(path)
    data = read_bytes(path, "configuration")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{name} is not a configuration: it is not text") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        got = shown(document.get("format")) if isinstance(document, dict) else shown(document)
        raise InputError(f'{name}: format must be "{FORMAT}", got {got}')
    if document.get("version") != VERSION:
        raise InputError(f"{name}: version must be {VERSION}, got {shown(document.get('version'))}")
    check_keys(f"{name}: ", document, [*_HEAD, *KINDS])
    if not isinstance(document.get("output", {}), dict):
        raise InputError(f"{name}: output must be a table of keys, got {shown(document['output'])}")
    return document


def how_of(document: Mapping[str, Any], name: str) -> tuple[Mode, Precision | None]:
    """Mode and precision of a configuration. **Raises** `InputError` for those that do not exist."""
    mode, precision = document.get("mode", "spec"), document.get("precision")
    if mode not in MODES:
        raise InputError(f"{name}: mode must be one of {', '.join(MODES)}, got {shown(mode)}")
    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"{name}: precision must be one of {', '.join(PRECISIONS)} or null, got {shown(precision)}")
    return mode, precision


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InputError(f"the key {key} is there twice")
        found[key] = value
    return found


def _model(part: str, where: str, section: Any, name: str, place: Path, held: dict[str, Any]) -> Any:
    """An object of a part's class from its keys."""
    if not isinstance(section, dict):
        raise InputError(f"{name}: {where} must be a table of keys, got {shown(section)}")
    rules = rules_of(part)
    check_keys(f"{name}: {where}.", section, rules)
    sizes: dict[str, tuple[int, str]] = {}
    values = {}
    for key, value in section.items():
        full = f"{name}: {where}.{key}"
        if isinstance(value, dict):
            value = _held_array(full, value, place, held)
        values[key] = value_of(full, key, rules[key], value, sizes)
    try:
        return KINDS[part](**values)
    except InputError as error:
        raise InputError(f"{name}: {where}.{error}") from None
    except TypeError as error:  # a key without which there is no such part
        missing = str(error).rpartition("'")[0].rpartition("'")[2]
        raise InputError(f"{name}: {where}.{missing} is missing") from None


def _held_array(full: str, reference: dict[str, Any], place: Path, held: dict[str, Any]) -> NDArray[Any]:
    """An array of a npz file, after a look at its checksum if there is one."""
    check_keys(f"{full}.", reference, ("file", "array", "shape", "sha256"))
    for key in ("file", "array"):
        if not isinstance(reference.get(key), str):
            raise InputError(f"{full}.{key} must be a name, got {shown(reference.get(key))}")
    file, array_name = reference["file"], reference["array"]
    if file not in held:
        held[file] = _arrays_in(place / file, full)
    if array_name not in held[file]:
        raise InputError(f"{full}: {file} has no array {array_name}; it has {', '.join(held[file]) or 'none'}")
    array = held[file][array_name]
    digest = reference.get("sha256")
    if digest is not None and digest != _digest(array):
        raise InputError(
            f"{full}: the array {array_name} in {file} is not the one that this was written with (its sha256 is "
            f"{_digest(array)[:12]}…, not {str(digest)[:12]}…): take out sha256 if it was changed on purpose"
        )
    return array


def _arrays_in(path: Path, full: str) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(read_bytes(path, "arrays")), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except InputError as error:
        raise InputError(f"{full}: {error}") from None
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{full}: {path.name} is not a npz file that can be read: {error}") from None
