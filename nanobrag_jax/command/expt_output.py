"""The DIALS experiment list that -exptfile asks for: the geometry, together with an image that DIALS opens."""

import os
import re
from collections.abc import Mapping

from ..constants import LARGEST_COUNT
from ..dials.from_experiment import believed_below, expt_record, holds_frames
from ..dials.read import read_one_expt
from ..dials.write import expt_bytes
from ..experiment import Experiment
from ..formats.registry import format_of_output
from ..formats.setup import PHOTONS, Reading
from ..io.outputs import Output, is_template
from ..panels import num_panels
from .flags import Settings
from .output_plan import USUAL_FORMATS, flag_of

_OPENED = ("cbf", "nexus", "smv")
"""Formats that DIALS opens."""

_PREFERRED = ("noise_path", "int_path", "float_path")


def expt_output(
    settings: Settings,
    experiment: Experiment,
    paths: Mapping[str, str],
    readings: Mapping[str, Reading],
    numbers: range | None = None,
) -> Output:
    """The list as a file.

    **Arguments:** `experiment`: the first image's; `paths`: where each output goes; `readings`: what the numbers of
    outputs stand for; `numbers`: of the images of a sweep.
    """
    name, path = _image(experiment, paths)
    reading = readings.get(name, PHOTONS) if name is not None else PHOTONS
    limit = reading.saturation
    if limit is None:
        limit = LARGEST_COUNT if name in readings else None
    options = {"pedestal": reading.offset, "gain": settings.get("gain") or 1.0}
    if limit is not None:
        options["trusted_range"] = believed_below(limit)
    record = expt_record(
        experiment,
        path,
        num_images=1 if numbers is None else len(numbers),
        first_image=None if numbers is None else numbers[0],
        panels=options,
        hall_symbol=_hall_symbol(settings),
        mode=settings.get("mode"),
    )
    return Output(flag_of(settings, "exptfile_path"), paths["exptfile_path"], [expt_bytes([record])])


def expt_notes(settings: Settings, experiment: Experiment, paths: Mapping[str, str]) -> list[str]:
    """What to tell of the list before it is written."""
    if "exptfile_path" not in paths:
        return []
    notes, goniometer = [], experiment.goniometer
    flag = flag_of(settings, "exptfile_path")
    name, path = _image(experiment, paths)
    if path is None:
        what = "no image that DIALS opens as one" if name is None else f"{paths[name]}, whose name has no number,"
        notes.append(
            f"{flag} has geometry without an image, {what} can be named: import images with reference_geometry="
        )
    if settings.get("expt_image") == "all":
        notes.append(f"{flag} has crystal, beam and setting as they are at the first image")
    if float(goniometer.osc_deg) != 0 and goniometer.phi_sampling == "start" and "phi_sampling" not in settings:
        step = float(goniometer.osc_deg) / goniometer.phi_steps
        notes.append(
            f"a phi step stands for the start of its slice: other programs find the crystal {step / 2:g} degrees "
            "behind (-phi_sampling middle)"
        )
    return notes


def _image(experiment: Experiment, paths: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The setting of the output that goes with the list, and its path if a list can name it."""
    for name in _PREFERRED:
        if name in paths and format_of_output(paths[name], USUAL_FORMATS[name])[0].name in _OPENED:
            path = paths[name]
            if holds_frames(path) and is_template(path):
                continue
            if holds_frames(path):
                return name, path
            if num_panels(experiment.detector) is not None:
                continue
            rotates = float(experiment.goniometer.osc_deg) != 0
            numbered = re.search(r"[\d#]", os.path.splitext(os.path.basename(path))[0])
            return name, path if numbered or not rotates else None
    return None, None


def _hall_symbol(settings: Settings) -> str | None:
    """That of the list that was read."""
    if settings.get("expt_path") is None:
        return None
    record, _ = read_one_expt(settings.get("expt_path"), settings.get("expt_index"))
    return None if record.crystal is None else record.crystal.hall_symbol
