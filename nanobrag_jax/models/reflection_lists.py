"""Reflection lists as text with a header: CrystFEL's (.hkl) and XDS' merged one (XDS_ASCII.HKL)."""

import os
import re
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.text import finite_number, read_bytes, read_start, shown
from .shelx import is_shelx, sphere_from_shelx
from .sphere import Sphere, check_cell, check_repeated, expanded, load_gemmi

_CRYSTFEL = b"CrystFEL reflection list"
_XDS = b"!FORMAT=XDS_ASCII"

_POINT_GROUPS = {
    "1": "P 1", "-1": "P -1", "222": "P 2 2 2", "mmm": "P m m m", "4": "P 4", "-4": "P -4", "4/m": "P 4/m",
    "422": "P 4 2 2", "4mm": "P 4 m m", "-42m": "P -4 2 m", "-4m2": "P -4 m 2", "4/mmm": "P 4/m m m",
    "3_R": "R 3 :R", "-3_R": "R -3 :R", "32_R": "R 3 2 :R", "3m_R": "R 3 m :R", "-3m_R": "R -3 m :R",
    "3_H": "P 3", "-3_H": "P -3", "321_H": "P 3 2 1", "312_H": "P 3 1 2", "3m1_H": "P 3 m 1", "31m_H": "P 3 1 m",
    "-3m1_H": "P -3 m 1", "-31m_H": "P -3 1 m", "6": "P 6", "-6": "P -6", "6/m": "P 6/m", "622": "P 6 2 2",
    "6mm": "P 6 m m", "-62m": "P -6 2 m", "-6m2": "P -6 m 2", "6/mmm": "P 6/m m m", "23": "P 2 3", "m-3": "P m -3",
    "432": "P 4 3 2", "-43m": "P -4 3 m", "m-3m": "P m -3 m",
    **{f"{two}_ua{axis}": f"P {' '.join(two if at == axis else '1' for at in 'abc')}"
       for two in ("2", "m", "2/m") for axis in "abc"},
    **{two: f"P 1 1 {two}" for two in ("2", "m", "2/m")},
}  # fmt: skip
"""CrystFEL's point groups, whose axis is along c unless said otherwise, and space groups that have their operators."""


