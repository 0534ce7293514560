"""Writes the attenuation tables of sensors in nanobrag_jax/data; needs xraydb, whose tables are W. T. Elam's.

Source: W. T. Elam, B. D. Ravel & J. R. Sieber, Radiat. Phys. Chem. 63 (2002), 121-128.
"""

from pathlib import Path

import numpy as np
import xraydb

DATA = Path(__file__).parents[1] / "nanobrag_jax" / "data"
SENSORS = {"Si": ["Si"], "CdTe": ["Cd", "Te"], "Gd2O2S": ["Gd", "O", "S"]}
LEAST_EV, MOST_EV, POINTS = 2000.0, 100000.0, 60
BESIDE_EV = 6.0
"""The edges in the tables lie some eV beside those that are listed."""


def energies(elements: list[str]) -> np.ndarray:
    """Evenly spaced logarithms, and both sides of every absorption edge between them."""
    edges = [edge.energy for element in elements for edge in xraydb.xray_edges(element).values()]
    beside = [edge + side for edge in edges for side in (-BESIDE_EV, BESIDE_EV) if LEAST_EV < edge < MOST_EV]
    return np.unique(np.concatenate([np.geomspace(LEAST_EV, MOST_EV, POINTS), beside]))


def main() -> None:
    """Energy (eV) and mass attenuation coefficient (cm2/g), a line each."""
    for formula, elements in SENSORS.items():
        at = energies(elements)
        lines = [f"# {formula}: photon energy (eV), mass attenuation coefficient (cm2/g). Elam, Ravel & Sieber (2002)"]
        lines += [f"{e:.1f} {mu:.5g}" for e, mu in zip(at, xraydb.material_mu(formula, at, density=1.0), strict=True)]
        (DATA / f"{formula}.attenuation").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
