"""The experiment list that the command writes beside its images, and what files say of counts."""

import json
import os
import shutil
import subprocess

import fabio
import h5py
import numpy as np
import pytest

import nanobrag_jax as nb
from nanobrag_jax.command import run as cli
from nanobrag_jax.dials.read import read_one_expt
from nanobrag_jax.experiment import panel_experiment

CRYSTAL = ["-cell", "60", "70", "80", "90", "90", "90", "-default_F", "30", "-N", "3", "-oversample", "1"]
DETECTOR = ["-detpixels_f", "40", "-detpixels_s", "30", "-Xbeam", "1.3", "-Ybeam", "2.2", "-twotheta", "15"]
ROTATION = ["-phi", "5", "-osc", "0.5", "-polar", "0.8"]
QUIET = ["-nopgm", "-noprogress", "-floatfile", "/dev/null", "-intfile", "/dev/null"]
FLAGS = [*CRYSTAL, *DETECTOR, *ROTATION, *QUIET]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "image, template, offset, limit",
    [("n_0007.img", "n_####.img", 40.0, 2000), ("n_0007.cbf", "n_####.cbf", 0.0, 2000), ("n.h5", "n.h5", 0.0, 2000)],
)
def test_a_list_with_its_image(folder, capsys, image, template, offset, limit):
    line = [*FLAGS, "-noisefile", image, "-exptfile", "n.expt", "-saturation", str(limit), "-phi_sampling", "middle"]
    assert cli.main(line) == 0
    record, count = read_one_expt("n.expt")
    (panel,) = record.detector
    assert count == 1 and record.imageset["template"] == str(folder / template)
    assert (panel.pedestal, panel.trusted_range, panel.parallax) == (offset, (-0.5, limit - 0.5), False)
    assert record.beam.polarization_fraction == pytest.approx(0.9)
    assert record.scan.first_image == (1 if image.endswith("h5") else 7)
    assert "start of its slice" not in capsys.readouterr().err
    back = nb.experiment_from_expt("n.expt", nb.StructureFactors(default_F=30.0), crystal={"n_cells": (3, 3, 3)})
    plain = nb.experiment_from_args([*CRYSTAL, *DETECTOR, *ROTATION, "-phi_sampling", "middle"])
    np.testing.assert_allclose(nb.simulate(back), nb.simulate(plain), rtol=1e-6, atol=1e-9)


def test_what_the_command_says_of_a_list(capsys):
    assert cli.main([*FLAGS, "-noisefile", "n.img", "-exptfile", "n.expt"]) == 0
    notes = capsys.readouterr().err
    assert "-exptfile has geometry without an image, n.img, whose name has no number, can be named" in notes
    assert "other programs find the crystal 0.125 degrees behind (-phi_sampling middle)" in notes
    assert "n.img: of an SMV file DIALS takes the detector to be perpendicular to the beam" in notes
    assert "import with the experiment list of -exptfile FILE" in notes and "/dev/null" not in notes
    assert read_one_expt("n.expt")[0].imageset is None
    assert cli.main([*FLAGS, "-noisefile", "n.img", "-exptfile", "n.expt", "-mode", "c-parity"]) == 0
    assert "DIALS takes" not in capsys.readouterr().err
    assert "ADC_OFFSET" not in fabio.open("n.img").header


def test_offsets_follow_the_readers(capsys):
    line = [*CRYSTAL, "-detpixels", "16", "-polar", "0.5", "-fluence", "1e20", "-nopgm", "-noprogress"]
    smallest = {}
    for image in ("n.img", "n.cbf", "n.h5", "n.npy"):
        assert cli.main([*line, "-noisefile", image, "-intfile", "/dev/null", "-floatfile", "/dev/null"]) == 0
        smallest[image] = int(nb.read_image(image).min())
    assert smallest == {"n.img": 40, "n.cbf": 0, "n.h5": 0, "n.npy": 40}
    capsys.readouterr()
    assert cli.main([*line, "-noisefile", "n.cbf", "-adc", "7"]) == 0
    assert "n.cbf: readers take a pixel without photons to read 0, here it reads 7" in capsys.readouterr().err
    assert nb.read_image("n.cbf").min() == 7


def test_dead_pixels_and_saturation_reach_the_files(capsys):
    line = [*CRYSTAL, "-detpixels", "40", "-polar", "0.5", "-dead", "5", "-saturation", "50", *QUIET]
    for image in ("d.h5", "d.cbf", "d.img"):
        assert cli.main([*line, "-noisefile", image]) == 0
    with h5py.File("d.h5") as file:
        marks = file["entry/instrument/detector/pixel_mask"][()]
        counts = file["entry/data/data"][0]
        assert file["entry/instrument/detector/saturation_value"][()] == 50
    assert 40 < np.count_nonzero(marks == 2) < 140 and not counts[marks == 2].any()
    packed = fabio.open("d.cbf")
    np.testing.assert_array_equal(packed.data == -2, marks == 2)
    assert "# Count_cutoff 50 counts" in packed.header["_array_data.header_contents"]
    header = fabio.open("d.img").header
    assert (header["CCD_IMAGE_SATURATION"], header["ADC_OFFSET"]) == ("50", "40")


