"""The flags of the noise image, through the command."""

import numpy as np
import pytest

import nanobrag_jax as nb
from nanobrag_jax.command import flags
from nanobrag_jax.command import run as cli
from nanobrag_jax.effects import noise_image
from nanobrag_jax.formats.raw import read_raw
from nanobrag_jax.formats.smv import read_smv

SMALL = "-cell 50 60 70 80 90 100 -default_F 100 -N 5 -detpixels_x 12 -detpixels_y 9 -pixel 2 -oversample 1".split()
SMALL += ["-fluence", "1e29", "-nopgm", "-seed", "3"]
ALL = "-flicker 4 -psf fiber -psf_fwhm 3 -calibnoise 5 -gain 2.5 -readnoise 3 -saturation 900 -dead 5".split()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    assert cli.main([*SMALL, *words]) == 0
    return read_smv("noiseimage.img").image, read_raw("floatimage.bin", (9, 12))


def test_the_noise_image_is_that_of_the_effects(folder, capsys):
    noise, photons = run(*ALL, "-detector_seed", "6", "-adc", "30")
    expected = nb.DetectorEffects(
        flicker_percent=4, shot_noise=True, psf="fiber", psf_fwhm_pixels=1.5, calibration_percent=5,
        gain_adu_per_photon=2.5, readout_adu=3, offset_adu=30, saturation_adu=900, dead_fraction=0.05, detector_seed=6,
    )  # fmt: skip
    result = noise_image(nb.simulate(nb.experiment_from_args(SMALL)).astype("float32"), expected, 3)
    np.testing.assert_array_equal(noise, result.image)
    report = capsys.readouterr().out
    assert "psf fiber, psf_fwhm 3 mm, calibnoise 5 %, gain 2.5 ADU/photon" in report
    assert f"noise photons                        {float(result.photons):.0f}" in report
    assert (noise != run()[0]).any()
    np.testing.assert_array_equal(read_raw("floatimage.bin", (9, 12)), photons)


def test_without_their_strength_photons_are_the_usual_ones(folder):
    np.testing.assert_array_equal(run("-gain", "1")[0], run()[0])


@pytest.mark.parametrize("line, message", [
    ("-readnoise 3 -mode c-parity", "-readnoise needs -mode spec: the reference knows no detector effects"),
    ("-detector_seed 3 -mode c-parity", "-detector_seed needs -mode spec"),
    ("-psf gauss", "-psf gauss needs its width: give -psf_fwhm"),
    ("-psf round -psf_fwhm 1", "flag -psf needs gauss or fiber, got 'round'"),
    ("-psf gauss -fwhm 0", "-fwhm must be > 0 (mm), got 0"),
    ("-dead 101", "-dead must be from 0 to 100 (%), got 101"),
])  # fmt: skip
def test_refused(line, message, folder, capsys):
    assert cli.main([*SMALL, *line.split()]) == 1
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert not list(folder.iterdir())


@pytest.mark.parametrize("line, note", [
    ("-gain 2 -nonoise", "-gain has no effect with -nonoise"),
    ("-fwhm 2", "-fwhm has no effect without -psf"),
    ("-gain 2 -detector_seed 2", "-detector_seed has no effect without -calibnoise or -dead"),
])  # fmt: skip
def test_flags_without_effect(line, note):
    assert note in flags.parse(line.split()).notes
