"""The compare tool on the full frames: c-parity is the reference, spec differs from it by the slip at φ = 0."""

import json

import numpy as np
import pytest
from golden import GOLDEN, INPUTS, SUPERVISOR, absent

import nanobrag_jax as nb
from nanobrag_jax.compare import Thresholds, compare_images

RUNS = {"pilatus": (GOLDEN / "pilatus", INPUTS), "supervisor": (SUPERVISOR, SUPERVISOR)}
SAME = Thresholds(min_correlation=0.999999, sum_ratio=(1 - 1e-6, 1 + 1e-6), max_peak_distance=1e-4, min_peaks=100)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_full_frames(name):
    place, inputs = RUNS[name]
    path = place / f"{name}.json"
    if not path.exists():
        if name == "supervisor":
            pytest.skip(f"the inputs of others, which are not shipped, are not at {place}")
        absent(path)
    record = json.loads(path.read_text())
    images, references = {}, {}
    for run in record["runs"]:
        mode = run["mode"]
        experiment = nb.experiment_from_args([*run["args"], "-mode", mode], inputs)
        images[mode] = np.asarray(nb.simulate(experiment, mode)).astype(np.float32)
        with np.load(place / f"{name}.npz") as file:
            references[mode] = np.hstack(list(file[f"{mode}_windows"]))
    windows = {
        mode: np.hstack([image[slow : slow + 64, fast : fast + 64] for slow, fast in record["windows"]])
        for mode, image in images.items()
    }
    for mode, window in windows.items():
        assert SAME.failures(compare_images(references[mode], window)) == []
    crossed = compare_images(references["c-parity"], windows["spec"])
    assert SAME.failures(crossed), "the modes are told apart"
    whole = compare_images(images["c-parity"], images["spec"])
    assert 0.98 < whole.correlation < 0.9999
    assert 1e-4 < abs(whole.sum_ratio - 1) < 0.02
    assert 0.01 < whole.rms_relative < 0.2
    assert len(whole.peaks.distances) >= 95 and whole.as_dict()["peaks"]["mean_distance"] < 0.2
