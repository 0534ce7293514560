import sys

import gemmi
import jax.numpy as jnp
import numpy as np
import pytest
from atoms import CRYSTALS, direct_factors, make_structure, sphere_indices, write_structure

from nanobrag_jax.errors import InputError
from nanobrag_jax.models.density import read_model_cell, sphere_from_model
from nanobrag_jax.models.reflections import sphere_from_mmcif, sphere_from_mtz
from nanobrag_jax.numerics.vectors import Vec3
from nanobrag_jax.structure_factors import StructureFactors, lookup_grid, nearest

OF_F000 = 1e-4
"""Largest error over F(000) of the density route; 1e-3 is what is asked for, 3e-6 what was measured."""

SINGLE = 1e-6
"""MTZ columns are single precision."""

DMIN = 2.03
LAMBDA = 0.979  # just above the edge of selenium


def at(table, hkl):
    """Amplitudes and whether they are given, at indices (n, 3)."""
    place = tuple((np.asarray(hkl) - table.hkl_min).T)
    return table.values[place], table.given[place]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def pdb(folder):
    return write_structure(make_structure("P 43 21 2"), folder / "model.pdb")


@pytest.mark.parametrize("wavelength", [None, LAMBDA])
@pytest.mark.parametrize("group", CRYSTALS)
def test_model_agrees_with_direct_summation(tmp_path, group, wavelength):
    path = write_structure(make_structure(group), tmp_path / "model.pdb")
    sphere = sphere_from_model(path, DMIN, wavelength_A=wavelength, k_sol=0.0)
    hkl = sphere_indices(gemmi.UnitCell(*CRYSTALS[group]), DMIN)
    values, given = at(sphere.table, hkl)
    expected = np.abs(direct_factors(path, hkl, wavelength))
    f000 = expected[np.all(hkl == 0, axis=1)][0]
    assert given.all() and sphere.table.given.sum() == len(hkl)
    assert np.max(np.abs(values - expected)) < OF_F000 * f000
    assert f000 == pytest.approx(values[np.all(hkl == 0, axis=1)][0], rel=OF_F000)
    assert sphere.cell == pytest.approx(CRYSTALS[group]) and sphere.space_group == group


@pytest.mark.parametrize("group", ["P 43 21 2", "P 61 2 2", "C 1 2 1"])
def test_absences_and_friedel_mates(tmp_path, group):
    path = write_structure(make_structure(group), tmp_path / "model.pdb")
    operations = gemmi.SpaceGroup(group).operations()
    hkl = sphere_indices(gemmi.UnitCell(*CRYSTALS[group]), DMIN)
    absent = operations.systematic_absences(hkl)
    centric = operations.centric_flag_array(hkl)
    plain = sphere_from_model(path, DMIN, k_sol=0.0).table
    anomalous = sphere_from_model(path, DMIN, wavelength_A=LAMBDA, k_sol=0.0).table
    for table in (plain, anomalous):
        values, _ = at(table, hkl)
        assert absent.sum() > 10
        assert np.max(values[absent]) < OF_F000 * values.max()
        for operation in operations.sym_ops:
            mates = hkl @ (np.array(operation.rot) // operation.DEN)
            assert np.max(np.abs(at(table, mates)[0] - values)) < OF_F000 * values.max()
    values, mates = at(plain, hkl)[0], at(plain, -hkl)[0]
    assert np.max(np.abs(values - mates)) < OF_F000 * values.max()
    values, mates = at(anomalous, hkl)[0], at(anomalous, -hkl)[0]
    assert np.max(np.abs(values - mates)[centric]) < OF_F000 * values.max()
    assert np.max(np.abs(values - mates)[~centric]) > 1e-2 * values.max()


def test_bulk_solvent_is_gemmis(pdb):
    structure = gemmi.read_structure(pdb)
    k_sol, b_sol = 0.4, 50.0
    sphere = sphere_from_model(pdb, DMIN, k_sol=k_sol, b_sol=b_sol)
    mask = gemmi.FloatGrid()
    mask.setup_from(structure, spacing=DMIN / 3.0)
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx).put_mask_on_float_grid(mask, structure[0])
    transform = gemmi.transform_map_to_f_phi(mask)
    scaling = gemmi.Scaling(structure.cell, structure.find_spacegroup())
    scaling.use_solvent, scaling.k_sol, scaling.b_sol = True, k_sol, b_sol
    hkl = sphere_indices(structure.cell, DMIN)[::37]
    atoms = direct_factors(pdb, hkl)
    expected = [
        abs(scaling.scale_value(h, f, transform.get_value(*h))) for h, f in zip(hkl.tolist(), atoms, strict=True)
    ]
    values, _ = at(sphere.table, hkl)
    assert np.max(np.abs(values - expected)) < OF_F000 * atoms.real.max()
    f000 = at(sphere.table, [[0, 0, 0]])[0][0]
    assert f000 == pytest.approx(
        direct_factors(pdb, [[0, 0, 0]])[0].real + k_sol * np.array(mask).mean() * structure.cell.volume, rel=OF_F000
    )
    assert f000 > 1.2 * at(sphere_from_model(pdb, DMIN, k_sol=0.0).table, [[0, 0, 0]])[0][0]


