"""Writing images by name, whatever the format: pixels, refusals, files whole or not at all, and the command."""

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import expt_files
import fabio
import h5py
import numpy as np
import pytest
from format_cases import case, counts_image, photons
from PIL import Image

import nanobrag_jax as nb
from nanobrag_jax.command import run as cli
from nanobrag_jax.command.progress import Progress
from nanobrag_jax.errors import InputError


def test_pixels(tmp_path):
    experiment, counts, light = case("off centre"), counts_image(), photons()
    small_counts = np.abs(counts) % 60000
    nb.write_image(tmp_path / "x.cbf", counts, experiment)
    found = fabio.open(tmp_path / "x.cbf").data
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, counts)
    nb.write_image(tmp_path / "y.CBF", light, experiment)
    np.testing.assert_array_equal(fabio.open(tmp_path / "y.CBF").data, np.floor(light.astype(float) + 0.5))
    nb.write_image(tmp_path / "x.img", small_counts, experiment)
    np.testing.assert_array_equal(fabio.open(tmp_path / "x.img").data, small_counts)
    nb.write_image(tmp_path / "x.bin", light.astype(float), experiment)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "x.bin", np.float32).reshape(10, 12), light)
    for values in (light, counts, small_counts.astype(np.uint16), counts.astype(np.int64)):
        stored = np.int32 if values.dtype == np.int64 else values.dtype
        nb.write_image(tmp_path / "x.npy", values, experiment)
        nb.write_image(tmp_path / "x.nxs", values, experiment)
        with h5py.File(tmp_path / "x.nxs") as file:
            data = file["entry/data/data"]
            assert data.compression == "gzip" and data.shape == (1, 10, 12)
            for found in (np.load(tmp_path / "x.npy"), data[0], file["entry/instrument/detector/data"][0]):
                assert found.dtype == stored
                np.testing.assert_array_equal(found, values)
        with fabio.open(tmp_path / "x.nxs") as image:
            np.testing.assert_array_equal(image.data, values)
    for name in ("x.cbf", "x.nxs"):
        np.testing.assert_array_equal(nb.read_image(tmp_path / name), counts)


BAD = [
    ("x.tif", np.zeros((10, 12)), r"cannot write '.*x\.tif': its name must end in \.cbf, \.h5, "),
    ("x", np.zeros((10, 12)), "its name must end in"),
    ("x.h5", np.zeros((12, 10)), r"image must have the detector's pixels \(slow, fast\), \(10, 12\), got \(12, 10\)"),
    ("x.h5", np.zeros((1, 2, 10, 12)), "image must have the detector's pixels"),
    ("x.npy", np.full((10, 12), "a"), "image must hold numbers, got <U1"),
    ("x.img", np.full((10, 12), 70000), r"x\.img: the format holds whole numbers from 0 to 65535, the image has 70000"),
    ("x.img", np.full((10, 12), -3.0), "whole numbers from 0 to 65535, the image has -3"),
    ("x.cbf", np.full((10, 12), 3e9), "whole numbers from -2147483648 to 2147483647, the image has 3e"),
    ("x.cbf", np.repeat([[-5], [2**31 - 1]], 60).reshape(10, 12), "pixels up to 2147483647 apart, .* from -5 to"),
    ("x.h5", np.full((10, 12), 2**40), "whole numbers from -2147483648"),
    ("x.npy", np.full((10, 12), np.nan), "beyond single precision"),
    ("no/x.npy", np.zeros((10, 12)), "the folder '.*no' does not exist"),
]


