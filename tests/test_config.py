"""Runs as files: every number survives, the same run comes out, and what is wrong in a file is named."""

import errno
import json
import os

import expt_files
import jax
import numpy as np
import pytest
import small
from golden import CASES, INPUTS, absent, case_of

import nanobrag_jax as nb
from nanobrag_jax.command import run as cli
from nanobrag_jax.command.flags import FLAGS, group_of
from nanobrag_jax.config.layout import INLINE_NUMBERS
from nanobrag_jax.config.schema import PARTS, rules_of
from nanobrag_jax.errors import InputError
from nanobrag_jax.io.fdump import read_fdump

ALL_KINDS = """
basic basic_hkl detsize_not_pixels conv_xds_tilted conv_adxv_beam conv_denzo_phi conv_dials_tilted custom_vectors_pix0
custom_no_odet pivot_sample_named_convention curved_detector point_pixel roi_phi mask_hdr mat_and_cell misset_random_7
shape_tophat_spots_hkl_fudge hkl_sparse hkl_interpolate nopolar polar_0p95 flux_exposure_beamsize divergence_square
dispersion_divergence sources_weighted sources_short_lines osc_phistep mosaic_7 mosaic_large dmin thick_5
thick_one_layer oversample_all_tophat water kitchen_sink
""".split()


def check_same(loaded, experiment):
    """Assert that two experiments are equal to the last bit, static fields and types included."""
    assert jax.tree.structure(loaded) == jax.tree.structure(experiment)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(experiment), strict=True):
        assert (a.dtype, a.shape, np.asarray(a).tobytes()) == (b.dtype, b.shape, np.asarray(b).tobytes())


@pytest.mark.parametrize("name", ALL_KINDS)
def test_golden_experiments_survive(name, tmp_path):
    if not CASES:
        absent(INPUTS)
    case = case_of(name)
    mode = case["modes"][-1]
    experiment = nb.experiment_from_args([*case["args"], "-mode", mode], INPUTS)
    written = nb.save_config(tmp_path / "run.json", experiment, mode=mode)
    loaded = nb.load_config(tmp_path / "run.json")
    check_same(loaded.experiment, experiment)
    assert (loaded.mode, loaded.precision, loaded.output) == (mode, "float64", {})
    assert sorted(os.listdir(tmp_path)) == sorted(os.path.basename(path) for path in written)


def panel(x, rows):
    place = {"pix0_mm": (x, 6.0, -60.0), "fast_axis": (1.0, 0.0, 0.1 * x), "slow_axis": (0, -1, 0)}
    return nb.Detector(12, rows, pixel_size_mm=2.0, convention="custom", **place)


@pytest.mark.parametrize("rows", [(10, 10), (10, 7)], ids=["equal", "unequal"])
def test_panels_survive(rows, tmp_path):
    mask = np.random.default_rng(0).random((2, 10, 12)) > 0.5 if rows[0] == rows[1] else None
    experiment = nb.Experiment(
        crystal=nb.Crystal(small.CELL),
        structure_factors=nb.StructureFactors(default_F=1.0),
        detector=[panel(-3.0, rows[0]), panel(2.0, rows[1])],
        sampling=nb.Sampling(mask=mask, roi=(1, 5, 2, 6)),
    )
    nb.save_config(tmp_path / "run.json", experiment)
    check_same(nb.load_config(tmp_path / "run.json").experiment, experiment)


