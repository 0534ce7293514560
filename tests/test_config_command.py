"""Configurations of the command: the same run comes out of one, flags beside it win, what does not fit is refused."""

import json
import os

import expt_files
import numpy as np
import pytest
import small
from test_config import check_same

import nanobrag_jax as nb
from nanobrag_jax.command import run as cli
from nanobrag_jax.command.flags import FLAGS, group_of
from nanobrag_jax.errors import InputError
from nanobrag_jax.io.fdump import read_fdump

CELL = "-cell 50 60 70 80 90 100 -default_F 100 -N 5 -detpixels_x 12 -detpixels_y 9 -pixel 1 -oversample 1".split()
FILES = ["floatimage.bin", "intimage.img", "image.pgm", "noiseimage.img"]
RUNS = {
    "spec": "-mosaic 1 -mosaic_domains 4 -osc 1 -phisteps 2 -fluence 1e27 -seed 12 -adc 10 -scale 0.5".split(),
    "detector effects": "-fluence 1e27 -psf gauss -psf_fwhm 1.5 -gain 2 -dispersion 1 -dispsteps 3".split(),
    "single precision": "-precision float32 -mosaic 1 -mosaic_domains 3 -fluence 1e27".split(),
    "c-parity": "-mode c-parity -xds -twotheta 12 -divergence 2 -divsteps 2 -fluence 1e27".split(),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_same_run(name, tmp_path, monkeypatch, capsys):
    """Every byte of every file, and of the configuration that the second run saves."""
    monkeypatch.chdir(tmp_path)
    flags = [*CELL, *RUNS[name]]
    if name == "c-parity":
        (tmp_path / "a.hkl").write_text("".join(f"{h} {k} 1 {7 + h - k}\n" for h in range(-4, 5) for k in range(9)))
        flags += ["-hkl", "a.hkl"]
    assert cli.main([*flags, "-save_config", "run.json"]) == 0
    first = {file: (tmp_path / file).read_bytes() for file in [*FILES, "run.json"]}
    for file in FILES:
        os.unlink(file)
    if name == "c-parity":
        assert (read_fdump("Fdump.bin").values > 0).any()
        os.unlink("a.hkl")
        os.unlink("Fdump.bin")
    capsys.readouterr()
    assert cli.main(["-config", "run.json", "-save_config", "run2.json"]) == 0
    second = {file: (tmp_path / file).read_bytes() for file in FILES}
    assert second == {file: first[file] for file in FILES}
    assert (tmp_path / "run2.json").read_bytes() == first["run.json"].replace(b"run.npz", b"run2.npz")
    report = capsys.readouterr()
    assert "written (-save_config)               run2.json" in report.out and report.err == ""


def test_the_same_run_of_panels(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    panels = [expt_files.panel(origin=origin) for origin in ([-3.2, 2.4, -80.0], [3.4, 2.4, -80.0])]
    expt_files.write(tmp_path / "two.expt", expt_files.experiment_list(detector={"panels": panels}))
    flags = ["-expt", "two.expt", "-default_F", "100", "-N", "4", "-oversample", "1", "-nopgm"]
    names = [
        f"{kind}_{panel}.{end}" for kind, end in (("floatimage", "bin"), ("noiseimage", "img")) for panel in (0, 1)
    ]
    assert cli.main([*flags, "-save_config", "run.json"]) == 0
    first = [(tmp_path / name).read_bytes() for name in names]
    for name in [*names, "two.expt"]:
        os.unlink(name)
    assert cli.main(["-config", "run.json", "-nopgm"]) == 0
    assert [(tmp_path / name).read_bytes() for name in names] == first
    assert len(json.loads((tmp_path / "run.json").read_text())["detector"]) == 2


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A working folder with the configuration of `CELL`."""
    monkeypatch.chdir(tmp_path)
    nb.save_config("run.json", nb.experiment_from_args(CELL))
    return tmp_path


OVERRIDES = [
    "-phi 33 -osc 2 -phisteps 3",
    "-lambda 1.3 -fluence 1e25 -polar 0.5",
    "-nopolar -default_F 7",
    "-N 7 -Nb 9 -misset 1 2 3",
    "-misset random -misset_seed 5 -mosaic 0.3 -mosaic_domains 6 -mosaic_seed 77",
    "-round_xtal -fudge 1.5",
    "-oversample 2 -oversample_omega -oversample_polar -oversample_thick -dmin 3 -water 20 -roi 1 5 2 6",
]


@pytest.mark.parametrize("line", OVERRIDES)
def test_flags_beside_it_win(line, base):
    """What comes out is what the same flags at the end of the first command line give."""
    ours = nb.experiment_from_args(["-config", "run.json", *line.split()])
    check_same(ours, nb.experiment_from_args([*CELL, *line.split()]))
    check_same(nb.experiment_from_args(["-config", "run.json"]), nb.experiment_from_args(CELL))


def test_structure_factors_beside_it(base):
    (base / "a.hkl").write_text("1 2 3 40\n-1 2 3 50\n")
    ours = nb.experiment_from_args(["-config", "run.json", "-hkl", "a.hkl"])
    check_same(ours, nb.experiment_from_args([*CELL, "-hkl", "a.hkl"]))


def test_mosaic_beside_it(base):
    flags = [*CELL, "-mosaic", "1", "-mosaic_domains", "4", "-mosaic_seed", "9"]
    nb.save_config("mosaic.json", nb.experiment_from_args(flags))
    other = nb.experiment_from_args(["-config", "mosaic.json", "-mosaic", "0.25"])
    first = nb.experiment_from_args(flags)
    check_same(other, small.replaced(first, "crystal.mosaicity.spread_deg", other.crystal.mosaic_spread_deg))
    assert float(other.crystal.mosaic_spread_deg) == 0.25
    redrawn = nb.experiment_from_args(["-config", "mosaic.json", "-mosaic_seed", "10"])
    check_same(redrawn, nb.experiment_from_args([*flags[:-1], "10"]))


REFUSED = [
    ("-distance 100", "-distance cannot be given beside -config, the flags of the geometry depend on each other"),
    ("-detpixels 100", "-detpixels cannot be given beside -config, the flags of the geometry"),
    ("-xds", "-xds cannot be given beside -config"),
    (
        "-cell 50",
        "-cell cannot be given beside -config, where it would change more than one number: change it in run.json",
    ),
    ("-flux 1e12", "-flux cannot be given beside -config"),
    ("-expt x.expt", "-expt cannot be given beside -config, an experiment list is a whole geometry of its own"),
    ("-divergence 2", "-divergence cannot be given beside -config"),
    ("-dump x.bin", "-dump cannot be given beside -config"),
    ("-mosaic 1", "-mosaic 1 beside -config needs -mosaic_domains: its crystal has a single one"),
    ("-roi 0 12 0 5", "roi 0 12 0 5 does not lie on the detector of 12 x 9 pixels"),
    ("-hkl nowhere.hkl", "-hkl: cannot read structure-factor file 'nowhere.hkl'"),
    ("-save_config run.json", "-save_config: 'run.json' is also the input of -config: give another name"),
    ("-save_config ./run.x", "-save_config: './run.npz' is also the input of -config: give another name"),
    ("-save_config no/run.json", "-save_config: cannot write 'no/run.json': the folder"),
    ("-save_config a.npz", "a configuration needs a name that does not end in .npz, got 'a.npz'"),
]


@pytest.mark.parametrize("line, message", REFUSED, ids=[line for line, _ in REFUSED])
def test_flags_that_do_not_go_beside_it(line, message, base, capsys):
    before = sorted(os.listdir())
    assert cli.main(["-config", "run.json", *line.split()]) == 1
    report = capsys.readouterr()
    assert report.err.startswith("nanobrag_jax: error: ") and message in report.err and report.out == ""
    assert sorted(os.listdir()) == before


def test_sources_with_wavelengths_of_their_own(base, capsys):
    (base / "a.src").write_text("-10 0 0 1 1e-10\n-10 0.01 0 1 1.1e-10\n")
    nb.save_config("sources.json", nb.experiment_from_args([*CELL, "-sourcefile", "a.src"]))
    with pytest.raises(InputError, match="-lambda cannot be given beside -config, whose sources have wavelengths"):
        nb.experiment_from_args(["-config", "sources.json", "-lambda", "1.1"])


OUTPUT = [
    ({"adc_ofset": 3}, "run.json: output.adc_ofset is unknown: did you mean adc_offset?"),
    ({"int_scale": -1.0}, "run.json: output.int_scale: -scale must be > 0, got -1.0"),
    ({"noise_seed": 1.5}, "run.json: output.noise_seed: flag -seed needs 1 integer, got '1.5'"),
    ({"gain": [2]}, "run.json: output.gain must be 1 number (ADU/photon), got [2]"),
    ({"psf": "square"}, "run.json: output.psf: flag -psf needs gauss or fiber, got 'square'"),
    ({"adc_offset": float("nan")}, "run.json: output.adc_offset: -adc must be finite, got nan"),
    ({"psf": "gauss"}, "psf in run.json gauss needs its width: give -psf_fwhm"),
]


@pytest.mark.parametrize("section, message", OUTPUT, ids=[str(section) for section, _ in OUTPUT])
def test_settings_of_the_output_are_checked(section, message, base, capsys):
    document = json.loads((base / "run.json").read_text()) | {"output": section}
    (base / "run.json").write_text(json.dumps(document))
    assert cli.main(["-config", "run.json"]) == 1
    assert message in capsys.readouterr().err


def test_output_flags_win_over_the_file(base, capsys):
    document = json.loads((base / "run.json").read_text())
    document["output"] = {"adc_offset": 3.0, "int_scale": 0.25, "noise_seed": 4}
    (base / "run.json").write_text(json.dumps(document))
    assert cli.main(["-config", "run.json", "-adc", "11", "-intfile", "a.npy", "-nonoise", "-nopgm"]) == 0
    assert "int image scale                      0.25" in capsys.readouterr().out
    counts, photons = np.load("a.npy"), np.fromfile("floatimage.bin", np.float32).reshape(9, 12)
    np.testing.assert_array_equal(counts, np.floor(np.minimum(photons * 0.25 + 11, 65535) + 0.5))


def test_the_clock_s_seed_is_saved(base, monkeypatch, capsys):
    monkeypatch.setattr(cli.time, "time", lambda: 1234567890.7)
    assert cli.main(["-config", "run.json", "-mode", "c-parity", "-save_config", "again.json"]) == 0
    noise = (base / "noiseimage.img").read_bytes()
    config = nb.load_config("again.json")
    assert (config.mode, config.output) == ("c-parity", {"noise_seed": 1234567890})
    monkeypatch.setattr(cli.time, "time", lambda: 1.0)
    assert cli.main(["-config", "again.json"]) == 0
    assert (base / "noiseimage.img").read_bytes() == noise


WORDS = {"int": ["3"], "float": ["0.5"], "vector": ["0", "1", "0"], "path": ["no.file"], "cell": ["70"]}
WORDS |= {"misset": ["1", "2", "3"], "depth": ["300"], "word": ["F"], "image": ["2"]}


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.settings], ids=lambda flag: flag.spellings[0])
def test_a_flag_that_names_a_field_replaces_it_and_others_are_refused(flag, base):
    """Of the geometry none does; what says nothing about the experiment or brings structure factors may stand."""
    group, words = group_of(flag), WORDS.get(flag.kind, []) * (flag.count if flag.kind in ("int", "float") else 1)
    line = ["-config", "run.json", "-mosaic_domains", "4", flag.spellings[0].replace("…", ""), *words]
    if flag.choices:
        line[-1] = flag.choices[-1]
    if flag.names == "-roi":
        line[-4:] = ["1", "5", "2", "6"]
    free = group in ("About", "Images", "Output", "Noise image") or (
        group == "Structure factors" and flag.names != "-dump"
    )
    more = flag.setting in ("mode", "precision", "misset_seed", "mosaic_domains", "mosaic_seed", "save_config_path")
    more = more or flag.setting in ("beamstop_mm", "dmax_A", "config_anywhere")
    try:
        nb.experiment_from_args(line)
        refused = False
    except InputError as error:
        refused = "cannot be given beside -config" in str(error) or flag.names == "-crystals"
    allowed = free or more or flag.setting == "config_path" or (flag.fields and group not in ("Detector", "Experiment"))
    assert refused == (not allowed)
