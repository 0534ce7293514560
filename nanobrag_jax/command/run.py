"""The command line: flags in, image files out, and a report of what was derived.

Exit status: 0 when all files are written, 9 when nothing was given to compute with, 130 after an interruption, 1 for
anything else that is wrong. Files are written all or none.
"""

import gc
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from ..config.save import config_outputs
from ..detector import DetectorFrame
from ..effects import noise_image
from ..effects.photon_noise import DEFAULT_SEED, NoiseImage, poisson_image, reference_noise
from ..errors import InputError, UsageError
from ..experiment import Experiment, completed, panel_experiment
from ..formats.from_experiment import reading_of, setup_of
from ..formats.pgm import pgm_bytes
from ..formats.registry import format_of_output
from ..formats.setup import PHOTONS, Reading, Setup
from ..formats.whole_numbers import (
    FloatImage,
    default_int_scale,
    default_pgm_scale,
    int_image,
    pgm_image,
    statistics,
)
from ..formats.write import image_outputs
from ..io.fdump import fdump_bytes
from ..io.outputs import Output, panel_path, write_outputs
from ..numerics.compiler_memory import returning_compiler_memory
from ..numerics.precision import precision_context
from ..panels import split_panels
from ..render import bands
from ..trace import trace_pixel
from ..typing import Mode
from ..version import __version__
from ..window import window_of
from . import flags, report
from .assemble import Assembly, assemble
from .compilation_cache import use_compilation_cache
from .config_settings import output_section, settings_with_config
from .effects import check_effects, described, effects_from_settings, wants_effects
from .expt_output import expt_notes, expt_output
from .flags import Settings
from .output_plan import COUNTS, USUAL_FORMATS, check_outputs, flag_of, offset_of, planned_outputs
from .progress import Progress

NAME = "nanobrag_jax"
USAGE = f"python -m {NAME} -mat FILE | -cell a b c al be ga  -hkl FILE | -default_F x  [flags]"


def run() -> None:
    """The command of the shell: `main` with the arguments of the process, and compiled programs kept on disk."""
    use_compilation_cache()
    status = main(sys.argv[1:])
    gc.freeze()  # else Python looks through a million objects for garbage before it ends: a fifth of a second
    sys.exit(status)


def main(argv: Sequence[str]) -> int:
    """Simulate what the flags describe and write the images; the exit status.

    **Arguments:** `argv`: flags without the program's name, see `--help`.

    Never raises for input that cannot be used: one sentence goes to stderr.
    """
    try:
        settings = flags.parse(argv)
        if settings.get("help"):
            _say(f"usage: {USAGE}\n\n{flags.help_text().rstrip()}")
        elif settings.get("version"):
            _say(f"{NAME} {__version__}")
        else:
            settings = settings_with_config(settings)
            with precision_context(settings.get("precision")):
                simulate_to_files(settings)
    except UsageError as error:
        return _complain(f"{error}; --help lists all flags", 9)
    except InputError as error:
        return _complain(str(error), 1)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _complain("there is not enough memory for so many pixels, or for so many structure factors", 1)
    except KeyboardInterrupt:
        return _complain("interrupted, nothing is written", 130)
    return 0


