"""One exposure of a run: its experiment for each panel, what becomes of its photons, and the files that they give."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..detector import DetectorFrame
from ..effects import image_key, noise_image
from ..effects.photon_noise import DEFAULT_SEED, NoiseImage, poisson_image, reference_noise
from ..errors import InputError
from ..experiment import Experiment, panel_experiment
from ..formats.from_experiment import reading_of, setup_of
from ..formats.image_format import Image
from ..formats.pgm import pgm_bytes
from ..formats.registry import format_of_output
from ..formats.setup import PHOTONS, Reading, Setup
from ..formats.whole_numbers import (
    LARGEST_GREY,
    FloatImage,
    Statistics,
    default_int_scale,
    default_pgm_scale,
    int_image,
    pgm_image,
    quantile_level,
    statistics,
)
from ..formats.write import image_outputs
from ..io.outputs import Output, panel_path
from ..panels import split_panels
from ..render import bands
from ..typing import Mode
from . import report
from .effects import described, effects_from_settings, wants_effects
from .flags import Settings
from .output_plan import COUNTS, USUAL_FORMATS, flag_of, offset_of


@dataclass(frozen=True, eq=False)
class Exposure:
    """An image that is to be made.

    **Arguments:** `number`: of the image in its sweep, from 1; `whole`: its experiment, completed; `experiments`,
    `jobs`: of each panel.
    """

    number: int
    whole: Experiment
    experiments: Sequence[Experiment]
    jobs: Sequence[bands.Job]

    @property
    def frames(self) -> list[DetectorFrame]:
        """Where each panel is."""
        return [job.scene.frame for job in self.jobs]

    def setup(self, settings: Settings) -> Setup:
        """What files can say of it."""
        rings, plain = bool(settings.get("png_rings")), settings.get("mode") == "c-parity"
        return setup_of(self.experiments, self.frames, rings=rings, plain_header=plain)


def first_exposure(settings: Settings, whole: Experiment, number: int) -> Exposure:
    """The exposure of a completed experiment, from which others of the same structure follow by `next_exposure`."""
    how = settings.get("mode"), settings.get("precision")
    panels = range(len(split_panels(whole.detector)))
    experiments = tuple(panel_experiment(whole, panel) for panel in panels)
    return Exposure(number, whole, experiments, tuple(bands.prepare(each, *how) for each in experiments))


def next_exposure(settings: Settings, before: Exposure, whole: Experiment, number: int) -> Exposure:
    """The exposure of an experiment that differs from another's in the numbers of crystal, beam and goniometer only."""
    how = settings.get("mode"), settings.get("precision")
    parts = whole.crystal, whole.beam, whole.goniometer
    moved = tuple(eqx.tree_at(lambda e: (e.crystal, e.beam, e.goniometer), each, parts) for each in before.experiments)
    jobs = zip(before.jobs, moved, strict=True)
    return Exposure(number, whole, moved, tuple(bands.turned(job, each, *how) for job, each in jobs))


class Scales(NamedTuple):
    """Counts and grey levels of a photon."""

    counts: float
    grey: float
    black_photons: float | None = None
    """Of the preview, None for its brightest pixel."""


@dataclass(frozen=True, eq=False)
class Developed:
    """What an exposure has become.

    **Arguments:**

    - `images`: by the setting of an output, what its file holds of each panel;
    - `readings`: by the same, what the numbers stand for, where they are no photons;
    - `scales`: of counts without noise and of pictures;
    - `found`, `noise`: statistics and noise image of each panel;
    - `rows`: what to report.
    """

    images: Mapping[str, list[Image]]
    readings: Mapping[str, Reading]
    scales: Scales
    found: Sequence[Statistics]
    noise: Sequence[NoiseImage]
    rows: report.Rows


def check_photons(images: Sequence[FloatImage], mode: Mode, of: str = "") -> None:
    """Raise `InputError` for an image that holds anything but finite photons, zero or more. `of`: which image."""
    for panel, image in enumerate(images):
        lowest, highest = float(np.min(image)), float(np.max(image))
        if not (lowest >= 0 and highest < math.inf):
            where = f"the image{of}" if len(images) == 1 else f"the image{of} of panel {panel}"
            way_out = ": spec mode has no such slip" if mode == "c-parity" and lowest < 0 else ""
            raise InputError(f"{where} has pixels from {lowest:g} to {highest:g} photons, nothing is written{way_out}")


