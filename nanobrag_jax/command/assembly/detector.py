"""The detector of a command line. Source: docs/reference.md section 3."""

from typing import Any

import numpy as np

from ... import steps
from ...conventions import CONVENTIONS, ConventionName
from ...detector import Detector
from ...errors import InputError
from ...panels import Panels
from .asked import Asked
from .fields import fields_of
from .known_detector import Named

_BEAM_CENTER = ("Xbeam_mm", "Ybeam_mm")
_CLOSE_POINT = ("Xclose_mm", "Yclose_mm")
_ORIGIN = ("ORGX_pixels", "ORGY_pixels")


def detector_from_flags(asked: Asked, named: Named | None = None) -> Panels:
    """The detector that flags and headers describe.

    **Arguments:** `named`: that of -detector, None without it.
    """
    tiles = None if named is None else named.tiles()
    if tiles is not None:
        return tiles
    convention: ConventionName = asked("convention").lower()
    counts, sizes, exact = _size(asked)
    place = _place(asked, convention, counts, sizes)
    options: dict[str, Any] = {
        "pixels_fast": counts[0],
        "pixels_slow": counts[1],
        "size_mm": None if exact else sizes,
        "convention": convention,
        "pix0_mm": _honoured_pix0(asked, convention),
        "normal_axis": _given_normal(asked, convention),
    }
    sensor = _sensor(asked) | ({} if named is None else named.sensor())
    _check_plane(asked, convention)
    return Detector(**(fields_of("detector", asked) | place | options | sensor))


def _size(asked: Asked) -> tuple[list[int], list[float], bool]:
    """Pixels and edges (mm), fast and slow, and whether the edges are whole numbers of pixels."""
    pixel = asked("pixel_mm")
    counts, sizes = [], []
    for name in "fs":
        size_m = asked(f"detsize_{name}_mm") * 1e-3
        count, size = steps.pixel_count(asked(f"detpixels_{name}"), size_m, pixel * 1e-3)
        counts.append(count)
        sizes.append(size * 1e3)
    exact = all(abs(s - n * pixel) <= 1e-9 * s for s, n in zip(sizes, counts, strict=True))
    return counts, sizes, exact


def _place(asked: Asked, convention: ConventionName, counts: list[int], sizes: list[float]) -> dict[str, Any]:
    """Beam centre, closest point and pivots, whose defaults follow from each other as the convention has it."""
    pixel = asked("pixel_mm")
    origin = [asked(name) for name in _ORIGIN]
    foot = [size / 2 if o is None else (o - 0.5) * pixel for o, size in zip(origin, sizes, strict=True)]
    close = [f if asked(n) is None else asked(n) for n, f in zip(_CLOSE_POINT, foot, strict=True)]
    center = [asked(name) for name in _BEAM_CENTER]
    sample_pivot = CONVENTIONS[convention].pivot == "sample"
    explicit = asked("pivot_explicit") if convention != "custom" else None
    wanted = asked("pivot") or "beam"
    pivot = wanted if convention == "custom" else explicit
    close_point = foot if sample_pivot or (explicit == "sample" and origin != [None, None]) else None
    _note_geometry(asked, convention, sample_pivot and pivot != "beam")
    if convention == "custom":
        center = [c if b is None else b for b, c in zip(center, close, strict=True)]
    elif None in center:
        default = Detector(*counts, pixel_size_mm=pixel, size_mm=sizes, convention=convention, close_point_mm=close)
        fallback = np.asarray(default.beam_center_mm)
        center = [f if b is None else b for b, f in zip(center, fallback, strict=True)]
    return {"beam_center_mm": center, "close_point_mm": close_point, "pivot": pivot, "reference_pivot": wanted}


def _sensor(asked: Asked) -> dict[str, Any]:
    """Thickness, layers and attenuation."""
    count, thick, layer = steps.complete_steps(
        asked("detector_thicksteps"), asked("detector_thick_um") * 1e-6, None, "thickness"
    )
    mu, note = steps.layer_attenuation(asked("detector_abs_um"), thick)
    asked.note(note)
    return {
        "thickness_um": thick * 1e6 if thick > 0 else None,
        "attenuation_depth_um": 1e6 / mu if mu > 0 else None,
        "thickness_steps": count,
        "layer_fraction": layer / thick if thick > 0 else None,
    }


def _check_plane(asked: Asked, convention: ConventionName) -> None:
    """Raise `InputError` where the fast and slow vectors given span no plane."""
    usual = CONVENTIONS[convention]
    given = asked("fdet_vector"), asked("sdet_vector")
    fast, slow = (np.array(u if v is None else v, float) for v, u in zip(given, (usual.fast, usual.slow), strict=True))
    if np.linalg.norm(np.cross(fast, slow)) < 1e-6 * np.linalg.norm(fast) * np.linalg.norm(slow):
        words = [" ".join(f"{x:g}" for x in v) for v in (fast, slow)]
        raise InputError(f"-fdet_vector {words[0]} and -sdet_vector {words[1]} are parallel: they must span a plane")


def _given_normal(asked: Asked, convention: ConventionName) -> tuple[float, ...] | None:
    """The normal vector, or None where it follows from fast and slow: the reference wants exactly unit length."""
    if convention != "custom":
        return None
    normal = asked("odet_vector")
    if normal is None:
        return CONVENTIONS[convention].normal
    if float(np.sqrt(np.sum(np.square(normal)))) == 1.0:
        return normal
    asked.note("-odet_vector is not of unit length: fast x slow is taken")
    return None


def _honoured_pix0(asked: Asked, convention: ConventionName) -> np.ndarray | None:
    """The corner of the first pixel in mm where nothing else says where the detector is (spec mode only)."""
    pix0 = asked("pix0_vector")
    if pix0 is None:
        return None
    flag = asked.flag_of("pix0_vector")
    if any(asked(name) is not None for name in (*_BEAM_CENTER, *_CLOSE_POINT, *_ORIGIN)):
        asked.note(f"{flag} has no effect beside a beam centre, close point or ORGX/ORGY")
        return None
    if asked("mode") == "c-parity":
        asked.note(f"{flag} has no effect in c-parity: the reference recomputes it")
    return np.array(pix0) * (1.0 if asked("pix0_vector_unit") == "mm" else 1e3)


def _note_geometry(asked: Asked, convention: ConventionName, header_only: bool) -> None:
    """Tell of flags that this convention does not use."""
    spec, explicit = asked("mode") == "spec", asked("pivot_explicit")
    if not spec and convention != "custom" and explicit:
        asked.note(f"-pivot {explicit} has no effect in c-parity with the {convention.upper()} convention")
    if header_only:
        for name in (*_BEAM_CENTER, *_CLOSE_POINT):
            if name in asked:
                what = f"only header values with the {convention.upper()} convention, not the image"
                asked.note(f"{asked.flag_of(name)} moves {what}")
    if convention in ("mosflm", "denzo", "adxv"):
        instead = "give -ORGX, -ORGY and -pivot sample" if spec else "give a beam centre"
        origin = () if spec and explicit == "sample" else _ORIGIN
        for name in (*_CLOSE_POINT, *origin):
            if name in asked:
                asked.note(f"{asked.flag_of(name)} has no effect with the {convention.upper()} convention: {instead}")
