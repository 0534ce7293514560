"""Configurations read: `load_config` (docs/config.md)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..experiment import Experiment
from ..panels import Panels, as_panels, stack_panels
from ..scatterers import AbstractScatterer
from ..typing import Mode, Precision
from .arrays import ArrayFiles
from .document import how_of, read_document
from .schema import KINDS, PARTS, check_keys, rules_of, shown, value_of


class Config(NamedTuple):
    """A run: the experiment, how it is simulated, and the settings of the files written from it."""

    experiment: Experiment
    mode: Mode
    precision: Precision | None
    output: dict[str, Any]


def load_config(path: str | os.PathLike[str], *, anywhere: bool = False) -> Config:
    """The run that a file describes: `experiment`, `mode`, `precision` and `output`.

    Keys that are left out have the defaults of the classes.

    **Arguments:** `anywhere`: whether its arrays may lie in files outside the folder of the configuration.

    **Raises** `InputError` that names the key and its value for a file that cannot be used: unknown keys, wrong types
    and lengths, numbers that are not finite, parts that do not fit together, arrays that are not those the file was
    written with.
    """
    document, name = read_document(path), os.fspath(path)
    reader = _Reader(name, ArrayFiles(Path(path).parent, anywhere))
    parts: dict[str, Any] = {}
    for part, kind in PARTS.items():
        section = document.get(part, {})
        several = part == "detector" and isinstance(section, list)
        parts[part] = reader.panels(kind, section) if several else reader.model(kind, part, section)
    listed = document.get("scatterers", [])
    if not isinstance(listed, list):
        raise InputError(f"{name}: scatterers must be a list of tables, got {shown(listed)}")
    parts["scatterers"] = [reader.of_kind(AbstractScatterer, f"scatterers.{i}", each) for i, each in enumerate(listed)]
    try:
        experiment = Experiment(**parts)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    mode, precision = how_of(document, name)
    return Config(experiment, mode, precision, dict(document.get("output", {})))


@dataclass(frozen=True)
class _Reader:
    """Objects from the tables of one file. **Raises** `InputError` that names it and the key."""

    name: str
    arrays: ArrayFiles

    def panels(self, kind: type, sections: list[object]) -> Panels:
        """A detector of the panels in a list."""
        panels = [self.model(kind, f"detector.{i}", each) for i, each in enumerate(sections)]
        if not panels:
            raise InputError(f"{self.name}: detector must have at least one panel, got []")
        return stack_panels(panels) if len(panels) == 1 else as_panels(panels)

    def of_kind(self, family: type, where: str, section: object) -> Any:
        """An object of one of several kinds, from its name or from a table of keys, `kind` among them."""
        kinds = KINDS[family]
        table = section if isinstance(section, dict) else {"kind": section}
        named = table.get("kind")
        if not isinstance(named, str) or named not in kinds:
            raise InputError(f"{self.name}: {where}.kind must be one of {', '.join(kinds)}, got {shown(named)}")
        keys = {key: value for key, value in table.items() if key != "kind"}
        return self.model(kinds[named], where, keys)

    def model(self, kind: type, where: str, section: object) -> Any:
        """An object of a class from its keys."""
        if not isinstance(section, dict):
            raise InputError(f"{self.name}: {where} must be a table of keys, got {shown(section)}")
        rules = rules_of(kind)
        check_keys(f"{self.name}: {where}.", section, rules)
        sizes: dict[str, tuple[int, str]] = {}
        values = {}
        for key, value in section.items():
            full, family = f"{self.name}: {where}.{key}", rules[key].kinds
            if family is not None and not (value is None and rules[key].optional):
                values[key] = self.of_kind(family, f"{where}.{key}", value)
            else:
                held = self.arrays.array(full, value) if isinstance(value, dict) else value
                values[key] = value_of(full, rules[key], held, sizes)
        try:
            return kind(**values)
        except InputError as error:
            raise InputError(f"{self.name}: {where}.{error}") from None
        except TypeError as error:  # a key without which there is no such part
            missing = str(error).rpartition("'")[0].rpartition("'")[2]
            raise InputError(f"{self.name}: {where}.{missing} is missing") from None
