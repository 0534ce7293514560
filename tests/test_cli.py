"""The command: files against the golden images, the report, and real processes."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from expt_files import experiment_list, panel, write
from golden import INPUTS, SIX_DIGITS, absent, case_of, check_image, images_of

import nanobrag_jax as nb
from nanobrag_jax.command import run as cli
from nanobrag_jax.command.compilation_cache import cache_folder, use_compilation_cache
from nanobrag_jax.command.progress import Progress
from nanobrag_jax.formats.pgm import read_pgm
from nanobrag_jax.formats.raw import read_raw
from nanobrag_jax.formats.smv import read_smv
from nanobrag_jax.io.fdump import read_fdump

SMALL = "-cell 50 60 70 80 90 100 -default_F 100 -N 5 -detpixels_x 12 -detpixels_y 9 -pixel 1 -oversample 1".split()
QUIET = ["-nonoise", "-nopgm"]
COARSE = "nanobrag_jax: note: -oversample 1 is kept, though the spots need {}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def inputs(folder):
    """A working folder with links to the golden inputs."""
    if not INPUTS.exists():
        absent(INPUTS)
    for path in INPUTS.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def rows_of(report):
    """Labels and values of a report."""
    pairs = [(line[2:39].strip(), line[39:].strip()) for line in report.splitlines() if line.startswith("  ")]
    return dict(pairs)


def new_files(folder):
    return sorted(path.name for path in folder.iterdir() if not path.is_symlink())


def process(arguments, folder, **changes):
    """A finished process of the command."""
    return subprocess.run(
        [sys.executable, "-c", INTERRUPTIBLE, "-m", "nanobrag_jax", *arguments],
        cwd=folder,
        env=environment(folder) | changes,
        capture_output=True,
        text=True,
        timeout=300,
    )


def environment(folder):
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION_CACHE")}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "XDG_CACHE_HOME": str(folder / "cache")}


@pytest.mark.parametrize(
    "name, mode",
    [
        ("pgmscale", "spec"),
        ("scale_adc", "spec"),
        ("int_roi", "c-parity"),
        ("noise_mid", "c-parity"),
        ("phi_zero_mask", "c-parity"),
        pytest.param("noise_water_roi", "c-parity", marks=pytest.mark.slow),
        pytest.param("noise_low", "c-parity", marks=pytest.mark.slow),
        pytest.param("noise_high", "c-parity", marks=pytest.mark.slow),
        pytest.param("adc_zero", "spec", marks=pytest.mark.slow),
        pytest.param("basic_hkl", "spec", marks=pytest.mark.slow),
        pytest.param("kitchen_sink", "c-parity", marks=pytest.mark.slow),
        pytest.param("hkl_interpolate_latch_late", "c-parity", marks=pytest.mark.slow),
    ],
)
def test_golden_files(name, mode, inputs, capsys):
    case, images = case_of(name), images_of(name)
    extra = [] if "noise" in images else ["-nonoise"]
    assert cli.main([*case["args"], *extra, "-mode", mode]) == 0
    report = rows_of(capsys.readouterr().out)
    shape = tuple(case["shape"])
    check_image(read_raw("floatimage.bin", shape), images["float"])

    written = read_smv("intimage.img")
    header = written.header.rstrip(" ").splitlines()[1:-1]
    if mode == "c-parity":
        assert header == case["header"]
    else:
        check_header_for_readers(header, case["header"])
    expected = ["floatimage.bin", "intimage.img"]
    if "int" in images:
        check_counts(written.image, images["int"])
    if "-nopgm" not in case["args"]:
        expected.append("image.pgm")
        picture = read_pgm("image.pgm")
        np.testing.assert_allclose(picture.scale, float(case["printed"]["pgm_scale"]), rtol=2 * SIX_DIGITS)
        if "pgm" in images:
            check_counts(picture.image, images["pgm"])
    if "noise" in images:
        expected.append("noiseimage.img")
        np.testing.assert_array_equal(read_smv("noiseimage.img").image, images["noise"])
        assert report["noise photons"] == case["printed"]["photons"]
        assert report["noise overloads"] == case["printed"]["overloads"]
    if mode == "c-parity" and "-hkl" in case["args"]:
        expected.append("Fdump.bin")
    assert new_files(inputs) == sorted(expected)

    for key in ("mean", "rms", "rmsd", "max_I", "intfile_scale"):
        label = {"max_I": "max_I (photons)", "intfile_scale": "int image scale"}.get(key, key)
        np.testing.assert_allclose(float(report[label]), float(case["printed"][key]), rtol=2 * SIX_DIGITS, err_msg=key)
    assert report["max_I at (fast, slow m)"] == case["printed"]["max_at"]


def check_header_for_readers(lines, reference):
    """All of the reference's keys with its numbers, but the beam centre that DIALS reads; the own one has its own."""
    ours, theirs = (dict(line.rstrip(";").split("=") for line in header) for header in (lines, reference))
    assert list(ours)[: len(theirs)] == list(theirs)
    assert set(ours) - set(theirs) == {"ADC_OFFSET", "NANOBRAG_BEAM_CENTER_X", "NANOBRAG_BEAM_CENTER_Y"}
    for key in theirs:
        own = f"NANOBRAG_{key}" if key.startswith("BEAM_CENTER") else key
        if key != "HEADER_BYTES":
            try:
                assert float(ours[own]) == pytest.approx(float(theirs[key]), rel=SIX_DIGITS, abs=1e-9)
            except ValueError:
                assert ours[own] == theirs[key]