def test_mmcif_model_and_cell(pdb, folder):
    cif = write_structure(gemmi.read_structure(pdb), folder / "model.cif")
    one, other = (sphere_from_model(path, DMIN).table.values for path in (pdb, cif))
    np.testing.assert_allclose(one, other, atol=1e-4 * one.max())
    assert read_model_cell(cif) == pytest.approx(CRYSTALS["P 43 21 2"])


def test_copies_by_noncrystallographic_symmetry_are_added(tmp_path):
    structure = make_structure("P 43 21 2", atoms=4)
    shift = gemmi.Transform()
    shift.vec.fromlist([3.0, 4.0, 5.0])
    structure.ncs.append(gemmi.NcsOp(shift, "1", False))
    path = write_structure(structure, tmp_path / "ncs.pdb")
    sphere = sphere_from_model(path, DMIN, k_sol=0.0)
    assert "non-crystallographic" in sphere.table.notes[0]
    once = np.abs(direct_factors(path, [[0, 0, 0]])[0])
    assert at(sphere.table, [[0, 0, 0]])[0][0] == pytest.approx(2 * once, rel=OF_F000)


def test_look_up_finds_mates(pdb):
    factors = StructureFactors.from_model(pdb, DMIN, wavelength_A=LAMBDA, k_sol=0.0)
    hkl = np.array([[1, 2, 3], [-1, -2, -3], [2, -1, 3], [0, 0, 0], [3, 0, 0], [8, 8, 12]])
    got = nearest(lookup_grid(factors), Vec3(*jnp.asarray(hkl.T, float)))
    expected = np.abs(direct_factors(pdb, hkl, LAMBDA))
    expected[-1] = 0.0  # inside the box, beyond the resolution
    F000 = expected[3]
    expected[3] = 0.0
    np.testing.assert_allclose(got, expected, atol=OF_F000 * F000)
    for asked, found in ((None, F000), (12.0, 12.0)):
        factors = StructureFactors.from_model(pdb, DMIN, wavelength_A=LAMBDA, k_sol=0.0, F000=asked)
        at_origin = factors.amplitudes[tuple(-low for low in factors.hkl_min)]
        np.testing.assert_allclose(at_origin, found, rtol=OF_F000)


def unique_reflections(pdb):
    structure = gemmi.read_structure(pdb)
    group = structure.find_spacegroup()
    asu = gemmi.ReciprocalAsu(group)
    hkl = sphere_indices(structure.cell, DMIN)
    absent = group.operations().systematic_absences(hkl)
    kept = [h for h, a in zip(hkl.tolist(), absent, strict=True) if asu.is_in(h) and any(h) and not a]
    return structure, np.array(kept)


