"""A trace as a table for the eye: six digits, units in a column of their own, φ steps one a line."""

from collections.abc import Mapping, Sequence

Value = float | tuple[float, ...]

_UNITS = {
    "scattering_vec_A_inv": "1/m",
    "_photons_per_m2": "photons/m^2",
    "_A_inv": "1/A",
    "_angstroms": "A",
    "_meters": "m",
    "_photons": "photons",
    "_sr": "sr",
    "I_pixel_final": "photons",
    "floatimage_accumulated": "photons",
    "r_e_sqr": "m^2",
    "omega_pixel": "sr",
}
"""Ends of names, and their units; one name says another than it has (docs/reference.md section 11)."""

STEPS_SHOWN = 12
_STEP_COLUMNS = ("layer", "phi_tic", "phi_deg", "hkl_frac", "F_latt", "F_cell")


def table(values: Mapping[str, Value], phi_steps: Sequence[Mapping[str, Value]]) -> str:
    """The values of a trace under each other, then its φ steps."""
    width = max(map(len, values), default=0)
    shown = {name: _numbers(value) for name, value in values.items()}
    columns = max(map(len, shown.values()), default=0)
    lines = [f"  {name:{width}}  {text:{columns}}  {_unit(name)}".rstrip() for name, text in shown.items()]
    steps = [_row(step) for step in phi_steps[:STEPS_SHOWN]]
    if steps:
        head = [name for name in _STEP_COLUMNS if name in phi_steps[0]]
        widths = [max(len(row[i]) for row in [head, *steps]) for i in range(len(head))]
        for row in [head, *steps]:
            lines.append("  " + "  ".join(f"{word:>{n}}" for word, n in zip(row, widths, strict=True)))
    if len(phi_steps) > STEPS_SHOWN:
        lines.append(f"  … {len(phi_steps) - STEPS_SHOWN} more phi steps")
    return "\n".join(lines)


def _row(step: Mapping[str, Value]) -> list[str]:
    return [_numbers(step[name]) for name in _STEP_COLUMNS if name in step]


def _numbers(value: Value) -> str:
    numbers = value if isinstance(value, tuple) else (value,)
    return " ".join(f"{float(x) + 0.0:.6g}" for x in numbers)


def _unit(name: str) -> str:
    return next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")
