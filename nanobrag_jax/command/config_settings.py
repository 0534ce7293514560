"""What a configuration holds besides the experiment: mode, precision, and the settings of the files written."""

from dataclasses import replace
from typing import Any

from ..config.document import how_of, read_document
from ..config.schema import check_keys, shown
from ..errors import InputError
from .flags import FLAGS, NOISE_FLAGS, Settings, parse

SAVED_OUTPUT = (
    *("adc_offset", "int_scale", "pgm_scale", "scale_quantile", "noise_seed"),
    *(flag.setting for flag in NOISE_FLAGS),
)
"""Settings of the output that decide about numbers in files."""


def output_section(settings: Settings, noise_seed: int) -> dict[str, Any]:
    """What a configuration says about the output of a run: settings that were given, and the seed in any case."""
    return {"noise_seed": noise_seed} | {name: settings.get(name) for name in SAVED_OUTPUT if name in settings}


def settings_with_config(settings: Settings) -> Settings:
    """Settings with mode, precision and output settings of the file that -config names, unless flags give them.

    **Raises** `InputError` for a file or a key that cannot be used.
    """
    path = settings.get("config_path")
    if path is None:
        return settings
    document = read_document(path)
    section = document.get("output", {})
    check_keys(f"{path}: output.", section, SAVED_OUTPUT)
    mode, precision = how_of(document, path)
    found: dict[str, Any] = {"mode": mode} | ({} if precision is None else {"precision": precision})
    for name, value in section.items():
        found[name] = _checked(f"{path}: output.{name}", name, value)
    named = [(f"{name} in {path}", name, value) for name, value in found.items()]
    return replace(settings, values=found | settings.values, given=named + settings.given)


def _checked(full: str, name: str, value: object) -> Any:
    """The value of an output setting after the checks of its flag."""
    (flag,) = (each for each in FLAGS if name == each.setting)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError(f"{full} must be {flag.takes}, got {shown(value)}")
    try:
        return parse([flag.spellings[0], repr(value) if isinstance(value, float) else str(value)]).get(name)
    except InputError as error:
        raise InputError(f"{full}: {error}") from None
