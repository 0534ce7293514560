"""`python -m benchmarks.image_files`: seconds and megabytes of a Pilatus-sized image in each format."""

import os
import tempfile
import time

import numpy as np

import nanobrag_jax as nb

FLAGS = "-cell 60 70 80 -default_F 1 -detpixels_x 2463 -detpixels_y 2527 -pixel 0.172 -distance 200 -oversample 1"
REPEAT = 3


def main() -> None:
    """The command."""
    experiment = nb.experiment_from_args(FLAGS.split())
    rng = np.random.default_rng(0)
    photons = rng.gamma(0.3, 30.0, (2527, 2463)).astype(np.float32)
    counts = rng.poisson(photons + 1).astype(np.uint16)
    cases = [(f"photons{end}", photons, {}) for end in (".bin", ".npy", ".h5", ".png")]
    cases += [(f"counts{end}", counts, {}) for end in (".h5", ".cbf", ".img")]
    cases.append(("rings.png", photons, {"rings": True}))
    with tempfile.TemporaryDirectory() as folder:
        for name, image, options in cases:
            path, seconds = os.path.join(folder, name), []
            for _ in range(REPEAT):
                began = time.perf_counter()
                nb.write_image(path, image, experiment, **options)
                seconds.append(time.perf_counter() - began)
            print(f"{name:12} {min(seconds):6.2f} s {os.path.getsize(path) / 1e6:6.1f} MB")


if __name__ == "__main__":
    main()
