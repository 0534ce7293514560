"""What is kept of a refined shot: a table of plain numbers, which is written part by part and read again."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ...crystal import real_basis
from ...dials.models import ExptExperiment
from ...dials.to_experiment import scan_images
from ...errors import InputError
from ...experiment import Experiment, completed
from ...io.atomic import write_whole
from ..parameters.paths import ScaledExperiment, check_name, replace_leaf
from .fit import ShotFit

Record = dict[str, Any]
"""Of one shot, as JSON has it."""


def record_of(found: ShotFit) -> Record:
    """What is kept of a shot."""
    shot, crystal = found.shot, found.experiment.crystal
    plain = lambda v: np.asarray(v, float).tolist()  # noqa: E731
    return {
        "number": shot.number,
        "image": shot.image,
        "name": shot.name,
        "converged": found.converged,
        "describes_the_data": bool(found.describes_the_data),
        "reason": found.reason,
        "steps": found.steps,
        "objective": found.objective,
        "chi_square": found.chi_square,
        "degrees_of_freedom": found.degrees_of_freedom,
        "offset_pixels": found.offset_pixels,
        "values": {name: plain(value) for name, value in found.values.items()},
        "uncertainties": {name: plain(value) for name, value in found.uncertainties.items()},
        "real_space_A": plain(real_space_of(found.experiment, shot.record, shot.image)),
        "n_cells": plain(crystal.n_cells),
        "mosaic_spread_deg": _spread(found.experiment),
        "fluence_per_m2": float(found.experiment.beam.fluence_per_m2),
        "labels": list(found.labels),
        "correlations": plain(found.correlations),
        "left_out": shot.left_out._asdict(),
        "boxes": {
            "row": shot.row.tolist(),
            "panel": shot.panel.tolist(),
            "hkl": shot.hkl.tolist(),
            "center": plain(shot.center),
            "calculated": plain(found.calculated),
            "photons": plain(found.photons),
            "background": plain(found.backgrounds),
            "factor": plain(found.factors),
            "factor_sigma": plain(found.factor_uncertainties),
            "chi_square": plain(found.box_chi_square),
            "d_spacing_A": plain(_spacings(found)),
            "masked": found.masked_boxes.tolist(),
        },
    }


def real_space_of(experiment: Experiment, record: ExptExperiment | None, image: int) -> np.ndarray:
    """Rows a, b, c (Å) at the goniometer's zero, as an experiment list has them."""
    rows = np.asarray(real_basis(experiment.crystal), float)
    if record is None or record.goniometer is None:
        return rows
    goniometer, setting = record.goniometer, record.goniometer.setting_rotation
    points = goniometer.setting_at_scan_points
    place = image - scan_images(record)[0]
    if points is not None and place + 1 < len(points):
        setting = (points[place] + points[place + 1]) / 2
    return rows @ (setting @ goniometer.fixed_rotation)


def _spacings(found: ShotFit) -> np.ndarray:
    star = np.linalg.inv(np.asarray(real_basis(found.experiment.crystal), float))
    return 1.0 / np.maximum(np.linalg.norm(found.shot.hkl @ star.T, axis=1), 1e-12)


def _spread(experiment: Experiment) -> float | None:
    spread = getattr(experiment.crystal.mosaicity, "spread_deg", None)
    return None if spread is None or np.ndim(spread) else float(spread)


def refined_experiment(experiment: Experiment, record: Record) -> Experiment:
    """A shot's experiment as it was read, with the values that a record has.

    **Raises** `InputError` for values of what the experiment does not have.
    """
    scaled = ScaledExperiment(completed(experiment), jnp.ones(()))
    for name, value in record["values"].items():
        check_name(scaled, name)
        scaled = replace_leaf(scaled, name, jnp.asarray(value))
    fluence = jnp.asarray(record["fluence_per_m2"])
    made = eqx.tree_at(lambda e: e.beam.fluence_per_m2, scaled.experiment, fluence)
    cells = jnp.asarray(record["n_cells"])
    return eqx.tree_at(lambda e: e.crystal.n_cells, made, cells)


def write_part(path: Path, records: list[Record]) -> None:
    """Write records, whole or not at all. **Raises** `InputError` where that fails."""
    write_whole(path, json.dumps(records).encode())


def read_part(path: Path) -> list[Record]:
    """The records of a part. **Raises** `InputError` for a file that is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"part {str(path)!r} cannot be read: {error}") from None
    if not isinstance(found, list) or not all(isinstance(r, dict) and "boxes" in r for r in found):
        raise InputError(f"{str(path)!r} is no part of a refinement of shots")
    return found
