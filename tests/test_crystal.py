"""Unit cells and vectors, misset, φ rotation and mosaic domains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import ANGLES, CELL

import nanobrag_jax as nb
from nanobrag_jax.crystal import real_basis, reciprocal_basis, reciprocal_of
from nanobrag_jax.goniometer import phi_angles, phi_rotated
from nanobrag_jax.mosaicity import CapMosaicity, orientations
from nanobrag_jax.numerics.vectors import dual_basis, xyz_rotation
from nanobrag_jax.reference.slips import slips_of

C_PARITY = slips_of("c-parity")

CELLS = {
    "cubic": ((50, 50, 50), (90, 90, 90)),
    "orthorhombic": ((30, 40, 50), (90, 90, 90)),
    "hexagonal": ((78, 78, 37), (90, 90, 120)),
    "monoclinic": ((62, 71, 83), (90, 106, 90)),
    "triclinic": (CELL, ANGLES),
    "acute": ((27.2, 31.9, 34.1), (60.5, 71.3, 68.2)),
    "obtuse": ((40, 50, 60), (100, 110, 115)),
    "flat": ((40, 50, 60), (70, 80, 149)),
}


def lengths_and_angles(rows):
    rows = np.asarray(rows)
    a, b, c = rows
    lengths = np.linalg.norm(rows, axis=1)
    pairs = (b, c), (c, a), (a, b)
    return lengths, [np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))) for u, v in pairs]


def crystal(cell="triclinic", **more):
    return nb.Crystal(*CELLS[cell], **more)


@pytest.mark.parametrize("cell", CELLS)
def test_lengths_and_angles_come_back(cell):
    lengths, angles = lengths_and_angles(real_basis(crystal(cell, misset_deg=(12, -27, 41))))
    np.testing.assert_allclose(lengths, CELLS[cell][0], rtol=1e-13)
    np.testing.assert_allclose(angles, CELLS[cell][1], rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_real_and_reciprocal_vectors_are_dual(cell):
    star = reciprocal_basis(*map(jnp.asarray, np.array(CELLS[cell], float)))
    real = dual_basis(star)
    np.testing.assert_allclose(real @ star.T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(dual_basis(real), star, rtol=1e-12, atol=1e-17)


def test_standard_setting():
    star = np.asarray(reciprocal_basis(*map(jnp.asarray, np.array(CELLS["triclinic"], float))))
    assert star[0, 1] == star[0, 2] == star[1, 2] == 0.0
    assert star[0, 0] > 0 and star[1, 1] > 0 and star[2, 2] > 0


def test_reciprocal_angles_of_a_hexagonal_cell():
    lengths, angles = lengths_and_angles(reciprocal_basis(*map(jnp.asarray, np.array(CELLS["hexagonal"], float))))
    np.testing.assert_allclose(angles, [90, 90, 60], rtol=1e-13)
    np.testing.assert_allclose(lengths, [2 / (78 * np.sqrt(3)), 2 / (78 * np.sqrt(3)), 1 / 37], rtol=1e-13)


@pytest.mark.parametrize("cell, slips", [("hexagonal", False), ("monoclinic", False), ("triclinic", True)])
def test_c_parity_has_the_references_cell(cell, slips):
    """The reference's z of c* is off when more than one angle is oblique; the edges are always as given."""
    exact, reference = real_basis(crystal(cell)), real_basis(crystal(cell), C_PARITY)
    difference = float(jnp.max(jnp.abs(exact - reference)))
    assert difference > 1e-3 if slips else difference < 1e-12
    np.testing.assert_allclose(lengths_and_angles(reference)[0], CELLS[cell][0], rtol=1e-13)


def test_misset_turns_about_x_then_y_then_z():
    turned = real_basis(crystal(misset_deg=(90, 0, 90)))
    x, y, z = np.asarray(real_basis(crystal())).T  # after x: (x, -z, y), after z: (z, x, y)
    np.testing.assert_allclose(turned, np.stack([z, x, y], axis=1), atol=1e-12)


def test_orientation_comes_before_the_misset():
    angles = jnp.radians(jnp.array([10.0, 20.0, 30.0]))
    orientation = xyz_rotation(jnp.array([0.3, -1.1, 2.0]))
    turned = real_basis(crystal(orientation=orientation, misset_deg=(10, 20, 30)))
    upright = real_basis(crystal())
    np.testing.assert_allclose(turned, upright @ orientation.T @ xyz_rotation(angles).T, atol=1e-12)


def test_a_cell_beside_a_matrix_stretches_c_parity_only():
    both = crystal("orthorhombic", orientation=np.eye(3), matrix_cell_lengths_A=(31, 39, 52))
    np.testing.assert_allclose(lengths_and_angles(real_basis(both))[0], (30, 40, 50), rtol=1e-13)
    np.testing.assert_allclose(lengths_and_angles(real_basis(both, C_PARITY))[0], (31, 39, 52), rtol=1e-13)


@pytest.mark.parametrize(
    "angles, volume", [(None, 31 * 39 * 52), ((90, 90, 100), 31 * 39 * 52 * np.sin(np.radians(100)))]
)
def test_a_cell_beside_a_matrix_gives_its_volume_to_the_reciprocal_vectors(angles, volume):
    """In c-parity; the directions, and so the volume of the vectors themselves, are the matrix's."""
    beside = {"matrix_cell_lengths_A": (31, 39, 52), "matrix_cell_angles_deg": angles}
    both = crystal("orthorhombic", orientation=np.eye(3), **beside)
    real = real_basis(both, C_PARITY)
    expected = 31 * 39 * 52 / volume / np.array([31, 39, 52])
    np.testing.assert_allclose(np.diag(reciprocal_of(both, real, C_PARITY)), expected, rtol=1e-13)
    np.testing.assert_allclose(np.diag(reciprocal_of(both, real_basis(both))), 1 / np.array([30, 40, 50]), rtol=1e-13)


