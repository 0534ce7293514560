"""Data sets: the same image wherever, whenever and with whomever it is made."""

import dataclasses
import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import h5py
import hdf5plugin
import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
import slurm_cluster

import nanobrag_jax as nb
from nanobrag_jax import dataset as ds
from nanobrag_jax.dataset import command, document
from nanobrag_jax.dataset.shards import shard_name
from nanobrag_jax.numerics.pixel_random import as_key

ARGS = ["-cell", 40, 50, 60, 90, 95, 90, "-N", 5, "-default_F", 100, "-detpixels", 24, "-pixel", 0.5, "-distance", 30]
ARGS += ["-lambda", 1.2, "-fluence", 1e21, "-mosaic_spread", 0.5, "-mosaic_domains", 3, "-oversample", 1, "-water", 2]
RECIPE = {
    "format": "nanobrag_jax dataset",
    "version": 1,
    "images": 11,
    "seed": 5,
    "base": {"args": ARGS},
    "vary": {
        "crystal.orientation": {"kind": "orientations"},
        "crystal.n_cells": {"kind": "uniform", "low": 3, "high": 6},
        "crystal.scale": {"kind": "lognormal", "median": 1e6, "sigma": 0.3},
        "beam.wavelength_A": {"kind": "normal", "mean": 1.2, "sd": 0.01, "low": 1.17, "high": 1.23},
        "detector.distance_mm": {"kind": "choice", "values": [29, 30, 31], "weights": [1, 2, 1]},
        "effects.offset_adu": {"kind": "table", "values": list(range(10, 21))},
    },
    "lattices": {"kind": "choice", "values": [0, 1, 2]},
    "effects": {"shot_noise": True, "psf": "gauss", "psf_fwhm_pixels": 1.1, "offset_adu": 10},
    "storage": {"shard_images": 4, "batch": 4},
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> ds.Recipe:
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    path.write_text(json.dumps(RECIPE))
    return ds.load_recipe(path)


@pytest.fixture(scope="module")
def made(recipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    ds.make_dataset(recipe, folder)
    return folder


def counts_in(folder: Path) -> np.ndarray:
    """All images of a data set."""
    found = []
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            found.append(file["entry/data/data"][()])
    return np.concatenate(found)


def columns_of(folder: Path) -> dict[str, np.ndarray]:
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    names = tables[0].schema.names
    return {name: np.concatenate([np.array(table[name].to_pylist(), float) for table in tables]) for name in names}


def same_files(one: Path, other: Path) -> bool:
    """Whether all files but the records, which tell the time, have the same bytes."""
    kinds = (".h5", ".parquet", ".expt")
    names = ["manifest.json", *(path.name for path in one.iterdir() if path.suffix in kinds)]
    return len(names) > 1 and all(filecmp.cmp(one / name, other / name, shallow=False) for name in names)


def test_an_image_is_what_its_row_says(recipe, made):
    """Rendered again by hand from the table: background once, lattices added, then the detector."""
    counts, columns = counts_in(made), columns_of(made)
    assert counts.shape == (11, 24, 24) and counts.dtype == np.uint16
    assert set(columns["lattices"]) == {0, 1, 2}
    for row in (int(np.argmax(columns["lattices"] == n)) for n in (0, 1, 2)):
        base = recipe.prepared[0]
        moved = eqx.tree_at(
            lambda e: (e.beam.wavelength_A, e.detector.distance_mm),
            base,
            [jnp.asarray(columns[name][row]) for name in ("beam.wavelength_A", "detector.distance_mm")],
        )
        dark = eqx.tree_at(lambda e: e.structure_factors.default_F, moved, jnp.zeros(()))
        total = nb.simulate(dark)
        for lattice in range(int(columns["lattices"][row])):
            numbers = [columns[f"crystal.{name}"][row, lattice] for name in ("n_cells", "scale")]
            names = [ds.Draw(recipe.seed, "crystal.orientation", row, lattice)]
            turn = recipe.vary["crystal.orientation"].value(names[0], (3, 3))
            crystal = eqx.tree_at(
                lambda c: (c.n_cells, c.scale, c.orientation), base.crystal, [jnp.asarray(x) for x in (*numbers, turn)]
            )
            one = eqx.tree_at(lambda e: (e.crystal, e.sampling.water_um), moved, (crystal, jnp.zeros(())))
            total = total + nb.simulate(one)
        effects = eqx.tree_at(
            lambda e: e.offset_adu, recipe.detector_effects, jnp.asarray(columns["effects.offset_adu"][row])
        )
        key = jax.random.fold_in(as_key(recipe.seed), jnp.uint32(row))
        read = np.round(np.asarray(nb.detect(total, effects, key)))
        assert (counts[row] != read).mean() < 0.01  # where rounding puts a mean on the other side of a count
    assert total.max() > 3 * total.min() > 0


def test_an_image_depends_on_nothing_else(recipe, made, tmp_path):
    """Not on shards, on where one begins, nor on what else is in a batch."""
    counts = counts_in(made)
    other = dataclasses.replace(recipe, storage=dataclasses.replace(recipe.storage, shard_images=3))
    ds.make_dataset(other, tmp_path / "other")
    np.testing.assert_array_equal(counts_in(tmp_path / "other"), counts)
    np.testing.assert_array_equal(ds.image_of(recipe, 7), counts[7])
    item = ds.Source(recipe)[9]
    np.testing.assert_array_equal(item["counts"], counts[9])
    assert item["effects.offset_adu"] == 19.0
    for start in (0, 3):
        streamed = list(ds.batches(recipe, 4, start=start))
        np.testing.assert_array_equal(np.concatenate([b.images for b in streamed]), counts[start:][: 4 * len(streamed)])
    assert isinstance(streamed[0].images, jax.Array)
    labels = streamed[0].labels["beam.wavelength_A"]
    np.testing.assert_allclose(labels, columns_of(made)["beam.wavelength_A"][3:7], rtol=1e-6)
    fewer = dataclasses.replace(recipe, images=5)
    np.testing.assert_array_equal(ds.image_of(fewer, 4), counts[4])


def test_shards_that_are_missing_are_made_again(recipe, made, tmp_path):
    folder = tmp_path / "part"
    shutil.copytree(made, folder)
    (folder / f"{shard_name(1)}.json").unlink()
    (folder / f"{shard_name(2)}.h5").write_bytes(b"half")
    assert [fault.split()[0] for fault in ds.check(folder)] == ["shard_00001", "shard_00002.h5"]
    (folder / f"{shard_name(2)}.h5").unlink()
    done = []
    assert len(ds.make_dataset(recipe, folder, report=done.append)) == 3
    assert sum(done) == 4 + 3 and same_files(made, folder) and ds.check(folder) == []
    parts = tmp_path / "parts"
    for part in ("1/2", "0/2"):
        ds.make_dataset(recipe, parts, shards=command.shards_of_part(recipe, part))
    assert same_files(made, parts)
    with pytest.raises(nb.InputError, match="holds another data set: its recipe_sha256 is"):
        ds.make_dataset(dataclasses.replace(recipe, seed=6), folder)


def test_the_command(recipe, made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("recipe.json").write_text(json.dumps(RECIPE))
    assert command.main(["make", "recipe.json", "-out", "set"]) == 0
    assert "11 images in 3 shards to make: about" in (said := capsys.readouterr().out)
    assert "11 of 11 images, 3 of 3 shards" in said and same_files(made, Path("set"))
    assert command.main(["show", "set", "-sheet", "sheet.png"]) == 0 and Path("sheet.png").stat().st_size > 900
    assert command.main(["check", "set"]) == 0
    assert command.main(["image", "recipe.json", "7", "-out", "seven.npy"]) == 0
    np.testing.assert_array_equal(np.load("seven.npy"), counts_in(made)[7])
    capsys.readouterr()
    for words, sentence in (
        (["make", "recipe.json", "-out", "set", "-images", "9"], "holds another data set: its images is 11, that of"),
        (["make", "recipe.json", "-out", "set", "-shard", "2/2"], "-shard must be k/n with k from 0 to n-1, got '2/2'"),
        (["make", "none.json", "-out", "x"], "none.json"),
        (["show", "nowhere"], "'nowhere' is no data set: manifest.json: No such file"),
        (["image", "recipe.json", "11"], "images are numbered from 0 to 10, got 11"),
        (["make", "recipe.json", "-out", "x", "-slurm", "fast"], "-slurm must be options as in partition=gpu"),
    ):
        assert command.main(words) == 1
        assert sentence in capsys.readouterr().err, words
    assert not Path("x").exists()


BAD = [
    ({"vary": {"crystal.size": 3}}, "vary.crystal.size|there is no parameter crystal.size"),
    ({"vary": {"beam.wavelength_A": {"kind": "flat"}}}, "vary.beam.wavelength_A.kind must be one of fixed, uniform"),
    (
        {"vary": {"beam.wavelength_A": {"kind": "uniform", "low": 2, "high": 1}}},
        "low must not be above high, got 2 and 1",
    ),
    ({"vary": {"beam.wavelength_A": {"kind": "normal", "mean": 1, "sd": -1}}}, "sd must not be negative, got -1"),
    ({"vary": {"beam.wavelength_A": {"kind": "uniform", "low": 1}}}, "vary.beam.wavelength_A: .*high"),
    ({"vary": {"beam.wavelength_A": [1, 2]}}, r"beam.wavelength_A: constant must be one number or have the shape \(\)"),
    ({"vary": {"beam.wavelength_A": {"kind": "table", "values": [1, 1]}}}, "the table has 2 rows for 11 images"),
    ({"vary": {"beam.wavelength_A": {"kind": "table", "file": "no.npy"}}}, "'no.npy' is no npy file that can be read"),
    ({"vary": {"effects.readout_adu": 3}}, "effects.readout_adu: effects has no such strength, or does not set it"),
    ({"vary": {"sampling.oversample": 3}}, "sampling.oversample cannot be refined|decides the shape"),
    ({"lattices": 1.5}, "lattices must be whole numbers from 0 to 1000, the largest is 1.5"),
    ({"images": 0}, "images must be a whole number"),
    ({"storage": {"dtype": "int8"}}, "storage.dtype must be one of uint16, int32, got 'int8'"),
    ({"base": {}}, "base must be a table with args"),
    ({"base": {"args": ["-cell", 40]}}, "give structure factors"),
    ({"bass": 1}, "bass.*did you mean base|bass"),
    ({"format": "x"}, 'format must be "nanobrag_jax dataset", got "?x'),
]


@pytest.mark.parametrize("changes, sentence", BAD, ids=[str(list(c.values())[0])[:40] for c, _ in BAD])
def test_what_is_wrong_with_a_recipe(changes, sentence, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(RECIPE | changes))
    with pytest.raises(nb.InputError, match=sentence) as caught:
        ds.load_recipe(path)
    assert "bad.json" in str(caught.value)


def test_draws_stay_what_they_are():
    """Of each kind, for ever: data sets are made again from them."""
    kinds = {
        "u": {"kind": "uniform", "low": 1, "high": 3},
        "n": {"kind": "normal", "mean": 1, "sd": 2},
        "t": {"kind": "normal", "mean": 1, "sd": 2, "low": 0, "high": 2},
        "l": {"kind": "lognormal", "median": 2, "sigma": 0.5},
        "c": {"kind": "choice", "values": [3, 4, 5], "weights": [1, 0, 1]},
    }
    values = {}
    for name, entry in kinds.items():
        kind = document.distribution_of(name, entry)
        values[name] = np.array([float(kind.value(ds.Draw(3, name, i), ())) for i in range(4000)])
    assert values["u"].mean() == pytest.approx(2.0, abs=0.04) and values["u"].std() == pytest.approx(
        12**-0.5 * 2, rel=0.04
    )
    assert values["n"].mean() == pytest.approx(1.0, abs=0.15) and values["n"].std() == pytest.approx(2.0, rel=0.05)
    assert values["t"].min() >= 0 and values["t"].max() <= 2 and values["t"].mean() == pytest.approx(1.0, abs=0.04)
    assert np.log(values["l"] / 2).std() == pytest.approx(0.5, rel=0.05)
    assert set(values["c"]) == {3.0, 5.0} and (values["c"] == 3).mean() == pytest.approx(0.5, abs=0.04)
    turns = np.stack([ds.Orientations().value(ds.Draw(3, "o", i), (3, 3)) for i in range(4000)])
    np.testing.assert_allclose(turns @ turns.swapaxes(1, 2), np.broadcast_to(np.eye(3), turns.shape), atol=1e-14)
    assert np.abs(turns.mean(0)).max() < 0.04 and np.abs((turns**2).mean(0) - 1 / 3).max() < 0.02
    fixed = [ds.Draw(1, "beam.wavelength_A", i, lattice).uniform((1,))[0] for i, lattice in ((0, 0), (1, 0), (0, 1))]
    assert [round(x, 12) for x in fixed] == DRAWN


DRAWN = [0.71955994129, 0.474040795928, 0.91355197759]


def test_several_structures(tmp_path):
    """Each image has one of the base experiments; rows are in the order of images all the same."""
    two = RECIPE | {"base": [{"args": ARGS, "weight": 1}, {"args": [*ARGS, "-N", 9], "weight": 2}], "images": 7}
    path = tmp_path / "two.json"
    path.write_text(json.dumps(two))
    recipe = ds.load_recipe(path)
    ds.make_dataset(recipe, tmp_path / "set")
    columns = columns_of(tmp_path / "set")
    assert list(columns["image"]) == list(range(7)) and set(columns["base"]) == {0, 1}
    with pytest.raises(nb.InputError, match="a stream is made from one base experiment, this recipe has 2"):
        next(ds.batches(recipe, 2))


@pytest.mark.dials
@pytest.mark.skipif(shutil.which("dials.import") is None, reason="DIALS is not installed")
def test_dials_reads_a_shard(recipe, made):
    """Pixels, wavelength, detector and crystal of each image, from the list beside the images."""
    script = """
import sys, json
from dxtbx.model.experiment_list import ExperimentList
found = []
for e in ExperimentList.from_file(sys.argv[1]):
    data = e.imageset.get_raw_data(0)[0].as_numpy_array()
    real = None if e.crystal is None else list(e.crystal.get_real_space_vectors().as_double())
    panel = e.detector[0]
    found.append([int(data.sum()), e.beam.get_wavelength(), panel.get_distance(), panel.get_pedestal(), real])
print(json.dumps(found))
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["HDF5_PLUGIN_PATH"] = hdf5plugin.PLUGIN_PATH  # for the HDF5 of a system without bitshuffle
    python = shutil.which("dials.python") or "/usr/bin/python3"
    done = subprocess.run(
        [python, "-c", script, str(made / f"{shard_name(0)}.expt")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    columns, counts = columns_of(made), counts_in(made)
    rows = [row for row in range(4) for _ in range(max(1, int(columns["lattices"][row])))]
    assert len(found) == len(rows)
    for row, (total, wavelength, distance, _, real) in zip(rows, found, strict=True):
        assert total == counts[row].sum()
        assert wavelength == pytest.approx(columns["beam.wavelength_A"][row], rel=1e-12)
        assert distance == pytest.approx(columns["detector.distance_mm"][row], rel=5e-3)
        assert (real is None) == (columns["lattices"][row] == 0)
        if real is not None:
            np.testing.assert_allclose(np.linalg.norm(np.reshape(real, (3, 3)), axis=1), [40, 50, 60], rtol=1e-9)


def start(folder: Path, *more: str, environment: dict[str, str] | None = None) -> subprocess.Popen:
    """The command, from a folder with a recipe."""
    words = [sys.executable, "-m", "nanobrag_jax.dataset", "make", "recipe.json", "-out", "set", *more]
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    """What one process makes that compiles as users' do."""
    folder = tmp_path_factory.mktemp("shipped")
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    with start(folder) as run:
        out, err = run.communicate(timeout=300)
    assert run.returncode == 0, (out, err)
    return folder / "set"


@pytest.mark.slow
@pytest.mark.xdist_group("dataset processes")
def test_killed_and_run_again(shipped, tmp_path):
    """kill -9 of two processes in the middle: what is there is whole, and the same command ends with the same bytes."""
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    making = tmp_path / "set" / ".making"
    with start(tmp_path, "-processes", "2") as run:
        wait_for(lambda: any(making.glob("*")), run)
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=60)
    assert run.returncode == 130 and "the same command goes on where it stopped" in err, (out, err)
    with start(tmp_path) as run:
        wait_for((tmp_path / "set" / f"{shard_name(0)}.json").exists, run)
        run.kill()
        run.communicate()
    assert 1 <= len(list((tmp_path / "set").glob("shard_*.json"))) <= 3
    with start(tmp_path) as again:
        out, err = again.communicate(timeout=300)
    assert again.returncode == 0, (out, err)
    assert same_files(shipped, tmp_path / "set") and ds.check(tmp_path / "set") == []
    assert not making.exists()


def wait_for(happened: Callable[[], bool], run: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not happened() and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.xdist_group("dataset processes")
@pytest.mark.skipif(slurm_cluster.missing_part() is not None, reason=str(slurm_cluster.missing_part()))
def test_an_array_of_tasks_equals_one_process(shipped, tmp_path):
    """On a Slurm of one node; a task that is killed with -9 is submitted again."""
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    with slurm_cluster.cluster(tmp_path / "slurm") as environment:
        making = tmp_path / "set" / ".making"
        with start(tmp_path, "-slurm", "tasks=3,time=10", environment=environment) as run:
            wait_for(lambda: any(making.glob("*")), run)
            victim = next(making.glob("*"))
            os.kill(int(victim.name.rpartition("-")[2]), signal.SIGKILL)
            out, err = run.communicate(timeout=400)
    assert run.returncode == 0, (out, err)
    assert "submitted again" in out
    assert same_files(shipped, tmp_path / "set")
