"""The flags -expt, -spectrum, -mtz, -sfcif and -pdb, from arguments to an experiment."""

import equinox as eqx
import gemmi
import numpy as np
import pytest
from atoms import CRYSTALS, direct_factors, make_structure, sphere_indices, write_structure
from expt_files import REAL, experiment_list, panel, write

import nanobrag_jax as nb
from nanobrag_jax.command import flags
from nanobrag_jax.command.assemble import assemble
from nanobrag_jax.command.assembly.fields import replaced
from nanobrag_jax.dials.to_experiment import experiment_from_expt
from nanobrag_jax.errors import InputError, UsageError
from nanobrag_jax.structure_factors import StructureFactors

GROUP = "P 43 21 2"
CELL = "-cell 18 18 27"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("files")
    model = write_structure(make_structure(GROUP), place / "model.pdb")
    cell = gemmi.UnitCell(*CRYSTALS[GROUP])
    hkl = sphere_indices(cell, 3.0)
    amplitudes = np.abs(direct_factors(model, hkl))
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = gemmi.SpaceGroup(GROUP)
    mtz.set_cell_for_all(cell)
    mtz.add_dataset("data")
    for label in ("F", "FC"):
        mtz.add_column(label, "F")
    mtz.set_data(np.column_stack([hkl, amplitudes, 2 * amplitudes]).astype(np.float32))
    mtz.write_to_file(str(place / "data.mtz"))
    lines = [f"_cell.{n} {x}" for n, x in zip(("length_a", "length_b", "length_c"), (18, 18, 27), strict=True)]
    lines += [f"_cell.angle_{n} 90" for n in ("alpha", "beta", "gamma")]
    lines += [f"_symmetry.space_group_name_H-M '{GROUP}'", "loop_"]
    lines += [f"_refln.{n}" for n in ("index_h", "index_k", "index_l", "F_meas_au")]
    lines += [f"{h} {k} {l} {f:.8g}" for (h, k, l), f in zip(hkl.tolist(), amplitudes, strict=True)]
    (place / "data.cif").write_text("data_x\n" + "\n".join(lines) + "\n")
    write(place / "one.expt", experiment_list())
    many = experiment_list()
    many["experiment"].append(dict(many["experiment"][0], goniometer=None, scan=None))
    write(place / "many.expt", many)
    write(place / "laue.expt", experiment_list(beam={"direction": [0, 0, 1], "wavelength_range": [0.9, 1.2]}))
    two = {"panels": [panel(), panel(origin=[3.4, 2.4, -70.0])]}
    write(place / "two.expt", experiment_list(detector=two))
    (place / "spectrum.txt").write_text("0.9 1\n1.0 2\n1.2 1\n")
    (place / "sources.txt").write_text("0 0 1 1 1e-10\n")
    return place


def assembled(folder, line: str):
    return assemble(flags.parse(line.split()), folder)


@pytest.mark.parametrize(
    "line, factor",
    [("-mtz data.mtz", 1), ("-mtz data.mtz -mtz_column FC", 2), ("-sfcif data.cif", 1)],
)
def test_reflections(folder, line, factor):
    made = assembled(folder, f"{line} -N 5 -detpixels 8 -default_F 3")
    factors = made.experiment.structure_factors
    assert made.experiment.crystal.cell_lengths_A.tolist() == pytest.approx([18, 18, 27])
    hkl = np.array([[1, 2, 3], [-2, 1, -3]])
    expected = factor * np.abs(direct_factors(str(folder / "model.pdb"), hkl))
    np.testing.assert_allclose(factors.amplitudes[tuple((hkl - factors.hkl_min).T)], expected, rtol=1e-6)
    assert float(factors.default_F) == 3.0 and made.table is not None


def test_model_to_the_detectors_corner_and_anomalous(folder):
    line = "-pdb model.pdb -k_sol 0 -lambda 0.979 -N 5 -detpixels 10 -pixel 4 -distance 30 -misset 10 20 30"
    made = assembled(folder, line)
    (note,) = made.notes
    dmin = float(note.split()[-2])
    corner = np.arctan(np.hypot(24.0, 24.0) / 30.0)  # the convention puts the beam a pixel off the middle
    assert dmin == pytest.approx(0.979 / (2 * np.sin(corner / 2)), rel=0.002)
    expected = StructureFactors.from_model(folder / "model.pdb", dmin, wavelength_A=0.979, k_sol=0.0)
    assert made.experiment.structure_factors.hkl_min == expected.hkl_min
    middle = tuple(-n for n in expected.hkl_min)
    got = made.experiment.structure_factors.amplitudes
    assert got[middle] == expected.amplitudes[middle] == 0
    near = (middle[0] + 1, middle[1] + 2, middle[2] + 3)
    np.testing.assert_allclose(got[near], expected.amplitudes[near], rtol=1e-4)
    coarse = assembled(folder, line + " -dmin 3")
    assert coarse.notes == ["-pdb: structure factors are computed to 3 A"]


