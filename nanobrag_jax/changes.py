"""Other numbers in an experiment, by their names."""

import dataclasses
import difflib
import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import equinox as eqx
import numpy as np

from . import checks
from .beam import Beam
from .detector import Detector
from .errors import InputError
from .experiment import with_fields
from .mosaicity import CapMosaicity
from .panels import PanelStack, as_panels, split_panels

Model = TypeVar("Model", bound=eqx.Module)
Path = tuple[str, ...]

SHORT_NAMES = {
    "crystal.mosaic_spread_deg": "crystal.mosaicity.spread_deg",
    "crystal.n_cells_off_diagonal": "crystal.shape.n_cells_off_diagonal",
}
"""Names of properties of an experiment's parts, and of the leaves that they give."""

_FOLLOWS = {
    "divergence_mrad": {"divergence_fractions": "auto", "source_weights": None},
    "dispersion_percent": {"dispersion_fractions": "auto", "source_weights": None},
    "osc_deg": {"phi_steps": "auto"},
    "thickness_um": {"attenuation_depth_um": "auto"},
    "thickness_steps": {"layer_fraction": None},
    **dict.fromkeys(
        ("pixels_fast", "pixels_slow", "pixel_size_mm", "size_mm", "convention"),
        {"beam_center_mm": None, "close_point_mm": None},
    ),
}
"""For some fields those whose defaults follow from them, with what asks for the default."""

_INSTEAD = {
    "energy_eV": "wavelength_A",
    **dict.fromkeys(("flux_per_s", "exposure_s", "beam_size_mm"), "fluence_per_m2"),
}
"""Arguments of a beam that are no fields of it, and the fields that they give."""

_OVERRULED_BY = {
    "distance_mm": ("close_distance_mm", "pix0_mm"),
    "close_distance_mm": ("pix0_mm",),
    "beam_center_mm": ("pix0_mm",),
    "close_point_mm": ("pix0_mm",),
    "wavelength_A": ("source_wavelengths_A",),
    "divergence_mrad": ("source_positions",),
    "dispersion_percent": ("source_positions",),
}
"""For some fields those that win over them where they are given."""


def replace(model: Model, changes: Mapping[str, Any] | None = None, /, **named) -> Model:
    """The same experiment, or part of one, with other values in some of its fields.

    A name is that of a field (`distance_mm`), wherever it is, or its path (`detector.distance_mm`,
    `scatterers.0.thickness_mm`), which can be given in a mapping. Any field may be replaced: numbers, counts, whole
    parts. Of several panels each gets the value, or its own from a leading axis of panels. `energy_eV` and
    `flux_per_s` may stand for wavelength and fluence, as in `Beam`. What was left to its
    default and follows from the others (beam centre, φ steps, directions of a divergence) follows again; sub-pixels
    and interpolation stay, with an `ExperimentWarning` where the spots need more.

    **Arguments:** `changes`: names and values that cannot be keywords.

    **Raises** `InputError` for a name that stands for nothing or for several fields, which it lists; for a value that
    cannot be used; and for a number that has no effect because another field wins over it.
    """
    known = list(_paths(model))
    wanted: dict[Path, Any] = {}
    for name, value in [*(changes or {}).items(), *named.items()]:
        path = _found(name, known)
        for other in wanted:
            if path[: len(other)] == other[: len(path)]:
                raise InputError(f"give {'.'.join(other)} or {name}, not both")
        wanted[path] = value
    return _with_values(model, wanted)


def _paths(model: object, above: Path = ()) -> Iterator[Path]:
    """Paths of all fields of a model and of the models in it; the panels of a detector have one path together."""
    if isinstance(model, PanelStack) or (isinstance(model, tuple) and model and isinstance(model[0], Detector)):
        model = split_panels(model)[0]
    if isinstance(model, tuple):
        children = [(str(i), each) for i, each in enumerate(model) if isinstance(each, eqx.Module)]
    elif isinstance(model, eqx.Module):
        children = [(f.name, getattr(model, f.name)) for f in dataclasses.fields(model) if not f.name.startswith("_")]
    else:
        return
    if isinstance(model, Beam):
        yield from ((*above, name) for name in _INSTEAD)
    for name, child in children:
        yield (*above, name)
        yield from _paths(child, (*above, name))


