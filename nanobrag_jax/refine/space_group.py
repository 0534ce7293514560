"""What a Hall symbol says: the crystal system of the cell, and which reflections are equivalent."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from ..errors import InputError
from ..models.sphere import load_gemmi


def space_group(hall_symbol: str) -> Any:
    """The space group, as gemmi has it. **Raises** `InputError` for a symbol that is none, and without gemmi."""
    gemmi = load_gemmi("symmetry")
    try:
        found = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(hall_symbol))
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{hall_symbol!r} is no Hall symbol: {error}") from None
    if found is None:
        raise InputError(f"the Hall symbol {hall_symbol!r} is that of no setting in the tables")
    return found


def crystal_system(hall_symbol: str) -> str:
    """The name of the system for `cell_parameters`. **Raises** `InputError` as `space_group`."""
    group = space_group(hall_symbol)
    system = group.crystal_system_str()
    if system == "trigonal":
        return "rhombohedral" if group.ext == "R" else "hexagonal"
    return system


class Reflections:
    """Unique reflections of a space group, Bijvoet mates together or apart.

    **Arguments:** `anomalous`: whether mates that symmetry does not make equal are different reflections.
    """

    def __init__(self, hall_symbol: str, *, anomalous: bool = False):
        gemmi = load_gemmi("symmetry")
        self.group, self.anomalous = space_group(hall_symbol), anomalous
        self._asu, self._operations = gemmi.ReciprocalAsu(self.group), self.group.operations()

    def unique(self, hkl: Int[np.ndarray, "n 3"]) -> tuple[Int[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
        """The representative of each in the asymmetric unit, and whether it is the mate of it (never a centric one)."""
        found, minus = np.zeros((len(hkl), 3), int), np.zeros(len(hkl), bool)
        for row, index in enumerate(np.asarray(hkl, int).tolist()):
            found[row], number = self._asu.to_asu(index, self._operations)
            minus[row] = number % 2 == 0 and not self._operations.is_reflection_centric(index)
        return found, minus

    def labels(self, hkl: Int[np.ndarray, "n 3"]) -> Int[np.ndarray, "n 4"]:
        """One row for each reflection, the same for equivalent ones: h, k, l, and 1 for a mate that is kept apart."""
        found, minus = self.unique(hkl)
        return np.column_stack([found, (minus & self.anomalous).astype(int)])

    def centric(self, hkl: Int[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Which are centric."""
        return np.array([self._operations.is_reflection_centric(i) for i in np.asarray(hkl, int).tolist()], bool)

    def absent(self, hkl: Int[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Which are systematically absent."""
        return np.array([self._operations.is_systematically_absent(i) for i in np.asarray(hkl, int).tolist()], bool)
