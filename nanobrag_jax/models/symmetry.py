"""The symmetry of reflection files: a known symbol, or operators where the file has no symbol that is known."""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..io.text import one_line
from .mtz_header import symmetry_records


class Operators(NamedTuple):
    """Operators without a symbol, to be used as gemmi's space groups are."""

    given: Any
    """gemmi's group of operators."""
    hm: str

    def operations(self) -> Any:
        """The operators."""
        return self.given


def mtz_group(gemmi: ModuleType, mtz: Any, records: list[str], name: str) -> tuple[Any, list[str]]:
    """The space group of an MTZ file, and what to tell of it.

    **Arguments:** `records`: of its header. The operators of its SYMM records count where it has some; a symbol that
    says otherwise is told of.

    **Raises** `InputError` for a file with neither.
    """
    written = symmetry_records(records)
    try:
        operators = [gemmi.Op(text) for text in written]
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{name} has a SYMM record that is no operator: {one_line(error)}") from None
    if not operators:
        if mtz.spacegroup is None:
            raise InputError(f"{name} does not say its space group")
        return mtz.spacegroup, []
    told = {op.triplet() for op in operators}
    if "x,y,z" not in told:  # gemmi finds no centring without it, and ends the process
        operators.insert(0, gemmi.Op("x,y,z"))
    if mtz.spacegroup is not None:
        usual = {op.triplet() for op in mtz.spacegroup.operations()}
        if usual == {op.wrap().triplet() for op in operators}:
            return mtz.spacegroup, []
    group = gemmi.GroupOps(operators)
    found = gemmi.find_spacegroup_by_ops(group)
    if mtz.spacegroup is None:
        symbol = f" ({found.hm})" if found is not None else ""
        note = (
            f"{name}: space group {mtz.spacegroup_name!r} is unknown, its {len(told)} SYMM operators are taken{symbol}"
        )
    else:
        others = len(told - usual)
        note = (
            f"{name}: {others} of {len(told)} SYMM operators are not those of its symbol {mtz.spacegroup.hm}: "
            f"the operators are taken{f' ({found.hm})' if found is not None else ''}"
        )
    return (Operators(group, mtz.spacegroup_name) if found is None else found), [note]


def absences_note(group: Any, hkl: np.ndarray, values: np.ndarray, name: str) -> list[str]:
    """A sentence where a file lists amplitudes that its symmetry forbids; they are 0 in what is made of them."""
    absent = group.operations().systematic_absences(np.asarray(hkl, np.int32)) & np.isfinite(values) & (values > 0)
    count = int(np.count_nonzero(absent))
    if not count:
        return []
    first = " ".join(str(x) for x in np.asarray(hkl)[absent][0])
    return [f"{name}: {count} reflections, the first of them {first}, are absent in {group.hm}: taken as 0"]


def origin_note(group: Any, name: str) -> list[str]:
    """A sentence of the origin that was taken, for a space group that has two."""
    if getattr(group, "ext", "") not in ("1", "2"):
        return []
    return [f"{name}: of the two origins of {group.hm} number {group.ext} is taken"]
