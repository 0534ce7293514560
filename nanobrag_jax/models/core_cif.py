"""CIF of small molecules: reflections (SHELX' .fcf) as those of a structure-factor mmCIF, and models."""

import os
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.hkl import HklTable
from .sphere import Floats, Sphere, box_indices, check_box, check_cell
from .symmetry import Operators, origin_note

_REFLN = "_refln_"
_OPERATORS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz", "_space_group_symop.operation_xyz")
_SYMBOLS = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_space_group_name_Hall")
_EDGES = tuple(f"_cell_{x}" for x in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"))
_EDGE = 1e-9


class CoreReflections:
    """A block with `_refln_index_h` and so on, asked as gemmi's blocks of mmCIF are."""

    def __init__(self, gemmi: Any, block: Any):
        loop = block.find_loop(f"{_REFLN}index_h").get_loop()
        texts, width = list(loop.values), len(loop.tags)
        self._columns = {  # now: gemmi's loops do not outlive their document
            tag.removeprefix(_REFLN): np.array([gemmi.cif.as_number(text) for text in texts[place::width]])
            for place, tag in enumerate(loop.tags)
        }
        values = [gemmi.cif.as_number(block.find_value(edge) or "?") for edge in _EDGES]
        self.cell = gemmi.UnitCell(*values) if np.all(np.isfinite(values)) else gemmi.UnitCell()
        self.spacegroup = _group(gemmi, block)

    def column_labels(self) -> list[str]:
        """Names of the columns without that of the category."""
        return list(self._columns)

    def make_float_array(self, label: str) -> Floats:
        """A column, NaN where it has no number."""
        return self._columns[label]

    def make_miller_array(self) -> np.ndarray:
        """Indices (n, 3)."""
        return np.stack([self.make_float_array(f"index_{x}") for x in "hkl"], axis=1).astype(np.int32)


def core_reflections(gemmi: Any, document: Any) -> list[CoreReflections]:
    """The blocks of a document that hold reflections by the names of small molecules."""
    return [CoreReflections(gemmi, block) for block in document if block.find_loop(f"{_REFLN}index_h")]


def _group(gemmi: Any, block: Any) -> Any:
    """The space group: by its operators, else by its symbol; None for neither."""
    for tag in _OPERATORS:
        texts = [gemmi.cif.as_string(text) for text in block.find_values(tag)]
        if texts:
            group = gemmi.GroupOps([gemmi.Op(text.lower()).wrap() for text in texts])
            found = gemmi.find_spacegroup_by_ops(group)
            return Operators(group, "given by operators") if found is None else found
    named = next((text for tag in _SYMBOLS if (text := block.find_value(tag))), None)
    return None if named is None else gemmi.find_spacegroup_by_name(gemmi.cif.as_string(named))


def small_structure(gemmi: Any, path: str | os.PathLike[str]) -> Any | None:
    """The first structure of a CIF with fractional coordinates; None for another file."""
    try:
        for block in gemmi.cif.read(os.fspath(path)):
            if block.find_loop("_atom_site_fract_x"):
                return gemmi.make_small_structure_from_block(block)
    except (RuntimeError, ValueError, OSError):  # no CIF
        return None
    return None


def sphere_from_small(
    gemmi: Any, small: Any, dmin_A: float, shifts: dict[str, tuple[float, float]], name: str
) -> Sphere:
    """The whole sphere in P1 to `dmin_A` by direct summation over atoms and operators.

    **Arguments:** `small`: gemmi's structure; `shifts`: f' and f'' of elements; `name`: of the file, for messages.
    Displacements and occupancies count as they stand, those of atoms on special positions as CIF has them.

    **Raises** `InputError` for a structure without a cell, a known space group, or with an unknown element.
    """
    cell, group = small.cell, small.spacegroup
    check_cell(cell, name)
    if group is None:
        raise InputError(f"{name} does not say its space group, or it is unknown: {small.spacegroup_hm!r}")
    for site in small.sites:
        if site.element.name == "X" or not all(np.isfinite(site.fract.tolist())):
            raise InputError(f"{name}: atom {site.label} has an unknown element, or a coordinate that is no number")
    small.change_occupancies_to_crystallographic()
    most = [int(edge / dmin_A + _EDGE) for edge in (cell.a, cell.b, cell.c)]
    shape = check_box(most, name)
    box = box_indices(most)
    inside = cell.calculate_1_d2_array(box) <= (1.0 + _EDGE) / dmin_A**2
    factors = np.zeros(len(box), complex)
    factors[inside] = _summed(gemmi, small, box[inside], {e: real for e, (real, _) in shifts.items()})
    if any(imaginary for _, imaginary in shifts.values()):
        both = _summed(gemmi, small, box[inside], {e: real + imaginary for e, (real, imaginary) in shifts.items()})
        factors[inside] += 1j * (both - factors[inside])
    notes = [f"{name} is taken for the CIF of a small molecule, which has no bulk solvent", *origin_note(group, name)]
    table = HklTable((-most[0], -most[1], -most[2]), np.abs(factors).reshape(shape), inside.reshape(shape), notes)
    return Sphere(table, np.array(cell.parameters), group.hm)


def _summed(gemmi: Any, small: Any, hkl: np.ndarray, addends: dict[str, float]) -> np.ndarray:
    """Structure factors of real form factors."""
    calculator = gemmi.StructureFactorCalculatorX(small.cell)
    for element, addend in addends.items():
        calculator.addends.set(gemmi.Element(element), addend)
    return np.array([calculator.calculate_sf_from_small_structure(small, index) for index in hkl.tolist()])
