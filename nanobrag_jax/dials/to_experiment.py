"""DIALS experiment lists to experiments; `dials_export` goes the other way.

The lab frame of a read experiment is the file's own. The detector is in the CUSTOM convention, each panel placed by
`pix0_mm`, `fast_axis` and `slow_axis`; the crystal's orientation is that at the goniometer's zero with the fixed and
setting rotations applied, and the spindle is the rotation axis with the setting rotation applied: for a setting
rotation S, S·R(axis, φ)·fixed·A = R(S·axis, φ)·S·fixed·A.
"""

import os
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, get_args

import equinox as eqx
import numpy as np

from ..beam import Beam, spectrum_beam
from ..checks import one_of
from ..crystal import Crystal, cell_and_orientation
from ..detector import Detector
from ..errors import InputError
from ..experiment import Experiment, Sampling
from ..goniometer import Goniometer
from ..io.spectrum import Spectrum
from ..panels import Panels, as_panels
from ..structure_factors import StructureFactors, cell_of_file, other_cell_note
from ..typing import ExptPolarization, PhiSampling
from .models import ExptBeam, ExptCrystal, ExptExperiment, ExptGoniometer, ExptPanel
from .read import read_one_expt

_SQUARE = 1e-6
_ALONG_BEAM = 0.01
"""Cosine below which a panel lies so nearly along the beam that a distance along the beam says nothing."""


def experiment_from_expt(
    path: str | os.PathLike[str],
    structure_factors: StructureFactors,
    *,
    index: int = 0,
    image: int | None = None,
    phi_steps: int | None = None,
    phi_sampling: PhiSampling = "middle",
    thickness_steps: int = 1,
    spectrum: Spectrum | None = None,
    crystal: Mapping[str, Any] | None = None,
    beam: Mapping[str, Any] | None = None,
    sampling: Sampling | None = None,
    polarization: ExptPolarization = "dials",
) -> Experiment:
    """The experiment that a DIALS experiment list describes.

    **Arguments:**

    - `path`: of the experiment list;
    - `structure_factors`, `sampling`: which the file does not know;
    - `index`: which of the file's experiments, from 0;
    - `image`: number of the image in its scan, None for the first;
    - `phi_steps`: samples of the oscillation, None for 2 where there is one;
    - `phi_sampling`: the angle that stands for a slice of it, its "middle" or its "start" (see `Goniometer`);
    - `thickness_steps`: layers of the sensor; with one, a pixel is where DIALS' parallax correction has it;
    - `spectrum`: instead of the file's wavelength;
    - `polarization`: what the file's polarisation fraction f means: a Kahn factor of 2f − 1 as for "dials", or f itself
      as "diffbragg" takes it;
    - `crystal`, `beam`: further arguments of `Crystal` and `Beam` (n_cells, mosaic spread, fluence), which also win
      over what the file says. Of a file without a crystal (imported.expt) `crystal` has to say the cell.

    **Returns** an experiment whose detector is stacked where there are several equal panels (see `panels`).

    **Raises** `InputError` for a file that cannot be used. **Warns** where the structure factors come from a file with
    another cell. Source: docs/dials.md.
    """
    record, _ = read_one_expt(path, index)
    where = f"experiment {index} of {os.fspath(path)!r}"
    try:
        made = Experiment(
            crystal=crystal_from_expt(record, where, image, **(crystal or {})),
            beam=beam_from_expt(record, where, image, spectrum, polarization, **(beam or {})),
            detector=detector_from_expt(record, where, thickness_steps),
            goniometer=goniometer_from_expt(record, where, image, phi_steps, phi_sampling),
            structure_factors=structure_factors,
            sampling=sampling,
        )
    except InputError as error:
        raise error if where in str(error) else InputError(f"{where}: {error}") from None
    measured = cell_of_file(structure_factors)
    if measured is not None:
        cell = np.concatenate([made.crystal.cell_lengths_A, made.crystal.cell_angles_deg])
        note = other_cell_note("the structure factors", measured, cell)
        if note is not None:
            warnings.warn(f"{where}: {note}", stacklevel=2)
    return made


def scan_from_expt(
    path: str | os.PathLike[str],
    structure_factors: StructureFactors,
    images: Iterable[int] | None = None,
    **options,
) -> Iterator[tuple[int, Experiment]]:
    """The images of a scan one by one, as number and experiment: each with its own crystal, beam and setting.

    **Arguments:** `images`: their numbers, None for all of the scan; `options`: as for `experiment_from_expt`.

    **Raises** `InputError` as `experiment_from_expt`.
    """
    whole = experiment_from_expt(path, structure_factors, **options)
    index = options.get("index", 0)
    record, _ = read_one_expt(path, index)
    where = f"experiment {index} of {os.fspath(path)!r}"
    given = {name: options.get(name) or {} for name in ("crystal", "beam")}
    for image in scan_images(record) if images is None else images:
        means = options.get("polarization", "dials")
        beam = beam_from_expt(record, where, image, options.get("spectrum"), means, **given["beam"])
        yield image, at_image(whole, record, where, image, beam, given["crystal"])


