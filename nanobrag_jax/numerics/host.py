"""Small functions evaluated with numpy instead of compiled: a detector's frame, a scene.

Deriving the scene takes a few hundred operations on a handful of numbers. XLA makes a kernel of nearly each and needs
longer for that than for the image itself; numpy runs them in half a millisecond. The formulas stay where they are: what
jax traced is what is evaluated here, operation by operation.
"""

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.stages import Wrapped

Operation = Callable[..., object]
"""Of numpy arrays, one for each operand; gives one result."""

_SAME: dict[str, Operation] = {
    "neg": operator.neg, "sin": np.sin, "cos": np.cos, "tan": np.tan, "sqrt": np.sqrt, "abs": np.abs, "exp": np.exp,
    "log": np.log, "floor": np.floor, "sign": np.sign, "square": np.square, "is_finite": np.isfinite,
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "max": np.maximum, "min": np.minimum,
    "atan2": np.arctan2, "pow": np.power, "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
    "gt": operator.gt, "ge": operator.ge, "copy": np.asarray,
    "and": operator.and_, "or": operator.or_, "not": np.invert,
}  # fmt: skip
"""Primitives that are one function of their operands."""

_INNER = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr"}
"""Primitives that call a traced function, and the parameter that holds it."""


class Step(NamedTuple):
    """One operation: what it reads and writes, as places in a list of values."""

    operation: Operation
    reads: tuple[int, ...]
    writes: int
    dtype: np.dtype


class Program:
    """A traced function as a list of numpy operations, inner functions laid open and constants folded."""

    def __init__(self, traced):
        self._values: list = []
        self._steps: list[Step] = []
        self._inputs = [self._place() for _ in traced.jaxpr.invars]
        known = dict.fromkeys(self._inputs, False)
        self._results = self._lay_open(traced, self._inputs, known)
        self._steps = _needed(self._steps, self._results)
        self._unchecked = False

    def _place(self, value=None) -> int:
        self._values.append(value)
        return len(self._values) - 1

    def _lay_open(self, traced, inputs: Sequence[int], known: dict[int, bool]) -> list[int]:
        """Add the steps of a closed jaxpr whose operands lie at `inputs`; the places of its results."""
        jaxpr = traced.jaxpr
        at = dict(zip(jaxpr.invars, inputs, strict=True))

        def constant(value, dtype=None) -> int:
            place = self._place(np.asarray(value, dtype))
            known[place] = True
            return place

        at |= {variable: constant(value) for variable, value in zip(jaxpr.constvars, traced.consts, strict=True)}

        def place_of(atom) -> int:
            return constant(atom.val, atom.aval.dtype) if hasattr(atom, "val") else at[atom]

        for equation in jaxpr.eqns:
            name, params = equation.primitive.name, equation.params
            reads = [place_of(atom) for atom in equation.invars]
            writes = equation.outvars
            if name in ("optimization_barrier", "device_put") or _changes_nothing(equation):
                at |= zip(writes, reads, strict=False)
            elif name == "platform_index":
                at[writes[0]] = constant(_branch_here(params["platforms"]), np.int32)
            elif name == "cond":
                if not known[reads[0]]:
                    raise LookupError("a branch that depends on numbers")
                branch = params["branches"][int(self._values[reads[0]])]
                at |= zip(writes, self._lay_open(branch, reads[1:], known), strict=True)
            elif name in _INNER:
                at |= zip(writes, self._lay_open(params[_INNER[name]], reads, known), strict=True)
            else:
                for number, variable in enumerate(writes):
                    operation = _operation(name, params, number, variable.aval.dtype)
                    step = Step(operation, tuple(reads), self._place(), variable.aval.dtype)
                    at[variable] = step.writes
                    known[step.writes] = all(known[place] for place in reads)
                    if known[step.writes]:
                        self._values[step.writes] = _evaluated(step, self._values)
                    else:
                        self._steps.append(step)
        return [place_of(atom) for atom in jaxpr.outvars]

    def __call__(self, operands: Sequence) -> list[np.ndarray]:
        """Results at numpy operands."""
        values = self._values.copy()
        for place, operand in zip(self._inputs, operands, strict=True):
            values[place] = operand
        if self._unchecked:
            for operation, reads, writes, _ in self._steps:
                values[writes] = operation(*[values[place] for place in reads])
        else:  # the first time: which operations need their result converted is the same ever after
            for number, step in enumerate(self._steps):
                result = step.operation(*[values[place] for place in step.reads])
                if np.asarray(result).dtype != step.dtype:
                    convert = _converted(step.operation, step.dtype)
                    self._steps[number] = step._replace(operation=convert)
                values[step.writes] = np.asarray(result, step.dtype)[()]
            self._unchecked = True
        return [np.asarray(values[place]) for place in self._results]


