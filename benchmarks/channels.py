"""`python -m benchmarks.channels [CHANNELS]`: a still with a spectrum, with structure factors of each channel and with
one table for all, in processor time, forwards and in reverse mode.
"""

import sys
import time
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import nanobrag_jax as nb

PIXELS, HALF, ROUNDS = 512, 30, 3


def experiments(channels: int, sub_pixels: int) -> tuple[nb.Experiment, nb.Experiment]:
    """The same still with one table of 61 × 61 × 61 amplitudes for each channel, and with one."""
    rng = np.random.default_rng(1)
    wavelengths = np.linspace(0.97, 0.99, channels)
    tables = rng.uniform(5, 100, (channels, *(2 * HALF + 1,) * 3))
    low = (-HALF,) * 3
    one = nb.Experiment(
        crystal=nb.Crystal((60, 70, 80), (90, 90, 90), n_cells=(20, 20, 20), misset_deg=(10, 20, 30)),
        beam=nb.Beam(source_positions=[[-1.0, 0, 0]] * channels, source_wavelengths_A=wavelengths),
        detector=nb.Detector(pixels_fast=PIXELS, pixels_slow=PIXELS, pixel_size_mm=0.2, distance_mm=130.0),
        structure_factors=nb.StructureFactors(tables[0], hkl_min=low),
        sampling=nb.Sampling(sub_pixels, interpolate=False),
    )
    many = nb.StructureFactors(tables, hkl_min=low, channel_wavelengths_A=wavelengths)
    return eqx.tree_at(lambda e: e.structure_factors, one, many), one


def medians(calls) -> list[float]:
    """Seconds of processor time of each call, medians of interleaved rounds."""
    for call in calls:
        jax.block_until_ready(call())
    times = [[] for _ in calls]
    for _ in range(ROUNDS):
        for taken, call in zip(times, calls, strict=True):
            start = time.process_time()
            jax.block_until_ready(call())
            taken.append(time.process_time() - start)
    return [float(np.median(taken)) for taken in times]


def gradient(experiment: nb.Experiment):
    """That of a sum over the image by all amplitudes, compiled."""

    def loss(amplitudes):
        changed = eqx.tree_at(lambda e: e.structure_factors.amplitudes, experiment, amplitudes)
        return jnp.sum(jnp.sqrt(1.0 + nb.simulate(changed)))

    compiled = jax.jit(jax.grad(loss))
    return lambda: compiled(experiment.structure_factors.amplitudes)


def main() -> None:
    """Print the figures."""
    channels = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    warnings.simplefilter("ignore", nb.ExperimentWarning)  # of fewer sub-pixels than the spots need
    image = jax.jit(nb.simulate)
    for sub_pixels in (1, 2, 4):
        both = experiments(channels, sub_pixels)
        megabytes = both[0].structure_factors.amplitudes.nbytes / 2**20
        print(f"{channels} channels, {megabytes:.0f} MiB of amplitudes, {sub_pixels}² sub-pixels")
        for name, calls in (("image", [lambda e=e: image(e) for e in both]), ("gradient", [gradient(e) for e in both])):
            many, one = medians(calls)
            print(f"{name}: {many:.2f} s by channel, {one:.2f} s with one table: {many / one:.2f} times", flush=True)


if __name__ == "__main__":
    main()
