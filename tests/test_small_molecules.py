"""Reflections and models of small molecules: SHELX' files and SALT."""

import gemmi
import numpy as np
import pytest
from file_texts import SALT

import nanobrag_jax as nb
from nanobrag_jax.models.density import read_model_cell, sphere_from_model
from nanobrag_jax.models.reflection_lists import is_reflection_list, sphere_from_list
from nanobrag_jax.models.reflections import sphere_from_mmcif

CELL = "8.1 9.2 10.3 90 104.5 90"
INS = f"""TITL x in P2(1)/c
CELL 0.71073 {CELL}
ZERR 4 0.001 0.001 0.001 0 0.01 0
LATT 1
SYMM -X, 0.5+Y, 0.5-Z
SFAC C H N
UNIT 8 8 8
HKLF {{}}
END
"""
ROWS = [
    (1, 0, 2, 25.0, 1.0),
    (-1, 0, -2, 49.0, 2.0),
    (1, 1, 1, 100.0, 1.0),
    (1, -1, 1, 121.0, 1.0),
    (2, 1, 0, -3.0, 1.0),
]


def hkl_file(path, rows=ROWS, end=True):
    lines = [f"{h:4d}{k:4d}{l:4d}{value:8.2f}{error:8.2f}   1" for h, k, l, value, error in rows]
    path.write_text("\n".join([*lines, *(["   0   0   0    0.00    0.00   0"] if end else [])]) + "\n")
    return path


def f_at(sphere, hkl):
    """F of an index, None where nothing is known of it."""
    place = tuple(np.array(hkl) - sphere.table.hkl_min)
    inside = all(0 <= i < n for i, n in zip(place, sphere.table.given.shape, strict=True))
    return sphere.table.values[place] if inside and sphere.table.given[place] else None


def test_shelx_with_its_instructions(tmp_path):
    """Mates averaged by their errors, -h 0 -l among them, since the group is centrosymmetric."""
    path = hkl_file(tmp_path / "a.hkl")
    (tmp_path / "a.ins").write_text(INS.format(4))
    sphere = sphere_from_list(path)
    assert sphere.space_group == "P 1 21/c 1"
    np.testing.assert_allclose(sphere.cell, [float(x) for x in CELL.split()])
    mean = (25 + 49 / 4) / (1 + 1 / 4)
    for hkl in ((1, 0, 2), (-1, 0, -2)):
        assert f_at(sphere, hkl) == pytest.approx(np.sqrt(mean))
    for hkl in ((1, 1, 1), (1, -1, 1), (-1, 1, -1)):
        assert f_at(sphere, hkl) == pytest.approx(np.sqrt(110.5))
    assert f_at(sphere, (2, -1, 0)) == 0.0 and f_at(sphere, (0, 1, 0)) == 0.0, "negative, and absent"
    assert any("1 negative ones as 0" in note for note in sphere.table.notes)
    assert any("2 values of symmetry mates are averaged" in note for note in sphere.table.notes)
    (tmp_path / "a.ins").write_text(INS.format(3))
    assert f_at(sphere_from_list(path), (1, 1, 1)) == pytest.approx(110.5)
    (tmp_path / "a.ins").write_text(INS.format(5))
    with pytest.raises(nb.InputError, match="asks for HKLF 5"):
        sphere_from_list(path)


def test_shelx_alone(tmp_path, monkeypatch):
    path = hkl_file(tmp_path / "a.hkl", ROWS[2:])
    sphere = sphere_from_list(path)
    assert np.all(np.isnan(sphere.cell)) and sphere.space_group == "P -1"
    assert f_at(sphere, (-1, -1, -1)) == 10.0 and f_at(sphere, (1, -1, 1)) == 11.0
    assert "no .ins or .res file beside it" in sphere.table.notes[-1]
    with pytest.warns(UserWarning, match="HKLF 4"):
        made = nb.experiment_from_args(["-cell", *CELL.split(), "-hkl", str(path), "-oversample", "1"])
    assert float(made.structure_factors.amplitudes.max()) == 11.0


