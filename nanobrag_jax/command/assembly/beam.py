"""The beam of a command line: its fluence, and the sources that stand for divergence and spectrum."""

from typing import Any

import numpy as np

from ... import steps
from ...beam import Beam, spectrum_beam
from ...conventions import CONVENTIONS
from ...errors import InputError
from ...io.source_list import read_source_list
from ...io.spectrum import Spectrum, read_spectrum
from .asked import Asked
from .fields import fields_of, replaced


def beam_from_flags(asked: Asked, spectrum: Spectrum | None) -> Beam:
    """The beam that flags and headers describe."""
    options = fields_of("beam", asked) | beam_options(asked, spectrum)
    beam = Beam(**options) if spectrum is None else spectrum_beam(spectrum, **options)
    return with_source_list(beam, asked)


def beam_options(asked: Asked, spectrum: Spectrum | None) -> dict[str, Any]:
    """Arguments of `Beam` that are worked out from several flags: fluence, and sources on a grid."""
    fluence = steps.fluence(
        asked("flux_per_s"), asked("exposure_s"), asked("beamsize_mm") * 1e-3, asked("fluence_per_m2")
    )
    if asked("source_path") is not None:
        return {"fluence_per_m2": fluence}
    options = {"fluence_per_m2": fluence} | _divergence(asked)
    return options if spectrum is not None else options | _dispersion(asked)


def _divergence(asked: Asked) -> dict[str, Any]:
    horizontal, vertical = completed_divergence(asked, "h"), completed_divergence(asked, "v")
    fractions = steps.grid_fractions(horizontal, vertical, asked("round_div"))
    if not len(fractions):
        raise InputError("-round_div leaves no source: give -square_div or other divergence steps")
    return {"divergence_mrad": np.array([horizontal[1], vertical[1]]) * 1e3, "divergence_fractions": fractions}


def completed_divergence(asked: Asked, direction: str) -> tuple[int, float, float]:
    """(count, range, step) of the horizontal or vertical divergence, radians."""
    names = [f"{direction}div{what}" for what in ("steps", "range_mrad", "step_mrad")]
    count, range_, step = (asked(name) for name in names)
    with asked.about(names[2]):
        return steps.complete_steps(count, _scaled(range_, 1e-3), _scaled(step, 1e-3), "divergence")


def _dispersion(asked: Asked) -> dict[str, Any]:
    width = _scaled(asked("dispersion_percent"), 0.01)
    completed = steps.complete_steps(asked("dispsteps"), width, None, "dispersion")
    return {"dispersion_percent": completed[1] * 100.0, "dispersion_fractions": steps.spectrum_fractions(completed)}


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def with_source_list(beam: Beam, asked: Asked) -> Beam:
    """The beam with the sources of -sourcefile, if it is given; what the file leaves out is as in the beam."""
    if asked("source_path") is None:
        return beam
    with asked.about("source_path"):
        listed = read_source_list(asked.place / asked("source_path"))
    asked.notes.extend(listed.notes)
    toward = CONVENTIONS[asked("convention").lower()].beam if beam.direction is None else beam.direction
    behind = -10.0 * np.array(toward, float) / np.linalg.norm(np.array(toward, float))
    wavelengths = np.where(np.isnan(listed.wavelengths_m), float(beam.wavelength_A), listed.wavelengths_m * 1e10)
    sources = {
        "source_positions": np.where(np.isnan(listed.positions), behind, listed.positions),
        "source_wavelengths_A": wavelengths,
        "source_weights": np.where(np.isnan(listed.weights), 1.0, listed.weights),
    }
    return replaced(beam, sources)


def spectrum_of(asked: Asked) -> Spectrum | None:
    """The spectrum that -spectrum names. **Raises** `InputError` beside -sourcefile."""
    if asked("spectrum_path") is None:
        return None
    if "source_path" in asked:
        raise InputError("give one of -spectrum and -sourcefile")
    spectrum = read_spectrum(asked.place / asked("spectrum_path"))
    asked.notes.extend(spectrum.notes)
    for name in ("dispersion_percent", "dispsteps"):
        if name in asked:
            asked.note(f"{asked.flag_of(name)} has no effect with -spectrum")
    if "wavelength_A" in asked:
        use = "only scales the matrix" if "mat_path" in asked else "has no effect"
        asked.note(f"{asked.flag_of('wavelength_A')} {use} with -spectrum")
    return spectrum