def check_counts(ours, reference):
    """Assert that whole numbers agree, up to one in one pixel of a thousand, which stands on a rounding edge."""
    assert (ours.shape, ours.dtype) == (reference.shape, reference.dtype)
    difference = np.abs(ours.astype(int) - reference.astype(int))
    assert difference.max() <= 1 and np.count_nonzero(difference) <= ours.size / 1000


def test_check_counts_can_fail():
    counts = np.zeros((50, 50), np.uint16)
    one = counts.copy()
    one[3, 4] = 1
    check_counts(one, counts)
    for wrong in (counts + np.uint16(1), one * np.uint16(2), counts.T[1:]):
        with pytest.raises(AssertionError):
            check_counts(wrong, counts)


def test_a_process_on_the_golden_inputs(inputs):
    case = case_of("basic")
    result = process([*case["args"], "-seed", "3"], inputs)
    assert (result.returncode, result.stderr) == (0, COARSE.format(9))
    check_image(read_raw(inputs / "floatimage.bin", tuple(case["shape"])), images_of("basic")["float"])
    assert new_files(inputs) == ["cache", "floatimage.bin", "image.pgm", "intimage.img", "noiseimage.img"]
    report = rows_of(result.stdout)
    for label, value in {
        "unit cell (A, deg)": "62 71 83 84 97 106",
        "unit cells": "6x6x6",
        "wavelength (A)": "1.2",
        "distance (mm)": "60",
        "pix0 (m)": "0.06 0.0196 -0.0244",
        "detector (fast x slow pixels)": "120 x 96",
        "convention, pivot": "MOSFLM, beam",
        "phi steps": "1",
        "samples": "11520 x 1 = 1.152e+04",
        "max_I (photons)": "17270",
        "noise seed": "3",
        "written (-floatfile)": "floatimage.bin",
    }.items():
        assert report[label] == value, label
    assert "mode spec" in result.stdout and "compiling" in report["time (s)"]


def test_modes_differ_where_they_should(inputs, capsys):
    case = case_of("phi_zero_osc")
    images = {}
    for mode in ("spec", "c-parity"):
        assert cli.main([*case["args"], *QUIET, "-mode", mode, "-floatfile", f"{mode}.bin"]) == 0
        images[mode] = read_raw(f"{mode}.bin", tuple(case["shape"]))
    check_image(images["c-parity"], images_of("phi_zero_osc")["float"])
    check_image(images["spec"], images_of("phi_zero_osc_spec")["float"])
    with pytest.raises(AssertionError):
        check_image(images["spec"], images_of("phi_zero_osc")["float"])


def test_only_what_is_asked_for_is_written(folder, capsys):
    assert cli.main([*SMALL, *QUIET]) == 0
    assert new_files(folder) == ["floatimage.bin", "intimage.img"]
    assert cli.main([*SMALL, *QUIET, "-pgmfile", "x.pgm", "-floatfile", "/dev/null", "-intfile", "/dev/null"]) == 0
    assert new_files(folder) == ["floatimage.bin", "intimage.img", "x.pgm"]


def test_existing_files_are_replaced(folder, capsys):
    (folder / "floatimage.bin").write_bytes(b"old")
    assert cli.main([*SMALL, *QUIET]) == 0
    assert (folder / "floatimage.bin").stat().st_size == 4 * 12 * 9


