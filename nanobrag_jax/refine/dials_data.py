"""Shots from DIALS' files: experiments, and boxes of counts around their spots, read from the images themselves."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..dials.models import ExptExperiment
from ..dials.read import read_expt
from ..dials.reflections import ReflectionTable, read_refl
from ..dials.to_experiment import (
    beam_from_expt,
    crystal_from_expt,
    detector_from_expt,
    goniometer_from_expt,
    scan_images,
)
from ..errors import InputError
from ..experiment import Experiment, Sampling, with_fields
from ..io.spectrum import Spectrum
from ..panels import split_panels
from ..structure_factors import StructureFactors
from ..sub_pixels import resolving_oversample
from .background import BackgroundKind
from .data import shoeboxes
from .dials_images import ImageReader, PanelCounts, image_place, panel_counts
from .predict import predict
from .shot import LeftOut, Shot, chosen_boxes
from .spot_starts import amplitudes_from_boxes, crystal_with_starts, fluence_from_boxes

Around = Literal["observed", "calculated", "predicted"]
"""Which spots boxes are put around."""
_MOST_SUB_PIXELS = 4
"""Along an edge; a refinement with broadened spots needs no more."""
_COLUMNS = {"observed": "xyzobs.px.value", "calculated": "xyzcal.px"}


def from_dials(
    expt: str | os.PathLike[str],
    refl: str | os.PathLike[str],
    structure_factors: StructureFactors | None = None,
    *,
    around: Around = "observed",
    half_size: int = 8,
    background: BackgroundKind = "constant",
    shots: Sequence[int] | None = None,
    images: Sequence[int] | None = None,
    folder: str | os.PathLike[str] | None = None,
    crystal: Mapping[str, Any] | None = None,
    beam: Mapping[str, Any] | None = None,
    sampling: Sampling | None = None,
    spectrum: Spectrum | None = None,
    phi_steps: int | None = None,
    mosaic_domains: int = 10,
    gain: float | None = None,
    mask: Sequence[np.ndarray] | None = None,
    min_photons: float = 0.0,
) -> list[Shot]:
    """Shots of an experiment list with its reflections, each ready to be refined.

    Counts are photons: pedestal taken off, divided by the gain. Marked pixels, those below the trusted range and masked
    ones are left out, saturated ones likewise, and counted (`Shot.left_out`). Number of cells and mosaic spread start
    from the widths of the spots, the fluence from their photons.

    **Arguments:**

    - `expt`, `refl`: paths of the list and of the reflection table;
    - `structure_factors`: None for one amplitude for each reflection that has a box, from the photons of its boxes;
    - `around`: boxes around the spots as `"observed"`, as DIALS `"calculated"` them, or around all reflections that the
      start `"predicted"`, which needs structure factors;
    - `half_size`, `background`: of the boxes, as for `shoeboxes`;
    - `shots`: numbers of experiments in the list, None for all;
    - `images`: numbers of images of a scan, None for all that have a spot;
    - `folder`: where relative names of images start, None for the folder of the list;
    - `crystal`, `beam`: further arguments of `Crystal` and `Beam`; what they say (n_cells, mosaic_spread_deg or
      mosaicity, fluence_per_m2) is not taken from the spots;
    - `sampling`: sub-pixels, "auto" for as many as the spots of any shot need, at most 4;
    - `spectrum`: instead of the list's wavelength;
    - `phi_steps`: samples of the oscillation of an image, None for 2;
    - `mosaic_domains`: of the crystals whose spread comes from the spots;
    - `gain`: counts a photon, None for that of the panels;
    - `mask`: for each panel (slow, fast), True where a pixel counts;
    - `min_photons`: in the middle pixel of a predicted spot.

    **Returns** shots in the order of the list and of images; those without a box are left out.

    **Raises** `InputError` for files that cannot be used or do not fit each other, and where no shot has a box.
    """
    asked = ShotOptions(
        structure_factors,
        around=around,
        half_size=half_size,
        background=background,
        crystal=crystal or {},
        beam=beam or {},
        sampling=sampling or Sampling(),
        spectrum=spectrum,
        phi_steps=phi_steps,
        mosaic_domains=mosaic_domains,
        gain=gain,
        mask=mask,
        min_photons=min_photons,
    )
    files = DialsFiles(expt, refl, folder)
    places = files.places(around, shots, images)
    found = [shot for place in places if (shot := files.shot(place, asked)) is not None]
    if not found:
        raise InputError(f"{os.fspath(refl)!r} has no indexed spot in the images of {os.fspath(expt)!r}")
    return finished(found, asked)


@dataclass(frozen=True)
class ShotOptions:
    """What `from_dials` is asked for, by the names of its arguments."""

    structure_factors: StructureFactors | None = None
    around: Around = "observed"
    half_size: int = 8
    background: BackgroundKind = "constant"
    crystal: Mapping[str, Any] = field(default_factory=dict)
    beam: Mapping[str, Any] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)
    spectrum: Spectrum | None = None
    phi_steps: int | None = None
    mosaic_domains: int = 10
    gain: float | None = None
    mask: Sequence[np.ndarray] | None = None
    min_photons: float = 0.0

    def __post_init__(self):
        if self.around not in ("observed", "calculated", "predicted"):
            raise InputError(f"around must be observed, calculated or predicted, got {self.around!r}")
        if self.around == "predicted" and self.structure_factors is None:
            raise InputError("around='predicted' needs structure_factors: give them, or take the spots as observed")


class Place(NamedTuple):
    """An image of an experiment list, and the rows of its spots."""

    number: int
    image: int
    rows: np.ndarray


class DialsFiles:
    """An experiment list and its reflection table, read once; shots are read one by one.

    **Raises** `InputError` for files that cannot be used.
    """

    def __init__(
        self, expt: str | os.PathLike[str], refl: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None
    ):
        self.expt, self.records, self.table = os.fspath(expt), read_expt(expt), read_refl(refl)
        self.folder = Path(folder) if folder is not None else Path(expt).resolve().parent
        self._reader = ImageReader()

    def places(
        self, around: Around = "observed", shots: Sequence[int] | None = None, images: Sequence[int] | None = None
    ) -> list[Place]:
        """Images with spots, in the order of the list. **Raises** `InputError` for an experiment that is not there."""
        found = []
        for number in range(len(self.records)) if shots is None else shots:
            if not 0 <= number < len(self.records):
                last = len(self.records) - 1
                raise InputError(f"{self.expt!r} has experiments 0 to {last}: there is no {number}")
            for image, rows in _rows_by_image(self.table, number, self.records[number], images, around):
                found.append(Place(number, image, rows))
        return found

    def shot(self, place: Place, asked: ShotOptions) -> Shot | None:
        """A shot with its boxes and the starts of its crystal, None where it has no box.

        **Raises** `InputError` for an image that cannot be read or does not have the panels.
        """
        number, image, rows = place
        record, where = self.records[number], f"experiment {number} of {self.expt!r}"
        found = image_place(record, image, self.folder, where)
        counted = panel_counts(
            self._reader.read(found), record.detector or (), f"image {found.path!r}", gain=asked.gain
        )
        counted = _masked(counted, asked.mask)
        made = Experiment(
            crystal=crystal_from_expt(record, where, image, **_with_domains(asked.crystal, asked.mosaic_domains)),
            beam=beam_from_expt(record, where, image, asked.spectrum, **asked.beam),
            detector=detector_from_expt(record, where),
            goniometer=goniometer_from_expt(record, where, image, asked.phi_steps),
            structure_factors=asked.structure_factors or StructureFactors(default_F=100.0),
            sampling=_provisional(asked.sampling),
        )
        name = (record.identifier or f"experiment {number}") + (f" image {image}" if record.scan else "")
        shot = _shot(_Image(name, number, image, record, made), self.table, rows, counted, asked)
        if shot is None:
            return None
        return replace(shot, experiment=crystal_with_starts(shot.experiment, shot.boxes, shot.panel, asked.crystal))


def finished(shots: list[Shot], asked: ShotOptions) -> list[Shot]:
    """Shots with sub-pixels for all of them, amplitudes where none were given, and a fluence for each."""
    if asked.sampling.oversample == "auto":
        shots = _resolved(shots)
    return _scaled(shots, asked.structure_factors, asked.beam)


class _Image(NamedTuple):
    """A shot before its boxes: the first fields of `Shot`."""

    name: str
    number: int
    image: int
    record: ExptExperiment | None
    experiment: Experiment


def _with_domains(crystal: Mapping[str, Any], domains: int) -> dict[str, Any]:
    """Crystal options with a spread to start from, where they say nothing of mosaicity."""
    given = dict(crystal)
    if "mosaicity" not in given and "mosaic_spread_deg" not in given and domains > 1:
        given |= {"mosaic_spread_deg": 0.05, "mosaic_domains": domains}
    return given


def _provisional(sampling: Sampling) -> Sampling:
    """Sampling to look for starts with, when the size of the crystal is not known; amplitudes are not interpolated."""
    oversample = 2 if sampling.oversample == "auto" else sampling.oversample
    return with_fields(sampling, oversample=oversample, interpolate=sampling.interpolate is True)


def _resolved(shots: list[Shot]) -> list[Shot]:
    """The shots with as many sub-pixels as the spots of any of them need: all alike, so that they are compiled once."""
    needed = [resolving_oversample(s.experiment.crystal, s.experiment.beam, s.experiment.detector) for s in shots]
    most = min(max([number or 1 for number in needed]), _MOST_SUB_PIXELS)
    sampling = with_fields(shots[0].experiment.sampling, oversample=most)
    return [replace(s, experiment=eqx.tree_at(lambda e: e.sampling, s.experiment, sampling)) for s in shots]


def _masked(counted: list[PanelCounts], mask: Sequence[np.ndarray] | None) -> list[PanelCounts]:
    if mask is None:
        return counted
    shapes = [c.photons.shape for c in counted]
    if [np.shape(m) for m in mask] != shapes:
        raise InputError(f"mask must have an array for each panel, {shapes}, got {[np.shape(m) for m in mask]}")
    pairs = zip(counted, mask, strict=True)
    return [PanelCounts(np.where(m, c.photons, np.nan), c.masked | ~np.asarray(m, bool), c.saturated) for c, m in pairs]


def _column(table: ReflectionTable, name: str) -> np.ndarray:
    if name not in table.columns:
        raise InputError(f"the reflection table has no column {name}: it has {', '.join(table.columns)}")
    return table.columns[name]


def _rows_by_image(
    table: ReflectionTable, number: int, record: ExptExperiment, images: Sequence[int] | None, around: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Images with the rows of the spots on them: all that a spot's bbox reaches, else the image of its middle."""
    rows = np.flatnonzero(_column(table, "id") == number)
    if record.scan is None:
        yield 1, rows
        return
    if "bbox" in table.columns:
        first, last = table.columns["bbox"][rows, 4] + 1, table.columns["bbox"][rows, 5]
    else:
        place = _column(table, _COLUMNS.get(around, _COLUMNS["observed"]))
        first = last = np.floor(place[rows, 2]).astype(int) + 1
    for image in scan_images(record) if images is None else images:
        here = rows[(first <= image) & (image <= last)]
        if len(here) or (images is not None and around == "predicted"):
            yield image, here


