"""What reflection files say in ways of their own: missing numbers, operators, named items, lists of other programs."""

import gemmi
import numpy as np
import pytest
from file_texts import CRYSTFEL, XDS

import nanobrag_jax as nb
from nanobrag_jax.models.reflection_lists import sphere_from_list
from nanobrag_jax.models.reflections import read_mmcif_cell, sphere_from_mmcif, sphere_from_mtz
from nanobrag_jax.structure_factors import cell_of_file

CELL = (40.0, 50.0, 60.0, 90.0, 90.0, 90.0)
HKL = [(1, 2, 3), (2, 3, 4), (3, 1, 2), (0, 0, 4)]


def mtz(path, columns, group="P 2 2 2", valm=None, symmetry=None):
    """An MTZ file; `symmetry`: replaces the symbol's place by a word, and the operators by others."""
    made = gemmi.Mtz(with_base=True)
    made.spacegroup = gemmi.SpaceGroup(group)
    made.set_cell_for_all(gemmi.UnitCell(*CELL))
    made.add_dataset("x")
    for label, kind, _ in columns:
        made.add_column(label, kind)
    made.set_data(np.column_stack([HKL, *(values for _, _, values in columns)]).astype(np.float32))
    if valm is not None:
        made.valm = valm
    made.write_to_file(str(path))
    if symmetry is not None:
        word, operators = symmetry
        data = path.read_bytes()
        begin = data.index(b"SYMINF")
        end = data.index(b"RESO ")
        records = [
            f"SYMINF  {len(operators)} {len(operators)} P     0 {word!r:>22} PG1",
            *map("SYMM {}".format, operators),
        ]
        data = data[:begin] + "".join(record.ljust(80) for record in records).encode() + data[end:]
        path.write_bytes(data)
    return path


def f_at(sphere, hkl):
    """F of an index, None where nothing is known of it."""
    place = tuple(np.array(hkl) - sphere.table.hkl_min)
    inside = all(0 <= i < n for i, n in zip(place, sphere.table.given.shape, strict=True))
    return sphere.table.values[place] if inside and sphere.table.given[place] else None


def test_the_file_s_own_number_for_what_is_missing(tmp_path):
    path = mtz(tmp_path / "a.mtz", [("F", "F", [10.0, -999.0, -3.0, 7.0])], valm=-999.0)
    sphere = sphere_from_mtz(path)
    assert f_at(sphere, (2, 3, 4)) is None and f_at(sphere, (3, 1, 2)) is None
    assert f_at(sphere, (1, 2, 3)) == 10.0
    assert sphere.table.notes == [f"MTZ file {str(path)!r}: 1 negative amplitudes of F are left out"]


def test_operators_without_a_symbol(tmp_path):
    columns = [("F", "F", [10.0, 20.0, 30.0, 40.0])]
    path = mtz(tmp_path / "a.mtz", columns, symmetry=("No.4", ["X, Y, Z", "X+1/2, -Y, -Z"]))
    sphere = sphere_from_mtz(path)
    assert f_at(sphere, (1, -2, -3)) == 10.0 and f_at(sphere, (-1, 2, -3)) is None
    assert "space group 'No.4' is unknown, its 2 SYMM operators are taken (P 21 1 1)" in sphere.table.notes[0]


def test_operators_that_disagree_with_the_symbol(tmp_path):
    columns = [("F", "F", [10.0, 20.0, 30.0, 40.0])]
    operators = ["X, Y, Z", "-X, -Y, Z+1/2", "X, -Y, -Z", "-X, Y, -Z+1/2"]
    path = mtz(tmp_path / "a.mtz", columns, symmetry=("P 2 2 2", operators))
    first = sphere_from_mtz(path).table.notes[0]
    assert "2 of 4 SYMM operators are not those of its symbol P 2 2 2: the operators are taken" in first


def test_absent_reflections_are_counted(tmp_path):
    path = mtz(tmp_path / "a.mtz", [("F", "F", [10.0, 20.0, 30.0, 40.0])], group="P 41 2 2")
    assert sphere_from_mtz(path).table.notes == []
    path = mtz(tmp_path / "b.mtz", [("F", "F", [10.0, 20.0, 30.0, 40.0])], group="P 61 2 2")
    sphere = sphere_from_mtz(path)
    assert f_at(sphere, (0, 0, 4)) == 0.0
    assert "1 reflections, the first of them 0 0 4, are absent in P 61 2 2: taken as 0" in sphere.table.notes[0]


def test_an_empty_pair_hides_nothing(tmp_path):
    nothing = [np.nan] * 4
    columns = [("F", "F", [1.0, 2.0, 3.0, 4.0]), ("F(+)", "G", nothing), ("F(-)", "G", nothing)]
    path = mtz(tmp_path / "a.mtz", columns)
    assert f_at(sphere_from_mtz(path), (2, 3, 4)) == 2.0
    with pytest.raises(nb.InputError, match="holds no values"):
        sphere_from_mtz(path, "F(+)")


