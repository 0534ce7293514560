"""No run writes over what it reads, nor one of its files over another: names as they are in the end."""

import os

import pytest
from expt_files import crystal, experiment_list, panel, write

import nanobrag_jax as nb
from nanobrag_jax import cli
from nanobrag_jax.command.trace import main as trace
from nanobrag_jax.compare.command import main as compare

TINY = ["-cell", "50", "-default_F", "10", "-detpixels", "8", "-noprogress", "-nopgm", "-nonoise"]
TWO = ["-expt", "two.expt", "-default_F", "10", "-noprogress", "-nopgm", "-nonoise"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a list of two panels, and structure factors under many names."""
    monkeypatch.chdir(tmp_path)
    panels = {"panels": [panel(), panel(origin=[3.4, 2.4, -70.0])]}
    write(tmp_path / "two.expt", experiment_list(detector=panels, crystal=crystal()))
    for name in ("a.hkl", "x_0.hkl", "x_1.hkl", "x_02.hkl"):
        (tmp_path / name).write_text("1 2 3 40\n-1 2 3 50\n")
    os.symlink("x_1.hkl", "link.hkl")
    return tmp_path


REFUSED = [
    ("-hkl x_0.hkl -floatfile x.hkl -intfile y", "-floatfile: 'x_0.hkl' is also the input of -hkl"),
    ("-hkl link.hkl -intfile x.hkl -floatfile y", "-intfile: 'x_1.hkl' is also the input of -hkl"),
    ("-hkl a.hkl -dump y_1.bin -floatfile y.bin", "-dump: 'y_1.bin' is also the output of -floatfile"),
    ("-hkl a.hkl -pgmfile y.img -intfile y.img", "-pgmfile: 'y.img' is also the output of -intfile"),
    ("-hkl a.hkl -noisefile y.h5 -floatfile ./y.h5", "-noisefile: 'y.h5' is also the output of -floatfile"),
    ("-hkl a.hkl -exptfile y_0.img -intfile y.img", "-exptfile: 'y_0.img' is also the output of -intfile"),
    ("-hkl a.hkl -exptfile two.expt", "-exptfile: 'two.expt' is also the input of -expt"),
]


@pytest.mark.parametrize("line, message", REFUSED)
def test_names_with_the_numbers_of_panels(line, message, folder, capsys):
    before = {name: (folder / name).read_bytes() for name in os.listdir()}
    assert cli.main([*TWO, *line.split()]) == 1
    assert f"{message}: give another name" in capsys.readouterr().err
    assert {name: (folder / name).read_bytes() for name in os.listdir()} == before


def test_names_with_the_numbers_of_images(folder, capsys):
    line = "-osc 1 -phisteps 1 -hkl x_02.hkl -floatfile x_##.hkl -images 2 -firstimage 1"
    assert cli.main([*TINY, *line.split()]) == 1
    assert "-floatfile: 'x_02.hkl' is also the input of -hkl" in capsys.readouterr().err


def test_one_file_of_all_panels_has_no_number(folder):
    assert cli.main([*TWO, "-hkl", "x_0.hkl", "-floatfile", "x.h5"]) == 0


@pytest.mark.parametrize("name", ["fluxes.npz", "sub/../fluxes.npz", "linked.npz"])
def test_arrays_that_a_configuration_names(name, folder, capsys):
    """They may have any name; here they are looked for under another one than the configuration's."""
    nb.save_config("run.json", nb.experiment_from_args([*TINY, "-mosaic", "1", "-mosaic_domains", "200"]))
    os.rename("run.npz", "fluxes.npz")
    os.symlink("fluxes.npz", "linked.npz")
    os.mkdir("sub")
    document = (folder / "run.json").read_text()
    assert "run.npz" in document
    (folder / "run.json").write_text(document.replace("run.npz", "fluxes.npz"))
    before = (folder / "fluxes.npz").read_bytes()
    assert cli.main(["-config", "run.json", "-floatfile", name, "-nopgm", "-nonoise"]) == 1
    assert f"-floatfile: {name!r} is also the input of -config" in capsys.readouterr().err
    assert (folder / "fluxes.npz").read_bytes() == before


def test_a_trace_and_a_comparison_do_not_write_over_their_inputs(folder, capsys):
    flags = ["--pixel", "1", "1", "--json", "a.hkl", "--", "-cell", "50", "-hkl", "a.hkl", "-detpixels", "8"]
    assert trace(flags) == 2
    assert "--json: 'a.hkl' is also the input of -hkl" in capsys.readouterr().err
    assert cli.main([*TINY, "-floatfile", "a.npy", "-intfile", "b.npy"]) == 0
    before = (folder / "a.npy").read_bytes()
    for option in ("--json", "--png"):
        if option == "--png":
            pytest.importorskip("matplotlib")
        assert compare(["images", "a.npy", "b.npy", option, "a.npy"]) == 2
        assert f"{option}: 'a.npy' is also an input" in capsys.readouterr().err
    assert (folder / "a.npy").read_bytes() == before
