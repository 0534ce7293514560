"""CrystFEL geometry files (.geom) as what an experiment list without a crystal says.

The lab frame is CrystFEL's: the beam along +z, y upwards. Source: the manual page crystfel_geometry(5).
"""

import os
import re
from collections.abc import Mapping

import numpy as np

from ..constants import EV_ANGSTROM, LARGEST_INT32
from ..errors import InputError
from ..io.text import DECIMAL, is_number
from .models import ExptBeam, ExptExperiment, ExptGoniometer, ExptPanel, Floats

_NO_PANELS = ("bad", "rigid_group", "group")
"""How names begin that are no panels'."""

_TERM = re.compile(rf"([+-]?)\s*({DECIMAL})?\s*\*?\s*([xyz])")
_QUANTITY = re.compile(rf"({DECIMAL})\s*([A-Za-z]*)")
_METRES = {"": 1.0, "m": 1.0, "mm": 1e-3}
_EV = {"": 1.0, "eV": 1.0, "keV": 1e3, "MeV": 1e6}
_ANGSTROM = {"": 1e10, "m": 1e10, "A": 1.0}
_UNIT = 0.01


def is_crystfel_geometry(data: bytes) -> bool:
    """Whether a file is one of these, by the keys that panels have to have."""
    return not data.lstrip().startswith(b"{") and b"min_fs" in data and b"corner_x" in data


def read_crystfel_geometry(path: str | os.PathLike[str], data: bytes) -> ExptExperiment:
    """Panels, wavelength and beam of a geometry file; a spindle along x, should something turn; no crystal.

    **Arguments:** `path`: for messages; `data`: what is in the file.

    What stands in image files in its place (clen = /LCLS/…) is refused for the distance; the wavelength is None then.

    **Raises** `InputError` for a panel whose place is not said, or cannot be understood.
    """
    name = f"CrystFEL geometry {os.fspath(path)!r}"
    panels, top = _entries(data.decode("latin-1"))
    if not panels:
        raise InputError(f"{name} has no panels")
    return ExptExperiment(
        beam=ExptBeam(source_direction=np.array([0.0, 0.0, -1.0]), wavelength_A=_wavelength(top, name)),
        detector=tuple(_panel(key, values, f"{name}, panel {key}") for key, values in panels.items()),
        goniometer=ExptGoniometer(np.array([1.0, 0.0, 0.0])),
    )


def _entries(text: str) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Keys of each panel, with the defaults that stood before it, and the keys of no panel."""
    panels: dict[str, dict[str, str]] = {}
    top: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = (part.strip() for part in line.partition(";")[0].partition("="))
        if not equals:
            continue
        owner, slash, field = key.rpartition("/")
        if not slash:
            top[key] = value
        elif not owner.startswith(_NO_PANELS):
            panels.setdefault(owner, dict(top))[field] = value
    return panels, top


def _panel(key: str, values: Mapping[str, str], where: str) -> ExptPanel:
    low_fs, high_fs, low_ss, high_ss = (
        int(_number(values, f"{end}_{axis}", where)) for axis in ("fs", "ss") for end in ("min", "max")
    )
    pixels = high_fs - low_fs + 1, high_ss - low_ss + 1
    if min(pixels) < 1:
        raise InputError(f"{where} has {pixels[0]} x {pixels[1]} pixels")
    pixel_mm = 1e3 / _number(values, "res", where)
    away = _quantity(values, "clen", _METRES, where) + _quantity(values, "coffset", _METRES, where, "0")
    corner = [_number(values, f"corner_{axis}", where) * pixel_mm for axis in "xy"]
    most = values.get("max_adu", "")
    return ExptPanel(
        origin_mm=np.array([*corner, away * 1e3]),
        fast_axis=_direction(values, "fs", where),
        slow_axis=_direction(values, "ss", where),
        pixels=pixels,
        pixel_size_mm=(pixel_mm, pixel_mm),
        name=key,
        trusted_range=(-0.5, float(most) if is_number(most) else LARGEST_INT32 - 0.5),
    )


def _value(values: Mapping[str, str], key: str, where: str, usual: str | None = None) -> str:
    value = values.get(key, usual)
    if value is None:
        raise InputError(f"{where} does not say {key}")
    return value


def _number(values: Mapping[str, str], key: str, where: str) -> float:
    text = _value(values, key, where)
    if not is_number(text) or not np.isfinite(float(text)) or (key == "res" and float(text) <= 0):
        raise InputError(f"{where} has {key} = {text}: a {'positive ' if key == 'res' else ''}number is needed")
    return float(text)


def _quantity(
    values: Mapping[str, str], key: str, units: Mapping[str, float], where: str, usual: str | None = None
) -> float:
    text = _value(values, key, where, usual)
    found = _QUANTITY.fullmatch(text)
    if found is None or found[2] not in units:
        hint = ", which stands in image files: write the number in its place" if text.startswith("/") else ""
        raise InputError(f"{where} has {key} = {text}{hint or ': a number is needed'}")
    return float(found[1]) * units[found[2]]


def _wavelength(top: Mapping[str, str], name: str) -> float | None:
    """In Å; None where it is not said here."""
    if "electron_voltage" in top:
        raise InputError(f"{name} has a beam of electrons: only X-rays are simulated")
    for key, units in (("wavelength", _ANGSTROM), ("photon_energy", _EV)):
        if key in top and not top[key].startswith("/"):
            value = _quantity(top, key, units, name)
            if value <= 0:
                raise InputError(f"{name} has {key} = {top[key]}: it must be positive")
            return value if key == "wavelength" else EV_ANGSTROM / value
    return None


def _direction(values: Mapping[str, str], key: str, where: str) -> Floats:
    """A vector such as +0.99x -0.01y, of unit length."""
    text = _value(values, key, where)
    terms = _TERM.findall(text)
    if not terms or _TERM.sub("", text).strip():
        raise InputError(f"{where} has {key} = {text}: a direction such as +1.0x -0.01y is needed")
    vector = np.zeros(3)
    for sign, size, axis in terms:
        vector["xyz".index(axis)] += (-1.0 if sign.endswith("-") else 1.0) * float(size or 1)
    length = float(np.linalg.norm(vector))
    if abs(length - 1.0) > _UNIT:
        raise InputError(f"{where} has {key} = {text}, whose length is {length:g}: square pixels have 1")
    return vector / length