@pytest.mark.parametrize(
    "goniometer, expected",
    [
        (nb.Goniometer(30, 1, phi_steps=4), [30, 30.25, 30.5, 30.75]),
        (nb.Goniometer(0, 0, phi_steps=2), [0, 0]),
        (nb.Goniometer(-1, 2, phi_steps=4), [-1, -0.5, 0, 0.5]),
        (nb.Goniometer(5, 0.3, phi_steps=2, step_ratio=2.0), [5, 5.3]),
    ],
)
def test_phi_is_the_start_of_each_slice(goniometer, expected):
    angles = np.degrees(phi_angles(goniometer))
    np.testing.assert_allclose(angles, expected, rtol=1e-14, atol=1e-14)
    assert np.array_equal(angles == 0, np.array(expected) == 0), "whether an angle is exactly zero decides in c-parity"


def test_phi_rotates_about_the_spindle():
    real = real_basis(crystal())
    steps = phi_rotated(real, nb.Goniometer(0, 180, phi_steps=2, spindle_axis=(0, 0, 2)))
    np.testing.assert_array_equal(steps[0], real)
    x, y, z = np.asarray(real).T
    np.testing.assert_allclose(steps[1], np.stack([-y, x, z], axis=1), atol=1e-13)


def test_mosaic_rotations_are_rotations_by_fractions_of_the_spread():
    domains = CapMosaicity.drawn(2.0, 8).rotations(jnp.eye(3))
    assert domains.shape == (8, 3, 3)
    np.testing.assert_array_equal(domains[0], np.eye(3))
    np.testing.assert_allclose(domains @ jnp.swapaxes(domains, 1, 2), np.broadcast_to(np.eye(3), (8, 3, 3)), atol=1e-14)
    np.testing.assert_allclose(np.linalg.det(domains), 1.0, rtol=1e-14)
    angles = np.degrees(np.arccos((np.trace(domains, axis1=1, axis2=2) - 1) / 2))
    assert np.all(angles <= 2.0) and angles[1:].min() > 0


def test_mosaic_domains_scale_with_the_spread():
    narrow = CapMosaicity.drawn(1.0, 5)
    wide = CapMosaicity(2.0, narrow.axes, narrow.fractions)
    twice = jnp.einsum("dij,djk->dik", narrow.rotations(jnp.eye(3)), narrow.rotations(jnp.eye(3)))
    np.testing.assert_allclose(wide.rotations(jnp.eye(3)), twice, atol=1e-14)


def test_orientations_have_the_domain_innermost():
    steps = jnp.arange(18.0).reshape(2, 3, 3)
    quarter = jnp.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    listed = orientations(steps, jnp.stack([jnp.eye(3), quarter]))
    assert listed.shape == (4, 3, 3)
    np.testing.assert_array_equal(listed[0], steps[0])
    np.testing.assert_array_equal(listed[1], steps[0] @ quarter.T)
    np.testing.assert_array_equal(listed[2], steps[1])


@pytest.mark.parametrize("factor", [None, 1.3])
def test_a_crystal_from_a_matrix(factor):
    """Its reciprocal vectors are the columns, whatever the cell; a wavelength is taken out."""
    tilted = nb.Crystal(CELL, ANGLES, misset_deg=(12, -27, 41))
    star = np.asarray(dual_basis(real_basis(tilted))).T
    made = nb.Crystal.from_matrix(star * (factor or 1), wavelength_A=factor, n_cells=(3, 4, 5))
    np.testing.assert_allclose(dual_basis(real_basis(made)).T, star, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(made.cell_lengths_A, CELL, rtol=1e-12)
    np.testing.assert_allclose(made.cell_angles_deg, ANGLES, rtol=1e-12)
    assert made.n_cells.tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    "matrix, message",
    [
        (np.ones((3, 3)), "matrix holds a singular matrix"),
        (np.diag([0.1, 0.1, -0.1]), "matrix must have right-handed columns"),
        (np.eye(2), "matrix must be an array of shape"),
        (np.diag([0.1, np.nan, 0.1]), "matrix must be finite"),
    ],
)
def test_what_is_no_orientation_matrix(matrix, message):
    with pytest.raises(nb.InputError, match=message):
        nb.Crystal.from_matrix(matrix)


def test_random_orientations_are_even():
    """Every axis points everywhere alike, and the angle of rotation has its distribution, (1 − cos θ)/π."""
    crystal = nb.Crystal(CELL, ANGLES, n_cells=(3, 4, 5))
    turned = jax.vmap(crystal.random_orientation)(jax.random.split(jax.random.key(1), 4000))
    rotations = np.asarray(jax.vmap(xyz_rotation)(turned.misset_deg * np.pi / 180))
    for axis in range(3):
        np.testing.assert_allclose(np.mean(rotations[:, :, axis], axis=0), 0, atol=0.04)
        np.testing.assert_allclose(np.mean(rotations[:, :, axis] ** 2, axis=0), 1 / 3, atol=0.02)
    angle = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    for edge in (0.5, 1.0, 2.0, 3.0):
        np.testing.assert_allclose(np.mean(angle < edge), (edge - np.sin(edge)) / np.pi, atol=0.025)


def test_a_random_orientation_has_a_seed():
    crystal = nb.Crystal(CELL, ANGLES)
    first = crystal.random_orientation(7)
    assert first.misset_deg.tolist() == crystal.random_orientation(jax.random.key(7)).misset_deg.tolist()
    assert first.misset_deg.tolist() != crystal.random_orientation(8).misset_deg.tolist()
    assert jax.tree.structure(first) == jax.tree.structure(crystal)
