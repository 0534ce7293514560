"""Structure factors from atoms, differentiable in every number: F(hkl) = Σ (f0 + f′ + i·f″)·G + bulk solvent.

Small and heavy-atom structures are summed atom by atom, larger ones through a density on a grid. The bulk solvent is
the transform of a smooth mask. Source: docs/structure_factors.md.
"""

import os
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from .. import checks
from ..checks import leaf, optional_leaf
from ..constants import DEFAULT_B_SOL_A2, DEFAULT_K_SOL_E_PER_A3
from ..errors import InputError
from ..typing import Numbers, Scalar
from .atomic_sums import AtomGrid, Displaced, atom_grid, densities_on_grid, direct_sum, grid_sums, reach_of, symmetrised
from .density import anomalous, read_structure
from .reflection_plan import ReflectionPlan, grid_size, operations_of
from .sphere import load_gemmi, naming

Method = Literal["auto", "direct", "fft"]
B_PER_U = 8.0 * np.pi**2
_DIRECT_BELOW = 1e6
"""Atoms × operations × reflections that are summed atom by atom, where nothing is said."""
_ROOM = 1.5
"""How far displacements may grow, from those that a grid was laid out for, before gaussians are cut off visibly."""
_MASK_SPACING_A, _MASK_SIGMA_A, _MASK_RADIUS_A, _MASK_CUT_A = 0.9, 0.8, 2.0, 4.0


class Atoms(eqx.Module):
    """Atoms of the asymmetric unit.

    **Arguments:** `elements`: symbols, one an atom; `positions` (atoms, 3): fractions of the cell; `occupancies`
    (atoms,): with the share of an atom on a special position, so that symmetry counts it once; `b_iso_A2` (atoms,):
    isotropic B, Å²; `u_aniso_A2` (atoms, 3, 3): what the mean square displacements along x, y and z have beyond it, Å²,
    None for none.

    **Raises** `InputError`.
    """

    positions: Float[Array, "atoms 3"]
    occupancies: Float[Array, " atoms"]
    b_iso_A2: Float[Array, " atoms"]
    u_aniso_A2: Float[Array, "atoms 3 3"] | None
    elements: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        elements: Sequence[str],
        positions: Numbers,
        *,
        occupancies: Numbers = 1.0,
        b_iso_A2: Numbers = 20.0,
        u_aniso_A2: Numbers | None = None,
    ):
        self.elements = tuple(elements)
        count = len(self.elements)
        self.positions = leaf(positions, "positions")
        self.occupancies = jnp.broadcast_to(leaf(occupancies, "occupancies"), (count,))
        self.b_iso_A2 = jnp.broadcast_to(leaf(b_iso_A2, "b_iso_A2"), (count,))
        self.u_aniso_A2 = optional_leaf(u_aniso_A2, "u_aniso_A2")

    def __check_init__(self):
        count = len(self.elements)
        if not count:
            raise InputError("elements must name at least one atom, got none")
        checks.finite("positions", self.positions, (count, 3))
        checks.finite("occupancies", self.occupancies, (count,))
        checks.finite("b_iso_A2", self.b_iso_A2, (count,))
        checks.finite("u_aniso_A2", self.u_aniso_A2, (count, 3, 3))

    @property
    def u_A2(self) -> Float[Array, "atoms 3 3"]:
        """Mean square displacements along x, y and z, Å²."""
        isotropic = self.b_iso_A2[:, None, None] / B_PER_U * jnp.eye(3)[None]
        return isotropic if self.u_aniso_A2 is None else isotropic + self.u_aniso_A2

    def of(self, element: str) -> Displaced:
        """The atoms of an element."""
        places = np.array([i for i, name in enumerate(self.elements) if name == element])
        return Displaced(self.positions[places], self.occupancies[places], self.u_A2[places])


