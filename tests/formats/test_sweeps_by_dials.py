"""Sweeps in DIALS: from the files, and from the experiment list that goes with them."""

import shutil

import numpy as np
import pytest
import small
from test_dials_table import in_dials

import nanobrag_jax as nb

pytestmark = [
    pytest.mark.dials,
    pytest.mark.skipif(
        shutil.which("dials.import") is None, reason="DIALS is not installed: no dials.import on the PATH"
    ),
]

NAMES = ("s_####.cbf", "s_####.img", "s.nxs")
FIRST, COUNT = 3, 4

ASK = """
import glob, json
from dxtbx.model.experiment_list import ExperimentListFactory

found = {}
for kind in ("cbf", "img", "nxs"):
    files = sorted(glob.glob(f"s*.{kind}"))
    for source in ("files", "list"):
        if source == "files":
            (experiment,) = ExperimentListFactory.from_filenames(files)
        else:
            (experiment,) = ExperimentListFactory.from_json_file(f"{kind}.expt")
        images, scan = experiment.imageset, experiment.scan
        found[f"{kind} {source}"] = {
            "range": scan.get_image_range(), "oscillation": scan.get_oscillation(),
            "end": scan.get_oscillation_range()[1],
            "pixels": [list(images.get_raw_data(i)[0]) for i in range(len(images))],
        }
(still,) = ExperimentListFactory.from_json_file("still.expt")
found["still"] = [list(still.imageset.get_raw_data(i)[0]) for i in range(len(still.imageset))]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What DIALS has, and the counts that were written."""
    folder = tmp_path_factory.mktemp("sweeps")
    start = small.experiment(goniometer={"phi_deg": 10.0, "osc_deg": 0.5, "phi_steps": 2}, beam={"kahn_factor": 0.9})
    images = np.random.default_rng(1).poisson(9.0, (COUNT, 10, 12)).astype(np.uint16)
    first = nb.image_experiment(start, FIRST)
    for name in NAMES:
        nb.write_sweep(folder / name, list(images), start, COUNT, FIRST)
        scan = {"num_images": COUNT, "first_image": FIRST}
        nb.to_expt(first, folder / f"{name[-3:]}.expt", folder / name, **scan)
    nb.to_expt(small.experiment(), folder / "still.expt", folder / "s_####.img", num_images=COUNT, first_image=FIRST)
    return in_dials(folder, ASK), images


@pytest.mark.parametrize("source", ["files", "list"])
@pytest.mark.parametrize("kind", ["cbf", "img", "nxs"])
def test_images_turn_as_they_were_simulated(kind, source, found):
    read, images = found[0][f"{kind} {source}"], found[1]
    first = 1 if kind == "nxs" else FIRST
    assert read["range"] == [first, first + COUNT - 1]
    np.testing.assert_allclose(read["oscillation"], [11.0, 0.5], atol=1e-6)
    assert read["end"] == pytest.approx(11.0 + 0.5 * COUNT)
    np.testing.assert_array_equal(np.reshape(read["pixels"], images.shape), images)


def test_stills_are_all_there(found):
    np.testing.assert_array_equal(np.reshape(found[0]["still"], found[1].shape), found[1])