def write_mtz(path, structure, hkl, columns, *, merged=True, group=True):
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = structure.find_spacegroup() if group else None
    mtz.set_cell_for_all(structure.cell)
    mtz.add_dataset("data")
    for label, kind, _ in columns:
        mtz.add_column(label, kind)
    if not merged:
        mtz.add_column("BATCH", "B")
    values = [np.broadcast_to(v, len(hkl)) for _, _, v in columns]
    values += [] if merged else [np.ones(len(hkl))]
    mtz.set_data(np.column_stack([hkl, *values]).astype(np.float32))
    mtz.write_to_file(str(path))
    return str(path)


@pytest.fixture(scope="module")
def data(pdb):
    """Unique reflections with amplitudes of both Friedel mates."""
    structure, hkl = unique_reflections(pdb)
    plus, minus = np.abs(direct_factors(pdb, hkl, LAMBDA)), np.abs(direct_factors(pdb, -hkl, LAMBDA))
    return structure, hkl, plus, minus


def check_whole_sphere(table, pdb, wavelength, f000_given=False):
    hkl = sphere_indices(gemmi.UnitCell(*CRYSTALS["P 43 21 2"]), DMIN)
    hkl = hkl[np.any(hkl != 0, axis=1)]
    values, given = at(table, hkl)
    expected = np.abs(direct_factors(pdb, hkl, wavelength))
    absent = gemmi.SpaceGroup("P 43 21 2").operations().systematic_absences(hkl)
    assert given.all() and np.all(values[absent] == 0.0)
    np.testing.assert_allclose(values[~absent], expected[~absent], rtol=SINGLE, atol=SINGLE * expected.max())
    assert at(table, [[0, 0, 0]])[1][0] == f000_given


def test_mtz_with_friedel_pairs(data, pdb, tmp_path):
    structure, hkl, plus, minus = data
    mean = (plus + minus) / 2
    path = write_mtz(
        tmp_path / "pairs.mtz",
        structure,
        hkl,
        [("FP", "F", mean), ("SIGFP", "Q", 1.0), ("F(+)", "G", plus), ("F(-)", "G", minus), ("I(+)", "K", plus**2)],
    )
    automatic = sphere_from_mtz(path)
    check_whole_sphere(automatic.table, pdb, LAMBDA)
    assert automatic.cell == pytest.approx(CRYSTALS["P 43 21 2"]) and automatic.space_group == "P 43 21 2"
    assert automatic.table.notes == [f"MTZ file {path!r}: F(+) and F(-) taken, FP also there"]
    for column in ("F(+)", "F(-)"):
        np.testing.assert_array_equal(sphere_from_mtz(path, column).table.values, automatic.table.values)
    values, _ = at(sphere_from_mtz(path, "FP").table, np.concatenate([hkl, -hkl]))
    np.testing.assert_allclose(values, np.tile(mean, 2), rtol=SINGLE)


def test_mtz_whole_sphere_without_anomalous_scattering(data, pdb, tmp_path):
    structure, hkl, _, _ = data
    amplitudes = np.abs(direct_factors(pdb, hkl))
    hkl, amplitudes = np.vstack([hkl, [[0, 0, 0]]]), np.append(amplitudes, 1234.0)
    path = write_mtz(tmp_path / "mean.mtz", structure, hkl, [("IMEAN", "J", amplitudes**2), ("FC", "F", amplitudes)])
    check_whole_sphere(sphere_from_mtz(path).table, pdb, None, f000_given=True)
    roots = sphere_from_mtz(path, "IMEAN")
    check_whole_sphere(roots.table, pdb, None, f000_given=True)
    assert "French-Wilson" in roots.table.notes[-1]
    factors = StructureFactors.from_mtz(path, "FC", default_F=7.0)
    far = nearest(lookup_grid(factors), Vec3(*jnp.array([[9.0], [9.0], [13.0]])))
    assert float(nearest(lookup_grid(factors), Vec3(*jnp.zeros((3, 1))))[0]) == 1234.0 and float(far[0]) == 7.0