def test_spec_noise_has_a_fixed_seed(folder, capsys):
    images = []
    for seed in ([], [], ["-seed", "1"], ["-seed", "2"]):
        assert cli.main([*SMALL, "-fluence", "1e27", *seed]) == 0
        images.append(read_smv("noiseimage.img").image)
    assert (images[0] == images[1]).all() and (images[0] == images[2]).all() and (images[0] != images[3]).any()


def test_c_parity_noise_follows_the_clock_and_tells_its_seed(folder, capsys, monkeypatch):
    arguments = [*SMALL, "-fluence", "1e27", "-mode", "c-parity"]
    monkeypatch.setattr(cli.time, "time", lambda: 1234567890.7)
    assert cli.main(arguments) == 0
    seed = rows_of(capsys.readouterr().out)["noise seed"]
    assert seed == "1234567890"
    first = read_smv("noiseimage.img").image
    assert cli.main([*arguments, "-seed", seed]) == 0
    assert (read_smv("noiseimage.img").image == first).all()


def test_dump_files(inputs, capsys):
    flags = "-cell 50 60 70 -hkl sparse.hkl -default_F 7 -N 5 -detpixels 8 -pixel 1 -oversample 1".split()
    assert cli.main([*flags, *QUIET]) == 0
    assert "Fdump.bin" not in new_files(inputs)
    assert cli.main([*flags, *QUIET, "-dump", "spec.bin"]) == 0
    assert cli.main([*flags, *QUIET, "-mode", "c-parity"]) == 0
    assert (inputs / "spec.bin").read_bytes() == (inputs / "Fdump.bin").read_bytes()
    table = read_fdump("spec.bin")
    assert (table.values == 7).any() and (table.values != 7).any()
    image = (inputs / "floatimage.bin").read_bytes()
    without = flags[:4] + flags[6:]
    capsys.readouterr()
    assert cli.main([*without, *QUIET, "-mode", "c-parity"]) == 0
    assert "Fdump.bin" in capsys.readouterr().err
    assert (inputs / "floatimage.bin").read_bytes() == image
    assert cli.main([*without, *QUIET, "-dump", "spec.bin"]) == 0
    assert (inputs / "spec.bin").read_bytes() == (inputs / "Fdump.bin").read_bytes()


def test_notes_go_to_stderr(folder, capsys):
    assert cli.main([*SMALL, *QUIET, "-Q", "3", "-fluence", "1e28", "-fluence", "1e29"]) == 0
    captured = capsys.readouterr()
    assert sorted(captured.err.splitlines()) == [
        "nanobrag_jax: note: -Q has no effect",
        "nanobrag_jax: note: -fluence wins over the earlier -fluence (fluence_per_m2)",
        COARSE.format(11).strip(),
    ]
    assert "note" not in captured.out