def is_reflection_list(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of these, or one of SHELX."""
    return read_start(path, "structure-factor file", 64).lstrip().startswith((_CRYSTFEL, _XDS)) or is_shelx(path)


def sphere_from_list(path: str | os.PathLike[str]) -> Sphere:
    """The whole sphere in P1 from a list of merged intensities, whose square roots are taken (negative ones as 0).

    CrystFEL's lists have a point group and no cell, which is then NaN; XDS' have a space group and a cell. Of SHELX'
    files see `sphere_from_shelx`.

    **Raises** `InputError` for a file that cannot be read or understood, and for unmerged data.
    """
    if is_shelx(path):
        return sphere_from_shelx(path)
    text = read_bytes(path, "structure-factor file").decode("latin-1")
    gemmi = load_gemmi("a reflection list with symmetry")
    if text.lstrip().startswith(_CRYSTFEL.decode()):
        return _crystfel(gemmi, text, f"CrystFEL reflection list {os.fspath(path)!r}")
    return _xds(gemmi, text, f"XDS reflection list {os.fspath(path)!r}")


def _crystfel(gemmi: Any, text: str, name: str) -> Sphere:
    lines = text.splitlines()
    symmetry = next((line.partition(":")[2].strip() for line in lines[:10] if line.startswith("Symmetry:")), None)
    if symmetry is None:
        raise InputError(f"{name} does not say its symmetry")
    symbol = _POINT_GROUPS.get(symmetry)
    if symbol is None:
        raise InputError(f"{name}: the point group {symmetry!r} is unknown: {', '.join(_POINT_GROUPS)} are known")
    begin = next((i for i, line in enumerate(lines) if line.split()[:4] == ["h", "k", "l", "I"]), None)
    end = next((i for i, line in enumerate(lines) if line.startswith("End of reflections")), None)
    if begin is None or end is None:
        raise InputError(f"{name} is cut off: it has no line of titles, or no 'End of reflections'")
    hkl, intensities = _rows(lines, begin + 1, end, (0, 1, 2), 3, name)
    return _made(hkl, intensities, None, gemmi.SpaceGroup(symbol), name)


def _xds(gemmi: Any, text: str, name: str) -> Sphere:
    lines = text.splitlines()
    header = [line for line in lines if line.startswith("!")]
    said = dict(re.findall(r"([A-Z_'0-9]+)=\s*(.*?)\s*(?=$|\s[A-Z_']+=)", "\n".join(header), re.MULTILINE))
    if said.get("MERGE", "FALSE").upper() != "TRUE":
        raise InputError(f"{name} is unmerged (MERGE=FALSE): merge it first, with XSCALE or another program")
    number, cell = said.get("SPACE_GROUP_NUMBER", ""), said.get("UNIT_CELL_CONSTANTS", "").split()
    group = (
        gemmi.find_spacegroup_by_number(int(number))
        if number.isascii() and number.isdigit() and len(number) < 4
        else None
    )
    if group is None:
        raise InputError(f"{name} does not say its space group")
    try:
        a, b, c, alpha, beta, gamma = (float(x) for x in cell)
        edges = gemmi.UnitCell(a, b, c, alpha, beta, gamma)
    except (ValueError, RuntimeError):
        raise InputError(f"{name} does not say its unit cell") from None
    check_cell(edges, name)
    items = []
    for item, place in (("H", "1"), ("K", "2"), ("L", "3"), ("IOBS", "4")):
        column = said.get(f"ITEM_{item}", place)
        if not (column.isascii() and column.isdigit() and len(column) < 4 and int(column) > 0):
            raise InputError(f"{name} has ITEM_{item}={shown(column)}, which is no number of a column")
        items.append(int(column) - 1)
    begin = next((i for i, line in enumerate(lines) if line.startswith("!END_OF_HEADER")), None)
    end = next((i for i, line in enumerate(lines) if line.startswith("!END_OF_DATA")), None)
    if begin is None or end is None:
        raise InputError(f"{name} is cut off: it has no !END_OF_HEADER or no !END_OF_DATA")
    hkl, intensities = _rows(lines, begin + 1, end, (items[0], items[1], items[2]), items[3], name)
    return _made(hkl, intensities, edges, group, name)


def _rows(
    lines: list[str], begin: int, end: int, indices: tuple[int, int, int], value: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (n, 3) and intensities (n,). **Raises** `InputError` for a line that has none."""
    hkl, values = [], []
    for number in range(begin, end):
        words = lines[number].split()
        try:
            hkl.append([int(np.int32(int(words[i]))) for i in indices])
            values.append(finite_number(words[value], ""))
        except (IndexError, ValueError, OverflowError):
            raise InputError(f"{name}, line {number + 1}: no h k l and intensity in {shown(lines[number])}") from None
    if not hkl:
        raise InputError(f"{name} holds no reflections")
    return np.array(hkl, np.int32), np.array(values)


def _made(hkl: np.ndarray, intensities: np.ndarray, cell: Any, group: Any, name: str) -> Sphere:
    check_repeated(hkl, np.isfinite(intensities), name)
    amplitudes = np.sqrt(np.clip(intensities, 0.0, None))
    table = expanded(hkl, amplitudes, None, cell, group, name)
    negative = int(np.count_nonzero(intensities < 0))
    note = f"{name}: square roots of intensities taken, {negative} negative ones as 0 (no French-Wilson treatment)"
    sizes = np.full(6, np.nan) if cell is None else np.array(cell.parameters)
    return Sphere(replace(table, notes=[note]), sizes, group.hm)
