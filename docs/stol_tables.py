"""Make the tables of `-stol water`, `air` and `ice`: run `python docs/stol_tables.py`. Needs gemmi and xraylib.

Each table has sin θ/λ (1/Å) and the effective amplitude of one molecule (electrons), √(coherent + incoherent
intensity). The incoherent (Compton) part is that of independent atoms; the change of wavelength and the fall of the
Klein–Nishina cross section are left out. What the coherent part is: see each function.
"""

import math
from pathlib import Path

import gemmi
import numpy as np
import xraylib

FOLDER = Path(__file__).parents[1] / "nanobrag_jax" / "data"
INCOHERENT = f"Incoherent part: independent atoms, EPDL97 scattering functions from xraylib {xraylib.__version__}."

WATER_WEIGHT = 18.0153
PEPLOW_VERGHESE = """
0.00 .5871  0.09 .5871  0.10 .5871  0.11 .7338  0.12 1.048  0.13 1.299  0.14 1.568  0.15 1.800  0.16 1.876  0.17 1.840
0.18 1.758  0.19 1.667  0.20 1.600  0.22 1.560  0.24 1.451  0.25 1.324  0.26 1.167  0.28 .9384  0.30 .8699  0.32 .8600
0.34 .8571  0.35 .8515  0.36 .8305  0.38 .8022  0.40 .7354  0.42 .6701  0.44 .6150  0.45 .5769  0.46 .5558  0.48 .5226
0.50 .5222  0.55 .5166  0.60 .4744  0.65 .4316  0.70 .4196  0.80 .3793  0.90 .3522  1.00 .3244  1.10 .3058  1.20 .2877
"""
"""sin θ/λ (1/Å) and measured form factor of liquid water over the root of the molecular weight."""

AIR = {"N2": (0.7808, 1.0977), "O2": (0.2095, 1.2075), "Ar": (0.0093, 0.0)}
"""Mole fraction in dry air, and distance of the two atoms (Å)."""

ICE_A, ICE_C, ICE_O_H, ICE_B, ICE_DOMAIN = 4.497, 7.322, 0.985, 1.2, 200.0


def form_factor(element, stol):
    """Form factor of an atom, International Tables C (1992), electrons."""
    table = gemmi.Element(element).it92
    return sum(a * np.exp(-b * stol**2) for a, b in zip(table.a, table.b, strict=True)) + table.c


def incoherent(elements, stol):
    """Incoherent intensity of independent atoms, electrons squared; none at 0.005 and below, where it is below 0.01."""
    numbers = [gemmi.Element(element).atomic_number for element in elements]
    return np.array([sum(xraylib.SF_Compt(z, float(s)) if s > 0.005 else 0.0 for z in numbers) for s in stol])


def water():
    """Liquid water near 25 °C: measured coherent form factors."""
    stol, relative = np.array(PEPLOW_VERGHESE.split(), float).reshape(-1, 2).T
    finer = np.union1d(stol, np.arange(0.0, 0.1, 0.01))
    coherent = WATER_WEIGHT * np.interp(finer, stol, relative) ** 2
    free = form_factor("O", finer) ** 2 + 2 * form_factor("H", finer) ** 2
    assert abs(coherent[-1] / free[-1] - 1.0) < 0.05, "the scale is that of free atoms where structure plays no part"
    return finer, coherent + incoherent("OHH", finer)


def air():
    """Dry air as an ideal gas: Debye's formula for each molecule."""
    stol = np.arange(0.0, 1.2001, 0.01)
    total = np.zeros_like(stol)
    for name, (part, distance) in AIR.items():
        element = name.rstrip("2")
        squared = form_factor(element, stol) ** 2
        pair = 2.0 * squared * (1.0 + np.sinc(4.0 * stol * distance)) if distance else squared
        total += part * (pair + incoherent([element] * (2 if distance else 1), stol))
    return stol, total


def ice_atoms():
    """Element, occupancy and fractional coordinates of the atoms in a cell of ice Ih, ideal tetrahedra."""
    z = 1.0 / 16.0
    oxygens = np.array([(1 / 3, 2 / 3, z), (2 / 3, 1 / 3, z + 0.5), (2 / 3, 1 / 3, -z), (1 / 3, 2 / 3, 0.5 - z)])
    axes = np.array([(ICE_A, 0, 0), (-ICE_A / 2, ICE_A * math.sqrt(0.75), 0), (0, 0, ICE_C)])
    shifts = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T
    atoms = [("O", 1.0, place) for place in oxygens]
    for here in oxygens:
        for there in (oxygens[:, None, :] + shifts[None, :, :]).reshape(-1, 3):
            distance = np.linalg.norm((there - here) @ axes)
            if 2.0 < distance < 3.0:  # a half hydrogen on either side of each of the four bonds
                atoms.append(("H", 0.5, here + (there - here) * ICE_O_H / distance))
    assert len(atoms) == 4 + 16
    return atoms, axes


