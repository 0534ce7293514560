"""Our files in DIALS: imported by its own program, geometry and pixels as its own library gives them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import small
from format_cases import DETECTORS, FLAT, SPINDLE, case, panel

import nanobrag_jax as nb
from nanobrag_jax.detector import frame_on_host
from nanobrag_jax.experiment import panel_experiment
from nanobrag_jax.formats.from_experiment import setup_of

PROGRAM = shutil.which("dials.import")
pytestmark = [
    pytest.mark.dials,
    pytest.mark.skipif(PROGRAM is None, reason="DIALS is not installed: no dials.import on the PATH"),
]

PIXELS = 0.01
"""How far a corner may be from where we have it: what no viewer shows. Found: 1e-11."""
LOWEST_EFFICIENCY = 0.999999
"""Of the efficiencies by which DIALS divides intensities, the lowest over the highest where no sensor is simulated."""

ASK = """
import json, os, sys
from dxtbx.model.experiment_list import ExperimentListFactory
from dials.algorithms.integration import Corrections
from scitbx import matrix

found = {}
for experiment in ExperimentListFactory.from_json_file(sys.argv[1]):
    corrections = Corrections(experiment.beam, experiment.detector)
    panels = []
    for number, panel in enumerate(experiment.detector):
        fast, slow = panel.get_image_size()
        corners = [panel.get_pixel_lab_coord(corner) for corner in ((0, 0), (fast, 0), (0, slow), (fast, slow))]
        efficiency = [corrections.qe(matrix.col(corner).normalize(), number) for corner in corners]
        panels.append({"corners": corners, "efficiency": efficiency, "mu": panel.get_mu()})
    goniometer, scan = experiment.goniometer, experiment.scan
    found[os.path.basename(experiment.imageset.get_path(0))] = {
        "panels": panels,
        "beam": experiment.beam.get_unit_s0(),
        "wavelength": experiment.beam.get_wavelength(),
        "axis": goniometer.get_rotation_axis() if goniometer else None,
        "oscillation": scan.get_oscillation() if scan else None,
        "pixels": [list(data) for data in experiment.imageset.get_raw_data(0)],
    }
print(json.dumps(found))
"""


def in_dials(folder):
    """What DIALS finds in all files of a folder, by their names: imported by one run of its program."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    run = {"cwd": folder, "env": environment, "text": True, "stdout": subprocess.PIPE, "timeout": 300}
    done = subprocess.run([PROGRAM, *sorted(os.listdir(folder))], stderr=subprocess.STDOUT, **run)
    assert done.returncode == 0 and (folder / "imported.expt").exists(), done.stdout
    own_python = Path(PROGRAM).read_text().splitlines()[0].removeprefix("#!").split()
    done = subprocess.run([*own_python, "-c", ASK, "imported.expt"], stderr=subprocess.PIPE, **run)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(found, experiment, images):
    """Assert that beam, spindle, corners and pixels are ours, and that nothing is corrected for."""
    whole = nb.completed(experiment)
    experiments = [panel_experiment(whole, number) for number in range(len(images))]
    lab = setup_of(experiments, [frame_on_host(each.panel, each.beam, "spec") for each in experiments]).lab
    np.testing.assert_allclose(found["beam"], [0, 0, -1], atol=1e-12)
    assert found["wavelength"] == pytest.approx(lab.wavelength_A)
    if lab.osc_deg:
        np.testing.assert_allclose(found["axis"], lab.spindle, atol=1e-9)
        np.testing.assert_allclose(found["oscillation"], [lab.phi_deg, lab.osc_deg])
    assert len(found["panels"]) == len(lab.panels)
    for number, (panel_found, place) in enumerate(zip(found["panels"], lab.panels, strict=True)):
        slow, fast = place.pixels
        ours = lab.pixel_mm(number, np.array([0.0, fast, 0, fast]), np.array([0.0, 0, slow, slow]))
        apart = np.linalg.norm(np.array(panel_found["corners"]) - ours, axis=1) / place.pixel_mm
        assert apart.max() < PIXELS
        np.testing.assert_array_equal(np.reshape(found["pixels"][number], (slow, fast)), images[number])
        if panel_found["mu"] > 0:  # else DIALS divides by nothing
            efficiency = panel_found["efficiency"]
            assert min(efficiency) > LOWEST_EFFICIENCY * max(efficiency) > 0


def counts(shape):
    return np.random.default_rng(4).poisson(20.0, shape).astype(np.int32)


def two_panels():
    return nb.Experiment(
        crystal=nb.Crystal(small.CELL),
        structure_factors=nb.StructureFactors(default_F=1.0),
        beam=nb.Beam(direction=(0, 0, -1), polarization_vector=(1, 0, 0), kahn_factor=0.9),
        goniometer=nb.Goniometer(**SPINDLE),
        detector=[panel(-30.0, 10, 12.0), panel(3.0, 7, -9.0)],
    )


SENSOR = {"thickness_um": 450.0, "attenuation_depth_um": 140.0, "thickness_steps": 4}
EXPERIMENTS = {
    **{f"{name}.h5": lambda name=name: case(name) for name in DETECTORS},
    "still.h5": lambda: small.experiment(detector=FLAT | {"rotations_deg": (1.0, 2.0, 3.0)}),
    "two panels.h5": two_panels,
    "sensor.h5": lambda: small.experiment(detector=FLAT | SENSOR, goniometer=SPINDLE),
    "upright_0001.cbf": lambda: case("xds upright"),
}
"""By the names of their files; DIALS wants a number in that of a miniCBF."""


def images_of(name):
    """Photons for the still, else counts."""
    kind = np.float32 if name == "still.h5" else np.int32
    return [counts(shape).astype(kind) for shape in ([(10, 12), (7, 12)] if "panels" in name else [(10, 12)])]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """All files, as DIALS has them."""
    folder = tmp_path_factory.mktemp("dials")
    for name, make in EXPERIMENTS.items():
        nb.write_image(folder / name, images_of(name), make())
    return in_dials(folder)


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "sensor.h5"])
def test_dials_has_our_geometry_and_pixels(name, found):
    assert (found[name]["axis"] is None) == (name == "still.h5")
    check(found[name], EXPERIMENTS[name](), images_of(name))


def test_a_sensor_in_layers_is_corrected_for(found):
    (panel_found,) = found["sensor.h5"]["panels"]
    straight = 1.0 - np.exp(-panel_found["mu"] * 0.45)
    assert 1.01 * straight < max(panel_found["efficiency"]) < 1.2 * straight
    place = nb.completed(EXPERIMENTS["sensor.h5"]())
    lab = setup_of([place], [frame_on_host(place.panel, place.beam, "spec")]).lab
    apart = np.array(panel_found["corners"][0]) - lab.pixel_mm(0, np.zeros(()), np.zeros(()))
    assert 0.01 < np.linalg.norm(apart) < 0.2, "mm of parallax"