def _shot(shot: _Image, table: ReflectionTable, rows: np.ndarray, counted: list[PanelCounts], asked: ShotOptions):
    """The shot with its boxes; None without one."""
    indexed = np.any(_column(table, "miller_index")[rows] != 0, axis=1)
    unindexed, rows = int(np.sum(~indexed)) + _without_experiment(table, shot.number), rows[indexed]
    panel, hkl, row, center = _spots(shot, table, rows, asked)
    data, kept, masked, saturated = [], [], 0, 0
    panels = split_panels(shot.experiment.detector)
    panels_listed = () if shot.record is None or shot.record.detector is None else shot.record.detector
    pedestal = any(p.pedestal != 0 for p in panels_listed)
    for number in np.unique(panel):
        chosen = np.flatnonzero(panel == number)
        single = eqx.tree_at(lambda e: e.detector, shot.experiment, panels[number])
        counts = counted[number]
        boxes = shoeboxes(
            single,
            counts.photons,
            center[chosen, 0],
            center[chosen, 1],
            half_size=asked.half_size,
            background=asked.background,
            lowest=-np.inf if pedestal else 0.0,
        )
        some = np.asarray(boxes.used).sum(axis=1) > 0
        pixels = np.unique(np.stack([np.ravel(boxes.slow), np.ravel(boxes.fast)]), axis=1)
        masked += int(np.sum(counts.masked[tuple(pixels)]))
        saturated += int(np.sum(counts.saturated[tuple(pixels)]))
        data.append(chosen_boxes(boxes, some))
        kept.append(chosen[some])
    keep = np.concatenate([np.zeros(0, int), *kept])
    if not len(keep):
        return None
    boxes = jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)), *data)
    boxes = eqx.tree_at(lambda d: d.background_index, boxes, jnp.arange(len(keep), dtype=jnp.int32))
    out = LeftOut(unindexed, len(panel) - len(keep), masked, saturated)
    return Shot(*shot, boxes, panel[keep], hkl[keep], row[keep], center[keep], out)


