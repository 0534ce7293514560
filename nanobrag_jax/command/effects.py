"""The detector effects that command-line flags ask for."""

import math

from ..effects.config import DetectorEffects
from ..errors import InputError
from .flags import NOISE_FLAGS, Settings

_GAUSS_REACH_FWHM = 3.0
"""A gaussian is below 1e-10 of its height from there on."""

_NO_STEP = ("psf_fwhm_mm", "detector_seed")
"""Settings that only say more about a step."""


def check_effects(settings: Settings) -> None:
    """Raise `InputError` for flags that do not go together, or that the mode does not know."""
    given = [flag.setting for flag in NOISE_FLAGS if flag.setting in settings]
    if given and settings.get("mode") == "c-parity":
        raise InputError(
            f"{settings.flag_of(given[0])} needs -mode spec: the reference knows no detector effects, c-parity neither"
        )
    if "psf" in given and "psf_fwhm_mm" not in given:
        raise InputError(f"{settings.flag_of('psf')} {settings.get('psf')} needs its width: give -psf_fwhm")


def wants_effects(settings: Settings) -> bool:
    """Whether the flags ask for any step beyond the counting of photons."""
    return any(flag.setting in settings for flag in NOISE_FLAGS if flag.setting not in _NO_STEP)


def effects_from_settings(settings: Settings, pixel_mm: float, offset_adu: float) -> DetectorEffects:
    """The effects of a detector with pixels of the given edge and offset; photons are counted."""
    shape, width, reach = settings.get("psf"), None, None
    if shape is not None:
        width = float(settings.get("psf_fwhm_mm")) / pixel_mm
        reach = math.ceil(_GAUSS_REACH_FWHM * width) if shape == "gauss" else None
    return DetectorEffects(
        flicker_percent=settings.get("flicker_percent"),
        shot_noise=True,
        psf=shape,
        psf_fwhm_pixels=width,
        psf_radius_pixels=reach,
        calibration_percent=settings.get("calibnoise_percent"),
        gain_adu_per_photon=settings.get("gain"),
        readout_adu=settings.get("readnoise_adu"),
        offset_adu=offset_adu,
        saturation_adu=settings.get("saturation_adu"),
        dead_fraction=None if settings.get("dead_percent") is None else 0.01 * settings.get("dead_percent"),
        detector_seed=settings.get("detector_seed"),
    )


def described(settings: Settings) -> str:
    """The effects in words, for the report."""
    words = []
    for flag in NOISE_FLAGS:
        if flag.setting in settings:
            value = settings.get(flag.setting)
            shown = value if isinstance(value, str) else f"{value:g}"
            words.append(f"{flag.spellings[0][1:]} {shown} {flag.unit}".strip())
    return ", ".join(words)
