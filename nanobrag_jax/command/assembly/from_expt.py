"""What -expt brings: the parts of a DIALS experiment list, and which flags replace what in them.

Detector, cell and orientation, beam and rotation are those of the list; flags that say where the detector, the beam or
the crystal stand have no effect beside it.
"""

from dataclasses import dataclass, replace

import numpy as np

from ...beam import Beam
from ...crystal import Crystal
from ...dials.models import ExptExperiment
from ...dials.read import read_one_expt
from ...dials.to_experiment import (
    at_image,
    beam_from_expt,
    crystal_from_expt,
    detector_from_expt,
    goniometer_from_expt,
)
from ...errors import InputError
from ...experiment import Experiment
from ...goniometer import Goniometer
from ...io.spectrum import Spectrum
from ...panels import Panels
from ..flags import GROUPS, find
from .asked import Asked
from .beam import beam_options, with_source_list
from .crystal import crystal_from_flags, crystal_options
from .fields import given_fields, replaced
from .goniometer import completed_rotation

_KEPT = ("point_pixel", "detector_thicksteps", "mask_path")
"""Settings of the detector that have an effect beside -expt."""

_FROM_LIST = ("mat_path", "cell")
"""Settings of other parts that the list decides, if it has a crystal."""


@dataclass(frozen=True)
class Listed:
    """One experiment of a list.

    **Arguments:** `record`: what the file says; `where`: what to call it in a message; `asked`: what the command line
    asks for, without what the list decides; `spectrum`: instead of the list's wavelength.
    """

    record: ExptExperiment
    where: str
    asked: Asked
    spectrum: Spectrum | None = None

    @property
    def image(self) -> int | None:
        """The number of the image, None for the first."""
        number = self.asked("expt_image")
        return None if number == "all" else number

    def crystal(self) -> Crystal:
        """The list's cell and orientation; misset, size, shape and mosaicity as flags say.

        Of a list without a crystal, cell and orientation are those of the flags, too: a matrix stands in MOSFLM's
        frame, the beam along x and the spindle along z, which is turned to the list's.
        """
        if self.record.crystal is None:
            wavelength = self.asked("wavelength_A")
            if "wavelength_A" not in self.asked and self.record.beam is not None:
                wavelength = self.record.beam.wavelength_A or wavelength
            return crystal_from_flags(self.asked, wavelength, _from_mosflm(self.record))
        listed = crystal_from_expt(self.record, self.where, self.image)
        return replaced(listed, crystal_options(self.asked, np.asarray(listed.cell_lengths_A)))

    def detector(self) -> Panels:
        """The panels, or the one that -expt_panel names, with the layers of the sensor that the flags ask for."""
        record, chosen, panels = self.record, self.asked("expt_panel"), self.record.detector or ()
        if chosen is not None and panels:
            if chosen >= len(panels):
                raise InputError(f"-expt_panel must be 0 to {len(panels) - 1}, got {chosen}")
            record = replace(record, detector=panels[chosen : chosen + 1])
        layers = max(1, self.asked("detector_thicksteps") or 1)
        return detector_from_expt(record, self.where, layers, point_pixel=self.asked("point_pixel"))

    def beam(self, image: int | None = None) -> Beam:
        """The list's wavelength, direction and polarisation unless flags give them; fluence and sources as flags say.

        **Arguments:** `image`: its number, None for the one that is asked for. **Raises** `InputError` for a beam that
        cannot be used.
        """
        changes = given_fields("beam", self.asked.settings) | beam_options(self.asked, self.spectrum)
        number = self.image if image is None else image
        means = self.asked("expt_polarization")
        listed = beam_from_expt(self.record, self.where, number, self.spectrum, means, **changes)
        return with_source_list(listed, self.asked)

    def goniometer(self) -> Goniometer:
        """The list's rotation, with the range and the start that flags give, in as many steps."""
        sampling = "start" if self.asked("mode") == "c-parity" else "middle"
        listed = goniometer_from_expt(self.record, self.where, self.image, phi_sampling=sampling)
        given = given_fields("goniometer", self.asked.settings)
        osc_deg = given.get("osc_deg", float(listed.osc_deg) or None)
        return replaced(listed, given | completed_rotation(self.asked, osc_deg))

    def at(self, experiment: Experiment, image: int) -> Experiment:
        """The experiment of the list's parts as it is at another image of the scan."""
        silent = replace(self, asked=replace(self.asked, notes=[]))
        return at_image(experiment, self.record, self.where, image, silent.beam(image))


def listed_experiment(asked: Asked, spectrum: Spectrum | None) -> Listed | None:
    """The experiment that -expt and -expt_index name, with a note for each flag without effect; None without -expt.

    **Arguments:** `spectrum`: instead of the list's wavelength.
    """
    path = asked("expt_path")
    if path is None:
        return None
    index = asked("expt_index")
    record, count = read_one_expt(asked.place / path, index)
    if count > 1 and "expt_index" not in asked:
        asked.note(f"-expt {path} has {count} experiments: number 0 is taken, see -expt_index")
    where = f"experiment {index} of -expt {path}"
    return Listed(record, where, _without_geometry(asked, record.crystal is not None), spectrum)


def _from_mosflm(record: ExptExperiment) -> np.ndarray:
    """The rotation from MOSFLM's frame, x along the beam and z along the spindle, to the list's lab frame."""
    along = np.array([0.0, 0.0, -1.0]) if record.beam is None else -record.beam.source_direction
    axis = np.array([1.0, 0.0, 0.0])
    if record.goniometer is not None:
        axis = record.goniometer.setting_rotation @ record.goniometer.rotation_axis
    across = axis - (axis @ along) * along
    if np.linalg.norm(across) < 1e-3:
        raise InputError("-mat needs a spindle that is not along the beam: MOSFLM's frame is made of both")
    across = across / np.linalg.norm(across)
    return np.stack([along, np.cross(across, along), across], axis=1)


def _without_geometry(asked: Asked, has_crystal: bool) -> Asked:
    """What is asked for without what an experiment list decides, with a note for each flag that is ignored."""
    rows = GROUPS["Detector"]
    ignored = {name for flag in rows for name in flag.settings if name not in _KEPT}
    ignored |= set(_FROM_LIST) if has_crystal else set()
    implied = {name for flag in rows for name, _ in flag.also}
    given = asked.settings.given
    seen = dict.fromkeys(flag for flag, name, _ in given if name in ignored | implied and name in find(flag).settings)
    for flag in seen:
        asked.note(f"{flag} has no effect beside -expt")
    values = {name: value for name, value in asked.settings.values.items() if name not in ignored | implied}
    return replace(asked, settings=replace(asked.settings, values=values), headers={})
