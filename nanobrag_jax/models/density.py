"""Structure factors from an atomic model: densities of atoms and bulk solvent, transformed to the whole sphere.

Where the atoms' anomalous scattering makes the density complex, f = f0 + f' + i·f'', the real and the imaginary part
are transformed on their own: F(hkl) = A + iB and F(-h -k -l) = A* + iB*, whose moduli differ.
"""

import gzip
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..constants import DEFAULT_B_SOL_A2, DEFAULT_K_SOL_E_PER_A3, EV_ANGSTROM
from ..errors import InputError
from ..io.hkl import HklTable
from ..io.text import is_number, shown
from .core_cif import small_structure, sphere_from_small
from .sphere import Floats, Sphere, box_indices, check_box, check_cell, check_readable, load_gemmi, naming
from .symmetry import origin_note

_MASK_SPACING_A = 0.8
_ATOM_RADIUS_A = 2.0
_CUTOFF = 1e-6
_RATE = 2.0
_EDGE = 1e-9


@naming("model file")
def sphere_from_model(
    path: str | os.PathLike[str],
    dmin_A: float,
    *,
    wavelength_A: float | None = None,
    k_sol: float = DEFAULT_K_SOL_E_PER_A3,
    b_sol: float = DEFAULT_B_SOL_A2,
    box: float | None = None,
) -> Sphere:
    """The whole sphere in P1 to `dmin_A`, F(000) included, from a PDB or mmCIF model, or the CIF of a small molecule.

    **Arguments:** `wavelength_A`: for the anomalous scattering of each element (Cromer-Liberman), None for none;
    `k_sol` (electrons/Å³) and `b_sol` (Å²): bulk solvent k·exp(-b·s²/4) outside the atoms, none with k_sol = 0, and
    none in small molecules; `box`: of one molecule, as the file lists it, instead of the crystal: its amplitudes in a
    box that is so many times as wide as the molecule along x, y and z, with the solvent as a contrast.

    Isotropic and anisotropic displacement, occupancies and alternative conformations count as they stand; of several
    models the first. Raises InputError for a file that cannot be read, has no atoms, an unknown element, no cell or no
    space group.
    """
    gemmi = load_gemmi("an atomic model")
    name = f"model file {os.fspath(path)!r}"
    if not dmin_A > 0:
        raise InputError(f"{name}: dmin_A must be positive, got {dmin_A:g}")
    small = small_structure(gemmi, path)
    if small is not None and box is None:
        return sphere_from_small(gemmi, small, dmin_A, anomalous(gemmi, small.sites, wavelength_A), name)
    structure, notes = read_structure(gemmi, path, name)
    if box is not None:
        put_in_box(gemmi, structure, box, name)
        dmin_A = with_margin(dmin_A, np.array(structure.cell.reciprocal().parameters[:3]))
    cell, group = structure.cell, structure.find_spacegroup()
    most = [int(edge / dmin_A + _EDGE) for edge in (cell.a, cell.b, cell.c)]
    check_box(most, name)
    factors = _factors(gemmi, structure, dmin_A, wavelength_A, most)
    stol2 = cell.calculate_1_d2_array(box_indices(most)).reshape(factors.shape) / 4.0
    if k_sol:
        solvent = _solvent(gemmi, structure, dmin_A, most)
        if box is not None:  # what surrounds the molecule has no end
            solvent[most[0], most[1], most[2]] -= cell.volume
        factors = factors + k_sol * np.exp(-b_sol * stol2) * solvent
    inside = stol2 <= (1.0 + _EDGE) / (4.0 * dmin_A * dmin_A)
    values = np.where(inside, np.abs(factors), 0.0).astype(np.float64)
    table = HklTable((-most[0], -most[1], -most[2]), values, inside, notes)
    return Sphere(table, np.array(cell.parameters), group.hm)


def with_margin(dmin_A: float, reciprocal_edges: Floats) -> float:
    """The resolution (Å) to which amplitudes have to be known for those to `dmin_A` to be interpolated.

    **Arguments:** `reciprocal_edges` (3,): |a*|, |b*|, |c*| (1/Å); two indices farther along each are needed.
    """
    return 1.0 / (1.0 / dmin_A + 2.0 * float(np.sum(reciprocal_edges)))


