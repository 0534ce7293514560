"""Structure factors from reflection files: MTZ and structure-factor mmCIF."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from .core_cif import core_reflections
from .mtz_header import mtz_records
from .sphere import Floats, Sphere, check_cell, check_readable, check_repeated, expanded, load_gemmi, naming
from .symmetry import absences_note, mtz_group

AMPLITUDES = {"F": False, "G": True}
INTENSITIES = {"J": False, "K": True}
"""MTZ column types, and whether they come in pairs for the Friedel mates."""

USUAL_MTZ = ("FP", "F", "FOBS", "F-obs", "F-obs-filtered", "FMODEL", "F-model", "FC", "FC_ALL")
"""Labels that are taken first among amplitudes without Friedel pairs."""

CIF_COLUMNS = (
    ("pdbx_F_plus", "pdbx_F_minus", "F"),
    ("F_meas_au", None, "F"),
    ("F_meas", None, "F"),
    ("pdbx_F_calc_with_solvent", None, "F"),
    ("F_calc_au", None, "F"),
    ("F_calc", None, "F"),
    ("pdbx_I_plus", "pdbx_I_minus", "J"),
    ("intensity_meas", None, "J"),
    ("F_squared_meas", None, "J"),
)
"""Items of _refln: of h k l, of -h -k -l, and whether amplitudes (F) or intensities (J), in order of preference."""

_SIGNS = (("(+)", "(-)"), ("plus", "minus"), ("+", "-"))


class _Choice(NamedTuple):
    plus: str
    minus: str | None
    intensity: bool


@naming("MTZ file")
def sphere_from_mtz(path: str | os.PathLike[str], column: str | None = None) -> Sphere:
    """The whole sphere in P1 from a merged MTZ file.

    **Arguments:** `column`: label of amplitudes, or of intensities, whose square root is taken (negative ones as 0;
    a French-Wilson treatment is left to other programs). For one of a Friedel pair, as F(+), its partner F(-) is
    found. None for a Friedel pair of amplitudes if there is one, else the usual amplitudes; never intensities.

    Raises InputError for a file that cannot be read, is unmerged, lacks the column, cell or space group.
    """
    name = f"MTZ file {os.fspath(path)!r}"
    records, mtz, columns, choice, cell = _open_mtz(path, column, name)
    parts = [None if x is None else _values(mtz, x) for x in (choice.plus, choice.minus)]
    others = [label for label, kind in columns.items() if kind in AMPLITUDES and label not in choice]
    group, notes = mtz_group(load_gemmi("an MTZ file"), mtz, records, name)
    others = others if column is None else []
    return _sphere(mtz.make_miller_array(), parts, choice, cell, group, name, others, notes)


def _values(mtz: Any, label: str) -> Floats:
    """A column, NaN where the file has its own number for what is missing (VALM)."""
    values = np.array(mtz.column_with_label(label), float)
    return values if np.isnan(mtz.valm) else np.where(values == np.float32(mtz.valm), np.nan, values)


@naming("MTZ file")
def read_mtz_cell(path: str | os.PathLike[str], column: str | None = None) -> Floats:
    """Edges (Å) and angles (degrees), (6,), that go with a column. Raises InputError as `sphere_from_mtz`."""
    name = f"MTZ file {os.fspath(path)!r}"
    return np.array(_open_mtz(path, column, name).cell.parameters)


class _Mtz(NamedTuple):
    """The records of a file's header, gemmi's reading of it, its columns' types, the choice among them and its cell."""

    records: list[str]
    mtz: Any
    columns: dict[str, str]
    choice: _Choice
    cell: Any


