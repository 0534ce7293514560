"""Runs as files: every number survives, the same run comes out, and what is wrong in a file is named."""

import errno
import json
import os

import jax
import numpy as np
import pytest
import small
from golden import CASES, INPUTS, absent, case_of

import nanobrag_jax as nb
from nanobrag_jax.config.layout import INLINE_NUMBERS
from nanobrag_jax.config.schema import PARTS, rules_of
from nanobrag_jax.errors import InputError

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
    assert path.name in sentence and sentence.index(path.name) < sentence.index(plain) and "\n" not in sentence


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


def test_every_field_has_a_rule():
    for part, kind in PARTS.items():
        fields = set(kind.__dataclass_fields__)
        assert fields <= set(rules_of(kind))
        extra = set(rules_of(kind)) - fields
        assert extra == ({"mosaic_spread_deg", "mosaic_domains", "mosaic_seed"} if part == "crystal" else set())


@pytest.mark.parametrize("how", ["up", "absolute", "link", "nul"])
def test_arrays_outside_the_folder_are_refused(tmp_path, how):
    inside, outside = tmp_path / "inside", tmp_path / "secret.npz"
    inside.mkdir()
    np.savez(outside, x=np.zeros((2, 3)))
    (inside / "link.npz").symlink_to(outside)
    file = {"up": "../secret.npz", "absolute": str(outside), "link": "link.npz", "nul": "a\0b"}[how]
    place = {"file": file, "array": "x"}
    document = {"format": "nanobrag_jax run", "version": 2, "crystal": {"cell_lengths_A": place}}
    path = inside / "run.json"
    path.write_text(json.dumps(document))
    with pytest.raises(nb.InputError, match="is outside the folder of the configuration: -config_anywhere"):
        nb.load_config(path)
    if how != "nul":
        with pytest.raises(nb.InputError) as caught:  # read, and found to be something else
            nb.load_config(path, anywhere=True)
        assert "-config_anywhere" not in str(caught.value)