def put_in_box(gemmi: Any, structure: Any, box: float, name: str) -> None:
    """Take a structure out of its crystal and put it into a box so many times its size, in P 1.

    **Raises** `InputError` for a box less than twice as wide as the molecule, whose amplitudes say nothing between the
    indices.
    """
    if not box >= 2:
        raise InputError(f"{name}: a box must be at least twice as wide as the molecule, got {box:g}")
    places = np.array([place.atom.pos.tolist() for place in structure[0].all()])
    edges = box * np.maximum(np.ptp(places, axis=0) + 2 * _ATOM_RADIUS_A, 4 * _ATOM_RADIUS_A)
    structure.cell = gemmi.UnitCell(*edges.tolist(), 90.0, 90.0, 90.0)
    structure.spacegroup_hm = "P 1"
    structure.setup_cell_images()


def read_structure(gemmi: Any, path: str | os.PathLike[str], name: str) -> tuple[Any, list[str]]:
    check_readable(path, name)
    try:
        structure = gemmi.read_structure(os.fspath(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"cannot read {name}: {(str(error).splitlines() or ['unknown'])[0]}") from None
    if not len(structure) or not structure[0].count_atom_sites():
        raise InputError(f"{name} holds no atoms")
    check_cell(structure.cell, name)
    if structure.find_spacegroup() is None:
        raise InputError(f"{name} does not say its space group, or it is unknown: {structure.spacegroup_hm!r}")
    group = structure.find_spacegroup()
    if not structure.cell.is_compatible_with_spacegroup(group, _CELL_FITS):
        sizes = " ".join(f"{x:g}" for x in structure.cell.parameters)
        raise InputError(f"{name}: the cell {sizes} has not the symmetry of its space group {group.hm}")
    _check_numbers(gemmi, structure, path, name)
    for place in structure[0].all():
        if place.atom.element.name == "X":
            raise InputError(f"{name}: atom {place} has an unknown element")
    notes = [f"{name}: the first of {len(structure)} models is taken"] if len(structure) > 1 else []
    notes += origin_note(group, name)
    if any(not operation.given for operation in structure.ncs):
        structure.expand_ncs(gemmi.HowToNameCopiedChain.AddNumber)
        notes.append(f"{name}: copies by non-crystallographic symmetry are added")
    return structure, notes


_LARGEST, _LARGEST_B = 1e6, 1e4
"""Å of a place, Å² of a B factor: beyond, gemmi spreads an atom over more points than it ever comes to an end with."""
_CELL_FITS = 0.02
"""Of an edge; degrees of an angle."""
_PDB_NUMBERS = (("x", 30, 38), ("y", 38, 46), ("z", 46, 54), ("occupancy", 54, 60), ("B factor", 60, 66))
_CIF_NUMBERS = ("Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv")


def _check_numbers(gemmi: Any, structure: Any, path: str | os.PathLike[str], name: str) -> None:
    """Raise `InputError`, with the atom, where a file has something else for a number, which reads as 0."""
    if structure.input_format == gemmi.CoorFormat.Pdb:
        with gzip.open(path) if os.fspath(path).endswith(".gz") else open(path, "rb") as lines:
            for raw in lines:
                line = raw.decode("latin-1").rstrip("\r\n")
                if line.startswith(("ATOM  ", "HETATM")):
                    for what, start, end in _PDB_NUMBERS:
                        _check_number(line[start:end].strip(), what, " ".join(line[6:27].split()), name)
    elif structure.input_format == gemmi.CoorFormat.Mmcif:
        block = gemmi.cif.read(os.fspath(path)).sole_block()
        for row in block.find("_atom_site.", ["id", *(f"?{item}" for item in _CIF_NUMBERS)]):
            for place, item in enumerate(_CIF_NUMBERS, 1):
                if row.has(place):
                    text = gemmi.cif.as_string(row[place]).split("(")[0]
                    _check_number(text, item, row.str(0), name)


def _check_number(text: str, what: str, atom: str, name: str) -> None:
    needed = what in ("x", "y", "z") or what.startswith("Cartn")
    if (text or needed) and not (is_number(text) and np.isfinite(float(text))):
        raise InputError(f"{name}: atom {atom} has {what} {shown(text)}, which is no number")
    if text and abs(float(text)) > (_LARGEST if needed else _LARGEST_B):
        raise InputError(f"{name}: atom {atom} has {what} {shown(text)}, which is too large")


def _factors(gemmi: Any, structure: Any, dmin_A: float, wavelength_A: float | None, most: list[int]):
    """Complex structure factors of the atoms, (h, k, l) from -most to most."""
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min, calculator.rate, calculator.cutoff = dmin_A, _RATE, _CUTOFF
    calculator.set_grid_cell_and_spacegroup(structure)
    calculator.set_refmac_compatible_blur(structure[0])
    shifts = anomalous(gemmi, [place.atom for place in structure[0].all()], wavelength_A)
    for element, (real, _) in shifts.items():
        calculator.addends.set(gemmi.Element(element), real)
    dispersive = _transformed(gemmi, calculator, structure, most)
    if not shifts:
        return dispersive
    for element, (real, imaginary) in shifts.items():
        calculator.addends.set(gemmi.Element(element), real + imaginary)
    return dispersive + 1j * (_transformed(gemmi, calculator, structure, most) - dispersive)


def anomalous(gemmi: Any, atoms: Iterable[Any], wavelength_A: float | None) -> dict[str, tuple[float, float]]:
    """f' and f'' of each element among atoms."""
    if wavelength_A is None:
        return {}
    elements = {atom.element.name: atom.element.atomic_number for atom in atoms}
    energy = EV_ANGSTROM / wavelength_A
    return {element: gemmi.cromer_liberman(z=number, energy=energy) for element, number in elements.items()}


def _transformed(gemmi: Any, calculator: Any, structure: Any, most: list[int]):
    calculator.put_model_density_on_grid(structure[0])
    factors = _whole(gemmi.transform_map_to_f_phi(calculator.grid, half_l=True), most)
    stol2 = structure.cell.calculate_1_d2_array(box_indices(most)).reshape(factors.shape) / 4.0
    return factors * np.exp(calculator.blur * stol2)


def _solvent(gemmi: Any, structure: Any, dmin_A: float, most: list[int]):
    """Complex transform of the solvent's mask."""
    mask = gemmi.FloatGrid()
    mask.setup_from(structure, spacing=min(dmin_A / 3.0, _MASK_SPACING_A))
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx).put_mask_on_float_grid(mask, structure[0])
    return _whole(gemmi.transform_map_to_f_phi(mask, half_l=True), most)


def _whole(grid: Any, most: list[int]):
    """Both halves of a transform of something real, (h, k, l) from -most to most; the grid has l >= 0 only."""
    values = np.array(grid, copy=False)
    h, k, l = most
    rows, columns = np.arange(-h, h + 1) % values.shape[0], np.arange(-k, k + 1) % values.shape[1]
    upper = values[np.ix_(rows, columns, np.arange(l + 1))]
    lower = np.conj(upper[::-1, ::-1, :0:-1])
    return np.concatenate([lower, upper], axis=2)


@naming("model file")
def read_model_cell(path: str | os.PathLike[str], box: float | None = None) -> Floats:
    """Edges (Å) and angles (degrees), (6,), of a PDB or mmCIF model, or of the box around its molecule.

    Raises InputError as `sphere_from_model`.
    """
    gemmi = load_gemmi("an atomic model")
    small = small_structure(gemmi, path)
    if small is not None and small.cell.is_crystal() and box is None:
        return np.array(small.cell.parameters)
    name = f"model file {os.fspath(path)!r}"
    structure, _ = read_structure(gemmi, path, name)
    if box is not None:
        put_in_box(gemmi, structure, box, name)
    return np.array(structure.cell.parameters)
