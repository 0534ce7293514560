"""Experiments to DIALS experiment lists: geometry that DIALS opens together with the image."""

import os
import re
from dataclasses import replace
from typing import Any

import numpy as np

from .crystal import phi_rotated, real_basis
from .errors import InputError
from .experiment import Beam, Experiment
from .geometry import detector_frame
from .io.expt_models import ExptBeam, ExptCrystal, ExptExperiment, ExptGoniometer, ExptPanel, ExptScan
from .io.expt_write import write_expt
from .panels import split_panels
from .typing import Mode

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

    **Arguments:** `image`: the image file, None to leave it out; for a rotation its name must hold the image number,
    as in `image_0001.img`; `num_images`: of a scan whose first is this experiment and that goes on with its
    oscillation; `like`: a record read from a file, for panel names, gain, trusted range and space group;
    `gain`, `pedestal`, `trusted_range`: of all panels; `hall_symbol`: of the space group; `mode`: as simulated.

    **Raises** `InputError` if the file cannot be written or a rotation's image has no number in its name.
    """
    beam = experiment.beam
    direction = np.asarray(beam.direction, float)
    direction = direction / np.linalg.norm(direction)
    turn = turn_to_dials(direction)
    panel_options = {"gain": gain, "pedestal": pedestal, "trusted_range": trusted_range}
    panels = _panels_of(experiment, turn, like, {k: v for k, v in panel_options.items() if v is not None}, mode)
    goniometer = experiment.goniometer
    phi, width = float(goniometer.phi_deg), float(goniometer.osc_deg)
    rotates = width != 0
    real = real_basis(experiment.crystal, mode)
    if not rotates:
        real = phi_rotated(real, goniometer)[0]
    symbol = hall_symbol or (like.crystal.hall_symbol if like is not None and like.crystal is not None else " P 1")
    template, first = _template(image, rotates)
    record = ExptExperiment(
        beam=_beam_of(beam, direction, turn),
        detector=panels,
        goniometer=ExptGoniometer(_unit(turn @ np.asarray(goniometer.spindle_axis))) if rotates else None,
        scan=ExptScan(
            first, phi + width * np.arange(num_images), np.full(num_images, width), np.full(num_images, exposure_s)
        )
        if rotates
        else None,
        crystal=ExptCrystal(np.asarray(real, float) @ turn.T, symbol),
        imageset=_imageset(image, template),
    )
    write_expt(path, [record])


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
    panel: Any
    for i, panel in enumerate(panels):
        frame = detector_frame(panel, experiment.beam, mode)
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
            "parallax": mu > 0 and panel.thickness_steps > 1,
        }
        named: dict[str, Any] = {"name": f"Panel{i}" if len(panels) > 1 else "Panel"}
        base = replace(known[i], **place) if i < len(known) else ExptPanel(**(named | place))
        made.append(replace(base, **options))
    return tuple(made)


def _template(image: str | os.PathLike[str] | None, rotates: bool) -> tuple[str, int]:
    """The file name with # for the digits of the image number, and that number; only a rotation has them."""
    if image is None or not rotates:
        return "", 1
    folder, name = os.path.split(os.path.abspath(os.fspath(image)))
    stem, extension = os.path.splitext(name)
    digits = re.search(r"(\d+)(?=\D*$)", stem)
    if digits is None:
        raise InputError(f"the image of a rotation needs a number in its name, as in image_0001.img, got {name!r}")
    number = digits.group()
    pattern = stem[: digits.start()] + "#" * len(number) + stem[digits.end() :] + extension
    return os.path.join(folder, pattern), int(number)


def _imageset(image: str | os.PathLike[str] | None, template: str) -> dict | None:
    if image is None:
        return None
    lookups = {"mask": "", "gain": "", "pedestal": "", "dx": "", "dy": "", "params": {}}
    if template:
        return {"__id__": "ImageSequence", "template": template} | lookups
    return {"__id__": "ImageSet", "images": [os.path.abspath(os.fspath(image))]} | lookups
