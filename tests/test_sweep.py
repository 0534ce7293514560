"""Many images of one rotation: the same as one by one, with noise of their own, in files of each or of all."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import small
from expt_files import experiment_list, panel, write

import nanobrag_jax as nb
from nanobrag_jax.command import run as cli
from nanobrag_jax.command import sweep
from nanobrag_jax.command.progress import Progress
from nanobrag_jax.effects.photon_noise import poisson_image
from nanobrag_jax.formats.smv import read_smv_header
from nanobrag_jax.io.outputs import numbered_path, sweep_template
from nanobrag_jax.render import bands

FLAGS = "-cell 50 60 70 80 90 100 -default_F 100 -N 5 -detpixels_x 12 -detpixels_y 9 -pixel 1 -oversample 1".split()
FLAGS += "-phi 10 -osc 2 -fluence 1e27 -seed 3".split()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder):
    return sorted(os.listdir(folder))


def experiment(**goniometer):
    return small.experiment(goniometer={"phi_deg": 10.0, "osc_deg": 2.0} | goniometer)


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
def test_images_of_a_sweep_are_those_of_turned_experiments(mode):
    start = experiment()
    images = nb.simulate_sweep(start, 3, first=2, mode=mode)
    found = [np.asarray(image) for image in images]
    assert len(found) == 3 and next(images, None) is None
    for number, image in enumerate(found, 2):
        turned = experiment(phi_deg=10.0 + 2.0 * (number - 1))
        np.testing.assert_array_equal(image, nb.simulate(turned, mode))
    assert (found[0] != found[1]).any()
    assert nb.image_experiment(start, 1) is start


def test_images_are_rendered_when_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr("nanobrag_jax.render.sweep.simulate", lambda e, *_, **__: asked.append(e.goniometer.phi_deg))
    images = nb.simulate_sweep(experiment(), 10**9)
    assert not asked
    next(images), next(images)
    assert np.allclose(asked, [10.0, 12.0])
    for wrong in ({"n": 0}, {"n": 2, "first": 0}):
        with pytest.raises(nb.InputError):
            nb.simulate_sweep(experiment(), **wrong)


@pytest.mark.parametrize(
    "given, template, seventh",
    [
        ("a_####.cbf", "a_####.cbf", "a_0007.cbf"),
        ("a.cbf", "a_#####.cbf", "a_00007.cbf"),
        ("b#/run##_#.img", "b#/run##_#.img", "b#/run##_7.img"),
        ("b#/run.img", "b#/run_#####.img", "b#/run_00007.img"),
        ("#_v2.img", "#_v2.img", "7_v2.img"),
        ("/dev/null", "/dev/null", "/dev/null"),
    ],
)
def test_names(given, template, seventh):
    assert sweep_template(given) == template
    assert numbered_path(template, 7) == seventh
    assert numbered_path("a_#.img", 1234) == "a_1234.img"


def test_the_command_writes_all_images(folder, capsys):
    """Photons as one by one; of noise, image 1 has today's and every other its own."""
    named = ["-noisefile", "n_####.cbf", "-floatfile", "all.npy", "-pgmfile", "look.pgm", "-intfile", "i.img"]
    assert cli.main([*FLAGS, "-images", "3", *named, "-scale", "1", "-exptfile", "all.expt"]) == 0
    report = capsys.readouterr().out
    written = [f"{stem}.{end}" for stem, end in (("i_0000{}", "img"), ("look_0000{}", "pgm"), ("n_000{}", "cbf"))]
    assert files(folder) == sorted(["all.npy", "all.expt", *(w.format(n) for w in written for n in (1, 2, 3))])
    photons = np.load("all.npy")
    assert photons.shape == (3, 9, 12) and photons.dtype == np.float32
    assert "images                               1 to 3\n" in report and "images a second" in report
    brightest = np.unravel_index(photons.argmax(), photons.shape)[0] + 1
    assert f"max_I (photons)                      {photons.max():g} in image {brightest}\n" in report
    assert "written (-noisefile)                 n_####.cbf\n" in report
    start = nb.experiment_from_args(FLAGS)
    for number in (1, 2, 3):
        image = nb.simulate(nb.image_experiment(start, number)).astype(np.float32)
        np.testing.assert_array_equal(photons[number - 1], image)
        noise = poisson_image(nb.image_key(3, number), image, 0.0).image
        np.testing.assert_array_equal(nb.read_image(f"n_{number:04d}.cbf"), noise)
    assert cli.main([*FLAGS, "-nopgm", "-noisefile", "alone.cbf", "-intfile", "alone.img", "-scale", "1"]) == 0
    np.testing.assert_array_equal(nb.read_image("alone.cbf"), nb.read_image("n_0001.cbf"))
    assert (folder / "alone.img").read_bytes() == (folder / "i_00001.img").read_bytes()
    assert cli.main([*FLAGS, "-firstimage", "3", "-noisefile", "later_####.cbf"]) == 0
    assert (folder / "later_0003.cbf").read_bytes() == (folder / "n_0003.cbf").read_bytes()
    scan = json.loads((folder / "all.expt").read_text())
    assert scan["scan"][0]["image_range"] == [1, 3] and scan["scan"][0]["oscillation"] == [10.0, 2.0]
    assert scan["imageset"][0]["template"] == str(folder / "n_####.cbf")


