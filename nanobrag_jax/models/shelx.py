"""SHELX reflection files (.hkl): fixed columns h k l, intensity, error; cell and symmetry in the .ins beside them."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..io.text import read_bytes
from .sphere import Sphere, check_cell, expanded, load_gemmi
from .symmetry import Operators

_COLUMNS = (slice(0, 4), slice(4, 8), slice(8, 12), slice(12, 20), slice(20, 28))
_LINE = re.compile(rb"(?:[ \d]{2}[ \d-]\d|[ \d-]{3}\d){3}[ \d.-]{8}[ \d.-]{8}(?:[ \d-]{3}\d)?\s*$")
_END = re.compile(rb"^ {3}0 {3}0 {3}0[ 0.]*\s*$", re.MULTILINE)
_LOOKED_AT = 50

_CENTRING = {
    1: (),
    2: ("x+1/2,y+1/2,z+1/2",),
    3: ("x+2/3,y+1/3,z+1/3", "x+1/3,y+2/3,z+2/3"),
    4: ("x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "x+1/2,y+1/2,z"),
    5: ("x,y+1/2,z+1/2",),
    6: ("x+1/2,y,z+1/2",),
    7: ("x+1/2,y+1/2,z",),
}
"""Translations of the numbers that LATT gives to lattices."""


class _Instructions(NamedTuple):
    """What an .ins or .res file says of the data beside it."""

    cell: Any
    group: Any
    is_intensity: bool
    path: Path


def is_shelx(path: str | os.PathLike[str]) -> bool:
    """Whether a file has SHELX' columns in each of its first lines, and the line of zeros that ends its data."""
    data = read_bytes(path, "structure-factor file")
    end = _END.search(data)
    lines = [] if end is None else data[: end.start()].splitlines()[:_LOOKED_AT]
    return bool(lines) and all(_LINE.match(line) for line in lines)


def sphere_from_shelx(path: str | os.PathLike[str]) -> Sphere:
    """The whole sphere in P1 from a SHELX file, symmetry mates averaged by their errors.

    Cell, symmetry and kind of data (HKLF 4: intensities, whose square roots are taken, negative ones as 0; HKLF 3:
    amplitudes) are those of the .ins or .res file of the same name beside it. Without one the data are taken for
    intensities in P -1, and the cell is NaN.

    **Raises** `InputError` for a file that cannot be read, and for another HKLF.
    """
    gemmi = load_gemmi("a SHELX file")
    name = f"SHELX reflection file {os.fspath(path)!r}"
    said = _instructions(gemmi, Path(path))
    group = gemmi.SpaceGroup("P -1") if said is None else said.group
    hkl, values, errors = _columns(read_bytes(path, "structure-factor file"), name)
    hkl, values, merged = _merged(hkl, values, errors, group)
    is_intensity = said is None or said.is_intensity
    negative = int(np.count_nonzero(values < 0))
    if is_intensity:
        kept = np.sqrt(np.clip(values, 0.0, None))
        notes = [
            f"{name}: square roots of intensities taken, {negative} negative ones as 0 (no French-Wilson treatment)"
        ]
    else:
        kept = np.where(values < 0, np.nan, values)
        notes = [f"{name}: {negative} negative amplitudes are left out"] if negative else []
    if merged:
        notes.append(f"{name}: {merged} values of symmetry mates are averaged")
    if said is None:
        notes.append(
            f"{name}: no .ins or .res file beside it says cell, symmetry and HKLF: taken for intensities (HKLF 4), and "
            "only reflections of the file and their Friedel mates are known"
        )
    cell = None if said is None else said.cell
    table = expanded(hkl, kept, None, cell, group, name)
    sizes = np.full(6, np.nan) if cell is None else np.array(cell.parameters)
    return Sphere(replace(table, notes=notes), sizes, group.hm)


