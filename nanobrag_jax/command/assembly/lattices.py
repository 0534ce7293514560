"""The crystals of -crystals: a file with the flags of one crystal in each line."""

import shlex
from collections.abc import Sequence
from dataclasses import replace

import equinox as eqx

from ...crystal import Crystal
from ...errors import InputError
from ...experiment import Experiment, with_fields
from ...io.text import read_bytes
from ...render.lattices import alone
from ...sub_pixels import resolving_oversample
from ..flags import GROUPS, Settings, parse
from .asked import Asked

_CRYSTAL = {name for flag in GROUPS["Crystal"] for name in flag.settings} - {"crystals_path"}
_BESIDE = ("config_path", "expt_path", "images", "save_config_path", "exptfile_path", "printout_pixel")


def lattice_settings(asked: Asked) -> list[Settings]:
    """The settings of each crystal: those of the line, and for what it leaves out those of the command line.

    **Raises** `InputError` for a file without crystals, and a line with anything but flags of the crystal.
    """
    for name in _BESIDE:
        if name in asked:
            raise InputError(f"{asked.flag_of(name)} cannot be given beside -crystals: it stands for one crystal")
    if asked("mode") == "c-parity":
        raise InputError("-crystals is unknown to c-parity: the reference has one crystal")
    path = asked("crystals_path")
    with asked.about("crystals_path"):
        text = read_bytes(asked.place / path, "a list of crystals").decode(errors="replace")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
            if not words:
                continue
            own = parse(words)
        except (InputError, ValueError) as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        for spelling, name, _ in own.given:
            if name not in _CRYSTAL:
                raise InputError(f"{path}, line {number}: {spelling} is no flag of a crystal")
        given = asked.settings
        found.append(Settings(given.values | own.values, [*given.given, *own.given], given.notes))
    if not found:
        raise InputError(f"{path} has no crystal: a line is the flags of one, such as -misset 10 20 30 -N 12")
    return found


def with_lattices(
    asked: Asked, experiment: Experiment, crystals: Sequence[Crystal]
) -> tuple[Experiment, list[Experiment]]:
    """The experiment with enough sub-pixels for all crystals, and one each of the others, without scatterers."""
    if not crystals:
        return experiment, []
    if "oversample" not in asked:
        needed = [resolving_oversample(each, experiment.beam, experiment.detector) or 1 for each in crystals]
        most = max(needed, default=1)
        if most > experiment.sampling.sub_pixels:
            sampling = with_fields(experiment.sampling, oversample=most)
            experiment = eqx.tree_at(lambda e: e.sampling, experiment, sampling)
    bare = alone(experiment)
    return experiment, [eqx.tree_at(lambda e: e.crystal, bare, crystal) for crystal in crystals]


def asked_by(asked: Asked, settings: Settings) -> Asked:
    """The same with settings of another crystal."""
    return replace(asked, settings=settings)
