"""Experiments to DIALS experiment lists: geometry that DIALS opens together with the image."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..beam import Beam
from ..constants import LARGEST_COUNT, LARGEST_INT32, NEXUS_ENDINGS, SMV_ENDINGS
from ..crystal import real_basis
from ..detector import detector_frame
from ..errors import InputError
from ..experiment import Experiment, completed
from ..goniometer import phi_rotated
from ..io.outputs import is_template, numbered_path
from ..panels import split_panels
from ..reference.slips import slips_of
from ..typing import Mode
from .models import ExptBeam, ExptCrystal, ExptExperiment, ExptGoniometer, ExptPanel, ExptScan
from .write import write_expt

_TO_DIALS = {
    (0, 1): np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
    (2, 1): np.diag([1.0, -1.0, -1.0]),
}
"""Rotations into DIALS' usual frame (beam along -z) by the beam's main direction: +x (MOSFLM) and +z (XDS, ADXV)."""


def to_expt(
    experiment: Experiment,
    path: str | os.PathLike[str],
    image: str | os.PathLike[str] | None = None,
    *,
    num_images: int = 1,
    first_image: int | None = None,
    like: ExptExperiment | None = None,
    gain: float | None = None,
    pedestal: float | None = None,
    trusted_range: tuple[float, float] | None = None,
    hall_symbol: str | None = None,
    exposure_s: float = 1.0,
    mode: Mode = "spec",
) -> None:
    """Write the geometry of an experiment as a DIALS experiment list, so that DIALS opens image and geometry together.

    A beam along the lab's +x or +z (the conventions' frames) is turned, with everything else, to DIALS' usual -z.

    **Arguments:**

    - `path`: of the list to write; `experiment`;
    - `image`: the image file, None to leave it out; for a rotation its name must hold the image number, as in
      `image_0001.img`, or a place for it, as in `image_####.img`, unless it is a NeXus file;
    - `num_images`: of a scan whose first is this experiment and that goes on with its oscillation;
    - `first_image`: the number of the first where the name has a place for it, 1 unless given;
    - `like`: a record read from a file, for panel names, gain, trusted range and space group;
    - `gain`, `pedestal`, `trusted_range`: of all panels; the range is the format's unless given, zero included;
    - `hall_symbol`: of the space group;
    - `exposure_s`: of each image;
    - `mode`: as simulated.

    **Raises** `InputError` if the file cannot be written or a rotation's image has no number in its name.
    """
    options = {"gain": gain, "pedestal": pedestal, "trusted_range": trusted_range}
    record = expt_record(
        experiment,
        image,
        num_images=num_images,
        first_image=first_image,
        like=like,
        panels={name: value for name, value in options.items() if value is not None},
        hall_symbol=hall_symbol,
        exposure_s=exposure_s,
        mode=mode,
    )
    write_expt(path, [record])


def expt_record(
    experiment: Experiment,
    image: str | os.PathLike[str] | None = None,
    *,
    num_images: int = 1,
    first_image: int | None = None,
    like: ExptExperiment | None = None,
    panels: Mapping[str, Any] | None = None,
    hall_symbol: str | None = None,
    exposure_s: float = 1.0,
    mode: Mode = "spec",
) -> ExptExperiment:
    """What `to_expt` writes.

    **Arguments:** as there, and

    - `experiment`, `image`, `num_images`, `first_image`;
    - `like`, `hall_symbol`, `exposure_s`, `mode`;
    - `panels`: fields of `ExptPanel` for all panels.
    """
    experiment = completed(experiment)
    beam = experiment.beam
    direction = np.asarray(beam.direction, float)
    direction = direction / np.linalg.norm(direction)
    turn = turn_to_dials(direction)
    usual = {} if like is not None else {"trusted_range": trusted_range_of(image)}
    made = _panels_of(experiment, turn, like, usual | dict(panels or {}), mode)
    goniometer = experiment.goniometer
    phi, width = float(goniometer.phi_deg), float(goniometer.osc_deg)
    rotates = width != 0
    real = real_basis(experiment.crystal, slips_of(mode))
    if not rotates:
        real = phi_rotated(real, goniometer)[0]
    symbol = hall_symbol or (like.crystal.hall_symbol if like is not None and like.crystal is not None else " P 1")
    template, first = _template(image, rotates, first_image or 1)
    return ExptExperiment(
        beam=_beam_of(beam, direction, turn),
        detector=made,
        goniometer=ExptGoniometer(_unit(turn @ np.asarray(goniometer.spindle_axis))) if rotates else None,
        scan=ExptScan(
            first, phi + width * np.arange(num_images), np.full(num_images, width), np.full(num_images, exposure_s)
        )
        if rotates
        else None,
        crystal=ExptCrystal(np.asarray(real, float) @ turn.T, symbol),
        imageset=_imageset(image, template, range(first, first + num_images)),
    )


def trusted_range_of(image: str | os.PathLike[str] | None) -> tuple[float, float]:
    """Counts to be believed in a file of that name: from 0 to below the largest number that the format holds.

    Half-way between whole numbers, as older versions of DIALS leave the limits out and newer ones take them in.
    """
    return believed_below(LARGEST_COUNT if image is None or _ending(image) in SMV_ENDINGS else LARGEST_INT32)


def believed_below(saturation: float) -> tuple[float, float]:
    """Counts to be believed: 0, and those below a saturation."""
    return -0.5, saturation - 0.5


def turn_to_dials(direction: np.ndarray) -> np.ndarray:
    """The rotation that takes a beam along the lab's +x or +z, or near to it, to −z; none for another beam."""
    axis = int(np.argmax(np.abs(direction)))
    return _TO_DIALS.get((axis, int(np.sign(direction[axis]))), np.eye(3))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _beam_of(beam: Beam, direction: np.ndarray, turn: np.ndarray) -> ExptBeam:
    electric = np.asarray(beam.polarization_vector, float)
    kahn = float(beam.kahn_factor) if beam.polarized else 0.0
    return ExptBeam(
        source_direction=-turn @ direction,
        wavelength_A=float(beam.wavelength_A),
        polarization_normal=_unit(turn @ np.cross(direction, electric)),
        polarization_fraction=(kahn + 1.0) / 2.0,
    )


