"""The experiment as frozen pytrees: what is known about crystal, beam, detector, goniometer and sampling.

A leaf is a number or array that may be refined; what decides shapes or control flow is static. Independent numbers
only: everything that follows from them is derived inside `simulate`, so that gradients reach their source.
"""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import equinox as eqx
import numpy as np
from numpy.typing import NDArray

from . import checks
from .beam import Beam
from .checks import leaf, named_arguments, optional_leaf
from .conventions import CONVENTIONS
from .crystal import Crystal
from .described import described
from .detector import Detector
from .detectors.known import KnownDetector
from .errors import InputError
from .goniometer import Goniometer
from .panels import Panels, as_panels, num_panels, panel_kinds, split_panels
from .scatterers import AbstractScatterer
from .steps import use_interpolation
from .structure_factors import StructureFactors
from .sub_pixels import resolving_oversample
from .typing import Auto, Mask, PanelMasks, Scalar
from .window import Roi

Part = TypeVar("Part", bound=eqx.Module)


class Sampling(eqx.Module):
    """How pixels are sampled, and which.

    **Arguments:**

    - `oversample`: sub-pixels along each edge, "auto" for as many as the spots need: settled by the experiment;
    - `oversample_thick`, `oversample_polar`, `oversample_omega`: evaluate absorption, polarisation and solid angle at
      every sub-pixel instead of once a pixel;
    - `interpolate`: tricubic structure factors, "auto" for crystals of two cells or fewer along an axis: settled by the
      experiment;
    - `dmin_A`: resolution cut, None for none;
    - `roi`: (fast_min, fast_max, slow_min, slow_max), both ends included, None for all;
    - `mask` (slow, fast): True where rendered, None for all;
    - `water_um`: edge of a cube of water behind the background, None for none.

    **Raises** `InputError`.
    """

    dmin_A: Scalar | None
    water_um: Scalar | None
    mask: Mask | PanelMasks | None
    oversample: int | Auto = eqx.field(static=True)
    oversample_thick: bool = eqx.field(static=True)
    oversample_polar: bool = eqx.field(static=True)
    oversample_omega: bool = eqx.field(static=True)
    interpolate: bool | Auto = eqx.field(static=True)
    roi: Roi | None = eqx.field(static=True)

    @named_arguments
    def __init__(
        self,
        oversample: int | Auto = "auto",
        *,
        oversample_thick: bool = False,
        oversample_polar: bool = False,
        oversample_omega: bool = False,
        interpolate: bool | Auto = "auto",
        dmin_A=None,
        roi=None,
        mask=None,
        water_um=None,
    ):
        if oversample != "auto":
            checks.count("oversample", oversample, most=46340)  # squared it is counted in 32 bits
        self.oversample = "auto" if oversample == "auto" else int(oversample)
        self.oversample_thick, self.oversample_polar = oversample_thick, oversample_polar
        self.oversample_omega, self.interpolate = oversample_omega, interpolate
        self.dmin_A, self.water_um = optional_leaf(dmin_A, "dmin_A"), optional_leaf(water_um, "water_um")
        if roi is not None and (len(roi) != 4 or any(x != int(x) for x in roi)):
            raise InputError(f"roi must be four whole numbers, got {roi}")
        self.roi = None if roi is None else (int(roi[0]), int(roi[1]), int(roi[2]), int(roi[3]))
        self.mask = checks.optional_mask(mask)

    @property
    def sub_pixels(self) -> int:
        """`oversample`, once it is settled."""
        return 1 if self.oversample == "auto" else self.oversample

    def __check_init__(self):
        checks.not_negative("dmin_A", self.dmin_A)
        checks.not_negative("water_um", self.water_um)

    def __repr__(self) -> str:
        return described(self)