def test_noise_of_images_is_independent():
    means = jnp.full((200, 200), 20.0, jnp.float32)
    first, second = (np.asarray(poisson_image(nb.image_key(1, n), means, 0.0).image, float) for n in (1, 2))
    np.testing.assert_array_equal(first, poisson_image(1, means, 0.0).image)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    other = poisson_image(nb.image_key(2, 2), means, 0.0).image
    assert abs(np.corrcoef(second.ravel(), np.ravel(other).astype(float))[0, 1]) < 0.02


def test_the_meter_says_how_many_images_a_second(monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    clock = iter([0.0, 0.0, 3.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    meter = Progress(True, stream, images=40)
    meter(0.0), meter(0.25), meter.finish()
    assert "] 25%, 3 s, about 9 s left, 3.33 images/s" in stream.getvalue().replace("  ", " ")
    assert len(stream.getvalue().split("\r")[1].rstrip()) <= 79


def test_c_parity_images_are_runs_of_their_own(folder, capsys):
    flags = [*FLAGS, "-mode", "c-parity", "-phi", "-2", "-seed", "5"]  # image 2 begins at exactly zero
    assert cli.main([*flags, "-images", "2", "-floatfile", "f_#.bin", "-noisefile", "n_#.img"]) == 0
    assert cli.main([*flags, "-phi", "0", "-seed", "6", "-nopgm"]) == 0
    assert (folder / "f_2.bin").read_bytes() == (folder / "floatimage.bin").read_bytes()
    assert (folder / "n_2.img").read_bytes() == (folder / "noiseimage.img").read_bytes()


def test_one_nexus_file_of_many_panels(folder, capsys):
    panels = [panel(origin=[x, 2.4, -80.0], image_size=[16, 12]) for x in (-3.2, 3.4)]
    write(folder / "two.expt", experiment_list(detector={"panels": panels}))
    flags = ["-expt", "two.expt", "-default_F", "100", "-N", "4", "-oversample", "1", "-polar", "0.9"]
    named = ["-noisefile", "n.h5", "-floatfile", "f.npy", "-png", "look.png", "-exptfile", "out.expt"]
    assert cli.main([*flags, "-images", "2", "-firstimage", "3", *named]) == 0
    pictures = [f"look_0000{number}_{panel}.png" for number in (3, 4) for panel in (0, 1)]
    assert files(folder) == sorted(["two.expt", "n.h5", "f_0.npy", "f_1.npy", "out.expt", *pictures])
    with h5py.File("n.h5") as file:
        data, phi = file["entry/data/data"], file["entry/sample/transformations/phi"]
        assert data.shape == (2, 24, 16)
        np.testing.assert_allclose(phi, [11.0, 11.5])
        np.testing.assert_allclose(file["entry/sample/transformations/phi_end"], [11.5, 12.0])
        np.testing.assert_array_equal(nb.read_image("n.h5", frame=1), data[1])
    start = nb.experiment_from_args(flags)
    images = list(nb.simulate_sweep(start, 2, first=3))
    for number in range(2):
        np.testing.assert_array_equal(np.load(f"f_{number}.npy"), np.asarray(images, np.float32)[:, number])
    assert nb.write_sweep("g.npy", images, start, 2, 3) == ["g_0.npy", "g_1.npy"]
    assert (folder / "g_1.npy").read_bytes() == (folder / "f_1.npy").read_bytes()
    scan = json.loads((folder / "out.expt").read_text())
    assert scan["imageset"][0]["template"] == str(folder / "n.h5")
    assert scan["imageset"][0]["single_file_indices"] == [0, 1]


REFUSED = [
    (["-images", "2"], "of many images only those that flags name are written: give, say, -noisefile image_####.cbf"),
    (["-images", "0"], "-images must be >= 1, got 0"),
    (["-images", "2", "-intfile", "a.img"], "-intfile of many images needs -scale"),
    (["-images", "2", "-noisefile", "a.cbf", "-printout"], "-printout lists the pixels of one image"),
    (["-images", "2", "-noisefile", "a_#.cbf", "-floatfile", "a_#.cbf"], "is also the output of -floatfile"),
    (["-images", "2", "-noisefile", "no/a_#.cbf"], "-noisefile: cannot write 'no/a_1.cbf': the folder"),
]


@pytest.mark.parametrize("words, message", REFUSED)
def test_refused(words, message, folder, capsys):
    assert cli.main([*FLAGS, *words]) == 1
    assert message in capsys.readouterr().err and files(folder) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, nb.InputError("no more")])
def test_what_an_end_before_the_end_leaves(stop, folder, capsys, monkeypatch):
    """Whole files of single images, and nothing of those that hold all."""
    rendered = []

    def render(*arguments):
        rendered.append(arguments)
        if len(rendered) == 3:
            raise stop
        return bands.render(*arguments)

    monkeypatch.setattr(sweep, "bands", type("bands", (), {"render": staticmethod(render), "Programs": dict}))
    status = cli.main([*FLAGS, "-images", "9", "-noisefile", "n_####.cbf", "-floatfile", "all.h5"])
    assert status == (130 if stop is KeyboardInterrupt else 1)
    assert files(folder) == ["n_0001.cbf", "n_0002.cbf"]
    assert "images 1 to 2 are written" in capsys.readouterr().err
    assert nb.read_image("n_0002.cbf").shape == (9, 12)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_batch_system_may_end_it(folder):
    """SIGTERM: whole files of single images, none of all, and nothing that was begun."""
    words = [*FLAGS, "-images", "100000", "-noisefile", "n_######.img", "-floatfile", "all.npy"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "nanobrag_jax", *words]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        while not (folder / "n_000003.img").exists() and running.poll() is None:
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        errors = running.stderr.read().decode()
    written = [name for name in files(folder) if name != "cache"]
    assert running.returncode == 130 and f"interrupted, images 1 to {len(written)} are written" in errors
    assert written == [f"n_{number:06d}.img" for number in range(1, len(written) + 1)]
    assert nb.read_image(written[-1]).shape == (9, 12)


def test_files_of_all_images_in_python(tmp_path):
    start, images = experiment(), [np.full((10, 12), value, np.uint16) for value in (1, 2, 3)]
    effects = nb.DetectorEffects(saturation_adu=500)
    assert nb.write_sweep(tmp_path / "x.h5", iter(images), start, 3, effects=effects) == [str(tmp_path / "x.h5")]
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["entry/data/data"], images)
        assert file["entry/instrument/detector/saturation_value"][()] == 500
    assert nb.write_sweep(tmp_path / "x_##.img", images[:2], start, 2, 9) == [
        str(tmp_path / f"x_{number}.img") for number in ("09", "10")
    ]
    assert "OSC_START=28;" in read_smv_header(tmp_path / "x_10.img")
    for count, message in ((2, "there are more than 2 images"), (4, "there are fewer than 4 images")):
        with pytest.raises(nb.InputError, match=message):
            nb.write_sweep(tmp_path / "y.npy", iter(images), start, count)
    with pytest.raises(nb.InputError, match=r"write_sweep .*y\.npy: all frames of a file hold numbers of one type"):
        nb.write_sweep(tmp_path / "y.npy", [images[0], images[1].astype(float)], start, 2)
    assert not (tmp_path / "y.npy").exists()
    assert sorted(os.listdir(tmp_path)) == ["x.h5", "x_09.img", "x_10.img"]