def cif(path, items, rows, cells=(CELL,)):
    blocks = []
    for number, cell in enumerate(cells):
        names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
        lines = [f"data_r{number}sf", *(f"_cell.{name} {x}" for name, x in zip(names, cell, strict=True))]
        lines += ["_symmetry.space_group_name_H-M 'P 21 21 21'", "loop_"]
        lines += [f"_refln.{item}" for item in ("index_h", "index_k", "index_l", *items[number])] + rows
        blocks.append("\n".join(lines))
    path.write_text("\n".join(blocks) + "\n")
    return path


ITEMS = ["F_meas_au", "F_meas_sigma_au", "phase_calc", "intensity_calc", "F_squared_calc", "pdbx_I_plus"]
ROWS = ["1 2 3 10 1 120.0 400.0 900.0 1600.0", "2 3 4 12 1 -60.0 900.0 400.0 -4.0"]


@pytest.mark.parametrize(
    "item, expected",
    [("F_meas_au", 10.0), ("intensity_calc", 20.0), ("F_squared_calc", 30.0), ("_refln.pdbx_I_plus", 40.0)],
)
def test_named_items(tmp_path, item, expected):
    sphere = sphere_from_mmcif(cif(tmp_path / "a.cif", [ITEMS], ROWS), item)
    assert f_at(sphere, (1, 2, 3)) == pytest.approx(expected)


@pytest.mark.parametrize("item", ["index_h", "phase_calc", "F_meas_sigma_au"])
def test_items_that_are_no_amplitudes(tmp_path, item):
    with pytest.raises(nb.InputError, match=f"{item} is neither amplitudes nor intensities"):
        sphere_from_mmcif(cif(tmp_path / "a.cif", [ITEMS], ROWS), item)


def test_unmerged_data_are_refused(tmp_path):
    rows = [f"1 2 3 {f} 1 0 1 1 1" for f in (11, 15, 13)] + ["-1 -2 -3 99 1 0 1 1 1", "2 3 4 5 1 0 1 1 1"]
    path = cif(tmp_path / "a.cif", [ITEMS], rows)
    with pytest.raises(nb.InputError, match="is unmerged: 1 reflections, the first of them 1 2 3, have several"):
        sphere_from_mmcif(path)
    global HKL
    before, HKL = HKL, [(1, 2, 3), (1, 2, 3), (2, 3, 4), (0, 0, 4)]
    try:
        path = mtz(tmp_path / "a.mtz", [("F", "F", [1.0, 2.0, 3.0, 4.0])])
    finally:
        HKL = before
    with pytest.raises(nb.InputError, match="is unmerged"):
        sphere_from_mtz(path)


def test_the_cell_is_that_of_the_block_that_serves(tmp_path):
    other = (41.0, *CELL[1:])
    path = cif(tmp_path / "a.cif", [["status"], ["F_meas_au"]], ["1 2 3 4"], [CELL, other])
    assert sphere_from_mmcif(path).cell[0] == read_mmcif_cell(path)[0] == 41.0


def test_intensities_by_the_command(tmp_path):
    path = cif(tmp_path / "a.cif", [["intensity_meas"]], ["1 2 3 100.0"])
    flags = ["-sfcif", str(path), "-N", "5", "-detpixels", "16", "-oversample", "1"]
    with pytest.raises(nb.InputError, match="-sfcif_column"):
        nb.experiment_from_args(flags)
    made = nb.experiment_from_args([*flags, "-sfcif_column", "intensity_meas"])
    assert float(made.structure_factors.amplitudes.max()) == pytest.approx(10.0)


@pytest.mark.parametrize("symmetry, mate, other", [("222", (-1, -2, 3), (2, 1, 3)), ("422", (2, -1, 3), (1, 3, 2))])
def test_a_list_of_crystfel(tmp_path, symmetry, mate, other):
    (tmp_path / "a.hkl").write_text(CRYSTFEL.format(symmetry))
    sphere = sphere_from_list(tmp_path / "a.hkl")
    assert f_at(sphere, (1, 2, 3)) == f_at(sphere, mate) == 11.0 and f_at(sphere, (2, 0, 0)) == 0.0
    assert f_at(sphere, other) is None and np.isnan(sphere.cell).all()
    assert "square roots of intensities taken, 1 negative ones as 0" in sphere.table.notes[0]


