"""Stage 2 on a folder of stage 1: batches kept in files, so that memory does not grow with the number of shots."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...errors import InputError
from ...io.atomic import whole_file
from ..losses import Poisson
from ..shot import Shot
from ..space_group import Reflections
from .again import refined_shots
from .batch import Batch, make_batch
from .groups import own_pixels, reflections_of, unique_groups
from .intensities import Groups, IntensityRestraints
from .mtz import write_mtz
from .record import Record, read_part
from .stage1 import Run, settings_in, stage_parameters
from .stage2 import Intensities, Part, refine_parts

Say = Callable[[str], None]


class Files:
    """A store of arrays in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def get(self, key: str) -> list[np.ndarray]:
        """What was put there. **Raises** `KeyError` where nothing was."""
        path = self.folder / f"{key}.npz"
        if not path.exists():
            raise KeyError(key)
        with np.load(path) as held:
            return [held[name] for name in held.files]

    def put(self, key: str, arrays: Sequence[np.ndarray]) -> None:
        """Keep arrays."""
        with whole_file(self.folder / f"{key}.npz") as handle:
            np.savez(handle, *[np.asarray(array) for array in arrays])


def run_stage2(
    folder: str | os.PathLike[str],
    *,
    anomalous: bool = False,
    restraints: IntensityRestraints | None = None,
    max_cycles: int = 20,
    most_chi_square: float | None = None,
    say: Say = print,
) -> Intensities:
    """Intensities from all shots of a run of stage 1 that converged, and stage2/refined.mtz.

    **Arguments:**

    - `folder`: of the run;
    - `anomalous`: whether Bijvoet mates are apart;
    - `restraints`: of the intensities;
    - `max_cycles`: at most;
    - `most_chi_square`: shots whose reduced chi-square is above it are left out, None for none;
    - `say`: told of every cycle.

    **Raises** `InputError` for a folder without a finished run, and where nothing is left.
    """
    folder = Path(folder)
    run = Run(folder, settings_in(folder))
    place = folder / "stage2"
    place.mkdir(exist_ok=True)
    store = Files(place)
    run.records()
    maker = _Maker(run, store, most_chi_square)
    hall = maker.hall_symbol
    reflections = Reflections(hall, anomalous=anomalous)
    numbers, groups = maker.begin(reflections, say)
    found = refine_parts(
        numbers,
        maker.part,
        groups,
        store,
        scaled=True,
        loss=Poisson(),
        restraints=restraints or IntensityRestraints(),
        max_cycles=max_cycles,
        tolerance=1e-2,
        say=say,
    )
    write_mtz(place / "refined.mtz", found, reflections, maker.cell, maker.wavelength_A)
    say(found.verdict)
    say(f"written to {place}: refined.mtz")
    for path in place.glob("*.npz"):
        path.unlink()
    return found


class _Maker:
    """Makes the batches of a run once, and reads them again whenever they are needed."""

    def __init__(self, run: Run, store: Files, most_chi_square: float | None):
        self.run, self.store, self.most = run, store, most_chi_square
        self.hall_symbol, self.wavelength_A, self.cell = " P 1", 1.0, np.ones(6)
        for place in run.places:
            crystal, beam = run.files.records[place.number].crystal, run.files.records[place.number].beam
            if crystal is not None:
                self.hall_symbol = crystal.hall_symbol
            if beam is not None and beam.wavelength_A is not None:
                self.wavelength_A = beam.wavelength_A
            break
        self.first: Batch | None = None
        self.numbers: dict[int, list[np.ndarray]] = {}

    def begin(self, reflections: Reflections, say: Say) -> tuple[list[int], Groups]:
        """Make and keep all batches; which there are, and their reflections."""
        labels, parts, cells, shots = [], [], [], 0
        parameters = stage_parameters(self.run.settings, self.hall_symbol, scaled=True)
        for part in range(self.run.num_parts):
            made = self._shots(part)
            if not made:
                continue
            labels.append([reflections_of(shot, reflections) for shot in made])
            cells += [np.r_[s.experiment.crystal.cell_lengths_A, s.experiment.crystal.cell_angles_deg] for s in made]
            self._keep(part, make_batch(made, parameters, self.run.size))
            parts.append(part)
            shots += len(made)
        if not parts:
            raise InputError(f"no shot of {str(self.run.folder)!r} converged")
        self.cell = np.mean(cells, axis=0)
        groups, numbers = unique_groups([each for part in labels for each in part], reflections)
        first = 0
        for part, each in zip(parts, labels, strict=True):
            self.numbers[part] = numbers[first : first + len(each)]
            first += len(each)
        say(f"{shots} shots, {groups.count} reflections")
        return parts, groups

    def part(self, number: int) -> Part:
        """A batch from its file."""
        assert self.first is not None
        leaves, structure = jax.tree.flatten(self.first)
        held = self.store.get(f"batch{number}")
        common = len(jax.tree.leaves(self.first.common))
        filled = [*leaves[:common], *map(jnp.asarray, held)]
        return Part(jax.tree.unflatten(structure, filled), self.numbers[number])

    def _keep(self, number: int, batch: Batch) -> None:
        self.first = batch if self.first is None else self.first
        common = len(jax.tree.leaves(batch.common))
        self.store.put(f"batch{number}", [np.asarray(leaf) for leaf in jax.tree.leaves(batch)[common:]])

    def _shots(self, part: int) -> list[Shot]:
        """The refined shots of a part, with the pixels that belong to the reflections of their boxes."""
        records = [r for r in read_part(self.run.part_path(part)) if self._good(r)]
        found = refined_shots(self.run, records)
        return [own_pixels(_without_masked(shot, record)) for shot, record in found]

    def _good(self, record: Record) -> bool:
        if not record["converged"]:
            return False
        return self.most is None or record["chi_square"] <= self.most * max(record["degrees_of_freedom"], 1)


def _without_masked(shot: Shot, record: Record) -> Shot:
    """The shot without the pixels of boxes that stage 1 took out."""
    masked = np.array(record["boxes"]["masked"], bool)
    if len(masked) != len(shot.panel) or not masked.any():
        return shot
    used = jnp.asarray(np.asarray(shot.boxes.used) & ~masked[:, None])
    return replace(shot, boxes=eqx.tree_at(lambda b: b.used, shot.boxes, used))
