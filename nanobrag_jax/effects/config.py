"""Which effects a detector has, and how strong they are."""

import equinox as eqx

from .. import checks
from ..checks import optional_leaf
from ..constants import PSF_SHAPES
from ..described import described
from ..errors import InputError
from ..typing import Mask, PsfShape, Scalar


class DetectorEffects(eqx.Module):
    """The effects of a detector, in the order in which `detect` applies them. What is None or False is left out.

    **Arguments:**

    - `flicker_percent`: rms change of the beam's intensity from one exposure to the next;
    - `shot_noise`: whether photons are counted instead of expected;
    - `psf`: shape of the point-spread function, gauss or fiber;
    - `psf_fwhm_pixels`: its full width at half maximum;
    - `psf_radius_pixels`: how far it reaches, None for over the whole image;
    - `calibration_percent`: rms error of a pixel's sensitivity;
    - `gain_adu_per_photon`: reading of one photon;
    - `readout_adu`: rms noise of reading a pixel;
    - `offset_adu`: what an empty pixel reads;
    - `saturation_adu`: the largest reading;
    - `dead_fraction`: of the pixels, drawn at random, which read `dead_value_adu`;
    - `dead_mask` (slow, fast): True where a pixel reads that, too;
    - `dead_value_adu`: 0 unless given;
    - `detector_seed`: decides where calibration errors and dead pixels are, whatever the key of the exposure: they are
      the detector's own.

    **Raises** `InputError` for strengths that are out of range. Source: docs/detector.md.
    """

    flicker_percent: Scalar | None
    psf_fwhm_pixels: Scalar | None
    calibration_percent: Scalar | None
    gain_adu_per_photon: Scalar | None
    readout_adu: Scalar | None
    offset_adu: Scalar | None
    saturation_adu: Scalar | None
    dead_fraction: Scalar | None
    dead_mask: Mask | None
    dead_value_adu: Scalar | None
    shot_noise: bool = eqx.field(static=True)
    psf: PsfShape | None = eqx.field(static=True)
    psf_radius_pixels: int | None = eqx.field(static=True)
    detector_seed: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        flicker_percent=None,
        shot_noise: bool = False,
        psf: PsfShape | None = None,
        psf_fwhm_pixels=None,
        psf_radius_pixels: int | None = None,
        calibration_percent=None,
        gain_adu_per_photon=None,
        readout_adu=None,
        offset_adu=None,
        saturation_adu=None,
        dead_fraction=None,
        dead_mask=None,
        dead_value_adu=None,
        detector_seed: int = 1,
    ):
        if psf is not None:
            checks.one_of("psf", psf, PSF_SHAPES)
        if (psf is None) != (psf_fwhm_pixels is None):
            raise InputError(f"psf and psf_fwhm_pixels belong together, got {psf} and {psf_fwhm_pixels}")
        if psf_radius_pixels is not None:
            checks.count("psf_radius_pixels", psf_radius_pixels)
        self.flicker_percent = optional_leaf(flicker_percent)
        self.shot_noise = bool(shot_noise)
        self.psf, self.psf_fwhm_pixels = psf, optional_leaf(psf_fwhm_pixels)
        self.psf_radius_pixels = None if psf_radius_pixels is None else int(psf_radius_pixels)
        self.calibration_percent = optional_leaf(calibration_percent)
        self.gain_adu_per_photon = optional_leaf(gain_adu_per_photon)
        self.readout_adu = optional_leaf(readout_adu)
        self.offset_adu = optional_leaf(offset_adu)
        self.saturation_adu = optional_leaf(saturation_adu)
        self.dead_fraction = optional_leaf(dead_fraction)
        self.dead_mask = checks.optional_mask(dead_mask)
        self.dead_value_adu = optional_leaf(dead_value_adu)
        self.detector_seed = int(detector_seed)

    def __check_init__(self):
        checks.not_negative("flicker_percent", self.flicker_percent)
        checks.positive("psf_fwhm_pixels", self.psf_fwhm_pixels)
        checks.not_negative("calibration_percent", self.calibration_percent)
        checks.positive("gain_adu_per_photon", self.gain_adu_per_photon)
        checks.not_negative("readout_adu", self.readout_adu)
        checks.finite("offset_adu", self.offset_adu)
        checks.positive("saturation_adu", self.saturation_adu)
        checks.require("dead_fraction", self.dead_fraction, "between 0 and 1", lambda x: (x >= 0) & (x <= 1))
        checks.finite("dead_value_adu", self.dead_value_adu)

    def __repr__(self) -> str:
        return described(self)