@pytest.mark.parametrize(
    "line, F000",
    [
        ("-pdb model.pdb -N 5", 0),
        ("-pdb model.pdb -N 5 -F000 70", 70),
        ("-pdb model.pdb -k_sol 0 -N 1", None),
        ("-pdb model.pdb -N 1 -nointerpolate", 0),
        ("-mtz data.mtz -N 5 -F000 7", 7),
    ],
)
def test_F000(folder, line, F000):
    """0 for a model, unless its neighbours need it; else what is asked for."""
    factors = assembled(folder, f"{line} -detpixels 10 -pixel 10 -distance 50 -dmin 3").experiment.structure_factors
    if F000 is None:
        own = StructureFactors.from_model(folder / "model.pdb", 3.0, wavelength_A=1.0, k_sol=0.0, F000=None)
        F000 = float(own.amplitudes.max())
        assert F000 > 100
    np.testing.assert_allclose(factors.amplitudes[tuple(-low for low in factors.hkl_min)], F000, rtol=1e-4)


def test_amplitudes_reach_beyond_what_is_interpolated(folder):
    """By two indices on each axis, whatever the angles of the cell."""
    line = "-pdb model.pdb -N {} -detpixels 10 -pixel 10 -distance 50 -dmin 3"
    few, many = (assembled(folder, line.format(n)).experiment.structure_factors for n in (1, 5))
    more = np.array(few.amplitudes.shape) - np.array(many.amplitudes.shape)
    assert np.all(more >= 4)


NOTES = [
    ("-default_F 5 -cell 18 -F000 3", "-F000 has no effect without -hkl, -mtz, -sfcif, -pdb"),
    (
        "-mtz data.mtz -cell 19 18 27",
        "the cell of -mtz, 18 18 27 90 90 90, differs from the crystal's, 19 18 27 90 90 90",
    ),
    ("-mtz data.mtz -k_sol 0.4", "-k_sol has no effect without -pdb"),
    ("-default_F 5 -cell 18 -mtz_column F", "-mtz_column has no effect without -mtz"),
    ("-default_F 5 -cell 18 -spectrum spectrum.txt -dispersion 2", "-dispersion has no effect with -spectrum"),
    ("-default_F 5 -cell 18 -spectrum spectrum.txt -lambda 2", "-lambda has no effect with -spectrum"),
    ("-default_F 5 -expt many.expt", "-expt many.expt has 2 experiments: number 0 is taken, see -expt_index"),
    ("-default_F 5 -expt one.expt -distance 50", "-distance has no effect beside -expt"),
    ("-default_F 5 -expt one.expt -cell 20", "-cell has no effect beside -expt"),
    ("-default_F 5 -expt one.expt -beam_vector 1 0 0", "-beam_vector has no effect beside -expt"),
    (
        "-default_F 5 -cell 18 -ORGX 3",
        "-ORGX has no effect with the MOSFLM convention: give -ORGX, -ORGY and -pivot sample",
    ),
    (
        "-default_F 5 -cell 18 -adxv -Yclose 3 -pivot sample",
        "-Yclose has no effect with the ADXV convention: give -ORGX, -ORGY and -pivot sample",
    ),
    (
        "-default_F 5 -cell 18 -denzo -ORGY 3 -pivot sample -mode c-parity",
        "-ORGY has no effect with the DENZO convention: give a beam centre",
    ),
]


@pytest.mark.parametrize("line, note", NOTES)
def test_notes(folder, line, note):
    notes = assembled(folder, line + " -detpixels 8 -N 4").notes
    assert note in notes, notes


def test_what_has_an_effect_is_not_noted(folder):
    for line in (
        "-ORGX 3 -ORGY 4 -pivot sample",
        "-xds -ORGX 3 -ORGY 4",
        "-adxv -Xbeam 3",
        "-spindle_axis 0 0 1 -Xclose 3",
    ):
        assert assembled(folder, f"-default_F 5 -cell 18 -detpixels 8 -N 4 {line}").notes == []