def developed(
    settings: Settings,
    paths: Mapping[str, str],
    exposure: Exposure,
    images: Sequence[FloatImage],
    seed: int,
    scales: Scales | None = None,
) -> Developed:
    """What the photons of an exposure become. All panels share their scales.

    **Arguments:**

    - `settings`: what the flags say;
    - `paths`: where each output goes;
    - `exposure`, `images`: photons of each panel;
    - `seed`: of the noise;
    - `scales`: None for those that the brightest pixel asks for.
    """
    experiments = exposure.experiments
    adc = {name: offset_of(settings, paths[name], USUAL_FORMATS[name]) for name in COUNTS if name in paths}
    readings = {name: Reading(offset) for name, offset in adc.items()}
    found = [statistics(x, e.sampling.roi, mask_of(e)) for x, e in zip(images, experiments, strict=True)]
    if scales is None:
        scales = _scales(settings, found, _quantile_level(settings, experiments, images))
    rows = scale_rows(settings, paths, scales, seed)
    kept: dict[str, list[Image]] = {name: list(images) for name in ("float_path", "png_path") if name in paths}
    made: list[NoiseImage] = []
    for panel, (experiment, job, image) in enumerate(zip(experiments, exposure.jobs, images, strict=True)):
        roi = experiment.sampling.roi
        rows += [] if len(images) == 1 else [("panel", f"{panel}")]
        rows += report.statistics_rows(found[panel], experiment, job.scene.frame)
        if "int_path" in paths:
            kept.setdefault("int_path", []).append(int_image(image, scales.counts, adc["int_path"], roi))
        if "pgm_path" in paths:
            kept.setdefault("pgm_path", []).append(pgm_image(image, scales.grey))
        if "noise_path" in paths:
            noise = _noise(settings, exposure, panel, image, seed, adc["noise_path"])
            made.append(noise)
            rows.append(("noise photons", f"{float(noise.photons):.0f}"))
            rows.append(("noise overloads", f"{int(noise.overloads)}"))
            kept.setdefault("noise_path", []).append(np.asarray(noise.image))
    if "noise_path" in paths and wants_effects(settings):
        pixel_mm = float(experiments[-1].panel.pixel_size_mm)
        shapes = [(image.shape[0], image.shape[1]) for image in images]
        readings["noise_path"] = reading_of(effects_from_settings(settings, pixel_mm, adc["noise_path"]), shapes)
    return Developed(kept, readings, scales, found, made, rows)


def _quantile_level(
    settings: Settings, experiments: Sequence[Experiment], images: Sequence[FloatImage]
) -> float | None:
    """Photons of the pixel that -quantile names; None without it, or where that is a dark one."""
    quantile = settings.get("scale_quantile")
    if quantile is None:
        return None
    rois = [each.sampling.roi for each in experiments]
    return quantile_level(images, quantile, rois, [mask_of(each) for each in experiments]) or None


def _scales(settings: Settings, found: Sequence[Statistics], level: float | None) -> Scales:
    counts = default_int_scale(max(f.brightest for f in found) if level is None else level)
    grey = default_pgm_scale(max(f.rmsd for f in found)) if level is None else LARGEST_GREY / level
    return Scales(settings.get("int_scale") or counts, settings.get("pgm_scale") or grey, level)


def scale_rows(settings: Settings, paths: Mapping[str, str], scales: Scales, seed: int) -> report.Rows:
    """What the numbers in files of counts were made with."""
    labels = {"int_path": ("int image scale", scales.counts), "pgm_path": ("PGM image scale", scales.grey)}
    rows = [(label, f"{scale:g}") for name, (label, scale) in labels.items() if name in paths]
    if "noise_path" in paths:
        rows.append(("noise seed", f"{seed}"))
        if wants_effects(settings):
            rows.append(("detector effects", described(settings)))
    return rows


def mask_of(experiment: Experiment) -> np.ndarray | None:
    """The pixels to render, None for all."""
    return None if experiment.sampling.mask is None else np.asarray(experiment.sampling.mask)


def noise_seed(settings: Settings) -> int:
    """As given; else the time in c-parity, as in the reference, and a fixed one in spec. Panels count on from it."""
    seed = settings.get("noise_seed")
    if seed is not None:
        return seed
    return int(time.time()) if settings.get("mode") == "c-parity" else DEFAULT_SEED


def _noise(settings: Settings, exposure: Exposure, panel: int, image: FloatImage, seed: int, adc: float) -> NoiseImage:
    """The noise image of a panel: a function of seed, number of the image, panel and pixel."""
    experiment, number = exposure.experiments[panel], exposure.number
    roi = experiment.sampling.roi
    if settings.get("mode") == "c-parity":  # each image and each panel is a run of the reference of its own
        return reference_noise(image, seed + panel + len(exposure.experiments) * (number - 1), adc, roi)
    if not wants_effects(settings):
        return poisson_image(image_key(seed + panel, number), jnp.asarray(image), adc, roi)
    effects = effects_from_settings(settings, float(experiment.panel.pixel_size_mm), adc)
    return noise_image(jnp.asarray(image), effects, image_key(seed, number), panel=panel, roi=roi)


def image_files(settings: Settings, paths: Mapping[str, str], setup: Setup, made: Developed) -> list[Output]:
    """The files of an exposure: image files first, then pictures."""
    outputs = []
    for name, usual in USUAL_FORMATS.items():
        if name in paths:
            kind, _ = format_of_output(paths[name], usual)
            said = replace(setup, reading=made.readings.get(name, PHOTONS), black_photons=made.scales.black_photons)
            outputs += image_outputs(flag_of(settings, name), paths[name], kind, made.images[name], said)
    for panel, picture in enumerate(made.images.get("pgm_path", [])):
        path = panel_path(paths["pgm_path"], panel, len(setup.lab.panels))
        outputs.append(Output(flag_of(settings, "pgm_path"), path, pgm_bytes(picture, made.scales.grey)))
    return outputs
