"""From command-line settings to an experiment: its parts come from flags, an experiment list, or a configuration."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..beam_stop import with_beam_stop
from ..checks import warn
from ..errors import ExperimentWarning, InputError
from ..experiment import Experiment, image_experiment
from ..io.hkl import HklTable
from ..structure_factors import StructureFactors
from . import flags
from .assembly.asked import Asked
from .assembly.beam import beam_from_flags, spectrum_of
from .assembly.crystal import crystal_from_flags
from .assembly.detector import detector_from_flags
from .assembly.fields import replaced
from .assembly.from_config import experiment_from_config
from .assembly.from_expt import Listed, listed_experiment
from .assembly.goniometer import goniometer_from_flags
from .assembly.headers import read_headers
from .assembly.known_detector import named_detector
from .assembly.lattices import asked_by, lattice_settings, with_lattices
from .assembly.sampling import check_pixels, sampling_from_flags
from .assembly.scatterers import scatterers_from_flags
from .assembly.structure_factors import factors_of_table, given_table, table_from_flags, table_of
from .flags import Settings
from .workload import check_counts, check_workload


@dataclass
class Assembly:
    """An experiment with what the command needs beside it: the settings, where files are, and what to tell."""

    experiment: Experiment
    settings: Settings
    directory: Path
    notes: list[str] = field(default_factory=list)
    table: HklTable | None = None
    listed: Listed | None = None
    lattices: Sequence[Experiment] = ()
    """Of -crystals those after the first, whose photons are added."""

    def experiment_at(self, number: int) -> Experiment:
        """The experiment of an image: of the scan of -expt_image all, else of the sweep that `experiment` begins."""
        if self.listed is not None and self.settings.get("expt_image") == "all":
            return self.listed.at(self.experiment, number)
        return image_experiment(self.experiment, number)


def experiment_from_args(args: Sequence[str], directory: str | os.PathLike[str] = ".") -> Experiment:
    """The experiment that command-line flags describe.

    **Arguments:** `args`: flags as for `python -m nanobrag_jax`; `directory`: where relative file names start.

    What the command would print as a note is a warning here. **Raises** `InputError` for flags or files that cannot be
    used.
    """
    assembly = assemble(flags.parse(args), directory)
    for note in assembly.notes:
        warn(note)
    if assembly.lattices:
        raise InputError("-crystals stands for several crystals: simulate_lattices renders them in Python")
    return assembly.experiment


def assemble(settings: Settings, directory: str | os.PathLike[str] = ".") -> Assembly:
    """Read the files that settings name and build the experiment. **Raises** `InputError`."""
    if settings.get("expt_image") == "all" and "images" not in settings:
        raise InputError("-expt_image all stands for many experiments: give one's number (nb.scan_from_expt has all)")
    asked = Asked(settings, Path(directory), notes=list(settings.notes))
    build = _from_flags if settings.get("config_path") is None else _from_config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentWarning)  # what it would say is among the notes
        check_counts(asked)
        each = [asked_by(asked, s) for s in lattice_settings(asked)] if "crystals_path" in asked else [asked]
        experiment, table, listed = build(each[0])
        experiment = _behind_beam_stop(asked, experiment)
        crystals = [crystal_from_flags(other, float(experiment.beam.wavelength_A)) for other in each[1:]]
        experiment, lattices = with_lattices(asked, experiment, crystals)
    check_workload(settings, [experiment, *lattices])
    notes = list(dict.fromkeys(asked.notes)) if lattices else asked.notes
    return Assembly(experiment, settings, asked.place, notes, table, listed, lattices)


def _behind_beam_stop(asked: Asked, experiment: Experiment) -> Experiment:
    """The experiment without the pixels in the shadow of -beamstop or -dmax."""
    given = [name for name in ("beamstop_mm", "dmax_A") if name in asked]
    if len(given) > 1:
        raise InputError("give one of -beamstop and -dmax")
    if not given:
        return experiment
    return with_beam_stop(experiment, radius_mm=asked("beamstop_mm"), dmax_A=asked("dmax_A"))


def _from_flags(asked: Asked) -> tuple[Experiment, HklTable | None, Listed | None]:
    """An experiment of flags, those of its parts excepted that -expt brings."""
    headers, mask = read_headers(asked)
    spectrum = spectrum_of(asked)
    listed = listed_experiment(asked, spectrum)
    if listed is None:
        asked = replace(asked, headers=headers)
        wavelength = asked("wavelength_A")
        if spectrum is not None and "wavelength_A" not in asked:
            wavelength = spectrum.mean_wavelength_A
        crystal = crystal_from_flags(asked, wavelength)
        named = named_detector(asked, wavelength if spectrum is None else spectrum.mean_wavelength_A)
        if named is not None:
            asked, mask = replace(asked, headers=named.headers(headers)), named.mask(mask)
        detector = detector_from_flags(asked, named)
    else:
        asked = listed.asked
        crystal, detector = listed.crystal(), listed.detector()
    check_pixels(asked, detector, mask)
    parts = Experiment(
        crystal=crystal,
        beam=beam_from_flags(asked, spectrum) if listed is None else listed.beam(),
        detector=detector,
        goniometer=goniometer_from_flags(asked) if listed is None else listed.goniometer(),
        structure_factors=StructureFactors(),
        scatterers=scatterers_from_flags(asked),
    )
    table = table_from_flags(asked, parts)
    factors = factors_of_table(table, asked("default_F"))
    sampling = sampling_from_flags(asked, parts, table is not None, mask)
    return replaced(parts, {"structure_factors": factors, "sampling": sampling}), table, listed


def _from_config(asked: Asked) -> tuple[Experiment, HklTable | None, None]:
    """The experiment of -config with what other flags replace."""
    experiment = experiment_from_config(asked)
    table = given_table(asked, experiment)
    if table is None or not table.values.size:
        return experiment, table_of(experiment.structure_factors), None
    factors = factors_of_table(table, float(experiment.structure_factors.default_F))
    return replaced(experiment, {"structure_factors": factors}), table, None