def _panels_of(
    experiment: Experiment, turn: np.ndarray, like: ExptExperiment | None, options: dict, mode: Mode
) -> tuple[ExptPanel, ...]:
    panels = split_panels(experiment.detector)
    known = like.detector if like is not None and like.detector is not None else ()
    made = []
    for i, panel in enumerate(panels):
        frame = detector_frame(panel, experiment.beam, slips_of(mode))
        origin, fast, slow = (turn @ np.asarray(v, float) for v in (frame.pix0 * 1e3, frame.fast, frame.slow))
        pixel = float(panel.pixel_size_mm)
        thickness, depth = panel.thickness_um, panel.attenuation_depth_um
        thickness_mm = mu = 0.0
        if thickness is not None and depth is not None:
            thickness_mm, mu = float(thickness) * 1e-3, 1e3 / float(depth)
        place: dict[str, Any] = {
            "origin_mm": origin,
            "fast_axis": fast,
            "slow_axis": slow,
            "pixels": (panel.pixels_fast, panel.pixels_slow),
            "pixel_size_mm": (pixel, pixel),
            "thickness_mm": thickness_mm,
            "mu_per_mm": mu,
            "parallax": mu > 0 and panel.has_parallax,
        }
        named: dict[str, Any] = {"name": f"Panel{i}" if len(panels) > 1 else "Panel"}
        base = replace(known[i], **place) if i < len(known) else ExptPanel(**(named | place))
        made.append(replace(base, **options))
    return tuple(made)


def _template(image: str | os.PathLike[str] | None, rotates: bool, first: int) -> tuple[str, int]:
    """The file name with # for the digits of the image number, and that number; only a rotation has them.

    A NeXus file holds all images of a rotation: its own name. `first`: the number where the name has a place for it.
    """
    if image is None or not rotates:
        return "", first
    if holds_frames(image):
        return os.path.abspath(os.fspath(image)), 1
    if is_template(os.fspath(image)):
        return os.path.abspath(os.fspath(image)), first
    folder, name = os.path.split(os.path.abspath(os.fspath(image)))
    stem, extension = os.path.splitext(name)
    digits = re.search(r"(\d+)(?=\D*$)", stem)
    if digits is None:
        raise InputError(f"the image of a rotation needs a number in its name, as in image_0001.img, got {name!r}")
    number = digits.group()
    pattern = stem[: digits.start()] + "#" * len(number) + stem[digits.end() :] + extension
    return os.path.join(folder, pattern), int(number)


def holds_frames(image: str | os.PathLike[str]) -> bool:
    """Whether a file of that name holds all images of a rotation."""
    return _ending(image) in NEXUS_ENDINGS


def _ending(path: str | os.PathLike[str]) -> str:
    return os.path.splitext(os.fspath(path))[1].lower()


def _imageset(image: str | os.PathLike[str] | None, template: str, numbers: range) -> dict | None:
    if image is None:
        return None
    lookups = {"mask": "", "gain": "", "pedestal": "", "dx": "", "dy": "", "params": {}}
    frames = {"single_file_indices": list(range(len(numbers)))} if holds_frames(image) else {}
    if template:
        return {"__id__": "ImageSequence", "template": template} | frames | lookups
    names = dict.fromkeys(numbered_path(os.fspath(image), number) for number in numbers)
    return {"__id__": "ImageSet", "images": list(map(os.path.abspath, names))} | frames | lookups
