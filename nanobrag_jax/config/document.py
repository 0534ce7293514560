"""The JSON of a configuration, and its head: what it is, and how the run is simulated."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..constants import MODES, PRECISIONS
from ..errors import InputError
from ..io.text import read_bytes
from ..typing import Mode, Precision
from .layout import FORMAT, HEAD, VERSION
from .schema import PARTS, check_keys, shown


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
    check_keys(f"{name}: ", document, [*HEAD, *PARTS, "scatterers"])
    if not isinstance(document.get("output", {}), dict):
        raise InputError(f"{name}: output must be a table of keys, got {shown(document['output'])}")
    return document


def array_files(document: object) -> set[str]:
    """The names of the files whose arrays a configuration names."""
    found: set[str] = set()
    left = [document]
    while left:
        table = left.pop()
        if isinstance(table, list):
            left += table
        elif isinstance(table, dict):
            left += table.values()
            file = table.get("file")
            if isinstance(file, str) and "array" in table and "\0" not in file:
                found.add(file)
    return found


def how_of(document: Mapping[str, object], name: str) -> tuple[Mode, Precision | None]:
    """Mode and precision of a configuration. **Raises** `InputError` for those that do not exist."""
    mode, precision = document.get("mode", "spec"), document.get("precision")
    if mode not in MODES:
        raise InputError(f"{name}: mode must be one of {', '.join(MODES)}, got {shown(mode)}")
    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"{name}: precision must be one of {', '.join(PRECISIONS)} or null, got {shown(precision)}")
    return mode, precision


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """A table of JSON. **Raises** `InputError` for a key that is there twice."""
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise InputError(f"the key {key} is there twice")
        found[key] = value
    return found
