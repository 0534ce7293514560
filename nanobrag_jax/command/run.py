"""The command line: flags in, image files out, and a report of what was derived.

Exit status: 0 when all files are written, 9 when nothing was given to compute with, 130 after an interruption, 1 for
anything else that is wrong. Files are written all or none.
"""

import gc
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import jax
import numpy as np

from ..detector import DetectorFrame
from ..errors import InputError, UsageError
from ..experiment import Experiment, completed
from ..formats.registry import format_of_output
from ..formats.setup import PHOTONS, Reading, Setup
from ..formats.whole_numbers import FloatImage
from ..io.signals import stop_like_interruptions
from ..numerics.precision import precision_context
from ..trace import trace_pixel
from ..version import __version__
from ..window import window_of
from . import flags, report
from .assemble import Assembly, assemble
from .compilation_cache import use_compilation_cache
from .config_settings import settings_with_config
from .effects import check_effects
from .exposure import Exposure, first_exposure, mask_of, noise_seed
from .expt_output import expt_notes
from .flags import Settings
from .output_plan import (
    COUNTS,
    USUAL_FORMATS,
    check_outputs,
    image_numbers,
    offset_of,
    only_number,
    planned_outputs,
)
from .report import say
from .scan_settings import settings_with_scan
from .single import Run, image_to_files
from .sweep import sweep_to_files

NAME = "nanobrag_jax"
USAGE = f"python -m {NAME} -mat FILE | -cell a b c al be ga  -hkl FILE | -default_F x  [flags]"


def run() -> None:
    """The command of the shell: `main` with the arguments of the process, and compiled programs kept on disk."""
    use_compilation_cache()
    stop_like_interruptions()
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
            say(f"usage: {USAGE}\n\n{flags.help_text().rstrip()}")
        elif settings.get("version"):
            say(f"{NAME} {__version__}")
        else:
            settings = settings_with_scan(settings_with_config(settings))
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
    except KeyboardInterrupt as stopped:
        return _complain(str(stopped) or "interrupted, nothing is written", 130)
    return 0


def _complain(sentence: str, status: int) -> int:
    print(f"{NAME}: error: {sentence}", file=sys.stderr)
    return status


def simulate_to_files(settings: Settings) -> None:
    """One run: read, report, render, write, report. **Raises** `InputError`."""
    times = [time.perf_counter()]
    numbers = image_numbers(settings)
    paths = planned_outputs(settings)
    check_outputs(settings, paths)
    check_effects(settings)
    assembly = assemble(settings)
    mode = settings.get("mode")
    number = only_number(settings) if numbers is None else numbers[0]
    whole = completed(assembly.experiment if numbers is None else assembly.experiment_at(number))
    exposure = first_exposure(settings, whole, number)
    if len(exposure.jobs) > 1:  # which gives their files numbers
        check_outputs(settings, paths, len(exposure.jobs))
    traced = _traced_pixel(settings, exposure.experiments)
    setup = exposure.setup(settings)
    notes = [*assembly.notes, *_from_behind(exposure.frames), *_format_notes(settings, paths, setup)]
    for note in [*notes, *expt_notes(settings, whole, paths)]:
        print(f"{NAME}: note: {note}", file=sys.stderr)
    say(f"{NAME} {__version__}, mode {mode}\n{report.text(_derived(assembly, exposure))}")
    times.append(time.perf_counter())
    run = Run(settings, assembly, paths, noise_seed(settings), times)
    if numbers is not None:
        sweep_to_files(run, exposure, numbers)
        return
    images = image_to_files(run, exposure, setup)
    try:
        _print_pixels(settings, exposure, images, traced)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("interrupted, all files are written") from stop


def _print_pixels(
    settings: Settings, exposure: Exposure, images: Sequence[FloatImage], traced: tuple[int, int] | None
) -> None:
    """The report of -printout. **Arguments:** `traced`: (slow, fast) of a single pixel."""
    experiments, mode = exposure.experiments, settings.get("mode")
    if traced:
        say(trace_pixel(experiments[0], *traced, mode=mode).text().rstrip())
    elif settings.get("printout"):
        for experiment, image in zip(experiments, images, strict=True):
            place = window_of(image.shape, experiment.sampling.roi).slices
            for lines in report.pixel_list(image, place, mask_of(experiment)):
                say(lines)


def _from_behind(frames: Sequence[DetectorFrame]) -> list[str]:
    """A note on panels that turn their backs to the sample."""
    turned = [str(panel) for panel, frame in enumerate(frames) if float(frame.facing) < 0]
    which = "the detector" if len(frames) == 1 else f"panel {', '.join(turned)}"
    return [f"{which} is seen from behind: its normal points towards the sample"] if turned else []


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


def _derived(assembly: Assembly, exposure: Exposure) -> report.Rows:
    """What was derived; of many panels the geometry of the first."""
    experiments, jobs = exposure.experiments, exposure.jobs
    experiment, scene = experiments[0], jobs[0].scene
    rows = [
        *report.structure_factor_rows(experiment, assembly.table),
        *report.crystal_rows(experiment, np.asarray(scene.unrotated)),
        *report.beam_rows(experiment),
    ]
    if len(jobs) > 1:
        rows.append(("panels, the first of which is", f"{len(jobs)}"))
    rows += report.detector_rows(experiment, scene.frame, scene.settings.slips.pivot_ignored)
    return rows + report.sampling_rows(experiments, exposure.frames, jobs[0].samples_per_pixel)