def _needed(steps: Sequence[Step], results: Sequence[int]) -> list[Step]:
    """The steps that results depend on."""
    wanted, kept = set(results), []
    for step in reversed(steps):
        if step.writes in wanted:
            kept.append(step)
            wanted.update(step.reads)
    return kept[::-1]


def _changes_nothing(equation) -> bool:
    """Whether an operation gives its operand as it is."""
    if equation.primitive.name not in ("reshape", "squeeze", "broadcast_in_dim", "convert_element_type"):
        return False
    before, after = equation.invars[0].aval, equation.outvars[0].aval
    return before.shape == after.shape and before.dtype == after.dtype


def _evaluated(step: Step, values: list) -> np.ndarray:
    return np.asarray(step.operation(*[values[place] for place in step.reads]), step.dtype)


def _converted(operation: Operation, dtype: np.dtype) -> Operation:
    return lambda *operands: np.asarray(operation(*operands), dtype)


def _branch_here(platforms: Sequence[Sequence[str] | None]) -> int:
    """The branch of `lax.platform_dependent` that a CPU takes."""
    return next(i for i, names in enumerate(platforms) if names is None or "cpu" in names)


_programs: dict = {}


def on_host(jitted: Wrapped, *arguments, **static):
    """`jitted(*arguments, **static)` with numpy arrays for leaves, in the precision jax would have used.

    **Arguments:** `jitted`: a function under `jax.jit`, which is traced (once for each structure) and not compiled,
    and has no operation that numpy has not; `arguments`: pytrees of numbers and arrays; `static`: its static arguments.
    """
    leaves, structure = jax.tree.flatten(arguments)
    operands = [x if type(x) is np.ndarray else np.asarray(x) for x in leaves]
    double = jax.config.read("jax_enable_x64")
    key = jitted, structure, tuple((x.shape, x.dtype) for x in operands), tuple(static.items()), double
    found = _programs.get(key)
    if found is None:
        traced = jitted.trace(*arguments, **static)
        try:
            program = Program(traced.jaxpr)
        except LookupError:  # an operation, or a parameter of one, that is not in the tables below
            program = None
        found = _programs[key] = program, jax.tree.structure(traced.out_info)
    program, results = found
    if program is None:
        return jax.tree.map(np.asarray, jitted(*arguments, **static))
    with np.errstate(all="ignore"):
        return jax.tree.unflatten(results, program(operands))


def _operation(name: str, params: dict, number: int, dtype: np.dtype) -> Operation:
    """One result of a primitive. **Raises** `LookupError` for one that has no numpy form here."""
    if name in _SAME:
        return _SAME[name]
    if name == "div":
        return operator.truediv if np.issubdtype(dtype, np.inexact) else _whole_quotient
    if name == "split":
        ends = np.cumsum(params["sizes"])
        part = slice(int(ends[number] - params["sizes"][number]), int(ends[number]))
        index = (slice(None),) * params["axis"] + (part,)
        return lambda x: x[index]
    if name == "unstack":
        index = (slice(None),) * params["axis"] + (number,)
        return lambda x: x[index]
    return _SHAPED[name](params)


