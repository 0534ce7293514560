"""What a run would ask of the machine is known before anything is built."""

import pytest

from nanobrag_jax import experiment_from_args
from nanobrag_jax.cli import main
from nanobrag_jax.command import workload
from nanobrag_jax.errors import InputError

SMALL = "-cell 100 100 100 90 90 90 -default_F 100 -N 5 -lambda 1 -distance 100 -detpixels 16 -pixel 0.1".split()

REFUSED = {
    "-mosaic 1 -mosaic_dom 100000000": "-mosaic_dom 100000000 is more than 10000000; -force",
    "-osc 1 -phisteps 1000000000": "-phisteps 1000000000 is more than",
    "-dispersion 1 -dispsteps 100000000": "-dispsteps 100000000 is more than",
    "-detector_thick 100 -thicksteps 100000000": "-thicksteps 100000000 is more than",
    "-divergence 1 -hdivsteps 100000 -vdivsteps 1000000": "-vdivsteps 1000000: 1 domains and 100000000000 sources take "
    "about",
    "-divergence 1 -hdivstep 1e-6 -vdivstep 1e-5": "-hdivstep 1e-06: 1 domains and 100000000000 sources take about",
    "-oversample 46340 -osc 1 -phisteps 1000": "-oversample 46340: 5.5e+14 samples would take about",
    "-oversample 10000 -osc 1 -phistep 1e-7": "-phistep 1e-07: 2.56e+17 samples would take about",
    "-oversample 2147483647": "oversample must be at most 46340, got 2147483647",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_what_no_one_can_mean_is_refused(flags):
    with pytest.raises(InputError) as caught:
        experiment_from_args([*SMALL, *flags.split()])
    assert str(caught.value).startswith(REFUSED[flags])


def test_years_and_days(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    for oversample, words in ((2000, "days"), (46340, "years")):
        with pytest.raises(InputError, match=f"about [0-9.]+ {words} on 1 cores"):
            experiment_from_args([*SMALL, "-oversample", str(oversample), "-osc", "1", "-phisteps", "100000"])


def test_pixels_beyond_the_memory(monkeypatch):
    monkeypatch.setattr(workload, "available_bytes", lambda: 1e9)
    experiment_from_args([*SMALL, "-detpixels", "4000", "-oversample", "1"])
    with pytest.raises(InputError, match="-detpixels 6000: 36000000 pixels take about 1.44 GB, and 1 GB are free"):
        experiment_from_args([*SMALL, "-detpixels", "6000", "-oversample", "1"])
    experiment_from_args([*SMALL, "-detpixels", "6000", "-oversample", "1", "-force"])


def test_force_renders_it_nevertheless(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(workload, "MOST_HOURS", 0.0)
    flags = [*SMALL, "-oversample", "1", "-floatfile", str(tmp_path / "x.bin"), "-nopgm", "-nonoise", "-intfile"]
    flags.append(str(tmp_path / "x.img"))
    assert main(flags) == 1 and not list(tmp_path.iterdir())
    assert "-oversample 1: 256 samples would take about" in capsys.readouterr().err
    assert main([*flags, "-force"]) == 0


def test_the_free_memory_is_known():
    assert 1e8 < workload.available_bytes() < 1e14
