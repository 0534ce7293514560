"""The flag table and the parser: spellings, order, values, refusals and the texts made from the table."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

import nanobrag_jax as nb
from nanobrag_jax.command import flags
from nanobrag_jax.command.flags import DEFAULTS, FIELDS, FLAGS, GROUPS, parse
from nanobrag_jax.errors import InputError

GOLDEN = Path(os.environ.get("NANOBRAG_GOLDEN", Path(__file__).parents[1] / "golden_data"))
CASES = json.loads((GOLDEN / "cases.json").read_text()) if (GOLDEN / "cases.json").exists() else []
needs_golden = pytest.mark.skipif(not CASES, reason=f"no golden data in {GOLDEN}")

SAMPLE_WORDS = {
    "switch": [], "int": ["3"], "float": ["0.5"], "vector": ["0", "-1", ".5"], "path": ["some.file"],
    "cell": ["70", "80", "90"], "misset": ["1", "-2", "3e0"], "depth": ["300"], "ignored": ["1.2"], "image": ["all"],
}  # fmt: skip


def sample_words(flag):
    if flag.kind == "word":
        return [flag.choices[-1] if flag.choices else "F(+)"]
    return SAMPLE_WORDS[flag.kind] * (flag.count if flag.kind in ("int", "float") else 1)


def replay(settings):
    return {name: value for _, name, value in settings.given}


def test_every_spelling_is_there_once():
    spellings = [name.lstrip("-").rstrip("…") for flag in FLAGS for name in flag.spellings]
    assert len(set(spellings)) == len(spellings)
    assert len(spellings) > 120


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.spellings[0])
@pytest.mark.parametrize("dash", ["-", "--"])
def test_every_spelling_works_with_one_dash_and_two(flag, dash):
    for name in flag.spellings:
        spelling = dash + name.lstrip("-").replace("…", "xyz" if name.endswith("…") else "")
        settings = parse([spelling, *sample_words(flag)])
        assert all(name in settings for name in flag.settings)
        assert settings.values == replay(settings)
        if not flag.settings:
            assert settings.notes == [f"{spelling} has no effect"]
            assert not settings.values


@pytest.mark.parametrize(
    "spelling, setting",
    [
        ("-matrix", "mat_path"), ("-mosaic_domains", "mosaic_domains"), ("-mosaic_spread", "mosaic_deg"),
        ("-mosaicity", "mosaic_deg"), ("-wavelength", "wavelength_A"), ("-detector_absorb", "detector_abs_um"),
        ("-sample_height", "sample_z_mm"), ("-height", "sample_z_mm"), ("-xtal_thickness", "sample_x_mm"),
        ("-xtal_width", "sample_y_mm"), ("-thicksteps", "detector_thicksteps"), ("-detpixels_x", "detpixels_f"),
        ("-detpixels_y", "detpixels_s"), ("-binary_spots", "xtal_shape"), ("-floatimage", "float_path"),
    ],
)  # fmt: skip
def test_long_forms(spelling, setting):
    assert setting in flags.find(spelling).settings


@needs_golden
def test_every_golden_command_parses():
    for case in CASES:
        settings = parse(case["args"])
        assert settings.values == replay(settings), case["name"]
        assert all(isinstance(note, str) for note in settings.notes)


@needs_golden
def test_golden_headers_agree_with_the_flags():
    keys = {"distance_mm": "DISTANCE", "wavelength_A": "WAVELENGTH", "pixel_mm": "PIXEL_SIZE"}
    keys |= {"detpixels_f": "SIZE1", "detpixels_s": "SIZE2", "phi_deg": "PHI", "twotheta_deg": "TWOTHETA"}
    checked = 0
    for case in CASES:
        header = dict(line.rstrip(";").split("=") for line in case.get("header", []))
        settings = parse(case["args"])
        moving = ("detector_rotx_deg", "detector_roty_deg", "detector_rotz_deg", "twotheta_deg", "close_distance_mm")
        moved = any(name in settings for name in moving)
        for name, key in keys.items():
            if name in settings and key in header and not (moved and name == "distance_mm"):
                assert f"{settings.values[name]:g}" == header[key], (case["name"], name)
                checked += 1
    assert checked > 700


VALUES = [
    ("-phi -1", "phi_deg", -1.0),
    ("-phi -1e-3 -osc 1", "phi_deg", -1e-3),
    ("-detector_rotx -.5", "detector_rotx_deg", -0.5),
    ("-phi +5.", "phi_deg", 5.0),
    ("-detpixels 10.0", "detpixels_f", 10),
    ("-detpixels 10 -detpixels_y 7", "detpixels_s", 7),
    ("-detpixels_y 7 -detpixels 10", "detpixels_s", 10),
    ("-distance 60 -distance 70", "distance_mm", 70.0),
    ("-lambda 1.2 -energy 12398.42", "wavelength_A", 1.0),
    ("-energy 9500 -wave 1.5", "wavelength_A", 1.5),
    ("-energy 9500", "wavelength_A", 12398.42 / 9500),
    ("-cell 70", "cell", (70, 70, 70, 90, 90, 90)),
    ("-cell 70 80 -phi 1", "cell", (70, 80, 70, 90, 90, 90)),
    ("-cell 70 80 90 95", "cell", (70, 80, 90, 95, 90, 90)),
    ("-cell 70 80 90 75 85 95", "cell", (70, 80, 90, 75, 85, 95)),
    ("-misset 10.5 0 -9", "misset_deg", (10.5, 0.0, -9.0)),
    ("-misset 1 2 3 -misset random", "misset_deg", "random"),
    ("-misset random -misset 1 2 3", "misset_deg", (1.0, 2.0, 3.0)),
    ("-misset random -misset_seed 12345", "misset_seed", 12345),
    ("-N 5", "Nb", 5),
    ("-Na 3 -N 5", "Na", 5),
    ("-N 5 -Nc 15", "Nc", 15),
    ("-N 0", "Na", 1),
    ("-Nb -4", "Nb", 1),
    ("-xtalsize 0.1 -sample_y 0.2", "sample_y_mm", 0.2),
    ("-divergence 8 -vdivrange 2", "hdivrange_mrad", 8.0),
    ("-divergence 8 -vdivrange 2", "vdivrange_mrad", 2.0),
    ("-divsteps 3", "vdivsteps", 3),
    ("-square_div", "round_div", False),
    ("-square_div -round_div", "round_div", True),
    ("-pix0_vector -0.02 0.01 -0.06", "pix0_vector", (-0.02, 0.01, -0.06)),
    ("-pix0_vector 1 2 3", "pix0_vector_unit", "m"),
    ("-pix0_vector 1 2 3 -pix0_vector_mm 4 5 6", "pix0_vector_unit", "mm"),
    ("-odet_vector 0 0 0", "odet_vector", (0.0, 0.0, 0.0)),
    ("-roi 30 70 20 55", "roi", (30, 70, 20, 55)),
    ("-printout_pixel 4 5", "printout_pixel", (4, 5)),
    ("-printout_pixel 4 5", "printout", True),
    ("-nopgm -pgmfile x.pgm", "write_pgm", True),
    ("-pgmfile x.pgm -nopgm", "write_pgm", False),
    ("-nonoise -noiseimage x.img", "write_noise", True),
    ("-noisefile x.img -nonoise", "write_noise", False),
    ("-interpolate -nointerpolate", "interpolate", False),
    ("-nointerpolate -interpolate", "interpolate", True),
    ("-tophat_spots -gauss_xtal", "xtal_shape", "gauss_star"),
    ("-nopolar -polar 0.9", "polarized", True),
    ("-polar 0.9 -nopolar", "polarized", False),
    ("-mode c-parity", "mode", "c-parity"),
    ("--phi-carryover-mode c-parity", "mode", "c-parity"),
    ("-mode c-parity --phi-carryover-mode spec", "mode", "spec"),
    ("--help", "help", True),
    ("-h -nonsense", "help", True),
    ("--version", "version", True),
    ("-twotheta 5", "pivot", "sample"),
    ("-twotheta 5 -distance 60", "pivot", "beam"),
    ("-distance 60 -close_distance 61", "pivot", "sample"),
    ("-ORGX 3 -Ybeam 5", "pivot", "beam"),
    ("-Xbeam 5 -Yclose 3", "pivot", "sample"),
    ("-pivot sample -Xbeam 5", "pivot", "beam"),
    ("-Xbeam 5 -pivot sample", "pivot", "sample"),
    ("-pivot sample -Xbeam 5", "pivot_explicit", "sample"),
    ("-pivot sample -pivot beam -twotheta 3", "pivot_explicit", "beam"),
    ("-xds -fdet_vector 0 0 1", "convention", "CUSTOM"),
    ("-fdet_vector 0 0 1 -xds", "convention", "XDS"),
    ("-xds -dials", "convention", "DIALS"),
    ("-twotheta_axis 0 1 0", "convention", "CUSTOM"),
    ("-pix0_vector 1 2 3", "convention", "CUSTOM"),
    ("-detector_thick 450 -detector_abs inf", "detector_thick_um", 0.0),
    ("-detector_abs inf -detector_thick 450", "detector_thick_um", 450.0),
    ("-detector_abs 0 -detector_thick 450", "detector_abs_um", math.inf),
    ("-detector_abs inf -detector_abs 300", "detector_abs_um", 300.0),
    ("-detector_thick 450 -detector_abs inf -detector_abs 300", "detector_thick_um", 0.0),
    ("-detector_thick 450 -detector_abs 300", "detector_thick_um", 450.0),
]


@pytest.mark.parametrize("line, name, value", VALUES)
def test_values_and_order(line, name, value):
    settings = parse(line.split())
    assert settings.values[name] == value
    assert type(settings.values[name]) is type(value)
    assert settings.values == replay(settings)


def test_nothing_given_is_all_defaults():
    settings = parse([])
    assert not settings.values and not settings.given and not settings.notes
    assert {name: settings.get(name) for name in DEFAULTS} == DEFAULTS
    expected = {"distance_mm": 100, "pixel_mm": 0.1, "detsize_f_mm": 102.4, "wavelength_A": 1, "Nc": 1, "mode": "spec"}
    expected |= {"fluence_per_m2": 1.25932015286227086e29, "mosaic_seed": 12345678, "convention": "MOSFLM"}
    expected |= {"round_div": True, "write_pgm": True, "write_noise": True, "curved_detector": False}
    expected |= {"pivot": None, "interpolate": None, "oversample": None, "cell": None}
    assert {name: DEFAULTS[name] for name in expected} == expected
    with pytest.raises(KeyError):
        settings.get("no_such_setting")


NOTES = [
    ("-stol s.txt -phi 1", ["-stol has no effect"]),
    ("-4stol -Q -coherent -density 1.2 -molecular 5", ["-4stol", "-Q", "-coherent", "-density", "-molecular"]),
    ("-N 0", ["-N 0: fewer than one unit cell"]),
    ("-mosaic 1 -mosaic_seed -5", ["takes a seed below 1 as 1"]),
    ("-lambda 1 -energy 9500", ["-energy wins over the earlier -lambda (wavelength_A)"]),
    ("-N 6 -Na 3", ["-Na wins over the earlier -N (Na)"]),
    ("-xds -beam_vector 1 0 0", ["-beam_vector wins over the earlier -xds (convention)"]),
    ("-beam_vector 1 0 0 -xds", ["-beam_vector has no effect with the XDS convention"]),
    ("-detector_thick 450 -detector_abs inf", ["-detector_abs wins over the earlier -detector_thick"]),
    ("-detsize 30 -detpixels 50", ["-detsize has no effect beside a pixel count"]),
    ("-flux 1e12 -fluence 1e24", ["-fluence has no effect beside -flux"]),
    ("-exposure 2", ["-exposure has no effect without -flux"]),
    ("-divergence 2 -sourcefile s.txt", ["-divergence has no effect with -sourcefile"]),
    ("-misset_seed 3", ["-misset_seed has no effect without -misset random"]),
    ("-mosaic_seed 3", ["-mosaic_seed has no effect"]),
    ("-fudge 2", ["-fudge has no effect on square crystals"]),
    ("-polar 0.5 -nopolar", ["-polar has no effect with -nopolar"]),
    ("-nopgm -pgmfile x.pgm", ["-pgmfile wins over the earlier -nopgm (write_pgm)"]),
    ("-detector_abs inf -detector_thick 450", []),
    ("-distance 60 -twotheta 5", []),
    ("-distance 60 -distance 60.0", []),
    ("-beam_vector 1 0 0 -fdet_vector 0 0 1", []),
]


@pytest.mark.parametrize("line, parts", NOTES)
def test_notes(line, parts):
    notes = parse(line.split()).notes
    assert len(notes) == len(parts)
    assert all(part in note for part, note in zip(parts, notes, strict=True))


BAD = [
    ("-detpixel 100", "unknown flag -detpixel: did you mean -detpixels?"),
    ("--detpixel 100", "unknown flag --detpixel: did you mean -detpixels?"),
    ("-xbeam 3", "unknown flag -xbeam: did you mean -Xbeam?"),
    ("-distanc 3", "did you mean -distance?"),
    ("-zzzzzz", "unknown flag -zzzzzz: --help lists all flags"),
    ("---distance 3", "unknown flag ---distance"),
    ("-", "unknown flag -"),
    ("-distance=60", "did you mean -distance?"),
    ("foo", "'foo' belongs to no flag"),
    ("3 -phi 1", "'3' belongs to no flag"),
    ("-phi 1 2", "'2' belongs to no flag: -phi takes 1 number (deg)"),
    ("-osc 1 -2", "'-2' belongs to no flag"),
    ("-xds foo", "'foo' belongs to no flag: -xds takes no value"),
    ("-hkl a.hkl b.hkl", "'b.hkl' belongs to no flag: -hkl takes a file name"),
    ("-beam_vector 1 2 3 4", "'4' belongs to no flag"),
    ("-cell 1 2 3 90 90 90 90", "'90' belongs to no flag"),
    ("-stol a b", "'b' belongs to no flag"),
    ("-misset random 5", "'5' belongs to no flag"),
    ("-distance", "flag -distance needs 1 number (mm), got none"),
    ("-distance -phi 3", "flag -distance needs 1 number (mm), got none"),
    ("--distance", "flag --distance needs 1 number (mm), got none"),
    ("-beam_vector 1 2", "flag -beam_vector needs 3 numbers, got 2"),
    ("-pix0_vector_mm 1 2", "flag -pix0_vector_mm needs 3 numbers (mm), got 2"),
    ("-misset 1 2", "flag -misset needs 3 numbers (deg) or the word random, got 2"),
    ("-misset", "flag -misset needs 3 numbers (deg) or the word random, got none"),
    ("-misset Random", "got 'Random'"),
    ("-roi 1 2 3", "flag -roi needs 4 integers (pixels), got 3"),
    ("-printout_pixel 3", "flag -printout_pixel needs 2 integers, got 1"),
    ("-cell", "flag -cell needs 1 to 6 numbers (A, deg), got none"),
    ("-hkl", "flag -hkl needs a file name, got none"),
    ("-hkl -mat A.mat", "flag -hkl needs a file name, got none"),
    ("-hkl -5", "flag -hkl needs a file name, got '-5'"),
    ("-pivot", "flag -pivot needs beam or sample, got none"),
    ("-pivot spindle", "flag -pivot needs beam or sample, got 'spindle'"),
    ("-mode fast", "flag -mode needs spec or c-parity, got 'fast'"),
    ("-detector_abs", "flag -detector_abs needs 1 number (um), inf or 0, got none"),
    ("-detector_abs lead", "got 'lead'"),
    ("-distance far", "flag -distance needs 1 number (mm), got 'far'"),
    ("-distance 1_000", "got '1_000'"),
    ("-distance 0x10", "got '0x10'"),
    ("-distance 6o", "got '6o'"),
    ("-fdet_vector 1 x 0", "flag -fdet_vector needs 3 numbers, got 'x'"),
    ("-cell 70 80 ninety", "got 'ninety'"),
    ("-detpixels 10.5", "flag -detpixels needs 1 integer, got '10.5'"),
    ("-N 1e3", "flag -N needs 1 integer, got '1e3'"),
    ("-detpixels 99999999999", "-detpixels is too large, got 99999999999"),
    ("-distance 1e999", "-distance is too large, got 1e999"),
    ("-distance nan", "-distance must be finite, got nan"),
    ("-phi -inf", "-phi must be finite, got -inf"),
    ("-Xbeam NaN", "-Xbeam must be finite, got NaN"),
    ("-cell inf", "-cell must be finite, got inf"),
    ("-detector_thick inf", "-detector_thick must be finite, got inf"),
    ("-detector_abs nan", "-detector_abs must be finite, got nan"),
    ("-detector_abs -3", "-detector_abs must be >= 0 (um), got -3"),
    ("-detector_thick -3", "-detector_thick must be >= 0 (um), got -3"),
    ("-pixel 0", "-pixel must be > 0 (mm), got 0"),
    ("-pixel -0.1", "-pixel must be > 0 (mm), got -0.1"),
    ("-distance 0", "-distance must be > 0 (mm), got 0"),
    ("-distance -60", "-distance must be > 0 (mm), got -60"),
    ("-close_distance 0", "-close_distance must be > 0 (mm), got 0"),
    ("-detsize 0", "-detsize must be > 0 (mm), got 0"),
    ("-lambda 0", "-lambda must be > 0 (A), got 0"),
    ("-wavelength -1", "-wavelength must be > 0 (A), got -1"),
    ("-energy 0", "-energy must be > 0 (eV), got 0"),
    ("-energy 1e-310", "-energy is too small, got 1e-310"),
    ("-detpixels 0", "-detpixels must be >= 1, got 0"),
    ("-detpixels_x -5", "-detpixels_x must be >= 1, got -5"),
    ("-oversample 0", "-oversample must be >= 1, got 0"),
    ("-cell 0", "-cell: edges must be > 0 (A), got 0"),
    ("-cell 70 -80", "-cell: edges must be > 0 (A), got 70 -80"),
    ("-cell 70 80 90 180", "-cell: angles must be between 0 and 180 (deg)"),
    ("-cell 70 80 90 0 90 90", "-cell: angles must be between 0 and 180 (deg)"),
    ("-cell 70 80 90 30 40 100", "-cell: no cell has the angles 30 40 100 (deg)"),
    ("-cell 70 80 90 120 120 120", "-cell: no cell has the angles 120 120 120 (deg)"),
    ("-roi -1 5 0 5", "-roi must be >= 0 (pixels), got -1"),
    ("-roi 9 5 0 5", "-roi must be xmin <= xmax and ymin <= ymax (pixels), got 9 5 0 5"),
    ("-printout_pixel -1 5", "-printout_pixel must be >= 0, got -1"),
    ("-fdet_vector 0 0 0", "-fdet_vector must have a direction, got 0 0 0"),
    ("-beam_vector 0 -0 0.0", "-beam_vector must have a direction"),
    ("-spindle_axis 0 0 0", "-spindle_axis must have a direction"),
    ("-twotheta_axis 0 0 0", "-twotheta_axis must have a direction"),
    ("-polar_vector 0 0 0", "-polar_vector must have a direction"),
    ("-polar 1.5", "-polar must be from -1 to 1, got 1.5"),
    ("-polar -1.01", "-polar must be from -1 to 1, got -1.01"),
    ("-fluence -1", "-fluence must be >= 0 (photons/m^2), got -1"),
    ("-flux -1", "-flux must be >= 0 (photons/s), got -1"),
    ("-exposure 0", "-exposure must be > 0 (s), got 0"),
    ("-beamsize -0.1", "-beamsize must be >= 0 (mm), got -0.1"),
    ("-xtalsize -1", "-xtalsize must be >= 0 (mm), got -1"),
    ("-fudge -1", "-fudge must be > 0, got -1"),
    ("-mosaic -1", "-mosaic must be >= 0 (deg), got -1"),
    ("-mosaic_domains -1", "-mosaic_domains must be >= 0, got -1"),
    ("-mosaic_seed 2147483647", "-mosaic_seed must be from -2147483646 to 2147483646, got 2147483647"),
    ("-dispersion -1", "-dispersion must be >= 0 (%), got -1"),
    ("-dispsteps -1", "-dispsteps must be >= 0, got -1"),
    ("-divergence -1", "-divergence must be >= 0 (mrad), got -1"),
    ("-hdivsteps -1", "-hdivsteps must be >= 0, got -1"),
    ("-vdivstep -1", "-vdivstep must be >= 0 (mrad), got -1"),
    ("-osc -1", "-osc must be >= 0 (deg), got -1"),
    ("-phistep -1", "-phistep must be >= 0 (deg), got -1"),
    ("-phisteps -1", "-phisteps must be >= 0, got -1"),
    ("-detector_thicksteps -1", "-detector_thicksteps must be >= 0, got -1"),
    ("-dmin -1", "-dmin must be >= 0 (A), got -1"),
    ("-water -1", "-water must be >= 0 (um), got -1"),
    ("-scale 0", "-scale must be > 0, got 0"),
    ("-pgmscale -2", "-pgmscale must be > 0, got -2"),
]


@pytest.mark.parametrize("line, message", BAD)
def test_bad_input_is_refused_in_one_line(line, message):
    with pytest.raises(InputError) as caught:
        parse(line.split())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_name_is_refused():
    with pytest.raises(InputError, match="needs a file name, got ''"):
        parse(["-hkl", ""])


def test_help_and_documentation_name_everything():
    text, table = flags.help_text(), flags.markdown_table()
    text.encode("ascii")
    assert max(len(line) for line in text.splitlines()) <= 110
    for flag in FLAGS:
        assert all(name.replace("…", "...") in text and f"`{name}`" in table for name in flag.spellings)
        assert all(f"`{setting}`" in table for setting in flag.settings)
        assert flag.help in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert all(row.replace(r"\|", "").count("|") == 9 for row in rows)
    assert len(rows) == len(FLAGS) + 2 and all(f"| {group} |" in table for group in GROUPS)
    assert "in mm; default 0.1" not in text.split("-pixel mm")[1].splitlines()[1]
    assert "default 102.4" in text and "-cell a [b c alpha beta gamma]" in text


def field_at(experiment, place):
    """What stands at the dotted name of a flag's field; a number is an item of a vector."""
    found = experiment
    for name in place.split("."):
        found = found[int(name)] if name.isdigit() else getattr(found, name)
    return found


# Fields that a class leaves None, or fills from others, where the flag has a default of its own.
FILLED = {"detsize_f_mm", "detsize_s_mm", "detector_thick_um"}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_that_a_flag_names_is_there_and_has_its_default(name):
    size = {"size_mm": (102.4, 102.4)} if name in FILLED else {}
    bare = nb.Experiment(
        crystal=nb.Crystal((1, 1, 1)), structure_factors=nb.StructureFactors(), detector=nb.Detector(**size)
    )
    value, default = field_at(bare, FIELDS[name]), DEFAULTS[name]
    if default is not None and name != "detector_thick_um":
        value = getattr(value, "name", value)
        np.testing.assert_array_equal(value, default.lower() if name == "convention" else default)


def test_a_field_has_one_setting_and_each_flag_names_it():
    assert len(set(FIELDS.values())) == len(FIELDS)
    for flag in FLAGS:
        assert not flag.fields or len(flag.fields) == len(flag.settings)
        assert tuple(FIELDS[name] for name in flag.settings if name in FIELDS) == flag.fields
