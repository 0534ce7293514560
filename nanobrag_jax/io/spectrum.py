"""Energy spectra: a text of two columns, photon energy (eV) or wavelength (Å) and weight."""

import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..constants import EV_ANGSTROM
from ..errors import InputError
from .number_columns import BadLineError, parse_table
from .text import plain_lines, read_bytes

LARGEST_WAVELENGTH_A = 50.0
LEAST_DOUBTFUL = 4.5
"""Numbers from here to 50 are energies in keV as likely as wavelengths."""
LEAST_ENERGY_EV = 200.0


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A spectrum. `wavelengths_A` (n,), rising; `weights` (n,): relative numbers of photons, none of them 0.

    `notes`: what the user should be told about the file, a sentence each.
    """

    wavelengths_A: NDArray[np.float64]
    weights: NDArray[np.float64]
    notes: list[str] = field(default_factory=list)

    @property
    def mean_wavelength_A(self) -> float:
        """Wavelength averaged over photons."""
        return float(np.average(self.wavelengths_A, weights=self.weights))

    def rebinned(self, count: int) -> "Spectrum":
        """At most `count` wavelengths, each the mean of its group, with all its photons.

        Groups are neighbours in the list, of about equal length; a render takes time in proportion to their number.
        """
        if count < 1:
            raise InputError(f"a spectrum needs at least one wavelength, got {count}")
        if count >= len(self.weights):
            return self
        groups = np.array_split(np.arange(len(self.weights)), count)
        weights = np.array([self.weights[g].sum() for g in groups])
        wavelengths = np.array([np.average(self.wavelengths_A[g], weights=self.weights[g]) for g in groups])
        return Spectrum(wavelengths, weights, self.notes)


def make_spectrum(wavelengths_A, weights) -> Spectrum:
    """A spectrum from arrays; points of weight 0 are left out.

    **Raises** `InputError` for lengths that differ, wavelengths that are not positive, weights that are negative or all
    0.
    """
    wavelengths_A, weights = np.asarray(wavelengths_A, float), np.asarray(weights, float)
    if wavelengths_A.ndim != 1 or wavelengths_A.shape != weights.shape:
        shapes = f"{weights.shape} and {wavelengths_A.shape}"
        raise InputError(f"a spectrum needs as many weights as wavelengths, got {shapes}")
    if not np.all(np.isfinite(wavelengths_A) & (wavelengths_A > 0)):
        raise InputError("the wavelengths of a spectrum must be positive (A)")
    if not np.all(np.isfinite(weights) & (weights >= 0)):
        raise InputError("the weights of a spectrum must be zero or positive")
    if not np.any(weights > 0):
        raise InputError("the weights of a spectrum are all zero")
    used = np.flatnonzero(weights > 0)
    used = used[np.argsort(wavelengths_A[used], kind="stable")]
    return Spectrum(wavelengths_A[used], weights[used])


def read_spectrum(path: str | os.PathLike[str]) -> Spectrum:
    """The spectrum of a two-column text; `#` comments and blank lines are skipped, commas separate too.

    A first column whose values all lie above 200 is photon energy in eV, one whose values all lie below 4.5 is
    wavelength in Å. Values between 4.5 and 50 may be meant in keV and are refused.

    **Raises** `InputError`, with the line, for other values in the first column, a negative weight, or something that
    is no finite number; also if all weights are zero or the file holds nothing or cannot be read.
    """
    name = f"spectrum file {os.fspath(path)!r}"
    data = plain_lines(read_bytes(path, "spectrum file")).replace(b",", b" ")
    try:
        table = parse_table(data, 2, "energy (eV) or wavelength (A), weight")
    except BadLineError as error:
        raise InputError(f"{name}, line {error.line}: {error.what}") from None
    if not len(table.values):
        raise InputError(f"{name} holds no lines")
    first, weights = table.values.T
    for values, fault, what in (
        (first, ~np.isfinite(first) | (first <= 0), "the energy or wavelength must be positive"),
        (weights, ~np.isfinite(weights) | (weights < 0), "the weight must be zero or positive"),
    ):
        if np.any(fault):
            row = int(np.flatnonzero(fault)[0])
            raise InputError(f"{name}, line {table.lines[row]}: {what}, got {values[row]:g}")
    is_energy = bool(first[0] >= LEAST_ENERGY_EV)
    odd = (first < LEAST_ENERGY_EV) if is_energy else (first > LARGEST_WAVELENGTH_A)
    if np.any(odd):
        row = int(np.flatnonzero(odd)[0])
        raise InputError(
            f"{name}, line {table.lines[row]}: the first column must be all energies in eV (200 and more) "
            f"or all wavelengths in A (up to 50), got {first[row]:g}"
        )
    if not is_energy and np.all(first >= LEAST_DOUBTFUL):
        raise InputError(
            f"{name}: {first[0]:g} in the first column may be keV, or a wavelength (A): give energies in eV"
        )
    if not np.any(weights > 0):
        raise InputError(f"{name}: all weights are zero")
    spectrum = make_spectrum(EV_ANGSTROM / first if is_energy else first, weights)
    notes = []
    if table.longer:
        notes.append(f"{name}: columns after the second are ignored")
    left_out = len(weights) - len(spectrum.weights)
    if left_out:
        notes.append(f"{name}: {left_out} points of weight 0 are left out")
    return Spectrum(spectrum.wavelengths_A, spectrum.weights, notes)