class Experiment(eqx.Module):
    """Everything `simulate` needs.

    **Arguments:**

    - `crystal`, `structure_factors`;
    - `beam`, `detector`, `goniometer`, `sampling`: None for their defaults;
    - `detector`: one, or a list of panels, each placed in the lab as a detector of its own: equal ones become a
      `PanelStack`, unequal ones a tuple (see `panels`); or one of `detectors`, whose mask the sampling gets, too;
    - `scatterers`: what else scatters in the beam (see `scatterers`); c-parity knows none.

    What is None in a part follows from the others when the experiment is rendered (see `completed`), so any part can
    be replaced by another. **Raises** `InputError` where the parts do not fit together.
    """

    crystal: Crystal
    beam: Beam
    detector: Panels
    goniometer: Goniometer
    structure_factors: StructureFactors
    sampling: Sampling
    scatterers: tuple[AbstractScatterer, ...]

    @named_arguments
    def __init__(
        self,
        *,
        crystal: Crystal,
        structure_factors: StructureFactors,
        beam: Beam | None = None,
        detector: Panels | Sequence[Detector] | KnownDetector | None = None,
        goniometer: Goniometer | None = None,
        sampling: Sampling | None = None,
        scatterers: Sequence[AbstractScatterer] = (),
    ):
        for name, part, kind in (
            ("crystal", crystal, Crystal),
            ("structure_factors", structure_factors, StructureFactors),
            ("beam", beam or Beam, Beam),
            ("goniometer", goniometer or Goniometer, Goniometer),
            ("sampling", sampling or Sampling, Sampling),
        ):
            if not (isinstance(part, kind) or part is kind):
                raise InputError(f"{name} must be a {kind.__name__}, got a {type(part).__name__}")
        self.crystal = crystal
        self.beam = Beam() if beam is None else beam
        sampling = Sampling() if sampling is None else sampling
        if isinstance(detector, KnownDetector):
            sampling = _masked(sampling, detector.mask)
            detector = detector.panels(self.beam.wavelength_A)
        self.detector = Detector() if detector is None else as_panels(detector)
        self.goniometer = Goniometer() if goniometer is None else goniometer
        self.structure_factors = structure_factors
        self.scatterers = tuple(scatterers)
        self.sampling = _settled(sampling, crystal, self.beam, self.detector, structure_factors)

    @property
    def panel(self) -> Detector:
        """The detector of an experiment with one panel. **Raises** `InputError` for several."""
        if not isinstance(self.detector, Detector):
            raise InputError("this needs one panel: choose it with panel_experiment(experiment, panel)")
        return self.detector

    def __check_init__(self):
        for panel in panel_kinds(self.detector):
            check_window(self.sampling.roi, panel)
            check_mask(self.sampling.mask, panel, num_panels(self.detector))

    def __repr__(self) -> str:
        return described(self)


def _masked(sampling: Sampling, mask: NDArray[np.bool_] | None) -> Sampling:
    """The sampling without what is masked as well; one that does not fit is refused elsewhere."""
    held = sampling.mask
    if mask is None or (held is not None and held.shape != mask.shape):
        return sampling
    return with_fields(sampling, mask=mask if held is None else held & mask)


def settled(experiment: Experiment) -> Experiment:
    """The experiment with numbers for what its sampling leaves "auto", after a part was replaced."""
    sampling = experiment.sampling
    if "auto" not in (sampling.oversample, sampling.interpolate):
        return experiment
    known = _settled(sampling, experiment.crystal, experiment.beam, experiment.detector, experiment.structure_factors)
    return eqx.tree_at(lambda e: e.sampling, experiment, known)


def _settled(sampling: Sampling, crystal: Crystal, beam: Beam, detector: Panels, factors: StructureFactors) -> Sampling:
    """Sub-pixels and interpolation by the command's rules where they are "auto"; a warning of too few sub-pixels."""
    oversample, interpolate = sampling.oversample, sampling.interpolate
    try:
        needed = resolving_oversample(crystal, beam, detector)
    except InputError:  # more than there can be: of no interest to who has chosen a number
        if oversample == "auto":
            raise
        needed = None
    if oversample == "auto":
        oversample = 1 if needed is None else needed
        if needed is None:
            checks.warn(
                "oversample is 1: an experiment that is built inside a transformation does not know how many "
                "sub-pixels its spots need; give Sampling(oversample=…)"
            )
    elif needed is not None and oversample < needed:
        checks.warn(f"oversample {oversample} is kept, though the spots need {needed}")
    if interpolate == "auto":
        few = checks.is_known(crystal.n_cells) and use_interpolation(None, crystal.n_cells.tolist())
        interpolate = few and factors.amplitudes is not None
    if (oversample, interpolate) == (sampling.oversample, sampling.interpolate):
        return sampling
    return with_fields(sampling, oversample=oversample, interpolate=interpolate)