ERRORS = [
    ("-mtz data.mtz -pdb model.pdb", "give one of -mtz and -pdb"),
    ("-mtz data.mtz -mtz_column G", "has no column 'G': its amplitudes and intensities are F, FC"),
    ("-pdb none.pdb -cell 18", "cannot read model file"),
    ("-default_F 5 -cell 18 -spectrum spectrum.txt -sourcefile sources.txt", "give one of -spectrum and -sourcefile"),
    ("-default_F 5 -expt laue.expt", "experiment 0 of -expt laue.expt has a polychromatic beam, 0.9 to 1.2 A"),
    ("-default_F 5 -expt one.expt -expt_index 4", "has 1 experiments, numbered from 0: there is no 4"),
    ("-default_F 5 -expt none.expt", "cannot read experiment list"),
    ("-default_F 5 -expt two.expt -expt_panel 2", "-expt_panel must be 0 to 1, got 2"),
    ("-default_F 5 -expt one.expt -roi 0 32 0 5", "-roi 0 32 0 5 does not lie on the detector of 32 x 24 pixels"),
]


@pytest.mark.parametrize("line, message", ERRORS)
def test_errors(folder, line, message):
    with pytest.raises(InputError) as caught:
        assembled(folder, line)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_crystal_is_still_needed(folder):
    with pytest.raises(UsageError, match="give a crystal"):
        assembled(folder, "-default_F 5")


@pytest.mark.parametrize("name", ["one", "two"])
def test_the_same_experiment_as_in_python(folder, name):
    options = "-N 6 -default_F 20 -phisteps 3 -oversample 1 -detector_thicksteps 2 -nointerpolate"
    made = assembled(folder, f"-expt {name}.expt {options}").experiment
    expected = experiment_from_expt(
        folder / f"{name}.expt",
        StructureFactors(default_F=20.0),
        phi_steps=3,
        thickness_steps=2,
        crystal={"n_cells": (6, 6, 6)},
        sampling=nb.Sampling(1, interpolate=False),
    )
    assert eqx.tree_equal(made, expected, rtol=1e-12, atol=1e-12)


def test_one_panel_of_two(folder):
    line = "-expt two.expt -N 6 -default_F 20 -expt_panel 1"
    detector = assembled(folder, line).experiment.detector
    assert detector.pix0_mm.tolist() == [3.4, 2.4, -70.0]


def test_flags_that_win_over_the_file(folder):
    made = assembled(folder, "-expt one.expt -N 6 -default_F 20 -lambda 1.3 -phi 4 -osc 0.2 -polar 0.1 -misset 1 2 3")
    experiment = made.experiment
    assert float(experiment.beam.wavelength_A) == 1.3 and float(experiment.beam.kahn_factor) == 0.1
    assert (float(experiment.goniometer.phi_deg), float(experiment.goniometer.osc_deg)) == (4.0, 0.2)
    assert experiment.crystal.misset_deg.tolist() == [1, 2, 3]
    np.testing.assert_allclose(experiment.crystal.cell_lengths_A, np.linalg.norm(REAL, axis=1))
    assert made.notes == []


@pytest.mark.parametrize("crystal", [CELL, "-expt one.expt", "-expt laue.expt"])
def test_spectrum(folder, crystal):
    line = f"-default_F 5 {crystal} -detpixels 8 -N 4 -spectrum spectrum.txt -hdivrange 1 -hdivsteps 2"
    beam = assembled(folder, line).experiment.beam
    assert beam.num_sources == 6 and float(beam.wavelength_A) == pytest.approx(1.025)
    assert beam.source_weights.tolist() == [1, 2, 1, 1, 2, 1]


def test_a_field_an_item_of_a_vector_and_a_field_inside_are_replaced():
    crystal = nb.Crystal((50, 60, 70), n_cells=(2, 3, 4), mosaic_spread_deg=0.2, mosaic_domains=3)
    changed = replaced(crystal, {"fudge": 2.0, "n_cells.1": 9, "mosaicity.spread_deg": 0.5, "shape": "round"})
    assert (float(changed.fudge), changed.shape.name, changed.n_cells.tolist()) == (2.0, "round", [2, 9, 4])
    assert float(changed.mosaicity.spread_deg) == 0.5
    np.testing.assert_array_equal(changed.mosaicity.axes, crystal.mosaicity.axes)
    assert replaced(crystal, {}) is crystal and crystal.n_cells.tolist() == [2, 3, 4]
    with pytest.raises(InputError, match="fudge must be positive"):
        replaced(crystal, {"fudge": -1.0})
