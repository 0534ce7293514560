"""How the parts of an experiment print: their numbers, with units in the names, in a screenful."""

import dataclasses
import inspect
import math
import warnings
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer

WIDTH = 100
LISTED = 9
"""Longer arrays are told by their shape and range."""

_ALWAYS = frozenset(
    "cell_lengths_A cell_angles_deg n_cells misset_deg wavelength_A fluence_per_m2 pixels_fast pixels_slow "
    "pixel_size_mm distance_mm beam_center_mm convention phi_deg osc_deg amplitudes default_F oversample "
    "spread_deg beam detector goniometer sampling".split()
)
"""Fields that are shown whatever they are; of the others only what differs from the default."""

_AXES = ("fast_axis", "slow_axis", "normal_axis")
"""Those of a convention belong together."""


def described(model: eqx.Module) -> str:
    """A model as its constructor could be called: fields that matter or differ from their defaults.

    Works on models of traced numbers, too, which show as `f64[3]`.
    """
    return _text(model, WIDTH)


def _text(value: Any, width: int) -> str:
    if isinstance(value, eqx.Module) and dataclasses.is_dataclass(value):
        panels = _stacked(value)
        inside = value if panels is None else getattr(value, "panels")  # noqa: B009
        times = "" if panels is None else f"{panels} x "
        items = [f"{name}={_text(each, width - len(name) - 4)}" for name, each in _shown_fields(inside, panels)]
        return times + _filled(type(inside).__name__, items, width)
    if isinstance(value, tuple) and any(isinstance(each, eqx.Module) for each in value):
        shown = [_text(each, width - 3) for each in value[:3]]
        more = [f"… {len(value) - 3} more"] if len(value) > 3 else []
        return _filled("", shown + more, width)
    return value.text if isinstance(value, _Said) else number_text(value)


def _stacked(model: eqx.Module) -> int | None:
    """How many panels a stack of them has; None for anything else, and while the number is not to be known."""
    panels = getattr(model, "panels", None)
    if not isinstance(panels, eqx.Module):
        return None
    shape = getattr(getattr(panels, "fast_axis", None), "shape", ())
    return shape[0] if len(shape) == 2 else None


def number_text(value: Any) -> str:
    """A number, a short list of them, or shape and range of a long one."""
    if not _is_known(value):
        return eqx.tree_pformat(value) if not isinstance(value, str | bool | int | float | tuple) else repr(value)
    numbers = np.asarray(value)
    if numbers.dtype == bool:
        return f"<{_by(numbers.shape)}: {np.count_nonzero(numbers)} of {numbers.size} true>"
    if numbers.size <= LISTED:
        return _list_text(numbers.tolist())
    finite = numbers[np.isfinite(numbers)]
    extent = "none finite" if not finite.size else f"{_rounded(finite.min())} to {_rounded(finite.max())}"
    return f"<{_by(numbers.shape)}: {extent}>"


def _is_known(value: object) -> bool:
    """Whether the numbers of an array can be looked at: not while they are traced, or once they are given away."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "fiub"
    if not isinstance(value, jax.Array) or isinstance(value, Tracer):
        return False
    return value.is_fully_addressable and not value.is_deleted() and value.dtype.kind in "fiub"


def _list_text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_list_text(each) for each in value)}]"
    return _rounded(value)


def _rounded(x: float) -> str:
    return f"{x + 0.0:.6g}"


def _by(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _filled(name: str, items: list[str], width: int) -> str:
    """`name(items)` in one line if that fits, else items side by side, in lines of at most `width`."""
    line = f"{name}({', '.join(items)})"
    if len(line) <= width and not any("\n" in item for item in items):
        return line
    lines: list[str] = []
    alone = True
    for item in items:
        if not alone and "(" not in item and len(lines[-1]) + len(item) + 2 <= width - 2:
            lines[-1] += f" {item},"
        else:
            lines.append(f"{item},")
        alone = "(" in item
    indented = "\n".join("  " + each for each in "\n".join(lines).split("\n"))
    return f"{name}(\n{indented}\n)"


@dataclasses.dataclass(frozen=True)
class _Said:
    """A value that is told in other words."""

    text: str


def _shown_fields(model: eqx.Module, panels: int | None) -> list[tuple[str, Any]]:
    """Names and values of the fields that are shown."""
    arguments = inspect.signature(type(model)).parameters
    held = {f.name: getattr(model, f.name, None) for f in dataclasses.fields(model) if not f.name.startswith("_")}
    first = held if panels is None else {name: _of_first_panel(value) for name, value in held.items()}
    listed = []
    for name in sorted(held, key=lambda n: list(arguments).index(n) if n in arguments else len(arguments)):
        value = held[name]
        if value is None or (name not in _ALWAYS and _is_default(type(model), name, first, arguments)):
            continue
        listed.append((name, value if panels is None else _of_all_panels(value)))
    return listed


def _of_first_panel(value: Any) -> Any:
    return value[0] if _is_known(value) and np.ndim(value) else value


def _of_all_panels(value: Any) -> Any:
    """The number that all panels have, or the range of theirs."""
    if not _is_known(value) or not np.ndim(value):
        return value
    numbers = np.asarray(value)
    if np.all(numbers == numbers[:1]):
        return numbers[0]
    low, high = (number_text(pick(numbers, axis=0)) for pick in (np.min, np.max))
    return _Said(f"{low} to {high}")


def _is_default(kind: type, name: str, held: dict[str, Any], arguments: Any) -> bool:
    """Whether a field has what the constructor gives it, beside the other fields, where it is not named."""
    if name not in arguments:
        return False
    default = arguments[name].default
    if default is inspect.Parameter.empty:
        return False
    if isinstance(default, bool | int | float | tuple | str) and _same(held[name], default):
        return True
    if isinstance(default, bool | int | float | tuple):
        return False
    left_out = _AXES if name in _AXES else (name,)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = kind(**{k: value for k, value in held.items() if k in arguments and k not in left_out})
    except Exception:  # numbers that are traced, or stand for no experiment: then they are shown
        return False
    return _same(held[name], getattr(made, name, None))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, eqx.Module) and isinstance(other, eqx.Module):
        pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=False)
        return jax.tree.structure(one) == jax.tree.structure(other) and all(_same(a, b) for a, b in pairs)
    if _is_known(one):
        if isinstance(other, jax.Array) and not _is_known(other):
            return False
        numbers = np.asarray(one)
        return numbers.shape == np.shape(other) and bool(np.all(numbers == np.asarray(other)))
    if isinstance(one, jax.Array) or isinstance(other, jax.Array):
        return False
    return type(one) is type(other) and (one == other or (isinstance(one, float) and math.isnan(one)))
