"""Small functions evaluated with numpy instead of compiled: a detector's frame, a scene.

Deriving the scene takes a few hundred operations on a handful of numbers. XLA makes a kernel of nearly each and needs
longer for that than for the image itself; numpy runs them in milliseconds. The formulas stay where they are: what
jax traced is what is evaluated here, operation by operation.
"""

from typing import Any

import jax
import numpy as np

_SAME = {
    "neg": np.negative, "sin": np.sin, "cos": np.cos, "tan": np.tan, "sqrt": np.sqrt, "abs": np.abs, "exp": np.exp,
    "log": np.log, "floor": np.floor, "sign": np.sign, "square": np.square, "is_finite": np.isfinite, "add": np.add,
    "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum, "atan2": np.arctan2, "pow": np.power,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "copy": np.asarray,
}  # fmt: skip
"""Primitives that are one numpy function of their operands."""

_INNER = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr"}
"""Primitives that call a traced function, and the parameter that holds it."""


def on_host(jitted: Any, *arguments, **static):
    """`jitted(*arguments, **static)` with numpy arrays for leaves, in the precision jax would have used.

    **Arguments:** `jitted`: a function under `jax.jit`, which is traced (once for each structure) and not compiled;
    `arguments`: pytrees of numbers and arrays; `static`: its static arguments.
    """
    traced = jitted.trace(*arguments, **static)
    operands = [np.asarray(x) for x in jax.tree.leaves(arguments)]
    try:
        with np.errstate(all="ignore"):
            leaves = _evaluate(traced.jaxpr, operands)
    except LookupError:  # an operation, or a parameter of one, that is not in the tables below
        return jax.tree.map(np.asarray, jitted(*arguments, **static))
    return jax.tree.unflatten(jax.tree.structure(traced.out_info), leaves)


def _evaluate(traced, operands: list) -> list:
    """Values of a closed jaxpr at `operands`."""
    jaxpr = traced.jaxpr
    values = dict(zip(jaxpr.constvars, map(np.asarray, traced.consts), strict=True))
    values |= zip(jaxpr.invars, operands, strict=True)

    def value(atom):
        return np.asarray(atom.val, atom.aval.dtype) if hasattr(atom, "val") else values[atom]

    for step in jaxpr.eqns:
        inputs = [value(atom) for atom in step.invars]
        results = _apply(step.primitive.name, step.params, inputs)
        for variable, result in zip(step.outvars, results, strict=True):
            values[variable] = np.asarray(result, variable.aval.dtype)
    return [value(atom) for atom in jaxpr.outvars]


def _apply(name: str, params: dict, inputs: list) -> list:
    """Results of one operation. **Raises** `LookupError` for one that has no numpy form here."""
    if name in _SAME:
        return [_SAME[name](*inputs)]
    if name in ("optimization_barrier", "device_put"):
        return inputs
    if name == "split":
        return np.split(inputs[0], np.cumsum(params["sizes"])[:-1], params["axis"])
    if name in _INNER:
        return _evaluate(params[_INNER[name]], inputs)
    return [_SHAPED[name](params, *inputs)]


def _divided(params, a, b):
    return np.divide(a, b) if np.issubdtype(a.dtype, np.inexact) else np.trunc(a / b).astype(a.dtype)


def _selected(params, which, first, *others):
    return np.where(which, others[0], first) if len(others) == 1 else np.choose(which.astype(int), [first, *others])


def _broadcast(params, x, *_):
    places = params["broadcast_dimensions"]
    kept = [1] * len(params["shape"])
    for place, length in zip(places, x.shape, strict=True):
        kept[place] = length
    return np.broadcast_to(x.reshape(kept), params["shape"])


def _sliced(params, x):
    steps = params["strides"] or (None,) * x.ndim
    return x[tuple(map(slice, params["start_indices"], params["limit_indices"], steps))]


def _counted(params, *_):
    return np.indices(params["shape"], params["dtype"])[params["dimension"]]


def _padded(params, x, fill):
    if any(low < 0 or high < 0 or inner for low, high, inner in params["padding_config"]):
        raise LookupError("padding that cuts or spreads")
    return np.pad(x, [(low, high) for low, high, _ in params["padding_config"]], constant_values=fill)


def _contracted(params, a, b):
    """lax.dot_general: batch axes first, then what is left of a, then of b."""
    (sum_a, sum_b), (batch_a, batch_b) = params["dimension_numbers"]
    name_a, name_b = list(range(a.ndim)), list(range(a.ndim, a.ndim + b.ndim))
    for i, j in zip((*sum_a, *batch_a), (*sum_b, *batch_b), strict=True):
        name_b[j] = name_a[i]
    free_a = [n for i, n in enumerate(name_a) if i not in (*sum_a, *batch_a)]
    free_b = [n for j, n in enumerate(name_b) if j not in (*sum_b, *batch_b)]
    return np.einsum(a, name_a, b, name_b, [name_a[i] for i in batch_a] + free_a + free_b)


_SHAPED = {
    "div": _divided,
    "rsqrt": lambda params, x: 1 / np.sqrt(x),
    "integer_pow": lambda params, x: x ** params["y"],
    "select_n": _selected,
    "convert_element_type": lambda params, x: x.astype(params["new_dtype"]),
    "reshape": lambda params, x: x.reshape(params["new_sizes"]),
    "squeeze": lambda params, x: np.squeeze(x, tuple(params["dimensions"])),
    "transpose": lambda params, x: np.transpose(x, params["permutation"]),
    "concatenate": lambda params, *parts: np.concatenate(parts, params["dimension"]),
    "reduce_sum": lambda params, x: np.sum(x, tuple(params["axes"])),
    "stack": lambda params, *parts: np.stack(parts, params["axis"]),
    "tile": lambda params, x: np.tile(x, params["reps"]),
    "broadcast_in_dim": _broadcast,
    "slice": _sliced,
    "iota": _counted,
    "pad": _padded,
    "dot_general": _contracted,
}
"""Primitives with parameters: functions of (parameters, operands)."""
