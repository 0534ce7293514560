"""What a file may say besides its pixels: how beam, spindle and panels stood. Numpy only, no experiment needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
HeaderItem = tuple[str, str | float | Sequence[float]]
"""A key of an SMV header and its value."""


VISIBLE_PIXELS = 0.01
"""By how much a corner may be off before it is worth a word."""


class PanelPlace(NamedTuple):
    """One panel: millimetres and unit vectors."""

    pixels: tuple[int, int]
    """Slow, fast."""
    pixel_mm: float
    origin_mm: Vector
    """Outer corner of the first pixel."""
    fast: Vector
    slow: Vector
    distance_mm: float
    """From the sample along the beam to the panel's plane; to its nearest point where the beam does not meet it."""
    beam_pixels: tuple[float, float]
    """Fast, slow: where that is, in pixels from the outer corner of the first one."""
    sensor_mm: float
    """Thickness that the pixels show as parallax: of a sensor in one layer, 0."""
    curved: bool


class Lab(NamedTuple):
    """An experiment's geometry with the beam along −z and, for the conventions' frames, the spindle as DIALS has it."""

    wavelength_A: float
    spectrum: tuple[Vector, Vector] | None
    """Wavelengths (Å) and their weights, where there are several."""
    stokes: Vector
    """Polarisation of the beam as (I, Q, U, V), Q along x."""
    spindle: Vector
    phi_deg: float
    osc_deg: float
    twotheta_deg: float
    panels: tuple[PanelPlace, ...]

    def pixel_mm(self, panel: int, fast: Vector, slow: Vector) -> Vector:
        """Lab positions (…, 3) of points given in pixels from the outer corner of a panel's first pixel."""
        place = self.panels[panel]
        fast, slow = (np.asarray(x, float)[..., None] * place.pixel_mm for x in (fast, slow))
        return place.origin_mm + fast * place.fast + slow * place.slow


@dataclass(frozen=True, eq=False)
class Reading:
    """What the numbers of an image stand for."""

    offset: float = 0.0
    """What a pixel without photons reads."""
    saturation: float | None = None
    """The largest reading there is, at which a pixel is full; None for the largest number that is stored."""
    dead: tuple[NDArray[np.bool_] | None, ...] | None = None
    """Of each panel the pixels (slow, fast) that read nothing, whatever falls on them; None for none."""

    def dead_pixels(self, panel: int) -> NDArray[np.bool_] | None:
        """Those of a panel."""
        return None if self.dead is None else self.dead[panel]


PHOTONS = Reading()
"""Numbers that stand for photons."""


@dataclass(frozen=True, eq=False)
class Setup:
    """What was exposed, for the writers of files."""

    lab: Lab
    headers: tuple[tuple[HeaderItem, ...], ...]
    """Of each panel the reference's SMV header (docs/reference.md section 9)."""
    unused: tuple[NDArray[np.bool_] | None, ...]
    """Of each panel the pixels (slow, fast) that were not simulated; None for none."""
    reading: Reading = PHOTONS
    """What the numbers stand for: photons, unless said otherwise."""
    plain_header: bool = False
    """Whether SMV files are to have the reference's header, no more and no less."""
    black_photons: float | None = None
    """Photons of a pixel at the end of a picture's scale; None for its usual one."""
    rings: Callable[[int], Vector] | None = None
    """1/d (1/Å) at the pixels' corners of a panel, (slow + 1, fast + 1), where a preview is to show rings."""


def plain_misfit_pixels(place: PanelPlace) -> float:
    """By how many pixels a corner is off for a reader that takes the detector to be perpendicular to the beam.

    Such a reader has fast along x and slow along −y, and knows where the beam hits and how far away that is.
    """
    slow, fast = place.pixels
    apart = []
    for f, s in ((0, 0), (fast, 0), (0, slow), (fast, slow)):
        plain = [f - place.beam_pixels[0], place.beam_pixels[1] - s, -place.distance_mm / place.pixel_mm]
        true = place.origin_mm / place.pixel_mm + f * place.fast + s * place.slow
        apart.append(np.linalg.norm(true - plain))
    return float(max(apart))


def spindle_misfit(lab: Lab) -> str | None:
    """Where the spindle of a rotation is, for readers that take it to be along x; None where they are right."""
    if lab.osc_deg == 0 or np.linalg.norm(lab.spindle - (1.0, 0.0, 0.0)) <= 1e-6:
        return None
    return " ".join(f"{x + 0.0:.4g}" for x in lab.spindle)


def unpolarised_note(setup: Setup) -> list[str]:
    """A word to those who give the file of an unpolarised beam to DIALS, whose default is another one."""
    if np.any(setup.lab.stokes[1:3] != 0):
        return []
    return [
        "the beam is unpolarised (the default, Kahn factor 0), and DIALS takes nearly all of it to be polarised unless "
        "told: import with geometry.beam.polarization_fraction=0.5, or simulate with a Kahn factor (-polar)"
    ]


def offset_note(setup: Setup) -> list[str]:
    """For formats whose readers take a pixel without photons to read 0."""
    offset = setup.reading.offset
    return [f"readers take a pixel without photons to read 0, here it reads {offset:g}"] if offset else []


def curved_note(setup: Setup) -> list[str]:
    """What formats that know planes only cannot say."""
    curved = setup.lab.panels[0].curved
    return ["a curved detector is described by its tangent plane"] if curved else []
