"""Flags beside -config: those that stand for one number or choice of the experiment replace it, others are refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import numpy as np

from ..errors import InputError
from ..experiment import Crystal, Experiment
from ..flags import GROUPS, NOISE_FLAGS, Settings, find, parse
from ..reference_rng import DEFAULT_MOSAIC_SEED, random_misset_deg
from .file import how_of, read_document
from .schema import check_keys, shown

_ANY = "About", "Output", "Noise image"
"""Groups of flags that say nothing about the experiment."""

_BESIDE = ("mode", "precision", "config_path", "save_config_path", "misset_seed")
_STRUCTURE_FACTORS = ("hkl_path", "mtz_path", "mtz_column", "sfcif_path", "pdb_path", "k_sol", "b_sol")

_LEAVES = {
    "phi_deg": "goniometer.phi_deg",
    "fluence_per_m2": "beam.fluence_per_m2",
    "polarization": "beam.kahn_factor",
    "default_F": "structure_factors.default_F",
    "xtal_shape": "crystal.shape",
    "fudge": "crystal.fudge",
    "oversample": "sampling.oversample",
    "oversample_thick": "sampling.oversample_thick",
    "oversample_polar": "sampling.oversample_polar",
    "oversample_omega": "sampling.oversample_omega",
    "interpolate": "sampling.interpolate",
    "roi": "sampling.roi",
}
"""Settings that replace one field as they are."""

_WHY = {
    "Detector": "the flags of the geometry depend on each other and on the convention",
    "Experiment": "an experiment list is a whole geometry of its own",
}

SAVED_OUTPUT = ("adc_offset", "int_scale", "pgm_scale", "noise_seed", *(flag.setting for flag in NOISE_FLAGS))
"""Settings of the output that decide about numbers in files."""


def output_section(settings: Settings, noise_seed: int) -> dict[str, Any]:
    """What a configuration says about the output of a run: settings that were given, offset and seed in any case."""
    given = {name: settings.get(name) for name in SAVED_OUTPUT if name in settings}
    return {"adc_offset": settings.get("adc_offset"), "noise_seed": noise_seed} | given


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


def _checked(full: str, name: str, value: Any) -> Any:
    """The value of an output setting after the checks of its flag."""
    (flag,) = (each for group in _ANY for each in GROUPS[group] if name == each.setting)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError(f"{full} must be {flag.takes}, got {shown(value)}")
    try:
        return parse([flag.spellings[0], repr(value) if isinstance(value, float) else str(value)]).get(name)
    except InputError as error:
        raise InputError(f"{full}: {error}") from None


def with_flags(experiment: Experiment, settings: Settings, notes: list[str]) -> Experiment:
    """The experiment of -config with what other flags of the line replace.

    A flag replaces the number that it stands for and nothing is worked out anew: -osc leaves the number of phi steps
    as it is. Structure factors are not read here.

    **Raises** `InputError` for flags that stand for more than one number.
    """
    path = settings.get("config_path")
    free = {name for group in _ANY for flag in GROUPS[group] for name in flag.settings}
    for flag, name, value in settings.given:
        if name in free or name in _BESIDE or name in _STRUCTURE_FACTORS or name not in find(flag).settings:
            continue
        if settings.values[name] != value:  # a later flag wins
            continue
        if name in _LEAVES:
            experiment = _replaced(experiment, _LEAVES[name], value)
            if name == "polarization":
                experiment = _replaced(experiment, "beam.polarized", True)
        elif name in _CHANGES:
            experiment = _CHANGES[name](experiment, settings, notes)
        else:
            raise InputError(f"{flag} cannot be given beside -config, {_reason(flag)}: change it in {path}")
    experiment.__check_init__()
    return experiment


def _reason(flag: str) -> str:
    group = next(title for title, flags in GROUPS.items() if find(flag) in flags)
    return _WHY.get(group, "where it would change more than one number")


def _replaced(experiment: Experiment, place: str, value: Any) -> Experiment:
    """A copy with the field at a dotted place replaced, a static one, too; checked as when it is made."""
    part, field = place.split(".")
    model = getattr(experiment, part)
    values = {name: getattr(model, name) for name in type(model).__dataclass_fields__}
    return eqx.tree_at(lambda e: getattr(e, part), experiment, type(model)(**(values | {field: value})))


def _wavelength(experiment: Experiment, settings: Settings, notes: list[str]) -> Experiment:
    if experiment.beam.source_wavelengths_A is not None:
        flag = settings.flag_of("wavelength_A")
        raise InputError(f"{flag} cannot be given beside -config, whose sources have wavelengths of their own")
    return _replaced(experiment, "beam.wavelength_A", settings.get("wavelength_A"))


def _oscillation(experiment: Experiment, settings: Settings, notes: list[str]) -> Experiment:
    if "phisteps" in settings:
        experiment = _replaced(experiment, "goniometer.phi_steps", max(1, settings.get("phisteps")))
    if "osc_deg" in settings:
        experiment = _replaced(experiment, "goniometer.osc_deg", settings.get("osc_deg"))
        if experiment.goniometer.phi_steps == 1 and settings.get("osc_deg") > 0:
            flag = settings.flag_of("osc_deg")
            notes.append(f"{flag} is sampled at its start alone, the single phi step of -config: give -phisteps")
    return experiment


def _n_cells(experiment: Experiment, settings: Settings, notes: list[str]) -> Experiment:
    cells = np.asarray(experiment.crystal.n_cells).tolist()
    given = [settings.values.get(name, now) for name, now in zip(("Na", "Nb", "Nc"), cells, strict=True)]
    return _replaced(experiment, "crystal.n_cells", given)


def _misset(experiment: Experiment, settings: Settings, notes: list[str]) -> Experiment:
    misset = settings.get("misset_deg")
    if misset == "random":
        seed = settings.get("misset_seed")
        misset = random_misset_deg(1 if seed is None else seed)
    return _replaced(experiment, "crystal.misset_deg", misset)


def _mosaic(experiment: Experiment, settings: Settings, notes: list[str]) -> Experiment:
    """Another spread of the same directions, or directions drawn anew."""
    crystal = experiment.crystal
    spread = settings.values.get("mosaic_deg", float(crystal.mosaic_spread_deg))
    domains = settings.get("mosaic_domains")
    if domains is None and "mosaic_seed" in settings:
        domains = len(crystal.mosaic_fractions)
    if domains is None:
        if len(crystal.mosaic_fractions) == 1 and spread > 0:
            flag = settings.flag_of("mosaic_deg")
            raise InputError(f"{flag} {spread:g} beside -config needs -mosaic_domains: its crystal has a single one")
        return _replaced(experiment, "crystal.mosaic_spread_deg", spread)
    seed = settings.values.get("mosaic_seed", DEFAULT_MOSAIC_SEED)
    fresh = Crystal(crystal.cell_lengths_A, mosaic_spread_deg=spread, mosaic_domains=max(1, domains), mosaic_seed=seed)

    def drawn(crystal: Crystal):
        return crystal.mosaic_spread_deg, crystal.mosaic_axes, crystal.mosaic_fractions

    return eqx.tree_at(lambda e: drawn(e.crystal), experiment, drawn(fresh))


def _no_polarisation(experiment: Experiment, settings: Settings, notes: list[str]) -> Experiment:
    return _replaced(experiment, "beam.polarized", not settings.get("nopolar"))


def _cut(name: str) -> Callable[[Experiment, Settings, list[str]], Experiment]:
    """A sampling parameter that 0 turns off."""

    def change(experiment: Experiment, settings: Settings, notes: list[str]) -> Experiment:
        return _replaced(experiment, f"sampling.{name}", settings.get(name) or None)

    return change


_CHANGES: dict[str, Callable[[Experiment, Settings, list[str]], Experiment]] = {
    "wavelength_A": _wavelength,
    "Na": _n_cells,
    "Nb": _n_cells,
    "Nc": _n_cells,
    "misset_deg": _misset,
    "osc_deg": _oscillation,
    "phisteps": _oscillation,
    "mosaic_deg": _mosaic,
    "mosaic_domains": _mosaic,
    "mosaic_seed": _mosaic,
    "nopolar": _no_polarisation,
    "dmin_A": _cut("dmin_A"),
    "water_um": _cut("water_um"),
}
"""Settings that replace a field after a look at others."""