@pytest.mark.parametrize("name, image, message", BAD, ids=[f"{name} {i}" for i, (name, *_) in enumerate(BAD)])
def test_refused(name, image, message, tmp_path):
    with pytest.raises(InputError, match=message):
        nb.write_image(tmp_path / name, image, case("off centre"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("extension", [".cbf", ".h5", ".npy", ".img", ".bin", ".png", ".pgm"])
@pytest.mark.parametrize("how", ["at the end", "while writing"])
def test_a_full_disk_leaves_nothing(extension, how, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / f"x{extension}"
    if how == "at the end":
        monkeypatch.setattr(os, "fsync", full)
    elif os.path.exists("/dev/full"):
        path.symlink_to("/dev/full")
    with pytest.raises(ValueError, match=f"cannot write '.*x{extension}': No space left on device"):
        nb.write_image(path, np.ones((10, 12)), case("off centre"))
    assert [name for name in os.listdir(tmp_path) if not (tmp_path / name).is_symlink()] == []


KILLED = """
import os, signal, sys
import numpy as np
import nanobrag_jax as nb
from nanobrag_jax.detector import frame_on_host
from nanobrag_jax.formats.from_experiment import setup_of
from nanobrag_jax.formats.registry import format_of
from nanobrag_jax.formats.write import image_outputs
from nanobrag_jax.io.outputs import write_outputs

experiment = nb.completed(nb.experiment_from_args("-cell 50 -default_F 1 -detpixels_x 600 -detpixels_y 500".split()))
frame = frame_on_host(experiment.detector, experiment.beam, "spec")
image = np.random.default_rng(0).random((500, 600)).astype(np.float32)
outputs = []
for name in sys.argv[1:]:
    outputs += image_outputs("-floatfile", name, format_of(name), [image], setup_of([experiment], [frame]))
write_outputs(outputs, lambda fraction: os.kill(os.getpid(), signal.SIGKILL) if fraction > 0.9 else None)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_run_leaves_nothing_that_looks_complete(tmp_path):
    names = ["x.cbf", "x.h5", "x.npy", "x.img", "x.bin", "x.png"]
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", KILLED, *names]
    result = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}, timeout=100)
    assert result.returncode == -signal.SIGKILL
    left = os.listdir(tmp_path)
    assert len(left) == len(names) and all(name.startswith(".nanobrag-") and name.endswith(".tmp") for name in left)


def test_nexus_needs_h5py(tmp_path, monkeypatch):
    monkeypatch.setattr("nanobrag_jax.formats.image_format.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"NeXus files need h5py: pip install nanobrag_jax\[formats\]"):
        nb.write_image(tmp_path / "x.h5", photons(), case("off centre"))


SMALL = "-cell 50 60 70 -default_F 100 -N 5 -detpixels_x 12 -detpixels_y 9 -pixel 1 -oversample 12 -nopgm".split()


def test_the_command_follows_the_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = [*SMALL, "-fluence", "1e27", "-adc", "0", "-polar", "0.5"]
    assert cli.main(flags) == 0
    light = np.fromfile("floatimage.bin", np.float32).reshape(9, 12)
    counts, noise = (fabio.open(name).data for name in ("intimage.img", "noiseimage.img"))
    names = ["-floatfile", "a.h5", "-intfile", "a.cbf", "-noisefile", "a.npy", "-png", "a.png", "-png_rings"]
    before = set(os.listdir())
    assert cli.main([*flags, *names]) == 0
    assert set(os.listdir()) - before == {"a.h5", "a.cbf", "a.npy", "a.png"}
    with h5py.File("a.h5") as file:
        assert file["entry/data/data"].dtype == np.float32
        np.testing.assert_array_equal(file["entry/data/data"][0], light)
    np.testing.assert_array_equal(fabio.open("a.cbf").data, counts)
    assert (np.load("a.npy").dtype, fabio.open("a.cbf").data.dtype) == (np.uint16, np.int32)
    np.testing.assert_array_equal(np.load("a.npy"), noise)
    with Image.open("a.png") as picture:
        assert picture.size == (12, 9)
    report = capsys.readouterr()
    assert "written (-png)                       a.png" in report.out and report.err == ""


def test_the_command_notes_what_a_name_or_format_hides(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = ["-floatfile", "a.img", "-intfile", "a.cbf", "-png_rings", "-nonoise"]
    assert cli.main([*SMALL, *names, "-twotheta", "20"]) == 0
    notes = capsys.readouterr().err
    assert "a.img will hold raw float32 numbers, though its name looks like SMV" in notes
    assert "a.cbf: most readers of miniCBF take the detector to be perpendicular" in notes
    assert "-png_rings has no effect without -png" in notes
    assert os.path.getsize("a.img") == 4 * 9 * 12


def test_the_command_refuses_before_it_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nanobrag_jax.formats.image_format.importlib.util.find_spec", lambda name: None)
    assert cli.main([*SMALL, "-floatfile", "a.h5"]) == 1
    report = capsys.readouterr()
    assert report.out == "" and os.listdir() == []
    assert report.err == "nanobrag_jax: error: -floatfile: NeXus files need h5py: pip install nanobrag_jax[formats]\n"


def test_panels_of_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    panels = [expt_files.panel(origin=origin) for origin in ([-3.2, 2.4, -80.0], [3.4, 2.4, -80.0])]
    expt_files.write(tmp_path / "two.expt", expt_files.experiment_list(detector={"panels": panels}))
    flags = ["-expt", "two.expt", "-default_F", "100", "-N", "4", "-oversample", "1", "-nopgm", "-nonoise"]
    assert cli.main([*flags, "-floatfile", "a.h5", "-intfile", "a.cbf", "-png", "a.png"]) == 0
    assert sorted(os.listdir()) == ["a.h5", "a_0.cbf", "a_0.png", "a_1.cbf", "a_1.png", "two.expt"]
    with h5py.File("a.h5") as file:
        both = file["entry/data/data"][0]
        assert both.shape == (48, 32) and both[:24].max() > 0 and both[24:].max() > 0
    brightest = [int(fabio.open(f"a_{i}.cbf").data.max()) for i in range(2)]
    assert max(brightest) == 55000, "readers of miniCBF take a pixel without photons to read 0"


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_a_writer_that_fails_leaves_nothing(stop, tmp_path, monkeypatch):
    def broken(*arguments):
        yield b"the beginning"
        raise stop

    monkeypatch.setattr("nanobrag_jax.formats.nexus.nexus_pieces", broken)
    with pytest.raises(stop):
        nb.write_image(tmp_path / "x.h5", photons(), case("off centre"))
    assert os.listdir(tmp_path) == []


def test_the_meter_says_what_it_does(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    clock = iter(range(100))
    monkeypatch.setattr("nanobrag_jax.command.progress.time.perf_counter", lambda: float(next(clock)))
    stream = Terminal()
    meter = Progress(True, stream, doing="writing")
    meter(0.25)
    assert "\rwriting [" in stream.getvalue() and " 25%" in stream.getvalue()