def _columns(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices (n, 3), values and errors, down to the line of zeros."""
    end = _END.search(data)
    rows = []
    for number, line in enumerate(data[: None if end is None else end.start()].splitlines(), 1):
        if line.strip():
            try:
                h, k, l, value, error = (line[column].decode("latin-1") for column in _COLUMNS)
                rows.append((int(h), int(k), int(l), float(value), float(error)))
            except ValueError:
                raise InputError(f"{name}, line {number}: no h k l, value and error in SHELX' columns") from None
    table = np.array(rows).reshape(-1, 5)
    return table[:, :3].astype(np.int64), table[:, 3], table[:, 4]


def _merged(hkl: np.ndarray, values: np.ndarray, errors: np.ndarray, group: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """One of each set of symmetry mates with the weighted mean of their values, and how many were more than one."""
    rotations = np.unique([np.array(op.rot) // op.DEN for op in group.operations().sym_ops], axis=0)
    base = 2 * int(np.abs(hkl).max()) * 3 + 1 if len(hkl) else 1
    mates = np.stack([hkl @ rotation for rotation in rotations])
    numbers = (mates[..., 0] * base + mates[..., 1]) * base + mates[..., 2]
    chosen = np.take_along_axis(mates, numbers.argmax(axis=0)[None, :, None], axis=0)[0]
    unique, place = np.unique(chosen, axis=0, return_inverse=True)
    weights = np.where(errors > 0, 1.0 / np.square(np.where(errors > 0, errors, 1.0)), 0.0)
    weights = np.where(np.bincount(place.ravel(), weights)[place.ravel()] > 0, weights, 1.0)  # no errors at all
    means = np.bincount(place.ravel(), weights * values) / np.bincount(place.ravel(), weights)
    return unique, means, len(hkl) - len(unique)


def _instructions(gemmi: Any, path: Path) -> _Instructions | None:
    """What the .ins or .res file of the same name says; None where there is none.

    **Raises** `InputError` for one that lacks a cell, or asks for another kind of data.
    """
    beside = next((p for end in (".ins", ".res") if (p := path.with_suffix(end)).is_file()), None)
    if beside is None:
        return None
    name = f"SHELX file {os.fspath(beside)!r}"
    text = read_bytes(beside, "SHELX file").decode("latin-1")
    lines = re.sub(r"=[^\n]*\n", " ", text.split("\nEND")[0]).splitlines()
    words = {line.split()[0].upper(): line.split()[1:] for line in lines if line.strip()}
    symmetry = [line.strip()[4:] for line in lines if line.strip().upper().startswith("SYMM")]
    kind = words.get("HKLF", ["4"])[:1]
    if kind not in (["3"], ["4"]):
        raise InputError(
            f"{name} asks for HKLF {' '.join(kind)}: data of HKLF 3 (amplitudes) and 4 (intensities) are read"
        )
    try:
        cell = gemmi.UnitCell(*(float(x) for x in words["CELL"][1:7]))
        group = _group(gemmi, int(words.get("LATT", ["1"])[0]), symmetry)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name}: no cell (CELL) and symmetry (LATT, SYMM) that can be understood: {error}") from None
    check_cell(cell, name)
    return _Instructions(cell, group, kind == ["4"], beside)


def _group(gemmi: Any, lattice: int, symmetry: list[str]) -> Any:
    """The space group of LATT and SYMM instructions; operators where it has no symbol."""
    operators = [gemmi.Op("x,y,z"), *(gemmi.Op(text.strip().lower()) for text in symmetry)]
    if lattice > 0:
        operators += [gemmi.Op("-x,-y,-z") * operator for operator in operators]
    operators += [gemmi.Op(shift) * operator for shift in _CENTRING[abs(lattice)] for operator in list(operators)]
    group = gemmi.GroupOps([operator.wrap() for operator in operators])
    found = gemmi.find_spacegroup_by_ops(group)
    return Operators(group, "given by operators") if found is None else found