def _whole_quotient(a, b):
    return np.trunc(a / b).astype(a.dtype)


def _selected(params: dict) -> Operation:
    def selected(which, first, *others):
        return np.where(which, others[0], first) if len(others) == 1 else np.choose(which.astype(int), [first, *others])

    return selected


def _broadcast(params: dict) -> Operation:
    shape, places = params["shape"], params["broadcast_dimensions"]

    def broadcast(x, *_):
        kept = [1] * len(shape)
        for place, length in zip(places, np.shape(x), strict=True):
            kept[place] = length
        filled = np.empty(shape, x.dtype)
        filled[...] = np.reshape(x, kept)
        return filled

    return broadcast


def _reshaped(params: dict) -> Operation:
    sizes = params["new_sizes"]
    return lambda x: np.reshape(x, sizes)


def _sliced(params: dict) -> Operation:
    steps = params["strides"] or (None,) * len(params["start_indices"])
    index = tuple(map(slice, params["start_indices"], params["limit_indices"], steps))
    return lambda x: x[index]


def _padded(params: dict) -> Operation:
    sides = [(low, high) for low, high, _ in params["padding_config"]]
    if any(low < 0 or high < 0 or inner for low, high, inner in params["padding_config"]):
        raise LookupError("padding that cuts or spreads")
    return lambda x, fill: np.pad(x, sides, constant_values=fill)


def _contracted(params: dict) -> Operation:
    """lax.dot_general: batch axes first, then what is left of a, then of b."""
    (sum_a, sum_b), (batch_a, batch_b) = params["dimension_numbers"]

    def contracted(a, b):
        name_a, name_b = list(range(a.ndim)), list(range(a.ndim, a.ndim + b.ndim))
        for i, j in zip((*sum_a, *batch_a), (*sum_b, *batch_b), strict=True):
            name_b[j] = name_a[i]
        free_a = [n for i, n in enumerate(name_a) if i not in (*sum_a, *batch_a)]
        free_b = [n for j, n in enumerate(name_b) if j not in (*sum_b, *batch_b)]
        return np.einsum(a, name_a, b, name_b, [name_a[i] for i in batch_a] + free_a + free_b)

    return contracted


def _counted(params: dict) -> Operation:
    numbers = np.indices(params["shape"], params["dtype"])[params["dimension"]]
    return lambda *_: numbers


def _joined(params: dict) -> Operation:
    return lambda *parts: np.concatenate(parts, params["dimension"])


def _stacked(params: dict) -> Operation:
    axis = params["axis"]
    return lambda *parts: np.array(parts) if axis == 0 else np.stack(parts, axis)


_SHAPED: dict[str, Callable[[dict], Operation]] = {
    "rsqrt": lambda params: lambda x: 1 / np.sqrt(x),
    "integer_pow": lambda params: lambda x: x ** params["y"],
    "select_n": _selected,
    "convert_element_type": lambda params: lambda x: x.astype(params["new_dtype"]),
    "reshape": _reshaped,
    "squeeze": lambda params: lambda x: np.squeeze(x, tuple(params["dimensions"])),
    "transpose": lambda params: lambda x: np.transpose(x, params["permutation"]),
    "concatenate": _joined,
    "reduce_sum": lambda params: lambda x: np.sum(x, tuple(params["axes"])),
    "reduce_prod": lambda params: lambda x: np.prod(x, tuple(params["axes"])),
    "reduce_and": lambda params: lambda x: np.all(x, tuple(params["axes"])),
    "reduce_or": lambda params: lambda x: np.any(x, tuple(params["axes"])),
    "stack": _stacked,
    "tile": lambda params: lambda x: np.tile(x, params["reps"]),
    "broadcast_in_dim": _broadcast,
    "slice": _sliced,
    "iota": _counted,
    "pad": _padded,
    "dot_general": _contracted,
}
"""Primitives with parameters: of these, functions of operands."""