def test_other_texts_are_not_taken_for_shelx(tmp_path):
    """The reference's records, and columns without the line of zeros."""
    assert is_reflection_list(hkl_file(tmp_path / "a.hkl"))
    assert not is_reflection_list(hkl_file(tmp_path / "b.hkl", end=False))
    (tmp_path / "c.hkl").write_text("1 2 3 40.5\n   0   0   0    0.00    0.00\n")
    assert not is_reflection_list(tmp_path / "c.hkl")


FCF = """data_x
_shelx_refln_list_code 4
loop_
 _space_group_symop_operation_xyz
 'x, y, z'
 '-x, y+1/2, -z+1/2'
 '-x, -y, -z'
 'x, -y-1/2, z-1/2'
_cell_length_a 8.1
_cell_length_b 9.2(1)
_cell_length_c 10.3
_cell_angle_alpha 90
_cell_angle_beta 104.5
_cell_angle_gamma 90
loop_
 _refln_index_h
 _refln_index_k
 _refln_index_l
 _refln_F_squared_calc
 _refln_F_squared_meas
 _refln_F_squared_sigma
 _refln_observed_status
 1 0 2 24.0 25.0 1.0 o
 1 1 1 99.0 100.0 1.0 o
 2 1 0 1.0 -3.0 1.0 o
"""


def test_fcf(tmp_path):
    (tmp_path / "a.fcf").write_text(FCF)
    with pytest.raises(nb.InputError, match=r"intensities only \(F_squared_meas\)"):
        sphere_from_mmcif(tmp_path / "a.fcf")
    sphere = sphere_from_mmcif(tmp_path / "a.fcf", "_refln_F_squared_meas")
    assert sphere.space_group == "P 1 21/c 1" and sphere.cell[1] == 9.2
    assert f_at(sphere, (1, -1, 1)) == 10.0 and f_at(sphere, (2, 1, 0)) == 0.0
    calculated = sphere_from_mmcif(tmp_path / "a.fcf", "F_squared_calc")
    assert f_at(calculated, (1, 0, 2)) == pytest.approx(np.sqrt(24.0))
    (tmp_path / "a.fcf").write_text(FCF.replace("F_squared_calc", "F_calc"))
    assert f_at(sphere_from_mmcif(tmp_path / "a.fcf"), (1, 1, 1)) == 99.0


def test_a_small_molecule_is_the_sum_over_its_atoms(tmp_path):
    """Caesium chloride, whose atoms are on special positions: one of each in the cell."""
    (tmp_path / "a.cif").write_text(SALT)
    sphere = sphere_from_model(tmp_path / "a.cif", 1.0, wavelength_A=0.8)
    np.testing.assert_allclose(sphere.cell, read_model_cell(tmp_path / "a.cif"))
    for hkl in ((0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 1, -1)):
        stol2 = sum(x * x for x in hkl) / 25.0 / 4.0
        total = 0.0
        for symbol, sign, u in (("Cs", 1, 0.02), ("Cl", (-1) ** sum(hkl), 0.03)):
            element = gemmi.Element(symbol)
            real, imaginary = gemmi.cromer_liberman(z=element.atomic_number, energy=12398.42 / 0.8)
            f = element.it92.calculate_sf(stol2) + real + 1j * imaginary
            total += sign * f * np.exp(-8 * np.pi**2 * u * stol2)
        assert f_at(sphere, hkl) == pytest.approx(abs(total), rel=1e-5)
    assert f_at(sphere, (4, 4, 4)) is None
    (tmp_path / "b.cif").write_text(SALT.replace("P m -3 m", "P no 3"))
    with pytest.raises(nb.InputError, match="does not say its space group, or it is unknown: 'P no 3'"):
        sphere_from_model(tmp_path / "b.cif", 1.0)
    (tmp_path / "c.cif").write_text(SALT.replace("Cl1 Cl 0.5", "Cl1 Cl ?"))
    with pytest.raises(nb.InputError, match="atom Cl1 has an unknown element, or a coordinate that is no number"):
        sphere_from_model(tmp_path / "c.cif", 1.0)
