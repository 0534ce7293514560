"""Shots of a run of stage 1 as they were refined: read again, with the values of their records."""

from collections.abc import Sequence
from dataclasses import replace

from ...experiment import Sampling
from ...structure_factors import StructureFactors
from ..dials_data import Place, ShotOptions, finished
from ..shot import Shot
from .record import Record, refined_experiment
from .stage1 import Run, amplitudes_of, oversample_of, trimmed


def refined_shots(run: Run, records: Sequence[Record]) -> list[tuple[Shot, Record]]:
    """Shots with refined experiments and their records. **Raises** `InputError` for images that cannot be read."""
    if not records:
        return []
    settings = run.settings
    asked = ShotOptions(
        amplitudes_of(settings) or StructureFactors(default_F=100.0),
        around=settings.around,  # type: ignore[arg-type]
        half_size=settings.half_size,
        background=settings.background,  # type: ignore[arg-type]
        mosaic_domains=settings.domains,
        sampling=Sampling(oversample_of(run.folder), interpolate=False),
        phi_steps=settings.phi_steps,
        crystal={"n_cells": (1.0, 1.0, 1.0)},
        beam={"fluence_per_m2": 1.0},
    )
    places = {(p.number, p.image): p for p in run.places}
    found = []
    for record in records:
        place: Place = places[record["number"], record["image"]]
        shot = run.files.shot(place, asked)
        if shot is None:
            continue
        (shot,) = finished([shot], asked)
        shot = trimmed(shot, run.size.boxes)
        found.append((replace(shot, experiment=refined_experiment(shot.experiment, record)), record))
    return found
