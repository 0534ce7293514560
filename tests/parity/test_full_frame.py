"""The full-frame runs, 2527 × 2463 pixels and ten φ steps from zero: windows, block sums and statistics.

`pilatus` is in the golden data. `supervisor` has inputs of others; it runs where they are (see golden.SUPERVISOR).
"""

import json

import numpy as np
import pytest
from golden import GOLDEN, INPUTS, SIX_DIGITS, SUPERVISOR, absent, deviation

import nanobrag_jax as nb

RUNS = {"pilatus": (GOLDEN / "pilatus", INPUTS), "supervisor": (SUPERVISOR, SUPERVISOR)}


def record_of(name):
    """The record of a full-frame run, its numbers, and the folder of its inputs."""
    place, inputs = RUNS[name]
    path = place / f"{name}.json"
    if not path.exists():
        if name == "supervisor":
            pytest.skip(f"the inputs of others, which are not shipped, are not at {place}")
        absent(path)
    with np.load(place / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    return json.loads(path.read_text()), arrays, inputs


def statistics(image, pixel_m):
    """Mean, rms, rmsd, maximum and where it is, as the reference reports them for a frame without a mask."""
    x = image.astype(float)
    slow, fast = np.unravel_index(np.argmax(image), image.shape)
    mean, degrees = x.mean(), x.size - 1
    return {
        "mean": mean,
        "rms": np.sqrt(np.sum(x**2) / degrees),
        "rmsd": np.sqrt(np.sum((x - mean) ** 2) / degrees),
        "max_I": x.max(),
        "max_at": (pixel_m * (fast + 0.5), pixel_m * (slow + 0.5)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["spec", "c-parity"])
@pytest.mark.parametrize("name", RUNS)
def test_full_frame(name, mode, parity_ratios):
    record, arrays, inputs = record_of(name)
    run = next(run for run in record["runs"] if run["mode"] == mode)
    experiment = nb.experiment_from_args([*run["args"], "-mode", mode], inputs)
    image = np.asarray(nb.simulate(experiment, mode)).astype(np.float32)
    assert list(image.shape) == record["shape"]

    windows = np.stack([image[s : s + 64, f : f + 64] for s, f in record["windows"]])
    ratio = deviation(windows, arrays[f"{mode}_windows"], peak=float(image.max()))
    parity_ratios[f"{name} windows ({mode})"] = float(ratio.max())
    assert np.all(ratio <= 1.0), f"windows {np.unique(np.nonzero(~(ratio <= 1.0))[0])} differ"

    edges = [np.arange(0, length, record["block"]) for length in image.shape]
    blocks = np.add.reduceat(np.add.reduceat(image.astype(float), edges[0], axis=0), edges[1], axis=1)
    ratio = deviation(blocks, arrays[f"{mode}_blocks"])
    parity_ratios[f"{name} block sums ({mode})"] = float(ratio.max())
    assert blocks.shape == arrays[f"{mode}_blocks"].shape
    assert np.all(ratio <= 1.0), f"blocks {np.argwhere(~(ratio <= 1.0))[:5].tolist()} differ"

    for key, value in statistics(image, float(experiment.detector.pixel_size_mm) * 1e-3).items():
        printed = [float(x) for x in run["printed"][key].split()]
        np.testing.assert_allclose(value, printed if len(printed) > 1 else printed[0], rtol=SIX_DIGITS, err_msg=key)
