"""Parameters by name, transforms, ties, groups and crystal systems."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refine_cases import small_still

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.errors import InputError
from nanobrag_jax.refine.parameters.layout import lay_out
from nanobrag_jax.refine.parameters.paths import ScaledExperiment
from nanobrag_jax.refine.symmetry import representatives, row_numbers

TRANSFORMS = {
    "free": (refine.Free(), [-3.0, 0.0, 5.0]),
    "positive": (refine.Positive(), [1e-6, 1.0, 3e28]),
    "bounded": (refine.Bounded(-1.0, 3.0), [-0.99, 0.0, 2.9]),
}

BAD_NAMES = {
    "crystal.misset": "crystal has",
    "crystals.misset_deg": "there is no parameter",
    "crystal.misset_deg[3]": "shape (3,)",
    "crystal.misset_deg[0, 1]": "shape (3,)",
    "detector.pixels_fast": "decides the shape",
    "detector.thickness_um": "does not set it",
    "crystal": "not a number",
    "crystal..misset_deg": "is no parameter name",
    "background": "chosen with the data",
}


def scaled():
    return ScaledExperiment(small_still(), jnp.ones(()))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_round_trip_and_slope(name):
    transform, values = TRANSFORMS[name]
    free = transform.free("x", jnp.asarray(values))
    np.testing.assert_allclose(transform.value(free), values, rtol=1e-12)
    slope = jax.jvp(transform.value, (free,), (jnp.ones(3),))[1]
    assert np.all(np.asarray(slope) > 0)


@pytest.mark.parametrize(("transform", "start"), [("positive", -1.0), ((0.0, 1.0), 1.0), ((0.0, 1.0), -2.0)])
def test_start_outside_the_transform_is_refused(transform, start):
    with pytest.raises(InputError, match="crystal.misset_deg.* must start"):
        lay_out([refine.Parameter("crystal.misset_deg[0]", transform, start=start)], [scaled()])


def test_unknown_transform_and_bounds_are_refused():
    for transform in ("logarithmic", (2.0, 1.0)):
        with pytest.raises(InputError):
            refine.Parameter("crystal.misset_deg", transform)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_are_explained(name):
    with pytest.raises(InputError) as error:
        lay_out([refine.Parameter(name)], [scaled()])
    assert BAD_NAMES[name] in str(error.value)


def test_a_parameter_is_refined_once():
    parameters = [refine.Parameter("crystal.misset_deg"), refine.Parameter("crystal.misset_deg[1]")]
    with pytest.raises(InputError, match="refined twice"):
        lay_out(parameters, [scaled()])
    with pytest.raises(InputError, match="at least one parameter"):
        lay_out([], [scaled()])


def test_values_get_into_the_experiment_with_ties():
    parameters = [
        refine.Parameter("crystal.cell_lengths_A[0]", ties=("crystal.cell_lengths_A[1]",), scale=0.5),
        refine.Parameter("detector.distance_mm", (100.0, 140.0)),
        refine.Parameter("scale", "positive"),
    ]
    layout = lay_out(parameters, [scaled()])
    placed = layout.shared.insert(scaled(), jnp.array([2.0, 0.0, 0.0]))
    np.testing.assert_allclose(placed.experiment.crystal.cell_lengths_A, [56.0, 56.0, 75.0])
    np.testing.assert_allclose(placed.experiment.detector.distance_mm, 120.0)
    np.testing.assert_allclose(layout.shared.slopes(jnp.zeros(3)), [0.5, 4.0, 0.1])


def test_groups_share_a_value_and_leave_others_alone():
    truth = small_still()
    groups = np.full(truth.structure_factors.amplitudes.shape, -1)
    groups[0, 0, :2], groups[1, 1, 1] = 0, 1
    vector = lay_out([refine.Parameter("structure_factors.amplitudes", groups=groups)], [scaled()]).shared
    assert vector.count == 2
    placed = vector.insert(scaled(), jnp.array([1.0, -1.0])).experiment.structure_factors.amplitudes
    before = np.asarray(truth.structure_factors.amplitudes)
    assert placed[0, 0, 0] == placed[0, 0, 1] == pytest.approx(before[0, 0, :2].mean() * 1.001)
    changed = np.asarray(placed) != before
    assert changed.sum() == 3
    for wrong in (groups[0], np.where(groups == 0, -1, groups), groups * 1.0):
        with pytest.raises(InputError):
            lay_out([refine.Parameter("structure_factors.amplitudes", groups=wrong)], [scaled()])


def test_restraints_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="positive sigma"):
        refine.Parameter("crystal.misset_deg", restraint=(0.0, 0.0))
    with pytest.raises(InputError, match="restraint of crystal.misset_deg must have the shape"):
        lay_out([refine.Parameter("crystal.misset_deg", restraint=(np.zeros(2), 1.0))], [scaled()])


FREE_CELL_PARAMETERS = {
    "triclinic": 6,
    "monoclinic": 4,
    "orthorhombic": 3,
    "tetragonal": 2,
    "hexagonal": 2,
    "rhombohedral": 2,
    "cubic": 1,
}


@pytest.mark.parametrize("system", FREE_CELL_PARAMETERS)
def test_crystal_systems_keep_their_constraints(system):
    count = FREE_CELL_PARAMETERS[system]
    parameters = refine.cell_parameters(system, scale_A=0.1)
    assert len(parameters) == count
    cell = (60.0, 60.0, 60.0) if system in ("cubic", "rhombohedral") else (60.0, 60.0, 80.0)
    at = ScaledExperiment(small_still(cell_lengths_A=cell), jnp.ones(()))
    vector = lay_out(parameters, [at]).shared
    lengths = np.asarray(vector.insert(at, jnp.ones(count)).experiment.crystal.cell_lengths_A)
    if system in ("tetragonal", "hexagonal", "cubic", "rhombohedral"):
        assert lengths[0] == lengths[1] != cell[0]
    if system in ("cubic", "rhombohedral"):
        assert lengths[2] == lengths[0]


def test_unknown_crystal_system_is_refused():
    with pytest.raises(InputError, match="monoclinic"):
        refine.cell_parameters("monoclinc")


@pytest.mark.parametrize(
    ("group", "order"),
    [("1", 1), ("-1", 2), ("2/m", 4), ("mmm", 8), ("4/m", 8), ("4/mmm", 16), ("-3", 6), ("-3m1", 12), ("-31m", 12)]
    + [("6/m", 12), ("6/mmm", 24), ("m-3", 24), ("m-3m", 48)],
)
def test_laue_groups_have_their_order(group, order):
    operations = refine.laue_operations(group)
    assert len(operations) == order
    assert all(abs(round(np.linalg.det(o))) == 1 for o in operations)


def test_reflection_groups_follow_the_symmetry():
    factors = small_still().structure_factors
    groups = refine.reflection_groups(factors, "2/m")
    at = lambda h, k, l: groups[h + 8, k + 9, l + 10]  # noqa: E731
    assert at(1, 2, 3) == at(-1, 2, -3) == at(1, -2, 3) == at(-1, -2, -3) != at(1, 2, -3)
    some = refine.reflection_groups(factors, "2/m", only=[(1, 2, 3), (0, 1, 0)])
    assert some.max() == 1 and (some >= 0).sum() == 4 + 2
    with pytest.raises(InputError, match="Laue group"):
        refine.reflection_groups(factors, "P21")
    with pytest.raises(InputError, match="no table"):
        refine.reflection_groups(eqx.tree_at(lambda f: f.amplitudes, factors, None))


@pytest.mark.parametrize("group", ["1", "2/m", "m-3m"])
@pytest.mark.parametrize("far", [1500, 2**40])
def test_no_two_reflections_share_a_key(group, far):
    """Numbers are the same exactly where one reflection is among the equivalents of the other, however large."""
    hkl = np.stack(np.meshgrid(*3 * [np.arange(-1, 2)], indexing="ij"), -1).reshape(-1, 3)
    hkl = np.concatenate([hkl, hkl + np.array([far, 0, 0]), hkl + np.array([0, far, -far]), hkl + far])
    numbers = row_numbers(representatives(hkl, group))
    expected = {}
    for row, number in zip(hkl, numbers, strict=True):
        orbit = frozenset(tuple(int(i) for i in operation @ row) for operation in refine.laue_operations(group))
        assert expected.setdefault(orbit, number) == number
    assert len(set(expected.values())) == len(expected)


def test_large_indices_are_told_apart():
    """1501 0 0 and 1500 2048 0 are one number where each index has 2048 places."""
    factors = nb.StructureFactors(np.ones((1, 3, 1)), hkl_min=(1500, 2047, 0))
    assert refine.reflection_groups(factors, only=[(1501, 0, 0)]).max() == -1
    np.testing.assert_array_equal(refine.reflection_groups(factors, only=[(1500, 2048, 0)]).reshape(-1), [-1, 0, -1])


def test_value_of_reads_a_name():
    assert refine.value_of(small_still(), "crystal.cell_lengths_A[1]") == 65.0