def test_every_bit_survives(tmp_path):
    """Numbers at the ends of double precision, inline and in the npz file."""
    rng = np.random.default_rng(1)
    odd = np.array([5e-324, 2.2250738585072014e-308, -0.0, 0.1 + 0.2, 1 / 3, np.nextafter(1.0, 2.0), 1.7e308])
    mixed = rng.integers(1, 2**52, 400).view(np.float64) * rng.choice([1e10, 1.0, -1.0], 400)
    amplitudes = np.concatenate([np.resize(mixed, INLINE_NUMBERS), odd]).reshape(-1, 1, 1)
    factors = nb.StructureFactors(amplitudes, given=amplitudes > 0, hkl_min=(-3, 0, 7), default_F=0.1 + 0.2)
    experiment = small.experiment(factors=factors, crystal={"misset_deg": odd[2:5]}, beam={"kahn_factor": -1 / 3})
    written = nb.save_config(tmp_path / "run.json", experiment)
    assert [os.path.basename(path) for path in written] == ["run.json", "run.npz"]
    check_same(nb.load_config(tmp_path / "run.json").experiment, experiment)


def test_the_file_is_for_people(tmp_path):
    nb.save_config(tmp_path / "run.json", small.experiment(), mode="c-parity")
    text = (tmp_path / "run.json").read_text()
    assert (
        '  "mode": "c-parity",\n  "precision": "float64",\n  "crystal": {\n    "cell_lengths_A": [31.0, 37.0, 44.0],\n'
        in text
    )
    assert '    "kahn_factor": 0.3,\n' in text and max(map(len, text.splitlines())) < 120
    document = json.loads(text)
    for part, kind in PARTS.items():
        assert {field for field in kind.__dataclass_fields__} == set(document[part])
    reference = document["structure_factors"]["amplitudes"]
    assert (reference["file"], reference["shape"]) == ("run.npz", [13, 13, 13])


def test_keys_left_out_have_their_defaults(tmp_path):
    document = {
        "format": "nanobrag_jax run",
        "version": 2,
        "crystal": {"cell_lengths_A": [31, 37, 44], "mosaic_domains": 5, "mosaic_seed": 3, "mosaic_spread_deg": 1.5},
        "structure_factors": {"default_F": 3},
    }
    (tmp_path / "run.json").write_text(json.dumps(document))
    config = nb.load_config(tmp_path / "run.json")
    crystal = nb.Crystal((31.0, 37.0, 44.0), mosaic_domains=5, mosaic_seed=3, mosaic_spread_deg=1.5)
    check_same(config.experiment, nb.Experiment(crystal=crystal, structure_factors=nb.StructureFactors(default_F=3.0)))
    assert config.mode == "spec"


def edited(**sections):
    """A change of the saved document: keys of parts replaced; None takes a key out."""

    def change(document):
        for part, keys in sections.items():
            for key, value in keys.items():
                document[part][key] = value

    return change


def at_top(**keys):
    return lambda document: document.update(keys)


def without(part, key):
    return lambda document: document[part].pop(key)


def in_reference(**keys):
    return lambda document: document["structure_factors"]["amplitudes"].update(keys)


CAP = {"kind": "cap", "axes": [[0.0, 0.0, 1.0]]}

