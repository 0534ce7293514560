"""CrystFEL geometries as detectors of many panels."""

import numpy as np
import pytest
from file_texts import GEOM

import nanobrag_jax as nb
from nanobrag_jax.command import run as cli
from nanobrag_jax.detector import frame_on_host
from nanobrag_jax.dials.read import read_one_expt

FACTORS = nb.StructureFactors(default_F=100.0)
CRYSTAL = {"cell_lengths_A": (40.0, 50.0, 60.0)}


def geometry(tmp_path, text=GEOM):
    (tmp_path / "x.geom").write_text(text)
    return str(tmp_path / "x.geom")


def test_panels_stand_where_the_file_says(tmp_path):
    made = nb.completed(nb.experiment_from_expt(geometry(tmp_path), FACTORS, crystal=CRYSTAL))
    assert made.detector.count == 2
    assert float(made.beam.wavelength_A) == pytest.approx(12398.42 / 9500)
    np.testing.assert_allclose(made.beam.direction, (0, 0, 1))
    expected = {
        0: ((-2.9, -1.0, 80.0), (1, 1e-5, 0), (-1e-5, 1, 0)),
        1: ((3.2, -0.7, 81.0), (0, 1, 0), (-1, 0, 0)),
    }
    for number, (corner, fast, slow) in expected.items():
        panel = nb.panel_experiment(made, number).panel
        frame = frame_on_host(panel, made.beam, "spec")
        np.testing.assert_allclose(frame.pix0 * 1e3, corner, atol=1e-9)
        np.testing.assert_allclose([frame.fast, frame.slow], [fast, slow], atol=1e-9)
        assert (panel.pixels_fast, panel.pixels_slow, float(panel.pixel_size_mm)) == (12, 10, 0.2)
    record, count = read_one_expt(geometry(tmp_path))
    assert count == 1 and record.detector[1].name == "b" and record.detector[0].trusted_range[1] == 7000
    assert nb.simulate(made).shape == (2, 10, 12)


def test_the_command_takes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["-expt", geometry(tmp_path), *"-cell 40 50 60 -default_F 100 -N 5 -oversample 1 -osc 1".split()]
    assert cli.main([*flags, "-nopgm", "-nonoise", "-intfile", "/dev/null", "-floatfile", "f.h5"]) == 0
    made = nb.experiment_from_args(flags)
    np.testing.assert_allclose(nb.completed(made).goniometer.spindle_axis, (1, 0, 0))
    image = np.asarray(nb.simulate(made), np.float32)
    np.testing.assert_array_equal(nb.read_image("f.h5"), image.reshape(20, 12))


BAD = [
    ("clen = 80 mm", "clen = /LCLS/detector_1/EncoderValue", "panel a has clen = /LCLS/.*stands in image files"),
    ("a/corner_x = -14.5", "", "panel a does not say corner_x"),
    ("a/fs = +1.000000x +0.000010y", "a/fs = 2x", "panel a has fs = 2x, whose length is 2"),
    ("a/fs = +1.000000x +0.000010y", "a/fs = east", "panel a has fs = east: a direction such as"),
    ("a/min_ss = 0", "a/min_ss = nan", "panel a has min_ss = nan: a number is needed"),
    ("res = 5000", "res = 0", "panel a has res = 0: a positive number is needed"),
    ("a/max_fs = 11", "a/max_fs = -3", "panel a has -2 x 10 pixels"),
    ("photon_energy", "electron_voltage", "has a beam of electrons"),
    ("photon_energy = 9500 eV", "photon_energy = /LCLS/photon_energy_eV", "does not say the wavelength: give it"),
]


@pytest.mark.parametrize("old, new, message", BAD)
def test_refused(old, new, message, tmp_path):
    path = geometry(tmp_path, GEOM.replace(old, new))
    with pytest.raises(nb.InputError, match=message):
        nb.experiment_from_expt(path, FACTORS, crystal=CRYSTAL)


def test_a_wavelength_that_stands_elsewhere_may_be_given(tmp_path):
    path = geometry(tmp_path, GEOM.replace("9500 eV", "/LCLS/photon_energy_eV"))
    made = nb.experiment_from_expt(path, FACTORS, crystal=CRYSTAL, beam={"wavelength_A": 1.3})
    assert float(made.beam.wavelength_A) == 1.3
    for text, wavelength in (("wavelength = 1.1 A", 1.1), ("photon_energy = 9.5 keV", 12398.42 / 9500)):
        path = geometry(tmp_path, GEOM.replace("photon_energy = 9500 eV", text))
        assert float(nb.experiment_from_expt(path, FACTORS, crystal=CRYSTAL).beam.wavelength_A) == pytest.approx(
            wavelength
        )
