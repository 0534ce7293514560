"""Counts that a command leaves open, and the sources of the beam (docs/reference.md section 6)."""

import math
import re
from pathlib import Path

import numpy as np

from .draws import rotation
from .line import Settings

RAD = 180.0 * (1.0 / math.pi)
"""Degrees in a radian."""


def completed(count, span, step, *, kind: str) -> tuple[int, float, float]:
    """(count, range, step) of a divergence, a dispersion or a thickness."""
    no_span = span is None or span < 0 or (span == 0 and kind != "divergence")
    no_step = step is None or step <= 0
    if not count or count < 0:
        if no_span:
            count, span, step = (1, 0.0, 0.0) if no_step else (2, step, step)
        elif no_step:
            count, step = 2, span / 2 if kind == "thickness" else span
        else:
            count = math.ceil(span / step)
    elif no_span:
        if no_step:
            span = 0.5e-6 if kind == "thickness" else 1.0
            step = span / count
        else:
            count, span = 2, step
    elif no_step:
        count = max(count, 2)
        step = span / (count - 1)
    if count <= 0 or span <= 0 or step <= 0:
        return 1, 0.0, 0.0
    return int(count), span, step


def phi_angles(settings: Settings) -> list[float]:
    """Start of each φ step, radians."""
    count, osc, step = (settings[name] for name in ("phisteps", "osc", "phistep"))
    osc, step = (None if x is None else x / RAD for x in (osc, step))
    if count is None:
        if osc is None:
            count, step = (1, 0.0) if not step else (2, step)
        elif not step:
            count, step = 2, osc / 2
        else:
            count = max(1, math.ceil(osc / step))
    else:
        count = max(1, int(count))
        if osc is None:
            count, step = (count, 1.0 / RAD / count) if not step else (2, step)
        elif not step:
            step = osc / count
    return [settings["phi"] / RAD + step * i for i in range(count)]


def sources(settings: Settings, folder: Path, beam, polar) -> list[tuple[np.ndarray, float, float]]:
    """(incident direction, wavelength in m, weight) of each."""
    central = settings["wavelength"] * 1e-10
    if settings["sourcefile"]:
        return _listed(folder / settings["sourcefile"], beam, central)
    spans = []
    for way in "hv":
        count, span, step = (settings[f"{way}div{name}"] for name in ("steps", "range", "step"))
        span, step = (None if x is None else x * 1e-3 for x in (span, step))
        spans.append(completed(count, span, step, kind="divergence"))
    dispersion = settings["dispersion"]
    waves = completed(settings["dispsteps"], None if dispersion is None else dispersion / 100, None, kind="dispersion")
    upright = np.cross(beam, polar)
    upright = upright / np.linalg.norm(upright)
    found = []
    for hdiv, vdiv in _points(*spans, settings["round_div"]):
        place = rotation(upright, hdiv) @ (rotation(polar, vdiv) @ (-10.0 * beam))
        incident = -place / np.linalg.norm(place)
        found += [(incident, central * (1.0 + waves[2] * i - waves[1] / 2), 1.0) for i in range(waves[0])]
    return found


def _points(horizontal, vertical, round_div: bool) -> list[tuple[float, float]]:
    kept = []
    for i in range(horizontal[0]):
        for j in range(vertical[0]):
            angles, inside = [], 0.0
            for k, (count, span, step) in zip((i, j), (horizontal, vertical), strict=True):
                angle = step * k - span / 2
                angles.append(angle)
                above = angle * angle - step * step / 4 * (1 - count % 2)
                inside += above / span**2 if span else math.nan
            if not (round_div and 4 * inside > 1.1):
                kept.append(tuple(angles))
    return kept


def _listed(path: Path, beam, central: float) -> list[tuple[np.ndarray, float, float]]:
    found = []
    for line in path.read_text().splitlines():
        line = line.split("#")[0]
        words = [float(word) for word in re.split(r"[\s,;:!]+", line.strip()) if word]
        if not words:
            continue
        place = np.array([*words[:3], *(-10.0 * beam)[len(words[:3]) :]])
        weight, wave = (words[3:5] + [1.0, central][len(words[3:5]) :])[:2]
        found.append((-place / np.linalg.norm(place), wave, weight))
    return found
