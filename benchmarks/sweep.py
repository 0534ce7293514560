"""`python -m benchmarks.sweep`: a sweep by the command beside its rendering and noise alone, and its memory.

90 images of 1000 x 1040 pixels, 8 phi steps x 6 domains x 2 x 2 sub-pixels, single precision, with water and noise, as
one NeXus file. The two are measured in turns; on a shared machine only their ratio means anything.
"""

import argparse
import contextlib
import os
import resource
import shlex
import tempfile
import time

import numpy as np

import nanobrag_jax as nb
from nanobrag_jax.effects.photon_noise import poisson_image
from nanobrag_jax.numerics.precision import precision_context
from nanobrag_jax.render import bands

FLAGS = (
    "-cell 79 79 38 -default_F 100 -N 10 -lambda 0.98 -distance 150 -detpixels_x 1000 -detpixels_y 1040 -pixel 0.172 "
    "-phi 0 -osc 0.5 -phisteps 8 -mosaic 0.1 -mosaic_domains 6 -oversample 2 -precision float32 "
    "-fluence 1.2e18 -beamsize 0.05 -stol water -amorphous_thick 0.2 -crystal_scale 1e9"
)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    written(max(1, options.images // 10))
    print(f"most memory after a tenth of the images {most_memory():.0f} MB")
    ratios = []
    for _ in range(options.rounds):
        alone, whole = rendered(options.images), written(options.images)
        ratios.append(whole / alone)
        print(f"rendering and noise {alone:.2f} s, command {whole:.2f} s, ratio {ratios[-1]:.3f}")
    print(f"most memory after all {most_memory():.0f} MB")
    print(f"ratio, median: {np.median(ratios):.3f} (limit 1.15)")


def most_memory() -> float:
    """Of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def written(images: int) -> float:
    """Seconds of the command."""
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        began = time.perf_counter()
        words = shlex.split(f"{FLAGS} -images {images} -noisefile {folder}/sweep.nxs -noprogress")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            assert nb.cli.main(words) == 0
        return time.perf_counter() - began


def rendered(images: int) -> float:
    """Seconds of compiling, rendering and noise, nothing written."""
    began = time.perf_counter()
    start = nb.completed(nb.experiment_from_args(shlex.split(FLAGS)))
    programs: bands.Programs = {}
    with precision_context("float32"):
        job = bands.prepare(start, "spec", "float32")
        for number in range(1, images + 1):
            job = bands.turned(job, nb.image_experiment(start, number), "spec", "float32")
            (image,) = bands.render([job], None, programs)
            np.asarray(poisson_image(nb.image_key(1, number), image, 0.0).image)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
