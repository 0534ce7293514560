"""How two traces of a pixel differ, name by name, and where first."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from ..errors import InputError
from ..trace.record import FIRST_STEP, NAMES, SCALING, Trace, Value, numbers_of

TOLERANCE = 1e-6
_STEP_ORDER = ("layer", "phi_tic", "phi_deg", "kept", "rotated", "interpolated")
_BEFORE_STEPS = NAMES[: NAMES.index(SCALING[0])]
_NOT_COMPARED = ("rotated",)  # says how vectors came about, in a still the same ones


@dataclass(frozen=True)
class Row:
    """One name, the φ step it belongs to (None for none), both values and their relative difference."""

    name: str
    step: int | None
    a: Value
    b: Value
    relative: float

    def place(self, phi_deg: float | None = None) -> str:
        """The name with its φ step."""
        if self.step is None:
            return self.name
        return f"{self.name} at phi step {self.step}" + ("" if phi_deg is None else f" (phi = {phi_deg:g} deg)")


@dataclass(frozen=True)
class TraceComparison:
    """What `compare_traces` finds: rows in the order of computation, names of one trace only, and the tolerance."""

    rows: tuple[Row, ...]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    tolerance: float
    phi_deg: tuple[float, ...] = ()

    @property
    def first(self) -> Row | None:
        """The first row that exceeds the tolerance, None if there is none."""
        return next((row for row in self.rows if not row.relative <= self.tolerance), None)

    def sentence(self) -> str:
        """`first difference: …`."""
        row = self.first
        if row is None:
            return "first difference: none"
        return f"first difference: {self._place(row)}: {_shown(row.a)} and {_shown(row.b)}, relative {row.relative:.3g}"

    def _place(self, row: Row) -> str:
        known = row.step is not None and row.step < len(self.phi_deg)
        return row.place(self.phi_deg[row.step] if known else None)  # type: ignore[index]

    def table(self) -> str:
        """A line a name, those beyond the tolerance marked, and the first difference."""
        lines = []
        for row in self.rows:
            mark = "" if row.relative <= self.tolerance else "  <--"
            lines.append(f"{row.place():<44}{row.relative:10.3g}{mark}")
        for side, names in (("A", self.only_in_a), ("B", self.only_in_b)):
            if names:
                lines.append(f"only in {side}: {', '.join(names)}")
        return "\n".join([*lines, self.sentence()]) + "\n"

    def as_dict(self) -> dict:
        """The rows and the first difference for JSON."""
        first = self.first
        return {
            "tolerance": self.tolerance,
            "first_difference": None if first is None else _row_dict(first),
            "rows": [_row_dict(row) for row in self.rows],
            "only_in_a": list(self.only_in_a),
            "only_in_b": list(self.only_in_b),
        }


def _row_dict(row: Row) -> dict:
    record = asdict(row)
    return record | {"relative": row.relative if np.isfinite(row.relative) else None}


def _shown(value: Value) -> str:
    return " ".join(f"{x:.15g}" for x in numbers_of(value))


def relative_difference(a: Value, b: Value) -> float:
    """|A − B| / max(|A|, |B|), of vectors with their lengths; infinite for NaN and where one has more components."""
    x, y = numbers_of(a), numbers_of(b)
    if x.shape != y.shape:
        return float("inf")
    if np.array_equal(x, y):
        return 0.0
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("inf")
    peak = max(np.abs(x).max(), np.abs(y).max())  # taken out first, so that no square under- or overflows
    x, y = x / peak, y / peak
    return float(np.linalg.norm(x - y) / max(np.linalg.norm(x), np.linalg.norm(y)))


def compare_traces(a: Trace, b: Trace, tolerance: float = TOLERANCE) -> TraceComparison:
    """The relative difference of each name that both traces have, in the order of computation.

    φ steps are aligned by their place in the list. Raises InputError where the traces are of different pixels, have
    no name in common, or the tolerance is negative.
    """
    if not tolerance >= 0:
        raise InputError(f"the tolerance must be zero or positive, got {tolerance:g}")
    pixels = [None if None in (t.slow, t.fast) else (t.slow, t.fast) for t in (a, b)]
    if None not in pixels and pixels[0] != pixels[1]:
        raise InputError(f"the traces are of different pixels (slow, fast): {pixels[0]} and {pixels[1]}")
    rows = [_row(name, 0 if name in FIRST_STEP else None, a.values, b.values) for name in _common(a.values, b.values)]
    if not rows:
        raise InputError("the traces have no name in common")
    before = [row for row in rows if row.name in _BEFORE_STEPS]
    after = [row for row in rows if row.name not in _BEFORE_STEPS]
    steps = _step_rows(a, b)
    only_a, only_b = (tuple(sorted(set(one.values) - set(other.values), key=_rank)) for one, other in ((a, b), (b, a)))
    phi = tuple(float(numbers_of(step["phi_deg"])[0]) for step in a.phi_steps if "phi_deg" in step)
    return TraceComparison((*before, *steps, *after), only_a, only_b, tolerance, phi)


def _rank(name: str) -> tuple[int, str]:
    order = (*_STEP_ORDER, *NAMES)
    return (order.index(name), "") if name in order else (len(order), name)


def _common(a: Mapping[str, Value], b: Mapping[str, Value]) -> list[str]:
    names = sorted(set(a) & set(b), key=_rank)
    return [name for name in names if name not in _NOT_COMPARED]


def _row(name: str, step: int | None, a: Mapping[str, Value], b: Mapping[str, Value]) -> Row:
    return Row(name, step, a[name], b[name], relative_difference(a[name], b[name]))


def _step_rows(a: Trace, b: Trace) -> list[Row]:
    """Rows of the φ steps; how many there are comes first where it differs."""
    if not (a.phi_steps and b.phi_steps):
        return []
    rows = []
    counts = float(len(a.phi_steps)), float(len(b.phi_steps))
    if counts[0] != counts[1]:
        rows.append(Row("number of phi steps", None, *counts, relative_difference(*counts)))
    for step, (one, other) in enumerate(zip(a.phi_steps, b.phi_steps, strict=False)):
        rows += [_row(name, step, one, other) for name in _common(one, other)]
    return rows