def _without_experiment(table: ReflectionTable, number: int) -> int:
    """Spots of an experiment's images that belong to none, where the table says so."""
    imagesets = table.columns.get("imageset_id")
    return 0 if imagesets is None else int(np.sum((table.columns["id"] < 0) & (imagesets == number)))


def _spots(shot: _Image, table: ReflectionTable, rows: np.ndarray, asked: ShotOptions) -> tuple[np.ndarray, ...]:
    """Panel, index, row and place of the spots to put boxes around."""
    hkl, panel = table.columns["miller_index"][rows], np.asarray(_column(table, "panel")[rows], int)
    if asked.around != "predicted":
        place = _column(table, _COLUMNS[asked.around])[rows]
        return panel, hkl, rows, np.stack([place[:, 1], place[:, 0]], axis=1) - 0.5
    known = {(p, *index): row for p, index, row in zip(panel, hkl.tolist(), rows, strict=True)}
    found: list[tuple[np.ndarray, ...]] = []
    for number, single in enumerate(split_panels(shot.experiment.detector)):
        try:
            alone = eqx.tree_at(lambda e: e.detector, shot.experiment, single)
            spots = predict(alone, min_photons=asked.min_photons)
        except InputError:  # a panel without a spot
            continue
        row = np.array([known.get((number, *index), -1) for index in spots.hkl.tolist()], int)
        found.append((np.full(len(row), number), spots.hkl, row, np.stack([spots.slow, spots.fast], axis=1)))
    if not found:
        return panel[:0], hkl[:0], rows[:0], np.zeros((0, 2))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def _scaled(shots: list[Shot], factors: StructureFactors | None, beam: Mapping[str, Any]) -> list[Shot]:
    """The shots with amplitudes where none were given, and with the fluence that their photons ask for."""
    if factors is None:
        factors = amplitudes_from_boxes([(shot.boxes, shot.hkl) for shot in shots])
        shots = [
            replace(s, experiment=eqx.tree_at(lambda e: e.structure_factors, s.experiment, factors)) for s in shots
        ]
    if "fluence_per_m2" in beam:
        return shots
    return [replace(s, experiment=fluence_from_boxes(s.experiment, s.boxes, s.panel)) for s in shots]