def scan_images(record: ExptExperiment) -> range:
    """The numbers of a scan's images; that of a still is 1."""
    if record.scan is None:
        return range(1, 2)
    return range(record.scan.first_image, record.scan.first_image + record.scan.num_images)


def at_image(
    experiment: Experiment, record: ExptExperiment, where: str, image: int, beam: Beam, kept: Container[str] = ()
) -> Experiment:
    """An experiment of a list with what changes from image to image as it is at another image.

    Those are orientation and cell of the crystal, the beam, and the rotation: numbers only, so that nothing is compiled
    again.

    **Arguments:**

    - `experiment`: of any image of the scan;
    - `record`, `where`: of the list, and what to call it in a message;
    - `image`: the number of the other one;
    - `beam`: at that image;
    - `kept`: fields of the crystal that stay, whatever the list says.
    """
    rotation = goniometer_from_expt(record, where, image)
    moved: dict[str, tuple[Any, list[str]]] = {"goniometer": (rotation, ["phi_deg", "osc_deg"])}
    if record.goniometer is not None:
        moved["goniometer"][1].append("spindle_axis")
    if record.crystal is not None:
        fields = ("cell_lengths_A", "cell_angles_deg", "orientation")
        crystal = crystal_from_expt(record, where, image)
        moved["crystal"] = crystal, [field for field in fields if field not in kept]
    experiment = eqx.tree_at(lambda e: e.beam, experiment, beam)
    for part, (there, fields) in moved.items():
        for field in fields:
            place = attrgetter(f"{part}.{field}")
            experiment = eqx.tree_at(place, experiment, getattr(there, field), is_leaf=lambda x: x is None)
    return experiment


def _model(record: ExptExperiment, kind: str, where: str):
    """A model that must be there."""
    model = getattr(record, kind)
    if model is None:
        raise InputError(f"{where} has no {kind}")
    return model


def _image_place(record: ExptExperiment, where: str, image: int | None) -> int:
    """Place of an image in its scan, from 0."""
    first, count = (1, 1) if record.scan is None else (record.scan.first_image, record.scan.num_images)
    place = 0 if image is None else image - first
    if not 0 <= place < count:
        raise InputError(f"{where} has images {first} to {first + count - 1}, there is no {image}")
    return place


def _at_image(points: np.ndarray | None, place: int) -> np.ndarray | None:
    """What was refined at scan points, in the middle of an image; None where nothing was."""
    if points is None or place + 1 >= len(points):
        return None
    return (points[place] + points[place + 1]) / 2


def crystal_from_expt(
    record: ExptExperiment, where: str = "the experiment", image: int | None = None, **more
) -> Crystal:
    """Cell and orientation at φ = 0, fixed and setting rotations applied; a scan-varying crystal as at the image.

    **Arguments:** `more`: further arguments of `Crystal`, all of them where the record has no crystal: its vectors are
    then those of the file's lab frame at φ = 0. **Raises** `InputError` with no cell from either.
    """
    if record.crystal is None and "cell_lengths_A" in more:
        return Crystal(**more)
    if record.crystal is None:
        raise InputError(f"{where} has no crystal: give one (cell_lengths_A in crystal, -cell or -mat)")
    model: ExptCrystal = record.crystal
    place = _image_place(record, where, image)
    columns = _at_image(model.A_at_scan_points, place)
    if columns is None:
        columns = np.linalg.inv(model.real_space_A)
    if record.goniometer is not None:
        columns = _setting(record.goniometer, place) @ record.goniometer.fixed_rotation @ columns
    lengths, angles, orientation = cell_and_orientation(columns)
    options: dict[str, Any] = {"cell_lengths_A": lengths, "cell_angles_deg": angles, "orientation": orientation}
    return Crystal(**(options | more))


def _setting(goniometer: ExptGoniometer, place: int) -> np.ndarray:
    moved = _at_image(goniometer.setting_at_scan_points, place)
    return goniometer.setting_rotation if moved is None else moved


def beam_from_expt(
    record: ExptExperiment,
    where: str = "the experiment",
    image: int | None = None,
    spectrum: Spectrum | None = None,
    polarization: ExptPolarization = "dials",
    **more,
) -> Beam:
    """Wavelength, direction and polarisation. The file's divergence and flux are not used.

    **Arguments:** `spectrum`: instead of the file's wavelength; `polarization`: as for `experiment_from_expt`; `more`:
    further arguments of `Beam`.

    **Raises** `InputError` without a beam, for a polychromatic one without a spectrum, and for other than X-rays.
    """
    model: ExptBeam = _model(record, "beam", where)
    if model.probe not in ("x-ray", "xray"):
        raise InputError(f"{where} has a beam of {model.probe}s: only X-rays are simulated")
    wavelength = more.get("wavelength_A", model.wavelength_A)
    if wavelength is None and spectrum is None:
        if model.wavelength_range_A is None:
            raise InputError(
                f"{where} does not say the wavelength: give it (-lambda, -energy, beam={{'wavelength_A': …}})"
            )
        low, high = model.wavelength_range_A
        raise InputError(f"{where} has a polychromatic beam, {low:g} to {high:g} A: give a spectrum for it")
    moved = _at_image(model.s0_at_scan_points, _image_place(record, where, image))
    direction = -model.source_direction if moved is None else moved / np.linalg.norm(moved)
    if moved is not None and "wavelength_A" not in more:
        wavelength = 1.0 / float(np.linalg.norm(moved))
    electric = np.cross(model.polarization_normal, direction)
    one_of("polarization", polarization, get_args(ExptPolarization))
    fraction = model.polarization_fraction
    kahn = fraction if polarization == "diffbragg" else 2.0 * fraction - 1.0
    if np.linalg.norm(electric) < 1e-6:
        electric, kahn = _any_normal(direction), 0.0
    options = {
        "wavelength_A": wavelength,
        "direction": direction,
        "polarization_vector": electric / np.linalg.norm(electric),
        "kahn_factor": kahn,
    } | more
    return Beam(**options) if spectrum is None else spectrum_beam(spectrum, **options)