BAD = [
    (edited(crystal={"cell_lenghts_A": [1, 2, 3]}), "crystal.cell_lenghts_A is unknown: did you mean cell_lengths_A?"),
    (edited(beam={"colour": 1}), "beam.colour is unknown: known are wavelength_A, fluence_per_m2, "),
    (at_top(cristal={}), "cristal is unknown: did you mean crystal?"),
    (edited(crystal={"n_cells": [5, 6]}), "crystal.n_cells must be 3 numbers, got 2: [5, 6]"),
    (edited(crystal={"n_cells": 5}), "crystal.n_cells must be 3 numbers, got a single one: 5"),
    (edited(crystal={"n_cells": [5, "six", 7]}), 'crystal.n_cells must be 3 numbers, got [5, "six", 7]'),
    (edited(crystal={"n_cells": [5, True, 7]}), "crystal.n_cells must be 3 numbers, got [5, true, 7]"),
    (edited(crystal={"n_cells": [5, -6, 7]}), "crystal.n_cells must be positive, got [ 5. -6.  7.]"),
    (edited(crystal={"n_cells": None}), "crystal.n_cells must be 3 numbers, got null"),
    (edited(crystal={"misset_deg": [0, float("nan"), 0]}), "crystal.misset_deg must be finite, got nan"),
    (edited(beam={"wavelength_A": float("inf")}), "beam.wavelength_A must be finite, got inf"),
    (edited(beam={"wavelength_A": "1.2"}), 'beam.wavelength_A must be a number, got "1.2"'),
    (edited(beam={"wavelength_A": [1.2]}), "beam.wavelength_A must be a number, got 1: [1.2]"),
    (edited(beam={"wavelength_A": 0}), "beam.wavelength_A must be positive, got 0"),
    (edited(beam={"polarized": 1}), "beam.polarized must be true or false, got 1"),
    (edited(beam={"source_weights": [1.0, 2.0]}), "beam.source_weights must be an array of shape (1,), got shape (2,)"),
    (
        edited(crystal={"mosaicity": CAP | {"fractions": [0.0, 1.0]}}),
        "must be domains numbers, got 2, not 1, as many domains as",
    ),
    (
        edited(crystal={"mosaicity": CAP | {"axes": [[0, 0, 1], [0, 1]]}}),
        "crystal.mosaicity.axes must be domains x 3 numbers in rows of",
    ),
    (
        edited(crystal={"shape": "gaus"}),
        'crystal.shape.kind must be one of square, round, gauss_star, tophat, gauss, got "gaus"',
    ),
    (
        edited(crystal={"shape": "cube"}),
        'crystal.shape.kind must be one of square, round, gauss_star, tophat, gauss, got "cube"',
    ),
    (
        edited(crystal={"cell_angles_deg": [30, 40, 100]}),
        "crystal.cell_angles_deg must be angles that close to a cell, got [ 30.  40. 100.]",
    ),
    (edited(detector={"pixels_fast": 12.5}), "detector.pixels_fast must be a whole number, got 12.5"),
    (edited(detector={"pixels_fast": 0}), "detector.pixels_fast must be a whole number of at least 1, got 0"),
    (edited(detector={"convention": "moslfm"}), "detector.convention must be one of mosflm, xds, "),
    (edited(goniometer={"phi_steps": True}), "goniometer.phi_steps must be a whole number, got true"),
    (edited(sampling={"roi": [0, 5, 0]}), "sampling.roi must be 4 whole numbers or null, got [0, 5, 0]"),
    (edited(sampling={"roi": [0, 12, 0, 9]}), "roi 0 12 0 9 does not lie on the detector of 12 x 10 pixels"),
    (edited(sampling={"mask": [[True, 0]]}), "sampling.mask must be slow x fast times true or false or null, got"),
    (edited(sampling={"mask": [[True, False]]}), "mask has 2 x 1 pixels, the detector 12 x 10"),
    (edited(structure_factors={"hkl_min": [0, 0]}), "structure_factors.hkl_min must be 3 whole numbers, got [0, 0]"),
    (without("crystal", "cell_lengths_A"), "crystal.cell_lengths_A is missing"),
    (at_top(crystal=[1]), "crystal must be a table of keys, got [1]"),
    (at_top(detector=[]), "detector must have at least one panel, got []"),
    (at_top(mode="fast"), 'mode must be one of spec, c-parity, got "fast"'),
    (at_top(precision="double"), 'precision must be one of float64, mixed, float32 or null, got "double"'),
    (at_top(version=7), "version must be 2, got 7"),
    (at_top(format="something"), 'format must be "nanobrag_jax run", got "something"'),
    (at_top(output=3), "output must be a table of keys, got 3"),
    (in_reference(file="other.npz"), "structure_factors.amplitudes: cannot read arrays OTHER: No such file"),
    (in_reference(array="x"), "run.npz has no array x; it has structure_factors.amplitudes"),
    (in_reference(sha256="00"), "is not the one that this was written with"),
    (in_reference(file=3), "structure_factors.amplitudes.file must be a name, got 3"),
    (in_reference(path="a"), "structure_factors.amplitudes.path is unknown"),
    (edited(structure_factors={"given": [[[True]]]}), "must be h x k x l times true or false or null, got 1 x 1 x 1"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a configuration."""
    folder = tmp_path_factory.mktemp("saved")
    nb.save_config(folder / "run.json", small.experiment())
    return folder


@pytest.mark.parametrize("change, message", BAD, ids=[f"{i} {message[:30]}" for i, (_, message) in enumerate(BAD)])
def test_what_is_wrong_is_named(change, message, saved, unchecked):
    document = json.loads((saved / "run.json").read_text())
    change(document)
    path = saved / "bad.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as raised:
        nb.load_config(path)
    sentence = str(raised.value)
    plain = message.replace("OTHER", repr(str(saved / "other.npz")))
    assert sentence.startswith(str(path)) and plain in sentence and "\n" not in sentence


TEXTS = [
    (b"{", "is not JSON: Expecting property name"),
    (b"\xff\xfe{}", "is not a configuration: it is not text"),
    (b"[1, 2]", 'format must be "nanobrag_jax run", got [1, 2]'),
    (b'{"format": "nanobrag_jax run", "version": 1, "version": 1}', "the key version is there twice"),
    (b"[" * 100_000, "is not JSON"),
]


@pytest.mark.parametrize("content, message", TEXTS, ids=[message[:30] for _, message in TEXTS])
def test_files_that_are_no_configuration(content, message, tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        nb.load_config(path)
    assert str(raised.value).startswith(str(path)) and message in str(raised.value)
    with pytest.raises(InputError, match="cannot read configuration '.*nowhere.json': No such file"):
        nb.load_config(tmp_path / "nowhere.json")


def test_a_broken_npz_and_one_changed_on_purpose(tmp_path):
    experiment = small.experiment()
    nb.save_config(tmp_path / "run.json", experiment)
    doubled = 2 * np.asarray(experiment.structure_factors.amplitudes)
    np.savez(tmp_path / "run.npz", **{"structure_factors.amplitudes": doubled})
    with pytest.raises(InputError, match="take out sha256 if it was changed on purpose"):
        nb.load_config(tmp_path / "run.json")
    document = json.loads((tmp_path / "run.json").read_text())
    del document["structure_factors"]["amplitudes"]["sha256"]
    (tmp_path / "run.json").write_text(json.dumps(document))
    loaded = nb.load_config(tmp_path / "run.json").experiment
    np.testing.assert_array_equal(loaded.structure_factors.amplitudes, doubled)
    (tmp_path / "run.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="run.npz.? is not a npz file that can be read"):
        nb.load_config(tmp_path / "run.json")


def test_numbers_that_are_not_finite_are_not_saved(tmp_path):
    experiment = small.replaced(small.experiment(), "beam.kahn_factor", np.array(np.nan))
    with pytest.raises(InputError, match="beam.kahn_factor must be finite, got NaN"):
        nb.save_config(tmp_path / "run.json", experiment)
    with pytest.raises(InputError, match="needs a name that does not end in .npz"):
        nb.save_config(tmp_path / "run.npz", small.experiment())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_leaves_both_files_as_they_were(existing, tmp_path, monkeypatch):
    if existing:
        nb.save_config(tmp_path / "run.json", small.experiment())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        nb.save_config(tmp_path / "run.json", small.experiment(beam={"wavelength_A": 2.0}))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


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


def test_every_field_has_a_rule():
    for part, kind in PARTS.items():
        fields = set(kind.__dataclass_fields__)
        assert fields <= set(rules_of(kind))
        extra = set(rules_of(kind)) - fields
        assert extra == ({"mosaic_spread_deg", "mosaic_domains", "mosaic_seed"} if part == "crystal" else set())


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
    try:
        nb.experiment_from_args(line)
        refused = False
    except InputError as error:
        refused = "cannot be given beside -config" in str(error)
    allowed = free or more or flag.setting == "config_path" or (flag.fields and group not in ("Detector", "Experiment"))
    assert refused == (not allowed)
