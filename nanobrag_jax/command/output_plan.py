"""Which files a run writes, and whether it may: checked before anything is computed."""

import os
from pathlib import Path

from ..config.layout import arrays_path
from ..errors import InputError
from ..formats.image_format import require_writer
from ..formats.registry import format_of_output
from ..io.atomic import check_writable
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

COUNTS = ("int_path", "noise_path")
"""Outputs of whole numbers with an offset."""


def flag_of(settings: Settings, name: str) -> str:
    """The flag of an output, as typed where it was."""
    return settings.flag_of(name) or OUTPUTS[name]


def planned_outputs(settings: Settings) -> dict[str, str]:
    """Settings that name output files of this run, and their paths."""
    wanted = {"float_path", "int_path"}
    if settings.get("write_pgm"):
        wanted.add("pgm_path")
    if settings.get("write_noise"):
        wanted.add("noise_path")
    wanted |= {name for name in ("png_path", "save_config_path", "exptfile_path") if name in settings}
    if names_reflections(settings) and (settings.get("mode") == "c-parity" or "dump_path" in settings):
        wanted.add("dump_path")
    return {name: settings.get(name) for name in OUTPUTS if name in wanted}


NO_OFFSET = ("cbf", "nexus")
"""Formats whose readers take a pixel without photons to read 0."""


def offset_of(settings: Settings, path: str, usual: str) -> float:
    """What an empty pixel of a file of counts reads: as -adc says, else as the readers of its format take it."""
    if "adc_offset" not in settings and format_of_output(path, usual)[0].name in NO_OFFSET:
        return 0.0
    return settings.get("adc_offset")


def inputs_of(settings: Settings) -> dict[str, str]:
    """Files that a run reads, as real paths, and the flag of each."""
    names = [flag.setting for flag in flags.FLAGS if flag.kind == "path" and flag.setting not in OUTPUTS]
    if not names_reflections(settings):
        names.append("dump_path")
    found = {os.path.realpath(settings.get(n)): str(settings.flag_of(n)) for n in names if n in settings}
    if "config_path" in settings:
        found[os.path.realpath(arrays_path(settings.get("config_path")))] = str(settings.flag_of("config_path"))
    return found


def check_outputs(settings: Settings, paths: dict[str, str]) -> None:
    """Raise `InputError` for outputs that cannot be written, or that would overwrite an input or each other."""
    taken = {place: f"the input of {flag}" for place, flag in inputs_of(settings).items()}
    named = list(paths.items())
    if "save_config_path" in paths:
        named.append(("save_config_path", arrays_path(paths["save_config_path"])))
    for name, path in named:
        flag = flag_of(settings, name)
        try:
            check_writable(path)
            if name in USUAL_FORMATS:
                require_writer(format_of_output(path, USUAL_FORMATS[name])[0])
        except InputError as error:
            raise InputError(f"{flag}: {error}") from None
        place = Path(path).resolve()
        if str(place) in taken:
            raise InputError(f"{flag}: {path!r} is also {taken[str(place)]}: give another name")
        if not place.exists() or place.is_file():
            taken[str(place)] = f"the output of {flag}"
