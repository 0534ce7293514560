"""Structure factors from atoms: both ways of summing, against the plain sum and differences."""

import equinox as eqx
import gemmi
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from atoms import CRYSTALS, direct_factors, make_structure, write_structure
from jaxtyping import TypeCheckError

import nanobrag_jax as nb
from nanobrag_jax.errors import InputError
from nanobrag_jax.models.atomic_sums import atom_grid, direct_sum, grid_sums
from nanobrag_jax.models.atoms import AtomicModel, Atoms, form_factor, smooth_mask
from nanobrag_jax.models.density import sphere_from_model
from nanobrag_jax.models.reflection_plan import ReflectionPlan

DMIN = 2.03
LAMBDA = 0.979
DIRECT = 1e-9
"""Of F000; 1e-6 is what is asked for."""
BY_GRID = 3e-6
"""Of F000; 1e-3 is what is asked for."""


@pytest.fixture(scope="module", params=CRYSTALS)
def path(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("atoms")
    return write_structure(make_structure(request.param), folder / "model.pdb")


@pytest.mark.parametrize("method, error", [("direct", DIRECT), ("fft", BY_GRID)])
@pytest.mark.parametrize("wavelength", [None, LAMBDA])
def test_it_agrees_with_the_plain_sum(path, method, error, wavelength):
    model = AtomicModel.from_file(path, DMIN, wavelength_A=wavelength, k_sol=0.0, method=method)
    plus, minus = model.factors()
    for factors, hkl in ((plus, model.plan.hkl), (minus, -model.plan.hkl)):
        expected = direct_factors(path, hkl, wavelength)
        assert np.max(np.abs(factors - expected)) < error * np.max(np.abs(expected))


@pytest.mark.parametrize("method", ["direct", "fft"])
def test_amplitudes_fill_the_whole_sphere(path, method):
    """The same table as that of the route by gemmi."""
    model = AtomicModel.from_file(path, DMIN, wavelength_A=LAMBDA, k_sol=0.0, method=method)
    table = sphere_from_model(path, DMIN, wavelength_A=LAMBDA, k_sol=0.0).table
    made = nb.StructureFactors.from_atoms(model, F000=None)
    assert made.hkl_min == table.hkl_min
    np.testing.assert_array_equal(np.ones_like(table.given) if made.given is None else made.given, table.given)
    np.testing.assert_allclose(made.amplitudes, table.values, atol=1e-4 * table.values.max())
    assert nb.StructureFactors.from_atoms(model).amplitudes[tuple(-np.array(table.hkl_min))] == 0.0


def anisotropic(seed=0, count=7):
    rng = np.random.default_rng(seed)
    sides = rng.normal(size=(count, 3, 3)) * 0.1
    u = np.einsum("aij,akj->aik", sides, sides)
    u -= np.trace(u, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    return Atoms(
        ["C", "S", "N", "C", "Fe", "O", "C"][:count],
        rng.random((count, 3)),
        occupancies=rng.uniform(0.3, 1.0, count),
        b_iso_A2=rng.uniform(10.0, 40.0, count),
        u_aniso_A2=u,
    )


SKEW = {"P -1": (9.0, 11.0, 13.0, 80.0, 95.0, 103.0), "P 63 2 2": (14.0, 14.0, 19.0, 90.0, 90.0, 120.0)}
SKEW |= {"F 4 3 2": (16.0, 16.0, 16.0, 90.0, 90.0, 90.0), "R 3 2": (17.0, 17.0, 22.0, 90.0, 90.0, 120.0)}


def model_of(group, method="fft", atoms=None, **more):
    given = {"k_sol": 0.3, "f_prime": -1.5, "f_double_prime": 2.5, "dmin_A": 2.4} | more
    return AtomicModel(
        anisotropic() if atoms is None else atoms, cell=SKEW[group], space_group=group, method=method, **given
    )


@pytest.mark.parametrize("group", SKEW)
def test_both_ways_agree_for_anisotropic_atoms(group):
    direct, grid = (model_of(group, method, k_sol=0.0).factors() for method in ("direct", "fft"))
    for a, b in zip(direct, grid, strict=True):
        assert np.max(np.abs(a - b)) < BY_GRID * np.max(np.abs(a))


@pytest.mark.parametrize("group", SKEW)
def test_symmetry_related_reflections_have_one_amplitude(group):
    """The list holds one of each set: the others come out the same when they are summed on their own."""
    model = model_of(group, "direct", k_sol=0.0)
    box = np.asarray(nb.StructureFactors.from_atoms(model, F000=None).amplitudes)
    everything = _P1(model.plan)
    plus = sum(
        (form_factor(kind, everything.s_sqr) + 1j * 2.5 - 1.5) * direct_sum(everything, model.atoms.of(kind))
        for kind in model.kinds
    )
    place = tuple((everything.hkl + np.array(model.plan.most)).T)
    np.testing.assert_allclose(np.abs(plus), box[place], atol=1e-9 * box.max())


class _P1(ReflectionPlan):
    """A plan whose list has every index of another."""

    def __init__(self, plan):
        super().__init__(plan.cell, plan.rotations, plan.translations, plan.dmin_A)

    @property
    def hkl(self):
        return np.argwhere(self.given) - np.array(self.most)


LEAVES = {
    "positions": lambda m: m.atoms.positions,
    "occupancies": lambda m: m.atoms.occupancies,
    "b_iso_A2": lambda m: m.atoms.b_iso_A2,
    "u_aniso_A2": lambda m: m.atoms.u_aniso_A2,
    "f_prime": lambda m: m.f_prime,
    "f_double_prime": lambda m: m.f_double_prime,
    "k_sol": lambda m: m.k_sol,
    "b_sol_A2": lambda m: m.b_sol_A2,
}


@pytest.mark.parametrize("method", ["direct", "fft"])
@pytest.mark.parametrize("group", ["P 63 2 2", "R 3 2", "P -1"])
def test_derivatives_are_those_of_differences(group, method):
    """Of a random sum of all amplitudes, in a random direction of each leaf; absent reflections are among them."""
    model = model_of(group, method)
    weights = np.random.default_rng(1).normal(size=model.plan.given.shape)

    @jax.jit
    def value(model):
        return jnp.sum(weights * nb.StructureFactors.from_atoms(model).amplitudes)

    gradient = jax.jit(jax.grad(value))(model)
    forward = jax.jit(lambda model, tangent: jax.jvp(value, (model,), (tangent,))[1])
    nothing = jax.tree.map(jnp.zeros_like, model)
    for name, find in LEAVES.items():
        leaf = find(model)
        direction = np.random.default_rng(2).normal(size=leaf.shape)
        if name == "u_aniso_A2":
            direction = direction + np.swapaxes(direction, 1, 2)
        step = 1e-5 * max(1.0, float(np.max(np.abs(leaf)))) * (0.1 if name in ("positions", "u_aniso_A2") else 1.0)
        high, low = (value(eqx.tree_at(find, model, leaf + s * step * direction)) for s in (1, -1))
        difference = (high - low) / (2 * step)
        assert float(jnp.sum(find(gradient) * direction)) == pytest.approx(float(difference), rel=2e-6), name
        slope = forward(model, eqx.tree_at(find, nothing, jnp.asarray(direction)))
        assert float(slope) == pytest.approx(float(difference), rel=2e-6), name


def test_the_solvent_is_close_to_that_of_a_mask_with_an_edge(path):
    """Both leave out the same space, by and large: within a fifth of F at low resolution."""
    model = AtomicModel.from_file(path, DMIN, k_sol=1.0, b_sol_A2=0.0)
    mask = smooth_mask(model.plan, model.atoms)
    assert 0.0 <= float(mask.min()) and float(mask.max()) <= 1.0
    structure = gemmi.read_structure(path)
    grid = gemmi.FloatGrid()
    grid.setup_from(structure, spacing=0.5)
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx).put_mask_on_float_grid(grid, structure[0])
    assert float(mask.mean()) == pytest.approx(float(np.mean(np.array(grid))), abs=0.1)


def test_an_image_of_atoms_and_its_gradient():
    model = model_of("P -1", dmin_A=2.0)
    experiment = nb.Experiment(
        crystal=nb.Crystal(cell_lengths_A=SKEW["P -1"][:3], cell_angles_deg=SKEW["P -1"][3:], n_cells=(6, 6, 6)),
        structure_factors=nb.StructureFactors.from_atoms(model),
        detector=nb.Detector(pixels_fast=24, pixels_slow=20, pixel_size_mm=2.0, distance_mm=40.0),
        sampling=nb.Sampling(1),
    )

    @jax.jit
    def bright(positions):
        moved = eqx.tree_at(lambda m: m.atoms.positions, model, positions)
        image = nb.simulate(
            eqx.tree_at(lambda e: e.structure_factors, experiment, nb.StructureFactors.from_atoms(moved))
        )
        return jnp.sum(jnp.sqrt(image + 1.0))

    at = model.atoms.positions
    gradient = jax.grad(bright)(at)
    direction = np.random.default_rng(3).normal(size=at.shape)
    difference = (bright(at + 1e-6 * direction) - bright(at - 1e-6 * direction)) / 2e-6
    assert float(jnp.sum(gradient * direction)) == pytest.approx(float(difference), rel=1e-5)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"dmin_A": -1.0}, "dmin_A must be positive"),
        ({"cell": (1, 2, 3)}, "cell must be an array of shape"),
        ({"method": "slow"}, "method must be one of auto, direct, fft|parameter 'method'"),
        ({"space_group": "P 7"}, "space_group 'P 7' is unknown"),
        ({"atoms": Atoms(["Xx"], [[0, 0, 0]])}, "'Xx' is no element"),
    ],
)
def test_what_cannot_be_used(wrong, message):
    given = {"atoms": anisotropic(), "cell": SKEW["P -1"], "space_group": "P -1", "dmin_A": 3.0} | wrong
    with pytest.raises((InputError, TypeCheckError), match=message):
        AtomicModel(**given)
    with pytest.raises(InputError, match="positions must"):
        Atoms(["C", "N"], [[0, 0, 0]])


def test_a_grid_is_exact_beyond_what_it_was_laid_out_for():
    """Displacements that have grown by a half."""
    atoms = anisotropic()
    plan = model_of("R 3 2").plan
    sizes = np.linalg.eigvalsh(np.asarray(atoms.u_A2))
    grid = atom_grid(plan, sizes.min() / 1.5, sizes.max() * 1.5)
    grown = atoms.of("C")._replace(u_A2=1.5 * atoms.of("C").u_A2)
    a, b = direct_sum(plan, grown), grid_sums(plan, grid, grown, [0] * len(grown.occupancies))[0]
    assert np.max(np.abs(a - b)) < BY_GRID * np.max(np.abs(a))
