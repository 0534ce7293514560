"""What sensors stop: attenuation of silicon, cadmium telluride and gadolinium oxysulfide."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..constants import EV_ANGSTROM
from ..errors import InputError

DATA = Path(__file__).parents[1] / "data"

DENSITIES_G_PER_CM3 = {"Si": 2.329, "CdTe": 5.85, "Gd2O2S": 7.32}
"""Of the materials that sensors are made of."""


class _Table(NamedTuple):
    energy_eV: NDArray[np.float64]
    depth_um: NDArray[np.float64]


@cache
def _table(material: str) -> _Table:
    energy, mass_attenuation = np.loadtxt(DATA / f"{material}.attenuation").T
    return _Table(energy, 1e4 / (mass_attenuation * DENSITIES_G_PER_CM3[material]))


def attenuation_depth_um(material: str, wavelength_A):
    """Depth in which a sensor stops all but 1/e of the photons that hit it straight on, µm; differentiable.

    **Arguments:** `material`: Si, CdTe or Gd2O2S.

    **Raises** `InputError` for another material, and for photons below 2 or above 100 keV. Source: W. T. Elam,
    B. D. Ravel & J. R. Sieber, Radiat. Phys. Chem. 63 (2002) 121-128.
    """
    checks.one_of("material", material, DENSITIES_G_PER_CM3)
    table = _table(material)
    energy = EV_ANGSTROM / wavelength_A
    if not checks.is_known(wavelength_A):
        return jnp.exp(jnp.interp(jnp.log(energy), np.log(table.energy_eV), np.log(table.depth_um)))
    if not table.energy_eV[0] <= float(energy) <= table.energy_eV[-1]:
        limits = f"{table.energy_eV[0]:g} to {table.energy_eV[-1]:g} eV"
        raise InputError(f"the attenuation of {material} is known from {limits}, got photons of {float(energy):g} eV")
    return float(np.exp(np.interp(np.log(float(energy)), np.log(table.energy_eV), np.log(table.depth_um))))
