"""A run of one image: rendered, and written with everything that goes with it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..config.save import config_outputs
from ..experiment import Experiment, completed
from ..formats.setup import Reading, Setup
from ..formats.whole_numbers import FloatImage
from ..io.fdump import fdump_bytes
from ..io.outputs import Output, write_outputs
from ..numerics.compiler_memory import returning_compiler_memory
from ..render import bands
from . import report
from .assemble import Assembly
from .config_settings import output_section
from .exposure import Exposure, check_photons, developed, first_exposure, image_files
from .expt_output import expt_output
from .flags import Settings
from .output_plan import flag_of
from .progress import Progress
from .report import say


@dataclass(frozen=True)
class Run:
    """What holds for all images of a run.

    **Arguments:** `settings`; `assembly`: what was made of them; `paths`: where each output goes; `seed`: of the noise;
    `times`: when its parts ended, in seconds; added to.
    """

    settings: Settings
    assembly: Assembly
    paths: dict[str, str]
    seed: int
    times: list[float]


def image_to_files(run: Run, exposure: Exposure, setup: Setup) -> list[FloatImage]:
    """Render, write all files or none, and report; the photons of each panel. **Raises** `InputError`."""
    settings, paths, times = run.settings, run.paths, run.times
    progress = Progress(settings.get("progress"))

    def follow(fraction: float) -> None:
        if fraction == 0:
            times.append(time.perf_counter())
        progress(fraction)

    jobs = list(exposure.jobs)
    for lattice in run.assembly.lattices:
        jobs += first_exposure(settings, completed(lattice), exposure.number).jobs
    try:
        with returning_compiler_memory():
            images = bands.render(jobs, follow)
    finally:
        progress.finish()
    images = [sum_of(images[panel :: len(exposure.jobs)]) for panel in range(len(exposure.jobs))]
    check_photons(images, settings.get("mode"))
    times.append(time.perf_counter())
    made = developed(settings, paths, exposure, images, run.seed)
    outputs = image_files(settings, paths, setup, made) + files_beside(run, exposure.whole, made.readings)
    progress = Progress(settings.get("progress"), doing="writing")
    try:
        write_outputs(outputs, progress)
    finally:
        progress.finish()
    times.append(time.perf_counter())
    written = [(f"written ({output.flag})", output.path) for output in outputs]
    say(report.text([*made.rows, *written, report.spent(times)]))
    return images


def sum_of(images: Sequence[FloatImage]) -> FloatImage:
    """The image of several lattices."""
    return images[0] if len(images) == 1 else np.asarray(np.sum(images, axis=0, dtype=np.float64), np.float32)


def files_beside(
    run: Run, first: Experiment, readings: Mapping[str, Reading], numbers: range | None = None
) -> list[Output]:
    """The files that a run writes once: experiment list, configuration, and the cache of structure factors.

    **Arguments:** `first`: the experiment of the first image; `readings`: what the numbers in images stand for;
    `numbers`: of the images of a sweep.
    """
    settings, paths, assembly = run.settings, run.paths, run.assembly
    outputs = []
    if "exptfile_path" in paths:
        outputs.append(expt_output(settings, first, paths, readings, numbers))
    if "save_config_path" in paths:
        flag, path = flag_of(settings, "save_config_path"), paths["save_config_path"]
        how = settings.get("mode"), settings.get("precision")
        outputs += config_outputs(flag, path, assembly.experiment, *how, output_section(settings, run.seed))
    table = assembly.table
    if "dump_path" in paths and table is not None:
        filled = np.where(table.given, table.values, settings.get("default_F"))
        outputs.append(Output(flag_of(settings, "dump_path"), paths["dump_path"], fdump_bytes(table.hkl_min, filled)))
    return outputs
