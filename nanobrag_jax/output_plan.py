"""Which files a run writes, and whether it may: checked before anything is computed."""

import os
from pathlib import Path

from . import flags
from .assemble_files import REFLECTION_FLAGS
from .config.file import arrays_path
from .errors import InputError
from .flags import Settings
from .formats.names import Format, format_of_output, require_writer
from .io.atomic import check_writable

OUTPUTS = {
    "float_path": "-floatfile",
    "int_path": "-intfile",
    "pgm_path": "-pgmfile",
    "noise_path": "-noisefile",
    "png_path": "-png",
    "dump_path": "-dump",
    "save_config_path": "-save_config",
}
"""Settings that name files to write, and the flag of each, in the order of writing."""


USUAL_FORMATS: dict[str, Format] = {"float_path": "raw", "int_path": "smv", "noise_path": "smv", "png_path": "png"}
"""What the outputs are in whose names no other format is asked for."""


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
    wanted |= {name for name in ("png_path", "save_config_path") if name in settings}
    if _has_reflections(settings) and (settings.get("mode") == "c-parity" or "dump_path" in settings):
        wanted.add("dump_path")
    return {name: settings.get(name) for name in OUTPUTS if name in wanted}


def _has_reflections(settings: Settings) -> bool:
    return any(name in settings for name in REFLECTION_FLAGS)


def inputs_of(settings: Settings) -> dict[str, str]:
    """Files that a run reads, as real paths, and the flag of each."""
    names = [flag.setting for flag in flags.FLAGS if flag.kind == "path" and flag.setting not in OUTPUTS]
    if not _has_reflections(settings):
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