def _say(text: str) -> None:
    """Print, and go on in silence when whoever read the report has gone: the files are still wanted."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(sentence: str, status: int) -> int:
    print(f"{NAME}: error: {sentence}", file=sys.stderr)
    return status


def simulate_to_files(settings: Settings) -> None:
    """One run: read, report, render, write, report. **Raises** `InputError`."""
    times = [time.perf_counter()]
    paths = planned_outputs(settings)
    check_outputs(settings, paths)
    check_effects(settings)
    assembly = assemble(settings)
    mode = settings.get("mode")
    panels = range(len(split_panels(assembly.experiment.detector)))
    whole = completed(assembly.experiment)
    experiments = [panel_experiment(whole, panel) for panel in panels]
    traced = _traced_pixel(settings, experiments)
    precision = settings.get("precision")
    jobs = [bands.prepare(experiment, mode, precision) for experiment in experiments]
    frames = [job.scene.frame for job in jobs]
    setup = setup_of(
        experiments, frames, rings=bool(settings.get("png_rings")), plain_header=settings.get("mode") == "c-parity"
    )
    notes = [*assembly.notes, *_from_behind(frames), *_format_notes(settings, paths, setup)]
    for note in [*notes, *expt_notes(settings, whole, paths)]:
        print(f"{NAME}: note: {note}", file=sys.stderr)
    _say(f"{NAME} {__version__}, mode {mode}\n{report.text(_derived(assembly, experiments, jobs))}")
    times.append(time.perf_counter())

    progress = Progress(settings.get("progress"))

    def follow(fraction: float) -> None:
        if fraction == 0:
            times.append(time.perf_counter())
        progress(fraction)

    try:
        with returning_compiler_memory():
            images = bands.render(jobs, follow)
    finally:
        progress.finish()
    _check_photons(images, mode)
    times.append(time.perf_counter())
    outputs, rows = _outputs(settings, assembly, experiments, jobs, images, paths, setup)
    progress = Progress(settings.get("progress"), doing="writing")
    try:
        write_outputs(outputs, progress)
    finally:
        progress.finish()
    times.append(time.perf_counter())
    rows += [(f"written ({output.flag})", output.path) for output in outputs]
    _say(report.text([*rows, _spent(times)]))
    if traced:
        _say(trace_pixel(experiments[0], *traced, mode=mode).text().rstrip())
    elif settings.get("printout"):
        for experiment, image in zip(experiments, images, strict=True):
            for lines in report.pixel_list(
                image, window_of(image.shape, experiment.sampling.roi).slices, _mask(experiment)
            ):
                _say(lines)


def _from_behind(frames: Sequence[DetectorFrame]) -> list[str]:
    """A note on panels that turn their backs to the sample."""
    turned = [str(panel) for panel, frame in enumerate(frames) if float(frame.facing) < 0]
    which = "the detector" if len(frames) == 1 else f"panel {', '.join(turned)}"
    return [f"{which} is seen from behind: its normal points towards the sample"] if turned else []


def _check_photons(images: Sequence[FloatImage], mode: Mode) -> None:
    """Raise `InputError` for an image that holds anything but finite photons, zero or more."""
    for panel, image in enumerate(images):
        lowest, highest = float(np.min(image)), float(np.max(image))
        if not (lowest >= 0 and highest < math.inf):
            where = "the image" if len(images) == 1 else f"the image of panel {panel}"
            way_out = ": spec mode has no such slip" if mode == "c-parity" and lowest < 0 else ""
            raise InputError(f"{where} has pixels from {lowest:g} to {highest:g} photons, nothing is written{way_out}")


def _format_notes(settings: Settings, paths: dict[str, str], setup: Setup) -> list[str]:
    """Names that mislead, and what the formats of the outputs cannot say, with the files that this holds for."""
    notes: list[str] = []
    unsaid: dict[str, list[str]] = {}
    for name, usual in USUAL_FORMATS.items():
        if name in paths:
            kind, misleading = format_of_output(paths[name], usual)
            notes += [misleading] if misleading else []
            reading = Reading(offset_of(settings, paths[name], usual)) if name in COUNTS else PHOTONS
            if os.path.exists(paths[name]) and not os.path.isfile(paths[name]):
                continue  # /dev/null and the like
            for note in kind.unsaid(replace(setup, reading=reading)):
                unsaid.setdefault(note, []).append(paths[name])
    return notes + [f"{', '.join(files)}: {note}" for note, files in unsaid.items()]


def _mask(experiment: Experiment) -> np.ndarray | None:
    return None if experiment.sampling.mask is None else np.asarray(experiment.sampling.mask)


def _traced_pixel(settings: Settings, experiments: Sequence[Experiment]) -> tuple[int, int] | None:
    """(slow, fast) of -printout_pixel."""
    pixel = settings.get("printout_pixel")
    if pixel is None:
        return None
    (fast, slow), flag, detector = pixel, settings.flag_of("printout_pixel"), experiments[0].panel
    if len(experiments) > 1:
        raise InputError(f"{flag} {fast} {slow} needs a single panel: choose it with -expt_panel")
    if fast >= detector.pixels_fast or slow >= detector.pixels_slow:
        size = f"{detector.pixels_fast} x {detector.pixels_slow} pixels"
        raise InputError(f"{flag} {fast} {slow} does not lie on the detector of {size}")
    return slow, fast


def _derived(assembly: Assembly, experiments: Sequence[Experiment], jobs: Sequence[bands.Job]) -> report.Rows:
    """What was derived; of many panels the geometry of the first."""
    experiment, scene = experiments[0], jobs[0].scene
    rows = [
        *report.structure_factor_rows(experiment, assembly.table),
        *report.crystal_rows(experiment, np.asarray(scene.unrotated)),
        *report.beam_rows(experiment),
    ]
    if len(jobs) > 1:
        rows.append(("panels, the first of which is", f"{len(jobs)}"))
    rows += report.detector_rows(experiment, scene.frame, scene.settings.slips.pivot_ignored)
    return rows + report.sampling_rows(experiments, [job.scene.frame for job in jobs], jobs[0].samples_per_pixel)


def _outputs(
    settings: Settings,
    assembly: Assembly,
    experiments: Sequence[Experiment],
    jobs: Sequence[bands.Job],
    images: Sequence[FloatImage],
    paths: dict[str, str],
    setup: Setup,
) -> tuple[list[Output], report.Rows]:
    """The files of the finished images, and what to report of them. All panels share their scales.

    **Arguments:**

    - `settings`: what the flags say.
    - `assembly`: what was made of them.
    - `experiments`, `jobs`, `images`: of each panel.
    - `paths`: where each output goes.
    - `setup`: what files can say of the experiment.
    """
    mode = settings.get("mode")
    adc = {name: offset_of(settings, paths[name], USUAL_FORMATS[name]) for name in COUNTS if name in paths}
    readings = {name: Reading(offset) for name, offset in adc.items()}
    effects = None
    found = [statistics(x, e.sampling.roi, _mask(e)) for x, e in zip(images, experiments, strict=True)]
    int_scale = settings.get("int_scale") or default_int_scale(max(f.brightest for f in found))
    pgm_scale = settings.get("pgm_scale") or default_pgm_scale(max(f.rmsd for f in found))
    seed = _noise_seed(settings)
    scales = {"int_path": ("int image scale", int_scale), "pgm_path": ("PGM image scale", pgm_scale)}
    rows = [(label, f"{scale:g}") for name, (label, scale) in scales.items() if name in paths]
    if "noise_path" in paths:
        rows.append(("noise seed", f"{seed}"))
        if wants_effects(settings):
            rows.append(("detector effects", described(settings)))
    kept: dict[str, list] = {"float_path": list(images), "int_path": [], "noise_path": [], "png_path": list(images)}
    pictures = []
    for panel, (experiment, job, image) in enumerate(zip(experiments, jobs, images, strict=True)):
        roi = experiment.sampling.roi
        heading = [] if len(images) == 1 else [("panel", f"{panel}")]
        rows += heading + report.statistics_rows(found[panel], experiment, job.scene.frame)
        kept["int_path"].append(int_image(image, int_scale, adc["int_path"], roi))
        if "pgm_path" in paths:
            path = panel_path(paths["pgm_path"], panel, len(images))
            pictures.append(
                Output(flag_of(settings, "pgm_path"), path, pgm_bytes(pgm_image(image, pgm_scale), pgm_scale))
            )
        if "noise_path" in paths:
            if wants_effects(settings):
                pixel_mm = float(experiment.panel.pixel_size_mm)
                effects = effects_from_settings(settings, pixel_mm, adc["noise_path"])
                noise = noise_image(jnp.asarray(image), effects, seed, panel=panel, roi=roi)
            else:
                noise = make_noise(image, seed + panel, adc["noise_path"], roi, mode)
            rows.append(("noise photons", f"{float(noise.photons):.0f}"))
            rows.append(("noise overloads", f"{int(noise.overloads)}"))
            kept["noise_path"].append(np.asarray(noise.image))
    if effects is not None:
        shapes = [(image.shape[0], image.shape[1]) for image in images]
        readings["noise_path"] = reading_of(effects, shapes)
    outputs = []
    for name, usual in USUAL_FORMATS.items():
        if name in paths:
            flag, (kind, _) = flag_of(settings, name), format_of_output(paths[name], usual)
            said = replace(setup, reading=readings.get(name, PHOTONS))
            outputs += image_outputs(flag, paths[name], kind, kept[name], said)
    outputs += pictures
    if "exptfile_path" in paths:
        outputs.append(expt_output(settings, completed(assembly.experiment), paths, readings))
    if "save_config_path" in paths:
        flag, path = flag_of(settings, "save_config_path"), paths["save_config_path"]
        how = mode, settings.get("precision")
        outputs += config_outputs(flag, path, assembly.experiment, *how, output_section(settings, seed))
    table = assembly.table
    if "dump_path" in paths and table is not None:
        filled = np.where(table.given, table.values, settings.get("default_F"))
        outputs.append(Output(flag_of(settings, "dump_path"), paths["dump_path"], fdump_bytes(table.hkl_min, filled)))
    return outputs, rows


def _noise_seed(settings: Settings) -> int:
    """As given; else the time in c-parity, as in the reference, and a fixed one in spec. Panels count on from it."""
    seed = settings.get("noise_seed")
    if seed is not None:
        return seed
    return int(time.time()) if settings.get("mode") == "c-parity" else DEFAULT_SEED


def make_noise(image: FloatImage, seed: int, adc: float, roi, mode: str) -> NoiseImage:
    """The noise image of a float image: the reference's stream of numbers in c-parity, else numbers for each pixel."""
    if mode == "c-parity":
        return reference_noise(image, seed, adc, roi)
    return poisson_image(seed, jnp.asarray(image), adc, roi)


def _spent(times: Sequence[float]) -> tuple[str, str]:
    labels = ("reading", "compiling", "rendering", "writing")
    spans = [after - before for before, after in pairwise(times)]
    parts = [f"{label} {span:.2f}" for label, span in zip(labels, spans, strict=True)]
    return "time (s)", f"{times[-1] - times[0]:.2f}: {', '.join(parts)}"
