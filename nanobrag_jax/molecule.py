"""One molecule in the beam: what it scatters between the points of any lattice."""

import os

from .constants import DEFAULT_B_SOL_A2, DEFAULT_K_SOL_E_PER_A3
from .crystal import Crystal
from .structure_factors import StructureFactors, cell_of_file

DEFAULT_BOX = 4.0
"""Widths of the molecule."""


def single_molecule(
    path: str | os.PathLike[str],
    dmin_A: float,
    *,
    box: float = DEFAULT_BOX,
    wavelength_A: float | None = None,
    k_sol: float = DEFAULT_K_SOL_E_PER_A3,
    b_sol: float = DEFAULT_B_SOL_A2,
    **more,
) -> tuple[Crystal, StructureFactors]:
    """A crystal of one cell, which holds the molecule of a PDB or mmCIF file in a box, and its amplitudes.

    An experiment interpolates them: together they scatter what one molecule does, at every angle.

    **Arguments:**

    - `path`: of the model; its molecule is taken as the file lists it, without the symmetry of its crystal;
    - `dmin_A`: resolution of the experiment's corners;
    - `box`: edges of the box over the size of the molecule, at least 2; four keep the intensity to a quarter of a per
      cent of the whole, and to 10 % in nine of ten places;
    - `wavelength_A`: for anomalous scattering, None for none;
    - `k_sol`, `b_sol`: solvent around the molecule, which lowers its contrast; `k_sol=0` for one in vacuum;
    - `more`: further arguments of `Crystal`, as `misset_deg`, or `scale` for many molecules, all turned alike.

    **Raises** `InputError` for a model or a box that cannot be used. Source: docs/structure_factors.md.
    """
    factors = StructureFactors.from_model(
        path, dmin_A, wavelength_A=wavelength_A, k_sol=k_sol, b_sol=b_sol, box=box, F000=None
    )
    cell = cell_of_file(factors)
    assert cell is not None  # of a model that was just read
    return Crystal(cell[:3], cell[3:], **more), factors
