"""A run of many images: one compiled program, and files that are written while the next image is rendered."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from ..errors import InputError
from ..experiment import completed
from ..formats.image_format import AddFrame
from ..formats.setup import PHOTONS, Reading, Setup
from ..formats.sweep import frame_paths, open_frames
from ..io.file_set import FileSet
from ..io.outputs import add_outputs, numbered_path, write_outputs
from ..numerics.compiler_memory import returning_compiler_memory
from ..render import bands
from . import report
from .exposure import Developed, Exposure, Scales, check_photons, developed, image_files, next_exposure, scale_rows
from .output_plan import IMAGES, flag_of, frame_format_of
from .progress import Progress
from .single import Run, files_beside


def sweep_to_files(run: Run, first: Exposure, numbers: range) -> None:
    """Render and write all images of a sweep, and report.

    A file of one image is whole as soon as it is there; a file of all images appears when it is complete.

    **Arguments:** `first`: the exposure of the first of the `numbers`. **Raises** `InputError`.
    """
    written: list[int] = []
    totals = _Totals()
    progress = Progress(run.settings.get("progress"), images=len(numbers))
    try:
        with returning_compiler_memory(), FileSet() as files:
            with _writing(run, files, len(numbers), written) as write:
                for exposure, made in _images(run, first, numbers, progress):
                    write(exposure, made)
                    totals.add(exposure.number, made)
            beside = files_beside(run, first.whole, totals.readings, numbers)
            add_outputs(files, beside)
    except InputError as error:
        raise InputError(f"{error}{_told(written, '; ')}") from error
    except KeyboardInterrupt as stop:
        told = _told(written, ", ") or ", nothing is written"
        raise KeyboardInterrupt(str(stop) or f"interrupted{told}") from stop
    finally:
        progress.finish()
    settings, paths = run.settings, run.paths
    run.times.append(time.perf_counter())
    rows = [("images", f"{numbers[0]} to {numbers[-1]}"), *scale_rows(settings, paths, totals.scales, run.seed)]
    named = [(flag_of(settings, name), path) for name, path in paths.items() if name in IMAGES]
    named += [(output.flag, output.path) for output in beside]
    rows += totals.rows("noise_path" in paths) + [(f"written ({flag})", path) for flag, path in named]
    label, spent = report.spent(run.times, ("reading", "compiling", "rendering and writing"))
    pace = len(numbers) / (run.times[-1] - run.times[-2])
    report.say(report.text([*rows, (label, f"{spent}; {pace:.3g} images a second")]))


def _told(written: list[int], before: str) -> str:
    """Which images are whole on disk, if any are."""
    if not written:
        return ""
    which = f"image {written[0]} is" if len(written) == 1 else f"images {written[0]} to {written[-1]} are"
    return f"{before}{which} written"


def _images(run: Run, first: Exposure, numbers: range, progress: Progress) -> Iterator[tuple[Exposure, Developed]]:
    """All exposures, one after the other. The scales of the first image are those of all."""
    settings, exposure = run.settings, first
    programs: bands.Programs = {}
    scales = None
    for place, number in enumerate(numbers):
        if place:
            whole = completed(run.assembly.experiment_at(number))
            exposure = next_exposure(settings, exposure, whole, number)

        def follow(fraction: float, place: int = place) -> None:
            if fraction + place == 0:
                run.times.append(time.perf_counter())
            progress((place + fraction) / len(numbers))

        images = bands.render(exposure.jobs, follow, programs)
        check_photons(images, settings.get("mode"), f" {number}")
        made = developed(settings, run.paths, exposure, images, run.seed, scales)
        scales = made.scales
        yield exposure, made


@contextlib.contextmanager
def _writing(
    run: Run, files: FileSet, count: int, written: list[int]
) -> Iterator[Callable[[Exposure, Developed], None]]:
    """What hands an exposure to the thread that writes it, once the one before is written.

    **Arguments:** `files`: the set of files of all images; `count`: how many images there will be; `written`: the
    numbers of images with files of their own, added to.
    """
    settings = run.settings
    together = {name: kind for name, path in run.paths.items() if (kind := frame_format_of(name, path)) is not None}
    one_each = {name: path for name, path in run.paths.items() if name in IMAGES and name not in together}
    adds: dict[str, AddFrame] = {}

    def write(number: int, setup: Setup, made: Developed) -> None:
        for name, add in adds.items():
            add(made.images[name])
        if one_each:
            paths = {name: numbered_path(path, number) for name, path in one_each.items()}
            write_outputs(image_files(settings, paths, setup, made))
            written.append(number)

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as thread:
        before: Future[None] | None = None

        def hand_over(exposure: Exposure, made: Developed) -> None:
            nonlocal before
            setup = exposure.setup(settings)
            if before is None:
                for name, kind in together.items():
                    paths = frame_paths(kind, run.paths[name], len(exposure.jobs))
                    said = replace(setup, reading=made.readings.get(name, PHOTONS))
                    opened = open_frames(files, flag_of(settings, name), kind, paths, count, said)
                    adds[name] = stack.enter_context(opened)
            else:
                before.result()
            before = thread.submit(write, exposure.number, setup, made)

        yield hand_over
        if before is not None:
            before.result()


@dataclass
class _Totals:
    """What there is to report of all images so far."""

    brightest: tuple[float, int] = (0.0, 0)
    """Photons, and the number of the image."""
    photons: float = 0.0
    pixels: int = 0
    noise_photons: float = 0.0
    overloads: int = 0
    scales: Scales = Scales(1.0, 1.0)
    readings: Mapping[str, Reading] = field(default_factory=dict)

    def add(self, number: int, made: Developed) -> None:
        """Count an image."""
        self.scales, self.readings = made.scales, made.readings
        for found in made.found:
            self.brightest = max(self.brightest, (found.brightest, number), key=lambda each: each[0])
            self.photons += found.mean * found.pixels
            self.pixels += found.pixels
        for noise in made.noise:
            self.noise_photons += float(noise.photons)
            self.overloads += int(noise.overloads)

    def rows(self, has_noise: bool) -> report.Rows:
        """Brightest pixel, mean, and counts of the noise images."""
        rows = [
            ("max_I (photons)", f"{self.brightest[0]:g} in image {self.brightest[1]}"),
            ("mean", f"{self.photons / max(1, self.pixels):g}"),
        ]
        if has_noise:
            rows.append(("noise photons", f"{self.noise_photons:.0f}"))
            rows.append(("noise overloads", f"{self.overloads}"))
        return rows