def test_missing_values_and_missing_mates(data, tmp_path):
    structure, hkl, plus, minus = data
    acentric = np.flatnonzero(~structure.find_spacegroup().operations().centric_flag_array(hkl.astype(np.int32)))
    no_minus, no_plus, neither = acentric[:3]
    plus, minus = plus.copy(), minus.copy()
    minus[[no_minus, neither]] = np.nan
    plus[[no_plus, neither]] = np.nan
    path = write_mtz(tmp_path / "gaps.mtz", structure, hkl, [("F+", "G", plus), ("F-", "G", minus)])
    table = sphere_from_mtz(path).table
    for row, expected in ((no_minus, plus[no_minus]), (no_plus, minus[no_plus])):
        values, given = at(table, [hkl[row], -hkl[row]])
        assert given.all() and values == pytest.approx([expected, expected], rel=SINGLE)
    assert not at(table, [hkl[neither], -hkl[neither]])[1].any()


def write_sf_cif(path, structure, items, rows, *, group="P 43 21 2", extra=""):
    cell = structure.cell
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_r1abcsf"]
    lines += [f"_cell.{name} {value}" for name, value in zip(names, cell.parameters, strict=True)]
    lines += [f"_symmetry.space_group_name_H-M '{group}'"] if group else []
    lines += ["loop_", *(f"_refln.{item}" for item in ("index_h", "index_k", "index_l", *items))]
    lines += [" ".join("?" if x is None else f"{x:.9g}" for x in row) for row in rows]
    path.write_text("\n".join(lines) + "\n" + extra)
    return str(path)


def test_structure_factor_mmcif(data, pdb, tmp_path):
    structure, hkl, plus, minus = data
    rows = [(*h, None, p, m) for h, p, m in zip(hkl.tolist(), plus, minus, strict=True)]
    items = ("F_meas_au", "pdbx_F_plus", "pdbx_F_minus")
    path = write_sf_cif(tmp_path / "pairs.cif", structure, items, rows)
    sphere = sphere_from_mmcif(path)
    check_whole_sphere(sphere.table, pdb, LAMBDA)
    for column in ("pdbx_F_minus", "_refln.pdbx_F_plus"):
        np.testing.assert_array_equal(sphere_from_mmcif(path, column).table.values, sphere.table.values)
    apart = [(*h, f) for h, f in zip(np.vstack([hkl, -hkl]).tolist(), np.append(plus, minus), strict=True)]
    path = write_sf_cif(tmp_path / "rows.cif", structure, ("F_meas_au",), apart)
    check_whole_sphere(sphere_from_mmcif(path).table, pdb, LAMBDA)
    assert StructureFactors.from_mmcif(path).hkl_min == sphere.table.hkl_min


def test_intensities_of_an_mmcif_only_when_named(data, pdb, tmp_path):
    structure, hkl, _, _ = data
    amplitudes = np.abs(direct_factors(pdb, hkl))
    rows = [(*h, f**2) for h, f in zip(hkl.tolist(), amplitudes, strict=True)]
    path = write_sf_cif(tmp_path / "intensities.cif", structure, ("intensity_meas",), rows)
    check_whole_sphere(sphere_from_mmcif(path, "intensity_meas").table, pdb, None)
    with pytest.raises(InputError, match=r"has intensities only \(intensity_meas\): name the column"):
        sphere_from_mmcif(path)


REFLECTION_ERRORS = [
    ("no column", "FOO", r"has no column 'FOO': its amplitudes and intensities are F, I$"),
    ("sigma", "SIGF", r"column 'SIGF' of .* is of type Q, neither amplitudes nor intensities \(those are F, I\)"),
    ("intensities", None, r"has intensities only \(I\): name the column"),
    ("phases", None, r"has no amplitudes: its columns are H, K, L, PHI$"),
    ("unmerged", None, r"is unmerged: merge it first"),
    ("empty", None, r"holds no values"),
    ("garbage", None, r"^cannot read MTZ file .*garbage.mtz"),
    ("missing", None, r"^cannot read MTZ file .*missing.mtz': No such file"),
]


