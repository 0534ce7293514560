"""Stage 1: the shots of an experiment list, each by itself, part by part, so that a stopped run goes on."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...experiment import Sampling, with_fields
from ...io.atomic import write_whole
from ...structure_factors import StructureFactors
from ..data import PixelData
from ..dials_data import DialsFiles, Place, ShotOptions, finished
from ..parameters.parameter import Parameter, cell_parameters
from ..shot import Shot, chosen_boxes
from ..space_group import crystal_system
from ..spot_starts import net_photons
from .batch import BatchSize
from .fit import ShotFit, fit_shots
from .outputs import write_shots
from .record import Record, read_part, record_of, write_part

Say = Callable[[str], None]
_STEPS = {"crystal.cell_lengths_A": 0.05, "crystal.cell_angles_deg": 0.05, "crystal.misset_deg": 0.05}
"""Typical changes in later stages."""


@dataclass(frozen=True)
class Settings:
    """What a run of stage 1 is asked for; written beside its parts, so that all of them are asked for the same."""

    expt: str
    refl: str
    images: str | None = None
    """Folder where relative names of images start."""
    mtz: str | None = None
    hkl: str | None = None
    pdb: str | None = None
    dmin_A: float = 2.0
    """Of amplitudes from a model."""
    around: str = "observed"
    half_size: int = 7
    background: str = "constant"
    refined: tuple[str, ...] = ("misset", "cell", "n_cells", "spread", "scale")
    cell_sigma: float = 0.01
    """Of restraints of the cell to that of the list, relative; angles in radians."""
    domains: int = 10
    oversample: int | None = None
    phi_steps: int | None = None
    """Samples of the oscillation of an image, None for 2."""
    most_boxes: int = 128
    together: int = 4
    max_steps: int = 30
    hop: float | None = 1.4

    def __post_init__(self):
        known = ("misset", "cell", "n_cells", "spread", "scale", "wavelength")
        for name in self.refined:
            if name not in known:
                raise InputError(f"-refine must be of {', '.join(known)}, got {name!r}")
        for name in ("half_size", "most_boxes", "together", "max_steps", "domains", "oversample", "phi_steps"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"-{name} must be at least 1, got {getattr(self, name)}")
        if sum(x is not None for x in (self.mtz, self.hkl, self.pdb)) > 1:
            raise InputError("give one of -mtz, -hkl and -pdb")


def amplitudes_of(settings: Settings) -> StructureFactors | None:
    """The structure factors that a run names, None where it names none."""
    if settings.mtz is not None:
        return StructureFactors.from_mtz(settings.mtz)
    if settings.pdb is not None:
        return StructureFactors.from_model(settings.pdb, settings.dmin_A)
    if settings.hkl is not None:
        from ...io.hkl import read_hkl

        table = read_hkl(settings.hkl)
        return StructureFactors(table.values, hkl_min=table.hkl_min, given=table.given)
    return None


def parameters_of(settings: Settings, hall_symbol: str, cell: np.ndarray, free_factors: bool) -> list[Parameter]:
    """What is refined of every shot.

    **Arguments:** `cell` (6,): the start, to which the cell is restrained; `free_factors`: whether boxes have
    intensities of their own, which leave no scale.
    """
    found = []
    if "misset" in settings.refined:
        found.append(Parameter("crystal.misset_deg", scale=0.05))
    if "cell" in settings.refined:
        for parameter in cell_parameters(crystal_system(hall_symbol)):
            place = int(parameter.name[parameter.name.index("[") + 1 : -1])
            edge = "lengths" in parameter.name
            value = float(cell[place if edge else 3 + place])
            sigma = settings.cell_sigma * (value if edge else np.degrees(1.0))
            found.append(Parameter(parameter.name, ties=parameter.ties, restraint=(value, sigma)))
    if "n_cells" in settings.refined:
        found.append(Parameter("crystal.n_cells", "positive"))
    if "spread" in settings.refined and settings.domains > 1:
        found.append(Parameter("crystal.mosaicity.spread_deg", "positive"))
    if "wavelength" in settings.refined:
        found.append(Parameter("beam.wavelength_A", restraint=None, scale=1e-3))
    if "scale" in settings.refined and not free_factors:
        found.append(Parameter("scale", "positive"))
    if not found:
        raise InputError("-refine names nothing that can be refined here")
    return found


def stage_parameters(settings: Settings, hall_symbol: str, *, scaled: bool) -> list[Parameter]:
    """What later stages refine of every shot: what stage 1 did, without its restraints, with a scale or not."""
    cell = np.r_[np.full(3, 1.0), np.full(3, 90.0)]
    found = parameters_of(settings, hall_symbol, cell, True)
    free = [Parameter(p.name, p.transform, ties=p.ties, scale=_STEPS.get(p.name.split("[")[0])) for p in found]
    return [*free, Parameter("scale", "positive")] if scaled else free


class Run:
    """A run in a folder: its settings, its files, and which parts are done.

    **Raises** `InputError` for files that cannot be used, and a folder that holds a run with other settings.
    """

    def __init__(self, folder: Path, settings: Settings):
        self.folder, self.settings = folder, settings
        self.files = DialsFiles(settings.expt, settings.refl, settings.images)
        self.places = [p for p in self.files.places(settings.around) if len(p.rows)]  # type: ignore[arg-type]
        if not self.places:
            raise InputError(f"{settings.refl!r} has no spot of an experiment of {settings.expt!r}")
        most = min(max(len(p.rows) for p in self.places), settings.most_boxes)
        self.size = BatchSize(settings.together, 8 * -(-most // 8), self._own_detectors())
        _same_settings(folder, settings)

    def _own_detectors(self) -> bool:
        detectors = {id(self.files.records[p.number].detector) for p in self.places}
        return len(detectors) > 1

    @property
    def num_parts(self) -> int:
        """How many parts there are: one for each batch."""
        return -(-len(self.places) // self.size.shots)

    def part_path(self, part: int) -> Path:
        """Where a part lies once it is done."""
        return self.folder / "parts" / f"{part:06d}.json"

    def missing(self, parts: Sequence[int]) -> list[int]:
        """Which of some parts are not done."""
        return [part for part in parts if not self.part_path(part).exists()]

    def make(self, parts: Sequence[int], say: Say) -> None:
        """Make parts, one after the other, each written as soon as it is done."""
        settings, factors = self.settings, amplitudes_of(self.settings)
        asked = ShotOptions(
            factors,
            around=settings.around,  # type: ignore[arg-type]
            half_size=settings.half_size,
            background=settings.background,  # type: ignore[arg-type]
            mosaic_domains=settings.domains,
            sampling=Sampling(settings.oversample or "auto"),
            phi_steps=settings.phi_steps,
        )
        for part in parts:
            asked = self._with_oversample(asked)
            records = [record_of(found) for found in self._fits(self._places_of(part), asked, say)]
            write_part(self.part_path(part), records)

    def _places_of(self, part: int) -> list[Place]:
        return self.places[part * self.size.shots : (part + 1) * self.size.shots]

    def _with_oversample(self, asked: ShotOptions) -> ShotOptions:
        """Sub-pixels settled once for the run: by the first shot, whoever makes which part."""
        if asked.sampling.oversample != "auto":
            return asked
        known = self.folder / "oversample.json"
        if known.exists():
            number = int(json.loads(known.read_text()))
        else:
            shots = [s for p in self.places[:1] if (s := self.files.shot(p, asked)) is not None]
            number = finished(shots, asked)[0].experiment.sampling.sub_pixels if shots else 2
            write_whole(known, json.dumps(number).encode())
        return _replaced(asked, sampling=with_fields(asked.sampling, oversample=number))

    def _fits(self, places: Sequence[Place], asked: ShotOptions, say: Say) -> list[ShotFit]:
        free = asked.structure_factors is None
        flat = _replaced(asked, structure_factors=StructureFactors(default_F=100.0)) if free else asked
        shots = [shot for place in places if (shot := self.files.shot(place, flat)) is not None]
        if not shots:
            return []
        shots = [trimmed(shot, self.size.boxes) for shot in finished(shots, flat)]
        first = self.files.records[shots[0].number].crystal
        crystal = shots[0].experiment.crystal
        cell = np.concatenate([crystal.cell_lengths_A, crystal.cell_angles_deg])
        parameters = parameters_of(self.settings, first.hall_symbol if first else " P 1", cell, free)
        hops = None
        if self.settings.hop is not None and "n_cells" in self.settings.refined and not free:
            hops = {"crystal.n_cells": self.settings.hop}
        found = []
        options = {"size": self.size, "max_steps": self.settings.max_steps, "free_factors": free, "hops": hops}
        for each in fit_shots(shots, parameters, **options):
            say(repr(each))
            found.append(each)
        return found

    def records(self) -> list[Record]:
        """All records, in the order of the list. **Raises** `InputError` while a part is missing."""
        left = self.missing(range(self.num_parts))
        if left:
            raise InputError(f"{len(left)} of {self.num_parts} parts are missing, the first is {left[0]}")
        return [record for part in range(self.num_parts) for record in read_part(self.part_path(part))]

    def finish(self, say: Say) -> list[Record]:
        """Put the parts together: refined.expt, refined.refl and the table of shots."""
        records = self.records()
        if not records:
            raise InputError("no shot has a box with a pixel that counts")
        names = write_shots(self.folder, self.files, records)
        good = sum(r["converged"] and r["describes_the_data"] for r in records)
        offsets = float(np.median([r["offset_pixels"] for r in records]))
        say(f"{len(records)} shots, {good} of them converged and described; median offset {offsets:.2f} pixels")
        say(f"written to {self.folder}: {', '.join(names)}")
        return records


def oversample_of(folder: Path) -> int:
    """Sub-pixels that a run has settled on. **Raises** `InputError` for one that has not begun."""
    given = settings_in(folder).oversample
    known = folder / "oversample.json"
    if given is None and not known.exists():
        raise InputError(f"{str(folder)!r} holds a run of stage 1 that has not begun")
    return given if given is not None else int(json.loads(known.read_text()))


def _replaced(asked: ShotOptions, **changes) -> ShotOptions:
    held = {name: getattr(asked, name) for name in ShotOptions.__dataclass_fields__}
    return ShotOptions(**(held | changes))


def trimmed(shot: Shot, most: int) -> Shot:
    """A shot with its strongest boxes, where it has more than there is room for."""
    if len(shot.panel) <= most:
        return shot
    keep = np.sort(np.argsort(-net_photons(shot.boxes))[:most])
    boxes: PixelData = chosen_boxes(shot.boxes, keep)
    named = {name: getattr(shot, name)[keep] for name in ("panel", "hkl", "row", "center")}
    held = {name: getattr(shot, name) for name in ("name", "number", "image", "record", "experiment", "left_out")}
    return Shot(**held, boxes=boxes, **named)


def _same_settings(folder: Path, settings: Settings) -> None:
    """Note the settings in a new folder; **raises** `InputError` where it holds others."""
    path = folder / "stage1.json"
    now = json.loads(json.dumps(asdict(settings)))
    if path.exists():
        before = json.loads(path.read_text())
        for name, value in now.items():
            if before.get(name) != value:
                old = before.get(name)
                raise InputError(f"{str(folder)!r} holds a run with {name} {old!r}, not {value!r}: take another -out")
        return
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(now, indent=1).encode())


def run_stage1(
    folder: str | os.PathLike[str],
    settings: Settings,
    *,
    processes: int = 1,
    part: tuple[int, int] | None = None,
    say: Say = print,
) -> list[Record]:
    """Refine all shots, or go on with a run that was stopped.

    **Arguments:**

    - `folder`: where parts and outputs go; what is done there already is not done again;
    - `settings`: what is asked for;
    - `processes`: how many share the parts;
    - `part`: (k, n): make only every n-th part from the k-th on, and put nothing together;
    - `say`: told of every shot.

    **Returns** what is kept of the shots; an empty list for a part of the run.

    **Raises** `InputError` for files and settings that cannot be used, and where a process fails.
    """
    if processes < 1:
        raise InputError(f"-processes must be a positive whole number, got {processes}")
    run = Run(Path(folder), settings)
    every = range(run.num_parts) if part is None else range(part[0], run.num_parts, part[1])
    left = run.missing(every)
    say(f"{len(run.places)} shots in {run.num_parts} parts, {len(left)} of {len(every)} to make")
    if processes > 1 and len(left) > 1:
        _in_processes(Path(folder), processes)
    else:
        run.make(left, say)
    return [] if part is not None else run.finish(say)


def _in_processes(folder: Path, processes: int) -> None:
    """The parts shared out to processes that read the settings from the folder."""
    command = [sys.executable, "-m", "nanobrag_jax.refine", "stage1-part", str(folder)]
    started = [subprocess.Popen([*command, f"{k}/{processes}"]) for k in range(processes)]
    try:
        codes = [each.wait() for each in started]
    except BaseException:
        for each in started:
            each.terminate()
        raise
    if any(codes):
        raise InputError(f"{sum(map(bool, codes))} of {processes} processes failed: run the same command again")


def settings_in(folder: str | os.PathLike[str]) -> Settings:
    """The settings of a run. **Raises** `InputError` for a folder without one."""
    path = Path(folder) / "stage1.json"
    if not path.exists():
        raise InputError(f"{os.fspath(folder)!r} holds no run of stage 1")
    held = json.loads(path.read_text())
    return Settings(**(held | {"refined": tuple(held["refined"])}))
