"""Beams from energy spectra (docs/reference.md section 6)."""

import numpy as np

from .experiment import Beam
from .io.spectrum import Spectrum


def spectrum_beam(spectrum: Spectrum, **more) -> Beam:
    """A beam with one source for each wavelength of a spectrum, weighted as it says.

    The spectrum is held as fractions of its mean wavelength, so that `wavelength_A` moves it as a whole and
    `dispersion_percent` (here 100) stretches it about the mean; a divergence multiplies the number of sources.

    **Arguments:** `more`: further arguments of `Beam`; the wavelength is the spectrum's own.
    """
    mean = spectrum.mean_wavelength_A
    directions = len(more.get("divergence_fractions", ((0.0, 0.0),)))
    options = more | {
        "wavelength_A": mean,
        "dispersion_percent": 100.0,
        "dispersion_fractions": spectrum.wavelengths_A / mean - 1.0,
        "source_weights": np.tile(spectrum.weights, directions),
    }
    return Beam(**options)
