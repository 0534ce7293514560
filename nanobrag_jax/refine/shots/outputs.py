"""Refined shots as DIALS reads them, an experiment list and a reflection table, and as a table with a row a shot."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...dials.models import ExptCrystal, ExptExperiment, ExptScan
from ...dials.reflections import ReflectionTable, write_refl
from ...dials.write import write_expt
from ...errors import InputError
from ..dials_data import DialsFiles
from .record import Record

_INDEXED, _USED, _OBSERVED = 1 << 2, 1 << 3, 1 << 5
"""Bits of DIALS' flags."""


def write_shots(folder: Path, files: DialsFiles, records: Sequence[Record]) -> list[str]:
    """Write refined.expt, refined.refl and shots.parquet to a folder; their names.

    **Raises** `InputError` where a file cannot be written. Without pyarrow the table is shots.csv.
    """
    made = refined_records(files, records)
    write_expt(folder / "refined.expt", made)
    identifiers = {number: each.identifier for number, each in enumerate(made) if each.identifier}
    write_refl(folder / "refined.refl", reflections(files.table, made, records), identifiers)
    return ["refined.expt", "refined.refl", write_table(folder, records)]


def refined_records(files: DialsFiles, records: Sequence[Record]) -> list[ExptExperiment]:
    """The experiments of a list with refined crystals, one for each shot."""
    return [_experiment(files, record) for record in records]


def _experiment(files: DialsFiles, record: Record) -> ExptExperiment:
    """The experiment of a list with the refined crystal, for one image alone."""
    old = files.records[record["number"]]
    space, edges = np.array(record["real_space_A"]), np.array(record["n_cells"])
    lengths = np.linalg.norm(space, axis=1)
    spread = record["mosaic_spread_deg"]
    crystal = ExptCrystal(
        space,
        " P 1" if old.crystal is None else old.crystal.hall_symbol,
        half_mosaicity_deg=spread,
        domain_size_A=None if spread is None else float(np.exp(np.mean(np.log(lengths * edges)))),
    )
    identifier, scan, imageset = old.identifier, old.scan, _absolute(old.imageset, files.folder)
    if scan is not None and scan.num_images > 1:
        place = record["image"] - scan.first_image
        here = slice(place, place + 1)
        scan = ExptScan(record["image"], scan.start_deg[here], scan.width_deg[here], scan.exposure_s[here])
        identifier = f"{identifier or 'shot'}-{record['image']}"
        if imageset is not None and "single_file_indices" in imageset:
            imageset = imageset | {"single_file_indices": imageset["single_file_indices"][here]}
    return replace(old, crystal=crystal, identifier=identifier, scan=scan, imageset=imageset)


def _absolute(imageset: dict | None, folder: Path) -> dict | None:
    """An image set whose names do not depend on where the list lies."""
    if imageset is None:
        return None
    full = lambda name: os.path.join(os.path.abspath(folder), name)  # noqa: E731
    named = {}
    if isinstance(imageset.get("template"), str) and imageset["template"]:
        named["template"] = full(imageset["template"])
    if isinstance(imageset.get("images"), list):
        named["images"] = [full(name) for name in imageset["images"]]
    return imageset | named