def _any_normal(direction: np.ndarray) -> np.ndarray:
    """A vector perpendicular to another."""
    return np.cross(direction, np.eye(3)[np.argmin(np.abs(direction))])


def goniometer_from_expt(
    record: ExptExperiment,
    where: str = "the experiment",
    image: int | None = None,
    phi_steps: int | None = None,
    phi_sampling: PhiSampling = "middle",
) -> Goniometer:
    """The rotation of one image: none for a still.

    **Arguments:** `phi_steps`: samples of the oscillation, None for 2 where there is one (as the flags do);
    `phi_sampling`: where in its slice each is: an exposure covers all of it, the middle on average.
    """
    place = _image_place(record, where, image)
    if record.goniometer is None:
        return Goniometer(phi_steps=phi_steps or 1, phi_sampling=phi_sampling)
    spindle = _setting(record.goniometer, place) @ record.goniometer.rotation_axis
    start = width = 0.0
    if record.scan is not None:
        start, width = record.scan.start_deg[place], float(record.scan.width_deg[place])
    steps = phi_steps or (1 if width == 0 else 2)
    return Goniometer(start, width, phi_steps=steps, spindle_axis=spindle, phi_sampling=phi_sampling)


def detector_from_expt(
    record: ExptExperiment, where: str = "the experiment", thickness_steps: int = 1, **more
) -> Panels:
    """The panels, stacked where they are equal; a single one is a plain `Detector`.

    **Arguments:** `thickness_steps`: layers of the sensor. One layer absorbs where the parallax correction of the file
    has the pixels, or at the front if it has none; `more`: further arguments of `Detector`, the same for all panels.

    **Raises** `InputError` without a detector, for pixels that are not square and for a panel seen edge-on.
    """
    panels: Sequence[ExptPanel] = _model(record, "detector", where)
    beam = None if record.beam is None else -record.beam.source_direction
    away = [float(panel.origin_mm @ panel.normal) for panel in panels]
    turned = any(x < 0 for x in away)
    made = []
    for i, (panel, distance) in enumerate(zip(panels, away, strict=True)):
        fast_mm, slow_mm = panel.pixel_size_mm
        if abs(fast_mm - slow_mm) > _SQUARE * fast_mm:
            size = f"{fast_mm:g} x {slow_mm:g} mm"
            raise InputError(f"{where}: panel {i} has pixels of {size}: only square ones are simulated")
        if abs(distance) < 1e-9:
            raise InputError(f"{where}: the sample lies in the plane of panel {i}, which is then seen edge-on")
        # The normal has to point away from the sample, whichever way fast x slow does; equal panels stay equal.
        normal = panel.normal * np.sign(distance) if turned else None
        absorbs = panel.thickness_mm > 0 and panel.mu_per_mm > 0
        options = {
            "pixel_size_mm": fast_mm,
            "pix0_mm": panel.origin_mm,
            "convention": "custom",
            "fast_axis": panel.fast_axis,
            "slow_axis": panel.slow_axis,
            "normal_axis": normal,
            "thickness_um": panel.thickness_mm * 1e3 if absorbs else None,
            "attenuation_depth_um": 1e3 / panel.mu_per_mm if absorbs else None,
            "thickness_steps": thickness_steps if absorbs else 1,
            "mean_depth": absorbs and panel.parallax and thickness_steps == 1,
        } | _reference_place(panel, abs(distance), beam)
        made.append(Detector(*panel.pixels, **(options | more)))
    return as_panels(made)


def _reference_place(panel: ExptPanel, distance: float, beam: np.ndarray | None) -> dict:
    """The same place said with distance and closest point: c-parity takes no pix0, as the reference does not."""
    foot = [-panel.origin_mm @ panel.fast_axis, -panel.origin_mm @ panel.slow_axis]
    along = 1.0 if beam is None else abs(float(beam @ panel.normal))
    return {
        "distance_mm": distance / along if along > _ALONG_BEAM else distance,
        "close_distance_mm": distance,
        "close_point_mm": foot,
        "beam_center_mm": foot,
        "pivot": "sample",
        "reference_pivot": "sample",
    }
