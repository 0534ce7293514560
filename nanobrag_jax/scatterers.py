"""What scatters in the beam besides the crystal: water, air, ice powder, plastic (docs/detector.md).

A scatterer is a class here, or anywhere else: it says how many photons reach each pixel. An experiment may have
several.
"""

import os
from abc import abstractmethod
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jaxtyping import Float

from . import checks
from .checks import leaf, named_arguments
from .constants import AVOGADRO, DEFAULT_BEAM_SIZE_MM
from .described import described
from .errors import InputError
from .io.stol import read_stol
from .numerics.vectors import Vec3
from .typing import Scalar

DATA = Path(__file__).parent / "data"


class Substance(NamedTuple):
    """A substance whose table comes with the package."""

    density_g_per_cm3: float
    molecular_weight_Da: float


SUBSTANCES = {
    "water": Substance(0.997, 18.0153),
    "air": Substance(1.204e-3, 28.965),
    "ice": Substance(0.933, 18.0153),
}
"""Liquid water at 25 °C, dry air at 20 °C and 1013 hPa, a powder of hexagonal ice near 100 K."""


class View(NamedTuple):
    """What a scatterer is told of the pixels and of one source of the beam; arrays have one number a pixel."""

    direction: Vec3
    """Unit vector from the sample to the pixel's middle."""
    stol_per_A: Array
    """sin θ/λ, 1/Å."""
    polarization: Array
    """Fraction of the intensity that polarisation leaves."""
    solid_angle: Array
    """Steradian."""
    captured: Array
    """Fraction of the photons that the sensor stops."""
    thomson_photons: Scalar
    """r_e²·fluence: photons per steradian that one free electron scatters without polarisation."""


class AbstractScatterer(eqx.Module):
    """Something in the beam besides the crystal. Its leaves are refinable."""

    @abstractmethod
    def photons(self, view: View) -> Array:
        """Photons in each pixel, (pixels,), from one source of the beam; the renderer takes the weighted mean over
        sources, without those that dmin leaves out."""


class Amorphous(AbstractScatterer):
    """A sample without order in the beam, as wide as the beam, at the place of the crystal.

    **Arguments:**

    - `stol_per_A` (n,): sin θ/λ, increasing;
    - `amplitudes_e` (n,): what one molecule scatters there, the root of its intensity in electrons squared; between
      them it runs straight, beyond them it stays as at the end;
    - `thickness_mm`: along the beam; `beam_size_mm`: edge of the square beam;
    - `density_g_per_cm3`, `molecular_weight_Da`.

    Spec mode only. **Raises** `InputError`. Source: docs/detector.md.
    """

    stol_per_A: Float[Array, " table"]
    amplitudes_e: Float[Array, " table"]
    thickness_mm: Scalar
    beam_size_mm: Scalar
    density_g_per_cm3: Scalar
    molecular_weight_Da: Scalar

    @named_arguments
    def __init__(
        self,
        stol_per_A,
        amplitudes_e,
        *,
        thickness_mm,
        density_g_per_cm3,
        molecular_weight_Da,
        beam_size_mm=DEFAULT_BEAM_SIZE_MM,
    ):
        self.stol_per_A, self.amplitudes_e = leaf(stol_per_A, "stol_per_A"), leaf(amplitudes_e, "amplitudes_e")
        self.thickness_mm, self.beam_size_mm = leaf(thickness_mm, "thickness_mm"), leaf(beam_size_mm, "beam_size_mm")
        self.density_g_per_cm3 = leaf(density_g_per_cm3, "density_g_per_cm3")
        self.molecular_weight_Da = leaf(molecular_weight_Da, "molecular_weight_Da")

    @property
    def molecules(self) -> Scalar:
        """How many molecules the beam meets."""
        grams = self.density_g_per_cm3 * self.thickness_mm * self.beam_size_mm**2 * 1e-3
        return grams / self.molecular_weight_Da * AVOGADRO

    def photons(self, view: View) -> Array:
        """Photons from all molecules, each by itself."""
        amplitude = jnp.interp(view.stol_per_A, self.stol_per_A, self.amplitudes_e)
        scattered = view.thomson_photons * self.molecules * amplitude**2
        return scattered * view.polarization * view.captured * view.solid_angle

    def __check_init__(self):
        checks.not_negative("stol_per_A", self.stol_per_A, (None,))
        checks.finite("amplitudes_e", self.amplitudes_e, self.stol_per_A.shape)
        if len(self.stol_per_A) == 0:
            raise InputError("stol_per_A must hold at least one number, got none")
        if not isinstance(self.stol_per_A, Tracer) and np.any(np.diff(np.asarray(self.stol_per_A)) <= 0):
            raise InputError("stol_per_A must increase from each number to the next")
        checks.not_negative("thickness_mm", self.thickness_mm)
        checks.positive("beam_size_mm", self.beam_size_mm)
        checks.not_negative("density_g_per_cm3", self.density_g_per_cm3)
        checks.positive("molecular_weight_Da", self.molecular_weight_Da)

    def __repr__(self) -> str:
        return described(self)


def amorphous_sample(
    substance: str | os.PathLike[str],
    thickness_mm,
    *,
    beam_size_mm=DEFAULT_BEAM_SIZE_MM,
    density_g_per_cm3=None,
    molecular_weight_Da=None,
) -> Amorphous:
    """A sample of water, air or ice, or of what a file with a table describes.

    **Arguments:** `substance`: water, air, ice, or the path of a text file with two columns, sin θ/λ (1/Å) and the
    amplitude of one molecule (electrons); the others as for `Amorphous`. Density and molecular weight are known for
    the named ones. **Raises** `InputError` for a file that cannot be used, or without density and weight for it.
    """
    known = SUBSTANCES.get(os.fspath(substance))
    if known is None and (density_g_per_cm3 is None or molecular_weight_Da is None):
        names = ", ".join(SUBSTANCES)
        raise InputError(f"give density and molecular weight of {substance}: they are known for {names} only")
    stol, amplitudes = read_stol(substance if known is None else DATA / f"{substance}.stol")
    if known is not None:
        density_g_per_cm3 = known.density_g_per_cm3 if density_g_per_cm3 is None else density_g_per_cm3
        molecular_weight_Da = known.molecular_weight_Da if molecular_weight_Da is None else molecular_weight_Da
    return Amorphous(
        stol,
        amplitudes,
        thickness_mm=thickness_mm,
        beam_size_mm=beam_size_mm,
        density_g_per_cm3=density_g_per_cm3,
        molecular_weight_Da=molecular_weight_Da,
    )
