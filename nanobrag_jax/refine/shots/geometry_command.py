"""`geometry` on a folder of stage 1: panel groups from all of its shots, and a list with the panels where they are."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import numpy as np

from ...dials.write import write_expt
from ...errors import InputError
from ...io.text import read_bytes
from .again import refined_shots
from .geometry import Geometry, refine_geometry
from .outputs import refined_records
from .panel_groups import moved_panels
from .record import real_space_of
from .stage1 import Run, settings_in, stage_parameters


def read_groups(path: str | os.PathLike[str], count: int) -> list[int]:
    """Groups from a file of two columns, number of panel and number of group; they are renumbered from 0.

    **Raises** `InputError` for a file that does not name each of `count` panels once.
    """
    rows = [line.split() for line in read_bytes(path, "panel groups").decode("utf-8", "replace").splitlines()]
    rows = [row for row in rows if row and not row[0].startswith("#")]
    try:
        known = {int(panel): int(group) for panel, group in rows}
    except ValueError:
        raise InputError(f"panel groups {os.fspath(path)!r} must have two whole numbers on each line") from None
    if sorted(known) != list(range(count)) or len(rows) != count:
        raise InputError(f"panel groups {os.fspath(path)!r} must name each of the panels 0 to {count - 1} once")
    names = sorted(set(known.values()))
    return [names.index(known[panel]) for panel in range(count)]


def run_geometry(
    folder: str | os.PathLike[str],
    *,
    groups: str | os.PathLike[str] | None = None,
    sigma_mm: float = 0.5,
    sigma_deg: float = 0.5,
    say: Callable[[str], None] = print,
) -> Geometry:
    """Panel groups from all shots of a run of stage 1 that converged, and geometry/refined.expt.

    **Arguments:** `folder`: of the run; `groups`: a file of panel and group numbers, None for each panel by itself;
    `sigma_mm`, `sigma_deg`: as for `refine_geometry`; `say`: told of every cycle.

    **Raises** `InputError` for a folder without a finished run, and files that cannot be used.
    """
    folder = Path(folder)
    run = Run(folder, settings_in(folder))
    records = [record for record in run.records() if record["converged"]]
    found = refined_shots(run, records)
    if not found:
        raise InputError(f"no shot of {str(folder)!r} converged")
    shots = [shot for shot, _ in found]
    first = run.files.records[shots[0].number]
    if first.detector is None:
        raise InputError(f"{run.files.expt!r} has no detector")
    numbers = None if groups is None else read_groups(groups, len(first.detector))
    crystal = first.crystal
    free = all("scale" not in record["values"] for record in records)
    parameters = stage_parameters(run.settings, crystal.hall_symbol if crystal else " P 1", scaled=not free)
    shared = shots[0].experiment.detector
    shots = [replace(s, experiment=eqx.tree_at(lambda e: e.detector, s.experiment, shared)) for s in shots]
    geometry = refine_geometry(
        shots,
        parameters,
        groups=numbers,
        sigma_mm=sigma_mm,
        sigma_deg=sigma_deg,
        free_factors=free,
        size=run.size._replace(own_detectors=False),
        say=say,
    )
    panels = moved_panels(first.detector, geometry.groups, geometry.motions)
    moved = [
        record | {"real_space_A": np.asarray(real_space_of(s.experiment, s.record, s.image)).tolist()}
        for s, (_, record) in zip(geometry.shots, found, strict=True)
    ]
    place = folder / "geometry"
    place.mkdir(exist_ok=True)
    write_expt(place / "refined.expt", [replace(e, detector=panels) for e in refined_records(run.files, moved)])
    say(geometry.verdict)
    say(f"written to {place}: refined.expt")
    return geometry