def test_an_unpolarised_beam_is_told_of(capsys):
    line = [*CRYSTAL, "-detpixels", "16", *QUIET, "-noisefile"]
    for image, told in (("a.h5", True), ("a.cbf", True), ("a.img", False)):
        assert cli.main([*line, image]) == 0
        assert ("geometry.beam.polarization_fraction=0.5" in capsys.readouterr().err) == told


def test_headers_are_read_back(folder):
    """Of a file of this package the beam centre in the convention's own sense, in both modes."""
    line = [*CRYSTAL, "-detpixels_f", "40", "-detpixels_s", "30", "-Xbeam", "1.3", "-Ybeam", "2.2"]
    assert cli.main([*line, *QUIET[:-2], "-nonoise", "-intfile", "a.img"]) == 0
    for mode in ("spec", "c-parity"):
        made = nb.experiment_from_args([*CRYSTAL, "-img", "a.img", "-mode", mode])
        np.testing.assert_allclose(made.detector.beam_center_mm, (1.3, 2.2))


def test_keys_of_headers_are_whole(folder):
    text = "{\nHEADER_BYTES=512;\nTYPE=float;\nSIZE1=10;\nSIZE2=8;\nWAVELENGTH=0.98;\nDISTANCE=150;\nXDS_ORGX=3;\n"
    text += "SOURCE_WAVELENGTH=1.0 1.5418;\nCLOSE_DISTANCE=140;\n}\f"
    (folder / "a.img").write_bytes(text.ljust(512).encode() + bytes(320))
    made = nb.experiment_from_args([*CRYSTAL, "-img", "a.img"])
    assert (float(made.beam.wavelength_A), float(made.detector.distance_mm)) == (0.98, 150.0)
    reference = nb.experiment_from_args([*CRYSTAL, "-img", "a.img", "-mode", "c-parity"])
    assert (float(reference.beam.wavelength_A), float(reference.detector.distance_mm)) == (1.0, 140.0)
    with pytest.raises(nb.InputError, match="TYPE=float"):
        nb.experiment_from_args([*CRYSTAL, "-mask", "a.img"])


@pytest.mark.dials
@pytest.mark.skipif(shutil.which("dials.import") is None, reason="DIALS is not installed: no dials.import on the PATH")
def test_dials_imports_with_the_list_as_reference(folder):
    """By its own program: an image whose format cannot say the geometry, and the list of the same command."""
    assert cli.main([*FLAGS, "-noisefile", "n_0001.img", "-exptfile", "n.expt", "-phi_sampling", "middle"]) == 0
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        ["dials.import", "n_0001.img", "reference_geometry=n.expt"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ours, _ = read_one_expt("n.expt")
    theirs, _ = read_one_expt("imported.expt")
    for name in ("origin_mm", "fast_axis", "slow_axis"):
        np.testing.assert_allclose(getattr(theirs.detector[0], name), getattr(ours.detector[0], name), atol=1e-9)
    assert theirs.beam.polarization_fraction == pytest.approx(ours.beam.polarization_fraction)
    np.testing.assert_allclose(theirs.goniometer.rotation_axis, ours.goniometer.rotation_axis, atol=1e-9)
    assert json.loads((folder / "imported.expt").read_text())["imageset"]


def test_panels_have_one_list(folder):
    """Files of single panels cannot be named by the list of all of them."""
    from expt_files import experiment_list, panel, write

    panels = [panel(origin=origin) for origin in ([-3.2, 2.4, -80.0], [3.4, 2.4, -80.0])]
    write(folder / "two.expt", experiment_list(detector={"panels": panels}))
    flags = ["-expt", "two.expt", "-default_F", "100", "-N", "4", "-oversample", "1", "-nopgm", "-noprogress"]
    assert cli.main([*flags, "-noisefile", "a_1.cbf", "-exptfile", "b.expt"]) == 0
    record, _ = read_one_expt("b.expt")
    assert len(record.detector) == 2 and record.imageset is None
    assert cli.main([*flags, "-noisefile", "a.h5", "-exptfile", "c.expt"]) == 0
    assert read_one_expt("c.expt")[0].imageset["single_file_indices"] == [0]
    assert panel_experiment(nb.experiment_from_expt("c.expt", nb.StructureFactors(default_F=1.0)), 1) is not None