def _open_mtz(path: str | os.PathLike[str], column: str | None, name: str) -> _Mtz:
    gemmi = load_gemmi("an MTZ file")
    check_readable(path, name)
    records = mtz_records(path, name)
    mtz = gemmi.read_mtz_file(os.fspath(path))
    if mtz.batches or mtz.columns_with_type("B"):
        raise InputError(f"{name} is unmerged: merge it first")
    columns = {c.label: c.type for c in mtz.columns}
    filled = {label for label, kind in columns.items() if kind in AMPLITUDES and _has_values(mtz, label)}
    offered = columns
    if column is None and filled:  # what has no values is no choice
        offered = {label: kind for label, kind in columns.items() if kind not in AMPLITUDES or label in filled}
    choice = _choose_mtz(offered, column, name)
    cell = mtz.get_cell(mtz.column_with_label(choice.plus).dataset_id)
    check_cell(cell, name)
    return _Mtz(records, mtz, columns, choice, cell)


def _has_values(mtz: Any, label: str) -> bool:
    return bool(np.any(np.isfinite(_values(mtz, label))))


def _choose_mtz(columns: dict[str, str], wanted: str | None, name: str) -> _Choice:
    usable = [label for label, kind in columns.items() if kind in AMPLITUDES | INTENSITIES]
    listed = ", ".join(usable) or "none"
    if wanted is not None:
        if wanted not in columns:
            raise InputError(f"{name} has no column {wanted!r}: its amplitudes and intensities are {listed}")
        if wanted not in usable:
            raise InputError(
                f"column {wanted!r} of {name} is of type {columns[wanted]}, neither amplitudes nor intensities "
                f"(those are {listed})"
            )
        return _with_partner(wanted, columns)
    amplitudes = [label for label in usable if columns[label] in AMPLITUDES]
    pairs = [choice for choice in (_with_partner(x, columns) for x in amplitudes) if choice.minus is not None]
    if pairs:
        return pairs[0]
    if amplitudes:
        return _Choice(next((x for x in USUAL_MTZ if x in amplitudes), amplitudes[0]), None, False)
    if usable:
        raise InputError(_only_intensities(name, listed))
    raise InputError(f"{name} has no amplitudes: its columns are {', '.join(columns)}")


def _only_intensities(name: str, listed: str) -> str:
    return (
        f"{name} has intensities only ({listed}): name the column (-mtz_column, -sfcif_column) to take their square "
        f"roots, negative ones as 0, or first make amplitudes of them with a French-Wilson program"
    )


def _with_partner(label: str, columns: dict[str, str]) -> _Choice:
    """A column with the one of its Friedel mates, that of h k l first."""
    kind = columns[label]
    intensity = kind in INTENSITIES
    if not (AMPLITUDES | INTENSITIES)[kind]:
        return _Choice(label, None, intensity)
    for plus, minus in _SIGNS:
        for here, there, swap in ((plus, minus, False), (minus, plus, True)):
            partner = there.join(label.rsplit(here, 1))
            if here in label and columns.get(partner) == kind and partner != label:
                return _Choice(partner, label, intensity) if swap else _Choice(label, partner, intensity)
    return _Choice(label, None, intensity)


@naming("structure-factor file")
def sphere_from_mmcif(path: str | os.PathLike[str], column: str | None = None) -> Sphere:
    """The whole sphere in P1 from a structure-factor mmCIF or a .fcf of SHELX; of several blocks the first that serves.

    **Arguments:** `column`: item of the _refln category, with or without its name, None for the first that is there of
    `CIF_COLUMNS`, never intensities. Otherwise as `sphere_from_mtz`.
    """
    name = f"structure-factor file {os.fspath(path)!r}"
    blocks = _open_mmcif(path, name)
    wanted = None if column is None else column.removeprefix("_refln.").removeprefix("_refln_")
    intensities: list[str] = []
    for block in blocks:
        labels = block.column_labels()
        for plus, minus, kind in _cif_candidates(wanted, labels):
            values = [None if x is None else block.make_float_array(x) for x in (plus, minus)]
            if not any(v is not None and np.any(np.isfinite(v)) for v in values):
                continue
            if kind == "J" and wanted is None:
                intensities.append(plus)
                continue
            choice = _Choice(plus, minus, kind == "J")
            return _sphere(block.make_miller_array(), values, choice, block.cell, block.spacegroup, name, [])
    if wanted is None and intensities:
        raise InputError(_only_intensities(name, ", ".join(dict.fromkeys(intensities))))
    known = ", ".join(label for label in blocks[0].column_labels() if not label.startswith("index_"))
    if wanted in blocks[0].column_labels() and _cif_kind(wanted or "") is None:
        raise InputError(f"{name}: {wanted} is neither amplitudes nor intensities; its items are {known}")
    what = "amplitudes" if wanted is None else f"values of {wanted}"
    raise InputError(f"{name} holds no {what}: its items are {known}")