class AtomicModel(eqx.Module):
    """A crystal's atoms with what makes structure factors of them.

    **Arguments:**

    - `atoms`: of the asymmetric unit;
    - `cell` (6,): edges (Å) and angles (degrees);
    - `space_group`: symbol or number;
    - `dmin_A`: to what resolution;
    - `k_sol` (electrons/Å³), `b_sol_A2`: bulk solvent k·exp(−b·s²/4) where no atom is, none with k_sol = 0;
    - `f_prime`, `f_double_prime`: electrons, one for each of `kinds`, the elements in alphabetical order; 0 by default;
    - `method`: "direct" (atom by atom), "fft" (a density on a grid), or "auto" for what is quicker. The grid has room
      for displacements up to 1.5 times those that are there.

    **Raises** `InputError`. Source: docs/structure_factors.md.
    """

    atoms: Atoms
    k_sol: Scalar
    b_sol_A2: Scalar
    f_prime: Float[Array, " kinds"]
    f_double_prime: Float[Array, " kinds"]
    plan: ReflectionPlan = eqx.field(static=True)
    grid: AtomGrid | None = eqx.field(static=True)

    def __init__(
        self,
        atoms: Atoms,
        *,
        cell,
        space_group: str | int,
        dmin_A: float,
        k_sol: Numbers = 0.0,
        b_sol_A2: Numbers = DEFAULT_B_SOL_A2,
        f_prime: Numbers = 0.0,
        f_double_prime: Numbers = 0.0,
        method: Method = "auto",
    ):
        gemmi = load_gemmi("an atomic model")
        checks.one_of("method", method, ("auto", "direct", "fft"))
        numbers = np.asarray(cell, float)
        if numbers.shape != (6,):
            raise InputError(f"cell must be an array of shape (6,), got shape {numbers.shape}")
        checks.cell_exists(numbers[:3], numbers[3:])
        checks.positive("dmin_A", dmin_A, ())
        by_name = isinstance(space_group, str)
        group = gemmi.find_spacegroup_by_name(space_group) if by_name else gemmi.find_spacegroup_by_number(space_group)
        if group is None:
            raise InputError(f"space_group {space_group!r} is unknown")
        for kind in set(atoms.elements):
            if not gemmi.Element(kind).atomic_number:
                raise InputError(f"elements: {kind!r} is no element")
        self.atoms = atoms
        self.k_sol, self.b_sol_A2 = leaf(k_sol, "k_sol"), leaf(b_sol_A2, "b_sol_A2")
        count = len(set(atoms.elements))
        self.f_prime = jnp.broadcast_to(leaf(f_prime, "f_prime"), (count,))
        self.f_double_prime = jnp.broadcast_to(leaf(f_double_prime, "f_double_prime"), (count,))
        self.plan = ReflectionPlan(tuple(numbers.tolist()), *operations_of(group), float(dmin_A))
        terms = len(atoms.elements) * len(self.plan.rotations) * len(self.plan.hkl)
        direct = method == "direct" or (method == "auto" and terms < _DIRECT_BELOW)
        self.grid = None if direct else _grid_for(self.plan, atoms)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        dmin_A: float,
        *,
        wavelength_A: float | None = None,
        k_sol=DEFAULT_K_SOL_E_PER_A3,
        b_sol_A2=DEFAULT_B_SOL_A2,
        method: Method = "auto",
    ) -> "AtomicModel":
        """The model of a PDB or mmCIF file.

        **Arguments:** `wavelength_A`: for f′ and f″ by Cromer and Liberman, None for none; others as for the class.

        **Raises** `InputError` as `StructureFactors.from_model`.
        """
        structure = read_model(path)
        atoms = _atoms_of(structure)
        shifts = anomalous(load_gemmi("an atomic model"), [p.atom for p in structure[0].all()], wavelength_A)
        kinds = sorted(set(atoms.elements))
        values = np.array([shifts.get(kind, (0.0, 0.0)) for kind in kinds])
        return cls(
            atoms,
            cell=structure.cell.parameters,
            space_group=structure.find_spacegroup().xhm(),
            dmin_A=dmin_A,
            k_sol=k_sol,
            b_sol_A2=b_sol_A2,
            f_prime=values[:, 0],
            f_double_prime=values[:, 1],
            method=method,
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The elements, in alphabetical order."""
        return tuple(sorted(set(self.atoms.elements)))

    def sums(self) -> Array:
        """G of each of `kinds` at `plan.hkl`, complex (kinds, reflections)."""
        if self.grid is None:
            return jnp.stack([direct_sum(self.plan, self.atoms.of(kind)) for kind in self.kinds])
        everything = Displaced(self.atoms.positions, self.atoms.occupancies, self.atoms.u_A2)
        numbers = [self.kinds.index(name) for name in self.atoms.elements]
        return grid_sums(self.plan, self.grid, everything, numbers)

    def factors(self) -> tuple[Array, Array]:
        """F of `plan.hkl` and of their Friedel mates, complex (reflections,) each, electrons."""
        sums = self.sums()
        forms = jnp.asarray(np.stack([form_factor(kind, self.plan.s_sqr) for kind in self.kinds]))
        shifts = (self.f_prime + 1j * self.f_double_prime)[:, None]
        normal = jnp.sum(forms * sums, 0) + self.solvent()
        return normal + jnp.sum(shifts * sums, 0), jnp.conj(normal) + jnp.sum(shifts * jnp.conj(sums), 0)

    def solvent(self) -> Array:
        """F of the bulk solvent at `plan.hkl`, complex (reflections,): 0 where k_sol is known to be 0."""
        if checks.is_known(self.k_sol) and float(self.k_sol) == 0.0:
            return jnp.zeros(len(self.plan.hkl), complex)
        mask = symmetrised(self.plan, smooth_mask(self.plan, self.atoms), whole=True)
        return self.k_sol * jnp.exp(-0.25 * self.b_sol_A2 * self.plan.s_sqr) * mask

    def amplitudes(self, F000: float | None = 0.0) -> Float[Array, "h k l"]:
        """|F| of all indices from −`plan.most` to `plan.most`, 0 beyond the resolution, electrons.

        **Arguments:** `F000`: that of the direct beam, None for the model's own.
        """
        plus, minus = (modulus(F) for F in self.factors())
        box = jnp.where(self.plan.given, jnp.concatenate([plus, minus])[self.plan.into_box], 0.0)
        h, k, l = self.plan.most
        return box if F000 is None else box.at[h, k, l].set(F000)


def modulus(F: Array) -> Array:
    """|F|, with a derivative of 0 where F is 0, as absent reflections are."""
    sqr = F.real**2 + F.imag**2
    zero = sqr < 1e-20
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, sqr)))


def form_factor(element: str, s_sqr) -> np.ndarray:
    """f0 at 1/d² (1/Å²), electrons: four gaussians and a constant of International Tables 1992."""
    table = load_gemmi("an atomic model").Element(element).it92
    return sum(a * np.exp(-0.25 * b * s_sqr) for a, b in zip(table.a, table.b, strict=True)) + table.c


def smooth_mask(plan: ReflectionPlan, atoms: Atoms) -> Array:
    """1 where no atom of the cell is near, 0 inside atoms, on a grid, (a, b, c).

    exp(−Σ w·exp(−r²/2σ²)) over all atoms of the cell, with σ = 0.8 Å: one half at 2.0 Å from a single atom, where masks
    with an edge have it for carbon (van der Waals radius and probe, less what they shrink by). Of an atom that is there
    in part the exponent is that part.
    """
    edges = np.linalg.norm(np.linalg.inv(plan.fractional), axis=0)
    first, second, third = (grid_size(edge, min(_MASK_SPACING_A, plan.dmin_A / 3.0)) for edge in edges)
    shape = first, second, third
    grid = AtomGrid(shape, reach_of(plan.fractional, shape, _MASK_CUT_A), 0.0)
    rotations, translations = np.array(plan.rotations, float), np.array(plan.translations)
    places = jnp.einsum("oij,aj->oai", rotations, atoms.positions) + translations[:, None, :]
    count = places.shape[0] * places.shape[1]
    orthogonal = np.linalg.inv(plan.fractional)
    matrix = jnp.broadcast_to(orthogonal.T @ orthogonal / _MASK_SIGMA_A**2, (count, 3, 3))
    height = jnp.full(count, np.log(2.0) * np.exp(0.5 * (_MASK_RADIUS_A / _MASK_SIGMA_A) ** 2))
    weights = height * jnp.tile(atoms.occupancies, len(rotations))
    return jnp.exp(-densities_on_grid(grid, places.reshape(count, 3), weights, matrix, [0] * count)[0])


def _grid_for(plan: ReflectionPlan, atoms: Atoms) -> AtomGrid:
    if not checks.is_known(atoms.u_A2):
        raise InputError("a grid is laid out for displacements that are known: build the model outside of jax.jit")
    sizes = np.linalg.eigvalsh(np.asarray(atoms.u_A2))
    return atom_grid(plan, float(sizes.min()) / _ROOM, float(sizes.max()) * _ROOM)


@naming("model file")
def read_model(path: str | os.PathLike[str]) -> Any:
    """gemmi's structure of a PDB or mmCIF file, checked. **Raises** `InputError`."""
    return read_structure(load_gemmi("an atomic model"), path, f"model file {os.fspath(path)!r}")[0]


def _atoms_of(structure: Any) -> Atoms:
    places = [place.atom for place in structure[0].all()]
    positions = np.array([structure.cell.fractionalize(atom.pos).tolist() for atom in places])
    b_iso = np.array([atom.b_iso for atom in places], float)
    tensors = [np.array(atom.aniso.as_mat33().tolist()) if atom.aniso.nonzero() else None for atom in places]
    beyond = None
    if any(u is not None for u in tensors):
        full = np.stack([np.eye(3) * b / B_PER_U if u is None else u for u, b in zip(tensors, b_iso, strict=True)])
        mean = np.trace(full, axis1=1, axis2=2) / 3.0
        b_iso, beyond = mean * B_PER_U, full - mean[:, None, None] * np.eye(3)
    return Atoms(
        [atom.element.name for atom in places],
        positions,
        occupancies=np.array([atom.occ for atom in places], float),
        b_iso_A2=b_iso,
        u_aniso_A2=beyond,
    )
