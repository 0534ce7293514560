"""Which files a run writes, and whether it may: checked before anything is computed."""

import os
from pathlib import Path

from . import flags
from .assemble_files import REFLECTION_FLAGS
from .errors import InputError
from .flags import Settings
from .io.atomic import check_writable

OUTPUTS = {
    "float_path": "-floatfile",
    "int_path": "-intfile",
    "pgm_path": "-pgmfile",
    "noise_path": "-noisefile",
    "dump_path": "-dump",
}
"""Settings that name files to write, and the flag of each, in the order of writing."""


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
    if _has_reflections(settings) and (settings.get("mode") == "c-parity" or "dump_path" in settings):
        wanted.add("dump_path")
    return {name: settings.get(name) for name in OUTPUTS if name in wanted}


def _has_reflections(settings: Settings) -> bool:
    return any(name in settings for name in REFLECTION_FLAGS)


def panel_path(path: str, panel: int, panels: int) -> str:
    """The file of one panel: its number before the extension, `image_07.img`; the path itself for a lone panel.

    Something like /dev/null takes all panels.
    """
    if panels == 1 or (os.path.exists(path) and not os.path.isfile(path)):
        return path
    stem, extension = os.path.splitext(path)
    return f"{stem}_{panel:0{len(str(panels - 1))}d}{extension}"


def inputs_of(settings: Settings) -> dict[str, str]:
    """Files that a run reads, as real paths, and the flag of each."""
    names = [flag.setting for flag in flags.FLAGS if flag.kind == "path" and flag.setting not in OUTPUTS]
    if not _has_reflections(settings):
        names.append("dump_path")
    return {os.path.realpath(settings.get(n)): str(settings.flag_of(n)) for n in names if n in settings}


def check_outputs(settings: Settings, paths: dict[str, str]) -> None:
    """Raise `InputError` for outputs that cannot be written, or that would overwrite an input or each other."""
    taken = {place: f"the input of {flag}" for place, flag in inputs_of(settings).items()}
    for name, path in paths.items():
        flag = flag_of(settings, name)
        try:
            check_writable(path)
        except InputError as error:
            raise InputError(f"{flag}: {error}") from None
        place = Path(path).resolve()
        if str(place) in taken:
            raise InputError(f"{flag}: {path!r} is also {taken[str(place)]}: give another name")
        if not place.exists() or place.is_file():
            taken[str(place)] = f"the output of {flag}"
