"""Which files a run writes, and whether it may: checked before anything is computed."""

import os
from collections.abc import Iterator

from ..config.document import array_files, read_document
from ..config.layout import arrays_path
from ..errors import InputError
from ..formats.image_format import FrameFormat, require_writer
from ..formats.registry import format_of_output
from ..formats.sweep import frame_format
from ..io.atomic import check_writable
from ..io.outputs import is_template, numbered_path, panel_path, sweep_template
from . import flags
from .assembly.structure_factors import names_reflections
from .flags import Settings

OUTPUTS = {
    "float_path": "-floatfile",
    "int_path": "-intfile",
    "pgm_path": "-pgmfile",
    "noise_path": "-noisefile",
    "png_path": "-png",
    "dump_path": "-dump",
    "save_config_path": "-save_config",
    "exptfile_path": "-exptfile",
}
"""Settings that name files to write, and the flag of each, in the order of writing."""


USUAL_FORMATS: dict[str, str] = {"float_path": "raw", "int_path": "smv", "noise_path": "smv", "png_path": "png"}
"""What the outputs are in whose names no other format is asked for."""

IMAGES = (*USUAL_FORMATS, "pgm_path")
"""Outputs that are images."""

COUNTS = ("int_path", "noise_path")
"""Outputs of whole numbers with an offset."""


def flag_of(settings: Settings, name: str) -> str:
    """The flag of an output, as typed where it was."""
    return settings.flag_of(name) or OUTPUTS[name]


def image_numbers(settings: Settings) -> range | None:
    """The numbers of the images of a sweep; None for a single image."""
    if "images" not in settings and "first_image" not in settings:
        return None
    first = settings.get("first_image")
    return range(first, first + (settings.get("images") or 1))


def only_number(settings: Settings) -> int:
    """The number of the image of a run that makes one: that of -expt_image, else 1."""
    number = settings.get("expt_image")
    return number if isinstance(number, int) and "expt_path" in settings else 1


def planned_outputs(settings: Settings) -> dict[str, str]:
    """Settings that name output files of this run, and their paths.

    Of a sweep only the images that flags name are written; a path with a place for their number stands for many files.

    **Raises** `InputError` for a sweep that writes no image, or counts on scales of their own.
    """
    sweep = image_numbers(settings) is not None
    wanted = {name for name in IMAGES if name in settings} if sweep else {*IMAGES} - {"png_path"}
    if not settings.get("write_pgm"):
        wanted.discard("pgm_path")
    if not settings.get("write_noise"):
        wanted.discard("noise_path")
    if sweep:
        _check_sweep(settings, wanted)
    wanted |= {name for name in ("png_path", "save_config_path", "exptfile_path") if name in settings}
    if names_reflections(settings) and (settings.get("mode") == "c-parity" or "dump_path" in settings):
        wanted.add("dump_path")
    paths = {name: settings.get(name) for name in OUTPUTS if name in wanted}
    return {name: _sweep_path(name, path) if sweep else path for name, path in paths.items()}


def _check_sweep(settings: Settings, wanted: set[str]) -> None:
    if not wanted:
        raise InputError("of many images only those that flags name are written: give, say, -noisefile image_####.cbf")
    if "int_path" in wanted and "int_scale" not in settings:
        flag = flag_of(settings, "int_path")
        raise InputError(f"{flag} of many images needs -scale: else each would have the scale of its brightest pixel")
    for name in ("printout", "printout_pixel"):
        if name in settings:
            raise InputError(f"{settings.flag_of(name)} lists the pixels of one image: it cannot be given for many")


def _sweep_path(name: str, path: str) -> str:
    """A path with a place for the number of the image, unless one file holds all of them, or there is one for all."""
    if name not in IMAGES or frame_format_of(name, path) is not None:
        return path
    return sweep_template(path)


def frame_format_of(name: str, path: str) -> FrameFormat | None:
    """The format of the file that holds all images of a sweep; None where each has a file of its own."""
    return None if name not in USUAL_FORMATS else frame_format(format_of_output(path, USUAL_FORMATS[name])[0], path)


NO_OFFSET = ("cbf", "nexus")
"""Formats whose readers take a pixel without photons to read 0."""


def offset_of(settings: Settings, path: str, usual: str) -> float:
    """What an empty pixel of a file of counts reads: as -adc says, else as the readers of its format take it."""
    if "adc_offset" not in settings and format_of_output(path, usual)[0].name in NO_OFFSET:
        return 0.0
    return settings.get("adc_offset")


def inputs_of(settings: Settings) -> dict[str, str]:
    """Files that a run reads, as real paths, and the flag of each; those that a configuration names among them."""
    names = [flag.setting for flag in flags.FLAGS if flag.kind == "path" and flag.setting not in OUTPUTS]
    if not names_reflections(settings):
        names.append("dump_path")
    found = {os.path.realpath(settings.get(n)): str(settings.flag_of(n)) for n in names if n in settings}
    if "config_path" in settings:
        path = settings.get("config_path")
        for file in (os.path.basename(arrays_path(path)), *array_files(read_document(path))):
            found[os.path.realpath(os.path.join(os.path.dirname(path), file))] = str(settings.flag_of("config_path"))
    return found


def final_names(settings: Settings, paths: dict[str, str], panels: int = 1) -> Iterator[tuple[str, str]]:
    """The files of a run: the setting that names each, and its path with the numbers of image and panel."""
    numbers = image_numbers(settings)
    for name, path in paths.items():
        each = 1 if name not in IMAGES or _holds_panels(name, path) else panels
        many = numbers if numbers is not None and name in IMAGES and is_template(path) else [None]
        for one in (path if number is None else numbered_path(path, number) for number in many):
            for panel in range(each):
                yield name, panel_path(one, panel, each)
        if name == "save_config_path":
            yield name, arrays_path(path)


def _holds_panels(name: str, path: str) -> bool:
    """Whether one file has the images of all panels."""
    return name in USUAL_FORMATS and getattr(format_of_output(path, USUAL_FORMATS[name])[0], "panels_together", False)


def check_outputs(settings: Settings, paths: dict[str, str], panels: int = 1) -> None:
    """Raise `InputError` for outputs that cannot be written, or that would overwrite an input or each other.

    Names are compared as they are in the end, with the numbers of images and panels, links followed.
    """
    taken = {place: f"the input of {flag}" for place, flag in inputs_of(settings).items()}
    for name, path in final_names(settings, paths, panels):
        flag = flag_of(settings, name)
        try:
            check_writable(path)
            if name in USUAL_FORMATS:
                require_writer(format_of_output(path, USUAL_FORMATS[name])[0])
        except InputError as error:
            raise InputError(f"{flag}: {error}") from None
        place = os.path.realpath(path)
        if place in taken:
            raise InputError(f"{flag}: {path!r} is also {taken[place]}: give another name")
        if not os.path.exists(place) or os.path.isfile(place):
            taken[place] = f"the output of {flag}"