def test_printout_lists_every_rendered_pixel(folder, capsys):
    assert cli.main([*SMALL, *QUIET, "-printout", "-roi", "2", "4", "5", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    lines = lines[lines.index("# slow fast photons") + 1 :]
    image = read_raw("floatimage.bin", (9, 12))
    assert [line.split()[:2] for line in lines] == [[f"{s}", f"{f}"] for s in (5, 6) for f in (2, 3, 4)]
    assert [np.float32(line.split()[2]) for line in lines] == pytest.approx(image[5:7, 2:5].ravel(), rel=1e-7)


def test_printout_of_one_pixel_is_its_trace(folder, capsys):
    assert cli.main([*SMALL, *QUIET, "-printout_pixel", "7", "3"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if len(line.split()) > 1)
    image = read_raw("floatimage.bin", (9, 12))
    assert (lines["slow"], lines["fast"]) == ("3", "7")
    assert np.float32(lines["floatimage_accumulated"]) == image[3, 7]


@pytest.mark.parametrize("sizes", [(32, 32), pytest.param((32, 20), marks=pytest.mark.slow)], ids=["equal", "unequal"])
def test_a_file_for_each_panel(sizes, folder, capsys):
    places = ([-3.2, 2.4, -80.0], [3.4, 2.4, -80.0])
    panels = [panel(origin=list(p), image_size=[n, 24]) for p, n in zip(places, sizes, strict=True)]
    write(folder / "two.expt", experiment_list(detector={"panels": panels}))
    flags = ["-expt", "two.expt", "-default_F", "100", "-N", "4", "-oversample", "1"]
    assert cli.main([*flags, "-seed", "5"]) == 0
    written = [f"{stem}_{i}{end}" for stem, end in PANEL_FILES for i in range(2)]
    assert new_files(folder) == sorted(["two.expt", *written])
    report = rows_of(capsys.readouterr().out)
    together = [read_raw(f"floatimage_{i}.bin", (24, sizes[i])) for i in range(2)]
    assert (report["panels, the first of which is"], report["rendered pixels"]) == ("2", f"{24 * sum(sizes)}")
    for i in range(2):
        assert cli.main([*flags, "-seed", f"{5 + i}", "-expt_panel", f"{i}", "-floatfile", "one.bin"]) == 0
        np.testing.assert_array_equal(read_raw("one.bin", (24, sizes[i])), together[i])
        ours, alone = read_smv(f"noiseimage_{i}.img"), read_smv("noiseimage.img")
        assert ours.header == alone.header
        np.testing.assert_array_equal(ours.image, alone.image)
    brightest = [int(read_smv(f"intimage_{i}.img").image.max()) for i in range(2)]
    assert max(brightest) == 55040 and min(brightest) < 55040
    capsys.readouterr()
    assert cli.main([*flags, "-printout_pixel", "3", "4"]) == 1
    assert "-expt_panel" in capsys.readouterr().err


PANEL_FILES = [("floatimage", ".bin"), ("intimage", ".img"), ("image", ".pgm"), ("noiseimage", ".img")]


def test_help_and_version(capsys):
    for flag in ("--help", "-h"):
        assert cli.main([flag]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("usage: python -m nanobrag_jax") and "-detector_rotx" in shown
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"nanobrag_jax {nb.__version__}\n"


@pytest.mark.slow
def test_a_command_in_a_pipe_that_closes(inputs):
    command = [sys.executable, "-m", "nanobrag_jax", *case_of("basic")["args"], *QUIET, "-printout"]
    with subprocess.Popen(
        command, cwd=inputs, env=environment(inputs), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        running.stdout.readline()
        running.stdout.close()
        errors = running.stderr.read()
    assert (running.returncode, errors.decode()) == (0, COARSE.format(9))
    assert "floatimage.bin" in new_files(inputs)


INTERRUPTIBLE = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Runs python so that it minds an interruption also where this process does not: in the background of a shell."""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interruption_leaves_nothing(folder):
    arguments = [*SMALL, "-detpixels", "2000", "-pixel", "0.1", "-oversample", "10"]
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "-m", "nanobrag_jax", *arguments],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        while "solid angle" not in running.stdout.readline():
            pass
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert errors.splitlines()[-1] == "nanobrag_jax: error: interrupted, nothing is written"
    assert new_files(folder) in ([], ["cache"])


class Terminal(io.StringIO):
    """A stream that says whether it is a terminal."""

    is_terminal = True

    def isatty(self):
        return self.is_terminal


@pytest.mark.parametrize("wanted, terminal, seconds, shown", [
    (True, True, 3.0, True),
    (True, True, 0.05, False),
    (False, True, 3.0, False),
    (True, False, 3.0, False),
])  # fmt: skip
def test_progress(wanted, terminal, seconds, shown, monkeypatch):
    clock = iter(np.arange(0.0, 100.0, 1.0) * seconds)
    monkeypatch.setattr("nanobrag_jax.command.progress.time.perf_counter", lambda: float(next(clock)))
    stream = Terminal()
    stream.is_terminal = terminal
    meter = Progress(wanted, stream)
    for fraction in (0.0, 0.25, 0.5, 1.0):
        meter(fraction)
    meter.finish()
    assert (stream.getvalue() != "") == shown
    if shown:
        assert " 25%, 3 s, about 9 s left" in stream.getvalue() and " 50%, 6 s, about 6 s left" in stream.getvalue()
        assert stream.getvalue().endswith("\r" + " " * 79 + "\r")


@pytest.mark.slow
def test_compiled_programs_are_kept(folder):
    first, second = (process([*SMALL, *QUIET], folder) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stderr == second.stderr == COARSE.format(11)
    kept = [path for path in (folder / "cache" / "nanobrag_jax").rglob("*") if path.is_file()]
    assert any(path.name.startswith("jit") for path in kept)


def test_a_cache_folder_that_cannot_be_made(folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "file"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    use_compilation_cache()
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder().is_absolute()