@pytest.mark.parametrize("case, column, message", REFLECTION_ERRORS, ids=[c[0] for c in REFLECTION_ERRORS])
def test_unusable_mtz(data, tmp_path, case, column, message):
    structure, hkl, plus, _ = data
    path = tmp_path / f"{case.replace(' ', '_')}.mtz"
    columns = {
        "intensities": [("I", "J", plus)],
        "phases": [("PHI", "P", plus)],
        "empty": [("F", "F", np.nan)],
    }.get(case, [("F", "F", plus), ("SIGF", "Q", plus), ("I", "J", plus)])
    if case == "garbage":
        path.write_bytes(b"no MTZ at all" * 20)
    elif case != "missing":
        write_mtz(path, structure, hkl, columns, merged=case != "unmerged")
    with pytest.raises(InputError, match=message) as caught:
        sphere_from_mtz(path, column)
    assert "\n" not in str(caught.value)


CIF_ERRORS = [
    ("model", None, r"holds no reflections"),
    ("column", "FOO", r"holds no values of FOO: its items are F_meas_au$"),
    ("group", None, r"does not say its space group"),
    ("syntax", None, r"^cannot read structure-factor file"),
]


@pytest.mark.parametrize("case, column, message", CIF_ERRORS, ids=[c[0] for c in CIF_ERRORS])
def test_unusable_sf_mmcif(data, tmp_path, case, column, message):
    structure, hkl, plus, _ = data
    path = tmp_path / f"{case}.cif"
    rows = [(*h, f) for h, f in zip(hkl.tolist(), plus, strict=True)]
    if case == "model":
        write_structure(structure, path)
    elif case == "syntax":
        path.write_text("data_x\nloop_\n_refln.index_h\n'")
    else:
        write_sf_cif(path, structure, ("F_meas_au",), rows, group="" if case == "group" else "P 43 21 2")
    with pytest.raises(InputError, match=message) as caught:
        sphere_from_mmcif(path, column)
    assert "\n" not in str(caught.value)


ATOM = "ATOM      1  CA  GLY A   1       2.000   3.000   4.000  1.00 10.00           C  \n"
CRYST1 = "CRYST1   18.000   18.000   27.000  90.00  90.00  90.00 P 43 21 2     8\n"
UNKNOWN = ATOM.replace("  CA ", "  QQ ").replace("C  \n", "QQ \n")
MODEL_ERRORS = [
    ("unknown_element", CRYST1 + UNKNOWN, r"atom A/GLY 1/QQ .*unknown"),
    ("no_cell", ATOM, r"does not say its unit cell"),
    ("no_group", CRYST1.replace("P 43 21 2", "P 99      ") + ATOM, r"space group, or it is unknown: 'P 99'"),
    ("no_atoms", CRYST1, r"holds no atoms"),
    ("nothing", "", r"holds no atoms|cannot read"),
]


@pytest.mark.parametrize("case, text, message", MODEL_ERRORS, ids=[c[0] for c in MODEL_ERRORS])
def test_unusable_model(tmp_path, case, text, message):
    path = tmp_path / f"{case}.pdb"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        sphere_from_model(path, DMIN)
    assert "\n" not in str(caught.value)


def test_unusable_resolution_and_missing_model(pdb, tmp_path):
    with pytest.raises(InputError, match="dmin_A must be positive, got 0"):
        sphere_from_model(pdb, 0.0)
    with pytest.raises(InputError, match="at most 200000000 are allowed"):
        sphere_from_model(pdb, 0.01)
    with pytest.raises(InputError, match=r"cannot read model file .*: No such file"):
        sphere_from_model(tmp_path / "none.pdb", DMIN)


def test_without_gemmi(pdb, monkeypatch):
    monkeypatch.setitem(sys.modules, "gemmi", None)
    with pytest.raises(InputError, match=r"model needs the gemmi package: pip install nanobrag_jax\[formats\]"):
        StructureFactors.from_model(pdb, DMIN)
