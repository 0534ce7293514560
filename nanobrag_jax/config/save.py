"""Configurations written: JSON for people, and beside it a npz for what is too long to read (docs/config.md)."""

import dataclasses
import io
import os
from collections.abc import Mapping

import equinox as eqx
import jax
import numpy as np

from ..detector import Detector
from ..errors import InputError
from ..experiment import Experiment
from ..io.outputs import Output, write_outputs
from ..numerics.precision import has_double
from ..panels import split_panels
from ..scatterers import AbstractScatterer
from ..typing import Mode, Precision
from ..version import __version__
from .json_text import json_text
from .layout import FORMAT, INLINE_NUMBERS, VERSION, Arrays, arrays_path, digest
from .schema import KINDS, PARTS, rules_of, shown


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


def config_outputs(
    flag: str, path: str, experiment: Experiment, mode: Mode, precision: Precision | None, output: Mapping[str, object]
) -> list[Output]:
    """The files of `save_config`, with settings of the output."""
    arrays: Arrays = {}
    beside = os.path.basename(arrays_path(path))
    document: dict[str, object] = {"format": FORMAT, "version": VERSION, "written_by": f"nanobrag_jax {__version__}"}
    document |= {"mode": mode, "precision": precision or ("float64" if has_double() else "float32")}
    for part in PARTS:
        model = getattr(experiment, part)
        if part == "detector" and not isinstance(model, Detector):
            panels = split_panels(model)
            document[part] = [_section(panel, f"{part}.{i}", beside, arrays) for i, panel in enumerate(panels)]
        else:
            document[part] = _section(model, part, beside, arrays)
    if experiment.scatterers:
        listed = enumerate(experiment.scatterers)
        document["scatterers"] = [
            _kind_section(each, AbstractScatterer, f"scatterers.{i}", beside, arrays) for i, each in listed
        ]
    document["output"] = dict(output)
    outputs = [Output(flag, path, [(json_text(document) + "\n").encode()])]
    if arrays:
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        outputs.append(Output(flag, arrays_path(path), [content.getvalue()]))
    return outputs


def _kind_section(model: eqx.Module, family: type, where: str, beside: str, arrays: Arrays) -> str | dict[str, object]:
    """A part of one of several kinds: its name, or a table with its keys. **Raises** `InputError` for another class."""
    names = {kind: name for name, kind in KINDS[family].items()}
    if type(model) not in names:
        raise InputError(f"{where}: a {type(model).__name__} of your own cannot be written to a configuration")
    keys = _section(model, where, beside, arrays)
    return {"kind": names[type(model)]} | keys if keys else names[type(model)]


def _section(model: eqx.Module, where: str, beside: str, arrays: Arrays) -> dict[str, object]:
    """The keys of one part; its long arrays are added to `arrays`."""
    found: dict[str, object] = {}
    kept = {field.name for field in dataclasses.fields(model)}
    for key, rule in rules_of(type(model)).items():
        if key not in kept:  # what only the constructor takes
            continue
        value = getattr(model, key)
        if rule.kinds is not None and value is not None:
            found[key] = _kind_section(value, rule.kinds, f"{where}.{key}", beside, arrays)
            continue
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
                value = place | {"sha256": digest(array)}
        found[key] = list(value) if isinstance(value, tuple) else value
    return found