def _found(name: str, known: list[Path]) -> Path:
    """The path that a name stands for. **Raises** `InputError` where it is none or several."""
    asked = tuple(name.strip().split("."))
    for short, full in SHORT_NAMES.items():
        *_, part, last = short.split(".")
        if asked[-1] == last and asked[:-1] in ((), (part,)):
            path = tuple(full.split("."))
            for candidate in (path, path[1:]):  # of an experiment, or of the part itself
                if candidate in known:
                    return candidate
    if asked in known:
        return asked
    found = [path for path in known if path[-len(asked) :] == asked]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{name} is ambiguous: give one of {', '.join('.'.join(path) for path in found)}")
    names = {".".join(path): path for path in known} | {path[-1]: path for path in known}
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    whole = ".".join(names[near[0]]) if near else ""
    shown = whole if not near or whole == near[0] else f"{near[0]} ({whole})"
    parts = ", ".join(path[0] for path in known if len(path) == 1)
    raise InputError(f"there is no {name}: " + (f"did you mean {shown}?" if near else f"known are {parts}"))


def _with_values(model: Any, wanted: Mapping[Path, Any]) -> Any:
    """A model with values at paths in it."""
    if isinstance(model, PanelStack) or (isinstance(model, tuple) and model and isinstance(model[0], Detector)):
        return _with_panels(model, wanted)
    below: dict[str, dict[Path, Any]] = {}
    for (name, *rest), value in wanted.items():
        below.setdefault(name, {})[tuple(rest)] = value
    if isinstance(model, tuple):
        return tuple(_changed(each, below.get(str(i), {(): each})) for i, each in enumerate(model))
    return _remade(model, {name: _changed(getattr(model, name, None), inside) for name, inside in below.items()})


def _changed(held: object, wanted: Mapping[Path, Any]) -> Any:
    return wanted[()] if () in wanted else _with_values(held, wanted)


def _with_panels(panels: PanelStack | tuple[Detector, ...], wanted: Mapping[Path, Any]):
    each = split_panels(panels)
    split: list[dict[Path, Any]] = [{} for _ in each]
    for path, value in wanted.items():
        one_each: Any = [value] * len(each)
        if value is not None and np.ndim(value) == np.ndim(getattr(each[0], path[0])) + 1:
            one_each = value if len(value) == len(each) else one_each
        for panel, own in zip(split, one_each, strict=True):
            panel[path] = own
    return as_panels([_with_values(panel, one) for panel, one in zip(each, split, strict=True)])


def _remade(model: eqx.Module, values: dict[str, Any]) -> eqx.Module:
    """A model with other values in its own fields."""
    for name in list(values):
        for winner in _OVERRULED_BY.get(_INSTEAD.get(name, name), ()):
            if (values[winner] if winner in values else getattr(model, winner, None)) is not None:
                raise InputError(
                    f"{name} has no effect beside {winner}, which is set: replace that, with None for none"
                )
    if isinstance(model, Detector) and model.pivot == "sample" and "beam_center_mm" in values:
        if values.get("pivot") != "beam" and values.get("close_point_mm", model.close_point_mm) is not None:
            raise InputError("beam_center_mm has no effect with pivot sample: replace close_point_mm")
    if isinstance(model, CapMosaicity) and values.keys() == {"spread_deg"} and model.domains == 1:
        return CapMosaicity.drawn(values["spread_deg"])
    if not {f.name for f in dataclasses.fields(model)} <= inspect.signature(type(model)).parameters.keys():
        return _with_leaves(model, values)
    if isinstance(model, Beam):
        values = {field: None for name, field in _INSTEAD.items() if name in values} | values
    follows = {k: v for name in values for k, v in _FOLLOWS.get(name, {}).items() if k not in values}
    follows = {k: v for k, v in follows.items() if hasattr(model, k) and _is_default(model, k, v)}
    return with_fields(model, **(follows | values))


def _is_default(model: eqx.Module, name: str, default: object) -> bool:
    """Whether a field has what the other fields give it by default."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that were looked at when the model was made
        held, usual = getattr(model, name), getattr(with_fields(model, **{name: default}), name)
    if held is None or usual is None or not checks.is_known((held, usual)):
        return held is usual
    return np.shape(held) == np.shape(usual) and bool(np.all(np.asarray(held) == np.asarray(usual)))


def _with_leaves(model: eqx.Module, values: Mapping[str, Any]) -> eqx.Module:
    """The same for a class of one's own, whose constructor takes other arguments than its fields: only leaves."""
    static = {field.name for field in dataclasses.fields(model) if field.metadata.get("static")}
    for name, value in values.items():
        if name in static:
            raise InputError(f"{name} of a {type(model).__name__} decides the shape of the computation: make a new one")
        new = value if isinstance(value, eqx.Module) else checks.optional_leaf(value, name)
        model = eqx.tree_at(lambda m, n=name: getattr(m, n), model, new, is_leaf=lambda x: x is None)
    check = getattr(model, "__check_init__", None)
    if check is not None:
        check()
    return model