def with_fields(part: Part, **changes) -> Part:
    """A copy of a part with other values in some of its fields."""
    held = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    return type(part)(**(held | changes))


def check_window(roi: Roi | None, panel: Detector, named: str = "roi") -> None:
    """Nothing, if a region of interest lies on a panel. **Raises** `InputError` otherwise, with what named it."""
    fast, slow = panel.pixels_fast, panel.pixels_slow
    if roi is not None and not (0 <= roi[0] <= roi[1] < fast and 0 <= roi[2] <= roi[3] < slow):
        numbers = " ".join(str(x) for x in roi)
        raise InputError(f"{named} {numbers} does not lie on the detector of {fast} x {slow} pixels (fast x slow)")


def check_mask(mask: Mask | PanelMasks | None, panel: Detector, panels: int | None = None, named: str = "mask") -> None:
    """Nothing, if a mask fits a panel, or a stack of so many. **Raises** `InputError` otherwise."""
    fast, slow = panel.pixels_fast, panel.pixels_slow
    if mask is None or mask.shape == (slow, fast) or (mask.ndim == 3 and mask.shape == (panels, slow, fast)):
        return
    raise InputError(f"{named} has {' x '.join(str(n) for n in mask.shape[::-1])} pixels, the detector {fast} x {slow}")


def completed(experiment: Experiment) -> Experiment:
    """The experiment with the vectors that its detector's convention gives in place of those that are None.

    Beam direction, polarisation and spindle then are leaves, which may be read, differentiated and refined.
    """
    named = CONVENTIONS[panel_kinds(experiment.detector)[0].convention]
    beam = _filled(experiment.beam, direction=named.beam, polarization_vector=named.polarization)
    goniometer = _filled(experiment.goniometer, spindle_axis=named.spindle)
    if beam is experiment.beam and goniometer is experiment.goniometer:
        return experiment
    return eqx.tree_at(lambda e: (e.beam, e.goniometer), experiment, (beam, goniometer))


def _filled(part: Part, **defaults: Sequence[float]) -> Part:
    """`part` with the fields that are None replaced by defaults."""
    for name, value in defaults.items():
        if getattr(part, name) is None:
            part = eqx.tree_at(lambda p, n=name: getattr(p, n), part, leaf(value), is_leaf=lambda x: x is None)
    return part


def panel_experiment(experiment: Experiment, panel: int) -> Experiment:
    """The same experiment with one panel as its detector, for `simulate_pixels` and traces.

    **Raises** `InputError` if there is no such panel.
    """
    panels = split_panels(experiment.detector)
    if not 0 <= panel < len(panels):
        raise InputError(f"panel must be 0 to {len(panels) - 1}, got {panel}")
    mask = experiment.sampling.mask
    single = eqx.tree_at(lambda e: e.detector, experiment, panels[panel])
    if mask is None or mask.ndim == 2:
        return single
    return eqx.tree_at(lambda e: e.sampling.mask, single, mask[panel])


def image_experiment(experiment: Experiment, number: int) -> Experiment:
    """The same experiment at image `number` of the rotation of which it is image 1: each goes on where one has ended.

    Only `goniometer.phi_deg` is another number. **Raises** `InputError` for a number below 1.
    """
    if number != int(number) or number < 1:
        raise InputError(f"images are numbered from 1, got {number}")
    phi, osc = experiment.goniometer.phi_deg, experiment.goniometer.osc_deg
    if number == 1:
        return experiment
    if checks.is_known((phi, osc)):  # by numpy: jax would compile it
        phi, osc = np.asarray(phi), np.asarray(osc)
    return eqx.tree_at(lambda e: e.goniometer.phi_deg, experiment, leaf(phi + (number - 1) * osc))