def ice():
    """Powder of hexagonal ice near 100 K: Bragg rings of a given width, and diffuse scattering between them."""
    atoms, axes = ice_atoms()
    volume = abs(np.linalg.det(axes))
    stol = np.arange(0.0, 0.8001, 0.0005)
    limit = 0.85
    most = [int(2 * limit * np.linalg.norm(axis)) + 1 for axis in axes]
    hkl = np.array(np.meshgrid(*[np.arange(-m, m + 1) for m in most])).reshape(3, -1).T
    half = np.linalg.norm(hkl @ np.linalg.inv(axes).T, axis=1) / 2.0
    hkl, half = hkl[(half > 0) & (half < limit)], half[(half > 0) & (half < limit)]
    factors = np.zeros(len(hkl), complex)
    for element, occupancy, place in atoms:
        factors += occupancy * form_factor(element, half) * np.exp(2j * math.pi * (hkl @ place))
    strength = np.abs(factors) ** 2 * np.exp(-2.0 * ICE_B * half**2)
    width = 0.9 / (2.0 * ICE_DOMAIN) / math.sqrt(8.0 * math.log(2.0))  # Scherrer, in sin θ/λ
    coherent = np.zeros_like(stol)
    for where, amount in zip(half, strength, strict=True):
        if amount > 1e-6:
            near = np.abs(stol - where) < 8 * width
            profile = np.exp(-0.5 * ((stol[near] - where) / width) ** 2) / (width * math.sqrt(2 * math.pi))
            # Σ_G |F|²·δ(s − s_G) over the number of molecules, 4, and the cells' share of a shell, 32·π·s²·V
            coherent[near] += amount * profile / (4.0 * 32.0 * math.pi * where**2 * volume)
    damping = np.exp(-2.0 * ICE_B * stol**2)
    rings = (form_factor("O", stol) ** 2 + form_factor("H", stol) ** 2) * damping  # of a molecule with 4 half hydrogens
    wide = (stol > 0.4) & (stol < 0.8)
    mean = np.sum((coherent * stol**2)[wide]) / np.sum((rings * stol**2)[wide])
    assert abs(mean - 1.0) < 0.07, f"rings must scatter on average what their atoms do, got {mean}"
    free = form_factor("O", stol) ** 2 + 2 * form_factor("H", stol) ** 2
    return stol, coherent + (free - rings) + incoherent("OHH", stol)


TABLES = {
    "water": (
        water,
        "liquid water near 25 C",
        "Coherent part: measured form factors of D. E. Peplow & K. Verghese, Phys. Med. Biol. 43 (1998) 2431-2452,",
        "as distributed with EGSnrc (data/molecular_form_factors/mff_water.dat), times sqrt(18.0153);",
        "constant below 0.1, where it is the limit that the compressibility of water sets.",
    ),
    "air": (
        air,
        "dry air, an ideal gas",
        "Coherent part: Debye's formula for N2 (1.0977 A apart, 78.08 %), O2 (1.2075 A, 20.95 %) and Ar (0.93 %),",
        f"form factors of International Tables C (1992) from gemmi {gemmi.__version__}.",
    ),
    "ice": (
        ice,
        "powder of hexagonal ice near 100 K",
        f"Coherent part: computed, not measured. P63/mmc, a = {ICE_A} A, c = {ICE_C} A (0.933 g/cm3), O at z = 1/16,",
        f"half hydrogens {ICE_O_H} A from O along each of the four bonds, B = {ICE_B} A^2 (assumed); rings as wide as",
        f"those of crystallites of {ICE_DOMAIN:g} A (assumed), no texture; diffuse scattering as of free atoms.",
        f"Form factors of International Tables C (1992) from gemmi {gemmi.__version__}.",
    ),
}


def main():
    """Write the tables."""
    for name, (compute, what, *source) in TABLES.items():
        stol, intensity = compute()
        lines = [f"{name}: {what}. Made by docs/stol_tables.py.", *source, INCOHERENT]
        lines.append("Columns: sin(theta)/lambda (1/A), amplitude of one molecule (electrons).")
        rows = [f"{s:.4f} {math.sqrt(i):.4f}" for s, i in zip(stol, intensity, strict=True)]
        (FOLDER / f"{name}.stol").write_text("\n".join([*(f"# {line}" for line in lines), *rows]) + "\n")


if __name__ == "__main__":
    main()
