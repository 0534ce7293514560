"""What -mask and -img bring: the settings in their headers, and the mask (docs/reference.md section 2)."""

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...formats.smv import OWN_BEAM_CENTER, header_value, read_smv, read_smv_header, whole_key_value
from .asked import Asked

HEADER_KEYS = {
    "SIZE1": "detpixels_f",
    "SIZE2": "detpixels_s",
    "PIXEL_SIZE": "pixel_mm",
    "DISTANCE": "distance_mm",
    "CLOSE_DISTANCE": "close_distance_mm",
    "WAVELENGTH": "wavelength_A",
    "BEAM_CENTER_X": "Xbeam_mm",
    "BEAM_CENTER_Y": "Ybeam_mm",
    "ORGX": "ORGX_pixels",
    "ORGY": "ORGY_pixels",
    "PHI": "phi_deg",
    "OSC_RANGE": "osc_deg",
}
"""Keys of an SMV header and the settings they stand for."""

_OTHER_KEYS = {
    "BEAM_CENTER_X": OWN_BEAM_CENTER[:1],
    "BEAM_CENTER_Y": OWN_BEAM_CENTER[1:],
    "ORGX": ("XDS_ORGX",),
    "ORGY": ("XDS_ORGY",),
}
"""Longer keys that say the same, and win, where keys are read as a whole."""

_POSITIVE = ("PIXEL_SIZE", "DISTANCE", "CLOSE_DISTANCE", "WAVELENGTH")


def read_headers(asked: Asked) -> tuple[dict[str, float], NDArray[np.bool_] | None]:
    """What the headers of -mask and then -img say, by the settings' names, and the mask."""
    found: dict[str, float] = {}
    mask = None
    for name in ("mask_path", "img_path"):
        path = asked(name)
        if path is None:
            continue
        with asked.about(name):
            if name == "mask_path":
                header, pixels = read_smv(asked.place / path)
                mask = pixels != 0
            else:
                header = read_smv_header(asked.place / path)
        values = header_settings(header, whole_keys=asked("mode") != "c-parity")
        if not {"detpixels_f", "detpixels_s"} <= values.keys():
            raise InputError(f"{asked.flag_of(name)} {path}: its header does not say SIZE1 and SIZE2")
        if name == "mask_path" and "Ybeam_mm" in values:
            pixel = values.get("pixel_mm", float(asked("pixel_mm")))
            values["Ybeam_mm"] = values["detpixels_s"] * pixel - values["Ybeam_mm"]
        for setting in ("detpixels_f", "detpixels_s"):
            values[setting] = int(values[setting])
        _check(f"{asked.flag_of(name)} {path}", values)
        found.update(values)
    return found, mask


def header_settings(header: str, *, whole_keys: bool) -> dict[str, float]:
    """What an SMV header says, by the settings' names.

    **Arguments:** `whole_keys`: whether only a key itself counts; else, as in the reference, the last place where its
    text occurs, inside a longer key, too.
    """
    found: dict[str, float] = {}
    for key, setting in HEADER_KEYS.items():
        if whole_keys:
            values = [whole_key_value(header, name) for name in (*_OTHER_KEYS.get(key, ()), key)]
        else:
            values = [header_value(header, key)]
        value = next((v for v in values if v is not None), None)
        if value is not None:
            found[setting] = value
    return found


def _check(image: str, values: dict[str, float]) -> None:
    """Raise `InputError` for a number in a header that is none."""
    for key, setting in HEADER_KEYS.items():
        value, positive = values.get(setting, 1.0), key in _POSITIVE
        if not np.isfinite(value) or (positive and value <= 0):
            allowed = "positive" if positive else "finite"
            raise InputError(f"{image} has {key}={value:g} in its header: it must be {allowed}")