def reflections(
    table: ReflectionTable, experiments: Sequence[ExptExperiment], records: Sequence[Record]
) -> dict[str, np.ndarray]:
    """The columns of the boxes' spots, with calculated places, photons and chi-square a pixel."""
    boxes = [record["boxes"] for record in records]
    joined = lambda name, kind=float: np.concatenate([np.asarray(b[name], kind) for b in boxes])  # noqa: E731
    rows, hkl, panel = joined("row", int), joined("hkl", int), joined("panel", int)
    counts = [len(b["row"]) for b in boxes]
    number = np.repeat(np.arange(len(records)), counts)
    columns = {}
    for name, values in table.columns.items():
        taken = values[np.maximum(rows, 0)].copy()
        taken[rows < 0] = 0
        columns[name] = taken
    used = ~joined("masked", bool)
    frame = np.repeat([record["image"] - 0.5 if e.scan else 0.5 for record, e in _pairs(records, experiments)], counts)
    place = np.column_stack([joined("calculated")[:, ::-1] + 0.5, frame])
    observed = np.column_stack([joined("center")[:, ::-1] + 0.5, frame])
    flags = np.asarray(columns.get("flags", np.zeros(len(rows), np.uint64)), np.uint64) | np.uint64(_INDEXED)
    flags = np.where(rows < 0, flags, flags | np.uint64(_OBSERVED))
    flags = np.where(used, flags | np.uint64(_USED), flags & ~np.uint64(_USED))
    sizes = [np.array([p.pixel_size_mm for p in e.detector or ()]) for e in experiments]
    pixel = np.concatenate([s[np.asarray(b["panel"], int)] for s, b in zip(sizes, boxes, strict=True)])
    angles = np.repeat([_middle_rad(record, e) for record, e in _pairs(records, experiments)], counts)
    columns |= {
        "miller_index": hkl,
        "id": number,
        "panel": panel.astype(np.uint64),
        "flags": flags.astype(np.uint64),
        "xyzcal.px": place,
        "xyzcal.mm": np.column_stack([place[:, :2] * pixel, angles]),
        "xyzobs.px.value": np.where((rows < 0)[:, None], observed, columns.get("xyzobs.px.value", observed)),
        "model.photons": joined("photons"),
        "model.chi_square": np.nan_to_num(joined("chi_square"), nan=-1.0),
    }
    return columns


def _pairs(records: Sequence[Record], experiments: Sequence[ExptExperiment]):
    return list(zip(records, experiments, strict=True))


def _middle_rad(record: Record, experiment: ExptExperiment) -> float:
    """The spindle's angle in the middle of a shot's image."""
    scan = experiment.scan
    if scan is None:
        return 0.0
    place = record["image"] - scan.first_image
    return float(np.radians(scan.start_deg[place] + scan.width_deg[place] / 2))


def table_rows(records: Sequence[Record]) -> dict[str, list]:
    """Columns of the table: one row a shot, values and uncertainties element by element."""
    rows = []
    for record in records:
        row = {key: record[key] for key in ("number", "image", "name", "converged", "describes_the_data", "reason")}
        row |= {key: record[key] for key in ("steps", "objective", "chi_square", "degrees_of_freedom")}
        row["reduced_chi_square"] = record["chi_square"] / max(record["degrees_of_freedom"], 1)
        row["offset_pixels"] = record["offset_pixels"]
        row["boxes"], row["masked_boxes"] = len(record["boxes"]["row"]), int(np.sum(record["boxes"]["masked"]))
        row |= {f"left_out_{key}": value for key, value in record["left_out"].items()}
        row["fluence_per_m2"] = record["fluence_per_m2"]
        for name, values in record["values"].items():
            sigma = np.asarray(record["uncertainties"][name], float)
            for index in np.ndindex(np.shape(values)):
                label = name + (f"[{', '.join(map(str, index))}]" if index else "")
                row[label], row[f"sigma {label}"] = float(np.asarray(values)[index]), float(sigma[index])
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def write_table(folder: Path, records: Sequence[Record]) -> str:
    """Write the table of shots; the name of its file."""
    columns = table_rows(records)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        lines = [",".join(f'"{name}"' for name in columns)]
        lines += [",".join(_text(value) for value in row) for row in zip(*columns.values(), strict=True)]
        (folder / "shots.csv").write_text("\n".join(lines) + "\n")
        return "shots.csv"
    try:
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / "shots.parquet")
    except OSError as error:
        raise InputError(f"cannot write {str(folder / 'shots.parquet')!r}: {error}") from None
    return "shots.parquet"


def _text(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else "" if value is None else str(value)
