"""`python -m benchmarks.dataset [--images n] [--size pixels]`: what a data set costs, side by side on the same cores.

512 × 512 stills of 20 domains with Poisson noise and a gaussian point spread of one pixel, written and compressed in
batches of 16. Prints a line a figure, each with the limit it has to keep.
"""

import argparse
import dataclasses
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import nanobrag_jax as nb
from nanobrag_jax import dataset
from nanobrag_jax.dataset import shards
from nanobrag_jax.dataset.batch import rendered
from nanobrag_jax.dataset.make import begin, missing

DOMAINS = 20
DETECTOR = {"shot_noise": True, "psf": "gauss", "psf_fwhm_pixels": 1.0, "offset_adu": 10.0}


def recipe(size: int, images: int, precision: str, effects: dict | None = None) -> dataset.Recipe:
    """Stills in random orientations."""
    amplitudes = np.random.default_rng(0).uniform(1, 100, (61, 71, 81))
    experiment = nb.Experiment(
        crystal=nb.Crystal(
            (60.0, 70.0, 80.0), (90.0, 95.0, 90.0), n_cells=(15, 15, 15), mosaic_spread_deg=0.3, mosaic_domains=DOMAINS
        ),
        beam=nb.Beam(1.0, fluence_per_m2=1e28),
        detector=nb.Detector(size, size, pixel_size_mm=102.4 / size, distance_mm=120.0),
        structure_factors=nb.StructureFactors(amplitudes, hkl_min=(-30, -35, -40)),
        sampling=nb.Sampling(oversample=1, interpolate=False),
    )
    return dataset.Recipe(
        experiment,
        {"crystal.orientation": dataset.Orientations(), "crystal.scale": dataset.LogNormal(1.0, 0.5)},
        effects=nb.DetectorEffects(**(DETECTOR if effects is None else effects)),
        images=images,
        precision=precision,  # type: ignore[arg-type]
        storage=dataset.Storage(shard_images=max(16, images // 4)),
    )


def seconds_an_image(made: dataset.Recipe, folder: Path) -> tuple[float, float]:
    """Wall and processor time of an image of a data set, the second time, when everything is compiled."""
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)
        wall, own = time.perf_counter(), time.process_time()
        dataset.make_dataset(made, folder)
        wall, own = time.perf_counter() - wall, time.process_time() - own
    return wall / made.images, own / made.images


def rendering_alone(made: dataset.Recipe) -> tuple[float, float]:
    """Wall and processor time of an image of the batches alone, nothing written."""
    batches = [drawn for drawn, _ in shards.batches_of(made, range(made.images))]
    rendered(made, batches[0]).counts.block_until_ready()
    wall, own = time.perf_counter(), time.process_time()
    for drawn in batches:
        rendered(made, drawn).counts.block_until_ready()
    return (time.perf_counter() - wall) / made.images, (time.process_time() - own) / made.images


def streaming(made: dataset.Recipe) -> float:
    """Seconds an image of a stream."""
    wall = time.perf_counter()
    for batch in dataset.batches(made, made.storage.batch):
        batch.images.block_until_ready()
    return (time.perf_counter() - wall) / made.images


def by_processes(size: int, images: int, folder: Path) -> float:
    """How many times faster two processes are than one that keeps to one core."""
    took = []
    for processes, cores in ((1, 1), (2, 2)):
        words = [sys.executable, "-m", "benchmarks.dataset", "--child", str(processes), "--images", str(images)]
        words += ["--size", str(size), "--folder", str(folder / str(processes))]
        cores_of = "import os, sys; os.sched_setaffinity(0, eval(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
        confined = [sys.executable, "-c", cores_of, repr(sorted(os.sched_getaffinity(0))[:cores]), *words]
        done = subprocess.run(confined, capture_output=True, text=True, check=True)
        took.append(float(done.stdout.splitlines()[-1]))
    return took[0] / took[1]


def child(size: int, images: int, processes: int, folder: Path) -> float:
    """Seconds that `processes` take for a data set, from the end of its first quarter on."""
    made = recipe(size, images, "float32")
    times = []
    if processes == 1:
        dataset.make_dataset(made, folder, shards=[0])
        wall = time.perf_counter()
        dataset.make_dataset(made, folder)
        return (time.perf_counter() - wall) / (made.images - made.storage.shard_images)
    # both compile at the same time: the rate of what comes after the first shard of each
    dataset.make_dataset(made, folder, processes=processes, report=lambda n: times.append((time.perf_counter(), n)))
    first = times[processes - 1][0]
    return (times[-1][0] - first) / sum(n for _, n in times[processes:])


def bookkeeping(folder: Path, images: int = 100_000) -> tuple[float, float, float]:
    """Seconds for manifest and records, for finding out what is left, and for `show`; nothing is rendered."""
    made = dataclasses.replace(recipe(16, images, "float32"), storage=dataset.Storage(shard_images=100))
    wall = [time.perf_counter()]
    begin(made, folder)
    for shard in range(shards.num_shards(made)):
        name = shards.shard_name(shard)
        (folder / f"{name}.h5").touch()
        record = shards.Shard(shard, 100 * shard, 100, 1.0, {f"{name}.h5": "0"})
        shards.write_record(folder, record)
    wall.append(time.perf_counter())
    assert missing(made, folder) == []
    wall.append(time.perf_counter())
    assert dataset.progress(folder).images == images
    wall.append(time.perf_counter())
    return wall[1] - wall[0], wall[2] - wall[1], wall[3] - wall[2]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataset", description=str(__doc__).split("\n")[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--child", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    size, images = options.size, options.images
    if options.child:
        print(child(size, images, options.child, Path(options.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for precision in ("float64", "float32"):
            made = recipe(size, images, precision)
            bare = recipe(size, images, precision, {})
            whole, alone = seconds_an_image(made, folder / "set"), rendering_alone(bare)
            rest = [(a - b) / size**2 * 1e9 for a, b in zip(whole, alone, strict=True)]
            print(f"{precision}: {whole[0] * 1e3:.1f} ms an image ({whole[1] * 1e3:.1f} of processors)", flush=True)
            print(f"{precision}: rendering alone {alone[0] * 1e3:.1f} ms ({alone[1] * 1e3:.1f} of processors)")
            print(
                f"{precision}: noise, point spread, numbers, files {rest[0]:.0f} ns a pixel ({rest[1]:.0f}); limit 60"
            )
            noisy = recipe(size, images, precision, {"shot_noise": True})
            ready, stream = rendering_alone(noisy), streaming(noisy)
            print(f"{precision}: streaming at {ready[0] / stream:.2f} of the rate of rendering and noise; limit 0.9")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"peak memory of this process {peak:.2f} GB; limit 1.5")
        print(f"two processes are {by_processes(size, images, folder):.2f} times as fast as one on one core; limit 1.7")
        taken = bookkeeping(folder / "books")
        print("100 000 images: records {:.2f} s, what is left {:.2f} s, show {:.2f} s; limit 5".format(*taken))


if __name__ == "__main__":
    main()
