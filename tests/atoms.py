"""Small crystal structures written to files, and their structure factors by direct summation."""

import gemmi
import numpy as np

EV_ANGSTROM = 12398.42
ELEMENTS = ("C", "N", "O", "S", "Se", "Fe")

CRYSTALS = {
    "P 43 21 2": (18.0, 18.0, 27.0, 90.0, 90.0, 90.0),
    "P 61 2 2": (20.0, 20.0, 31.0, 90.0, 90.0, 120.0),
    "C 1 2 1": (31.0, 14.0, 19.0, 90.0, 104.0, 90.0),
    "P -1": (9.0, 11.0, 13.0, 80.0, 95.0, 103.0),
}


def make_structure(group: str, *, atoms: int = 12, seed: int = 1) -> gemmi.Structure:
    rng = np.random.default_rng(seed)
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(*CRYSTALS[group]), group
    model, chain = gemmi.Model(1), gemmi.Chain("A")
    for i in range(atoms):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "UNL", gemmi.SeqId(i + 1, " ")
        element = ELEMENTS[i % len(ELEMENTS)]
        atom.name, atom.element = element.upper(), gemmi.Element(element)
        atom.pos = structure.cell.orthogonalize(gemmi.Fractional(*rng.random(3)))
        atom.occ, atom.b_iso = (1.0 if i % 3 else 0.7), 8.0 + 10.0 * rng.random()
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    return structure


def write_structure(structure: gemmi.Structure, path) -> str:
    if str(path).endswith(".pdb"):
        structure.write_pdb(str(path))
    else:
        structure.make_mmcif_document().write_file(str(path))
    return str(path)


def direct_factors(path: str, hkl, wavelength_A: float | None = None):
    """Complex structure factors (n,) at indices (n, 3): a plain sum over atoms and symmetry operations."""
    structure = gemmi.read_structure(path)
    hkl = np.asarray(hkl)
    stol2 = structure.cell.calculate_1_d2_array(hkl.astype(np.int32)) / 4.0
    total = np.zeros(len(hkl), complex)
    for place in structure[0].all():
        atom = place.atom
        table = atom.element.it92
        form = sum(a * np.exp(-b * stol2) for a, b in zip(table.a, table.b, strict=True)) + table.c
        if wavelength_A is not None:
            real, imaginary = gemmi.cromer_liberman(atom.element.atomic_number, EV_ANGSTROM / wavelength_A)
            form = form + real + 1j * imaginary
        position = np.array(structure.cell.fractionalize(atom.pos).tolist())
        waves = np.zeros(len(hkl), complex)
        for operation in structure.find_spacegroup().operations():
            moved = (np.array(operation.rot) @ position + np.array(operation.tran)) / operation.DEN
            waves += np.exp(2j * np.pi * (hkl @ moved))
        total += atom.occ * form * np.exp(-atom.b_iso * stol2) * waves
    return total


def sphere_indices(cell: gemmi.UnitCell, dmin_A: float):
    """All indices (n, 3) to a resolution, the origin among them."""
    most = [int(edge / dmin_A) for edge in (cell.a, cell.b, cell.c)]
    grids = np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij")
    hkl = np.stack(grids, axis=-1).reshape(-1, 3).astype(np.int32)
    return hkl[cell.calculate_1_d2_array(hkl) <= 1.0 / dmin_A**2]
