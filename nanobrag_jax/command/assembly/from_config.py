"""What -config brings: a whole experiment, in which flags that stand for one field of it replace that field.

Nothing is worked out anew: -osc leaves the number of phi steps as it is. Flags that stand for more than one number are
refused.
"""

from typing import Any

from ...config import load_config
from ...crystal import Crystal
from ...errors import InputError
from ...experiment import Experiment
from ...mosaicity import CapMosaicity
from ..flags import FIELDS, GROUPS, Settings, find, group_of
from .asked import Asked
from .crystal import misset_of
from .fields import given_fields, replaced

_FREE = {
    name for group in ("About", "Images", "Output", "Noise image") for flag in GROUPS[group] for name in flag.settings
}
"""Settings that say nothing about the experiment."""

_FACTORS = {name for flag in GROUPS["Structure factors"] for name in flag.settings} - {"dump_path"}
"""Settings that bring other structure factors."""

_MORE = {"mode", "precision", "config_path", "save_config_path", "misset_seed", "mosaic_domains", "mosaic_seed"}
_MORE |= {"beamstop_mm", "dmax_A", "config_anywhere"}
"""Settings that say how to simulate, or more about a field that another flag stands for."""

_WHY = {
    "Detector": "the flags of the geometry depend on each other and on the convention",
    "Experiment": "an experiment list is a whole geometry of its own",
}
"""Why no flag of a group may replace a field by itself."""


def experiment_from_config(asked: Asked) -> Experiment:
    """The experiment of -config with the fields that other flags of the line replace, but its structure factors.

    **Raises** `InputError` for flags that stand for more than one number.
    """
    with asked.about("config_path"):
        experiment = load_config(asked.place / asked("config_path"), anywhere=asked("config_anywhere")).experiment
    settings = asked.settings
    _refuse_what_stands_for_more(settings)
    if "wavelength_A" in settings and experiment.beam.source_wavelengths_A is not None:
        flag = settings.flag_of("wavelength_A")
        raise InputError(f"{flag} cannot be given beside -config, whose sources have wavelengths of their own")
    if settings.values.get("osc_deg") and settings.values.get("phisteps", experiment.goniometer.phi_steps) == 1:
        flag = settings.flag_of("osc_deg")
        asked.note(f"{flag} is sampled at its start alone, the single phi step of -config: give -phisteps")
    return Experiment(
        crystal=replaced(experiment.crystal, _crystal_changes(experiment.crystal, settings)),
        beam=replaced(experiment.beam, given_fields("beam", settings)),
        detector=experiment.detector,
        goniometer=replaced(experiment.goniometer, given_fields("goniometer", settings)),
        structure_factors=replaced(experiment.structure_factors, given_fields("structure_factors", settings)),
        sampling=replaced(experiment.sampling, given_fields("sampling", settings)),
        scatterers=experiment.scatterers,
    )


def _refuse_what_stands_for_more(settings: Settings) -> None:
    for spelling, name, value in settings.given:
        if name in _FREE | _FACTORS | _MORE or settings.values[name] != value:  # a later flag wins
            continue
        flag = find(spelling)
        group = group_of(flag)
        if name not in flag.settings or (name in FIELDS and group not in _WHY):
            continue
        reason = _WHY.get(group, "where it would change more than one number")
        path = settings.get("config_path")
        raise InputError(f"{spelling} cannot be given beside -config, {reason}: change it in {path}")


def _crystal_changes(crystal: Crystal, settings: Settings) -> dict[str, Any]:
    changes = given_fields("crystal", settings)
    if "misset_deg" in changes:
        changes["misset_deg"] = misset_of(settings)
    if any(name in settings for name in ("mosaic_deg", "mosaic_domains", "mosaic_seed")):
        changes.pop("mosaicity.spread_deg", None)
        changes |= _mosaicity(crystal, settings)
    return changes


def _mosaicity(crystal: Crystal, settings: Settings) -> dict[str, Any]:
    """Another spread of the same domains, or domains drawn anew. **Raises** `InputError` for another kind."""
    if not isinstance(crystal.mosaicity, CapMosaicity):
        given = (name for name in ("mosaic_deg", "mosaic_domains", "mosaic_seed") if name in settings)
        flag = settings.flag_of(next(given))
        raise InputError(f"{flag} beside -config: the mosaicity of its crystal is another kind: change it there")
    spread = settings.values.get("mosaic_deg", float(crystal.mosaic_spread_deg))
    domains, held = settings.get("mosaic_domains"), crystal.mosaicity.domains
    if domains is None and "mosaic_seed" in settings:
        domains = held
    if domains is not None:
        return {"mosaicity": CapMosaicity.drawn(spread, max(1, domains), settings.get("mosaic_seed"))}
    if held == 1 and spread > 0:
        flag = settings.flag_of("mosaic_deg")
        raise InputError(f"{flag} {spread:g} beside -config needs -mosaic_domains: its crystal has a single one")
    return {"mosaicity.spread_deg": spread}