def read_mmcif_cell(path: str | os.PathLike[str], column: str | None = None) -> Floats:
    """Edges (Å) and angles (degrees), (6,), of the block that serves. Raises InputError as `sphere_from_mmcif`."""
    return sphere_from_mmcif(path, column).cell


def _open_mmcif(path: str | os.PathLike[str], name: str) -> list[Any]:
    """The blocks of a file that hold reflections."""
    gemmi = load_gemmi("a structure-factor mmCIF file")
    check_readable(path, name)
    document = gemmi.cif.read(os.fspath(path))
    small = core_reflections(gemmi, document)
    blocks = [block for block in gemmi.as_refln_blocks(document) if block] or small
    if not blocks:
        raise InputError(f"{name} holds no reflections (no loop of _refln. or _refln_index_h)")
    return blocks


def _cif_candidates(wanted: str | None, labels: Sequence[str]) -> list[tuple[str, str | None, str]]:
    if wanted is None or any(wanted in row[:2] for row in CIF_COLUMNS):
        rows = [row for row in CIF_COLUMNS if wanted is None or wanted in row[:2]]
        return [(plus, minus if minus in labels else None, kind) for plus, minus, kind in rows if plus in labels]
    kind = _cif_kind(wanted)
    return [(wanted, None, kind)] if wanted in labels and kind is not None else []


def _cif_kind(item: str) -> str | None:
    """Whether a named item of _refln holds amplitudes (F) or intensities (J); None for neither."""
    if "sigma" in item:
        return None
    if item.startswith(("F_squared_", "intensity_", "pdbx_I_")):
        return "J"
    return "F" if item.startswith(("F_", "pdbx_F_")) else None


def _sphere(
    hkl,
    parts: Sequence[Floats | None],
    choice: _Choice,
    cell,
    group,
    name: str,
    others: list[str],
    notes: Sequence[str] = (),
) -> Sphere:
    if group is None:
        raise InputError(f"{name} does not say its space group")
    check_cell(cell, name)
    label = choice.plus if choice.minus is None else f"{choice.plus} and {choice.minus}"
    notes = list(notes)
    if choice.intensity:
        parts = [None if part is None else np.sqrt(np.clip(part, 0.0, None)) for part in parts]
    else:
        parts, left_out = zip(*(_without_negative(part) for part in parts), strict=True)
        if sum(left_out):
            notes.append(f"{name}: {sum(left_out)} negative amplitudes of {label} are left out")
    plus, minus = parts
    assert plus is not None
    hkl = np.asarray(hkl, np.int32)
    check_repeated(hkl, np.isfinite(plus) if minus is None else np.isfinite(plus) | np.isfinite(minus), name)
    table = expanded(hkl, plus, minus, cell, group, name)
    notes += absences_note(group, hkl, plus, name)
    if others:
        notes.append(f"{name}: {label} taken, {', '.join(others)} also there")
    if choice.intensity:
        notes.append(f"{name}: square roots of {label} taken, negative intensities as 0 (no French-Wilson treatment)")
    return Sphere(replace(table, notes=notes), np.array(cell.parameters), group.hm)


def _without_negative(values: Floats | None) -> tuple[Floats | None, int]:
    """Amplitudes with NaN for negative ones, and how many these were."""
    if values is None:
        return None, 0
    negative = values < 0
    return np.where(negative, np.nan, values), int(np.count_nonzero(negative))