def test_a_merged_list_of_xds(tmp_path):
    (tmp_path / "XDS_ASCII.HKL").write_text(XDS)
    sphere = sphere_from_list(tmp_path / "XDS_ASCII.HKL")
    assert f_at(sphere, (1, -2, 3)) == 11.0 and f_at(sphere, (1, 0, 0)) == 0.0
    np.testing.assert_allclose(sphere.cell, CELL)
    flags = ["-hkl", str(tmp_path / "XDS_ASCII.HKL"), "-N", "5", "-detpixels", "16", "-oversample", "1"]
    made = nb.experiment_from_args(flags)
    np.testing.assert_allclose(made.crystal.cell_lengths_A, CELL[:3])
    assert float(made.structure_factors.amplitudes.max()) == 11.0


@pytest.mark.parametrize(
    "text, message",
    [
        (XDS.replace("MERGE=TRUE", "MERGE=FALSE"), "is unmerged"),
        (XDS.replace("!SPACE_GROUP_NUMBER=   19\n", ""), "does not say its space group"),
        (XDS.replace("!UNIT_CELL_CONSTANTS", "!X"), "does not say its unit cell"),
        (XDS.replace("!END_OF_DATA", ""), "is cut off"),
        (XDS.replace("1.210E+02", "what"), "line 11: no h k l and intensity in '1     2     3  what"),
        (CRYSTFEL.format("5/m"), "point group '5/m' is unknown"),
        (CRYSTFEL.format("222").replace("End of reflections", ""), "is cut off"),
        (CRYSTFEL.format("222").replace("2    0    0", "1    2    3"), "is unmerged"),
        (CRYSTFEL.replace("Symmetry: {}\n", ""), "does not say its symmetry"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "a.hkl").write_text(text)
    with pytest.raises(nb.InputError, match=message):
        sphere_from_list(tmp_path / "a.hkl")


PDB = """CRYST1   20.000   24.000   28.000  90.00  95.00  90.00 P 1 21 1      1
ATOM      1  N   ALA A   1       1.000   2.000   3.000  1.00 12.00           N
ATOM      2  CB  ALA A   1       1.500   4.000   5.000  1.00 15.00           C
END
"""


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("   1.500", "********", "atom 2 CB ALA A 1 has x '\\*+'"),
        ("   5.000", "     nan", "atom 2 CB ALA A 1 has z 'nan'"),
        ("   4.000", "        ", "atom 2 CB ALA A 1 has y ''"),
        ("  1.00 15.00", "  1.00******", "atom 2 CB ALA A 1 has B factor '\\*+'"),
        ("  1.00 12.00", "  what 12.00", "atom 1 N ALA A 1 has occupancy 'what'"),
    ],
)
def test_atoms_whose_numbers_are_none(tmp_path, old, new, message):
    (tmp_path / "a.pdb").write_text(PDB)
    nb.StructureFactors.from_model(tmp_path / "a.pdb", 4.0)
    (tmp_path / "a.pdb").write_text(PDB.replace(old, new))
    with pytest.raises(nb.InputError, match=f"{message}, which is no number"):
        nb.StructureFactors.from_model(tmp_path / "a.pdb", 4.0)


def test_atoms_of_an_mmcif_whose_numbers_are_none(tmp_path):
    (tmp_path / "a.pdb").write_text(PDB)
    text = gemmi.read_structure(str(tmp_path / "a.pdb")).make_mmcif_document().as_string()
    (tmp_path / "a.cif").write_text(text)
    nb.StructureFactors.from_model(tmp_path / "a.cif", 4.0)
    (tmp_path / "a.cif").write_text(text.replace(" 1.5 ", " ? ", 1))
    with pytest.raises(nb.InputError, match="atom 2 has Cartn_x '', which is no number"):
        nb.StructureFactors.from_model(tmp_path / "a.cif", 4.0)


def test_another_setting_is_told_in_python(tmp_path):
    from expt_files import crystal, experiment_list, write

    path = mtz(tmp_path / "a.mtz", [("F", "F", [1.0, 2.0, 3.0, 4.0])])
    factors = nb.StructureFactors.from_mtz(path)
    np.testing.assert_allclose(cell_of_file(factors), CELL)
    vectors = {"real_space_a": [50.0, 0, 0], "real_space_b": [0, 40.0, 0], "real_space_c": [0, 0, 60.0]}
    listed = write(tmp_path / "a.expt", experiment_list(crystal=crystal(**vectors)))
    with pytest.warns(UserWarning, match="differs from the crystal's, .*: it may be another setting"):
        nb.experiment_from_expt(listed, factors)
    vectors = {"real_space_a": [40.0, 0, 0], "real_space_b": [0, 50.0, 0], "real_space_c": [0, 0, 60.0]}
    nb.experiment_from_expt(write(tmp_path / "b.expt", experiment_list(crystal=crystal(**vectors))), factors)
    assert cell_of_file(nb.StructureFactors(default_F=1.0)) is None
