"""Formats × conventions in DIALS: what it reads from a file, or from the experiment list that goes with it."""

import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import small
from format_cases import panel

import nanobrag_jax as nb
from nanobrag_jax.detector import depth_of_absorption, frame_on_host, pixel_ray
from nanobrag_jax.dials.from_experiment import turn_to_dials
from nanobrag_jax.experiment import panel_experiment
from nanobrag_jax.formats.from_experiment import reading_of, setup_of
from nanobrag_jax.formats.registry import format_of

PROGRAM = shutil.which("dials.import")
pytestmark = [
    pytest.mark.dials,
    pytest.mark.skipif(PROGRAM is None, reason="DIALS is not installed: no dials.import on the PATH"),
]

PIXELS = 0.01
"""How far a corner may be from where we have it."""
SATURATION, OFFSET = 2000.0, 40.0
KAHN = 0.8

PLACE = {"pixels_fast": 12, "pixels_slow": 10, "pixel_size_mm": 0.1, "distance_mm": 60.0}
CENTER = {"beam_center_mm": (0.37, 0.52)}
DETECTORS = {
    "mosflm": CENTER,
    "denzo": CENTER | {"convention": "denzo"},
    "xds": {"convention": "xds", "close_point_mm": (0.41, 0.77)},
    "adxv": CENTER | {"convention": "adxv"},
    "dials": {"convention": "dials", "close_point_mm": (0.41, 0.77)},
    "custom": {
        "convention": "custom", "fast_axis": (0, 0, 1), "slow_axis": (0, -1, 0), "close_point_mm": (0.41, 0.77),
        "pivot": "sample",
    },
    "two-theta": CENTER | {"twotheta_deg": 15.0},
    "tilts": CENTER | {"rotations_deg": (3.0, -5.0, 7.0)},
    "panels": None,
}  # fmt: skip
ENDINGS = ("img", "cbf", "h5")
CASES = [(name, ending) for name in DETECTORS for ending in ENDINGS]
NEEDS_LIST = {
    *((name, ending) for name in ("adxv", "dials", "two-theta", "tilts", "panels") for ending in ("img", "cbf")),
}
"""What SMV and miniCBF cannot say: a spindle that is not along x, a detector that is not perpendicular, or mirrored."""


def experiment(name):
    beam = {"kahn_factor": KAHN, "polarization_vector": (0.0, 0.3, 0.9)}
    mask = np.ones((10, 12), bool)
    mask[4, 5:9] = False
    if DETECTORS[name] is not None:
        return small.experiment(
            detector=PLACE | DETECTORS[name],
            beam=beam if name in ("mosflm", "two-theta") else {"kahn_factor": KAHN},
            goniometer={"phi_deg": 5.0, "osc_deg": 0.5, "phi_steps": 2},
            sampling={"mask": mask},
        )
    return nb.Experiment(
        crystal=nb.Crystal(small.CELL),
        structure_factors=nb.StructureFactors(default_F=1.0),
        beam=nb.Beam(direction=(0, 0, -1), polarization_vector=(1, 0, 0), kahn_factor=KAHN),
        goniometer=nb.Goniometer(5.0, 0.5, spindle_axis=(1, 0, 0)),
        detector=[panel(x, 10, angle) for x, angle in ((-60.0, 12.0), (-28.0, 3.0), (3.0, -9.0), (30.0, -14.0))],
        sampling=nb.Sampling(mask=mask),
    )


def effects(ending):
    dead = np.zeros((10, 12), bool)
    dead[7, 3] = True
    return nb.DetectorEffects(offset_adu=OFFSET if ending == "img" else 0.0, saturation_adu=SATURATION, dead_mask=dead)


SENSOR = {"thickness_um": 450.0, "attenuation_depth_um": 320.0, "mean_depth": True, "pixel_size_mm": 0.075}
CORNERS = ((0, 0), (1, 0), (0, 1), (1, 1))


def thick(**more):
    """A tilted detector of 600 × 500 pixels with a thick sensor close to the sample, reached under up to 40 degrees."""
    place = PLACE | {"pixels_fast": 600, "pixels_slow": 500, "beam_center_mm": (4.0, 41.0)}
    return small.experiment(detector=place | SENSOR | {"rotations_deg": (2.0, -6.0, 3.0)} | more)


def counts(panels):
    images = np.random.default_rng(4).poisson(3.0, (panels, 10, 12)).astype(np.uint16)
    images[:, 0, 0], images[:, 1, 1] = 0, SATURATION
    return list(images)


ASK = """
import glob, json, os, sys, warnings
from dxtbx.model.experiment_list import ExperimentListFactory
from dials.algorithms.integration import Corrections
from scitbx import matrix

def asked(experiment):
    corrections = Corrections(experiment.beam, experiment.detector)
    panels = []
    for number, panel in enumerate(experiment.detector):
        fast, slow = panel.get_image_size()
        corners = [panel.get_pixel_lab_coord(corner) for corner in ((0, 0), (fast, 0), (0, slow), (fast, slow))]
        panels.append({
            "corners": corners, "pedestal": panel.get_pedestal(), "trusted": panel.get_trusted_range(),
            "efficiency": [corrections.qe(matrix.col(corner).normalize(), number) for corner in corners]
            if panel.get_mu() > 0 else [1.0],
        })
    found = {
        "panels": panels,
        "beam": experiment.beam.get_unit_s0(),
        "wavelength": experiment.beam.get_wavelength(),
        "fraction": experiment.beam.get_polarization_fraction(),
        "normal": experiment.beam.get_polarization_normal(),
        "axis": experiment.goniometer.get_rotation_axis() if experiment.goniometer else None,
        "oscillation": experiment.scan.get_oscillation() if experiment.scan else None,
    }
    if experiment.imageset is not None:
        found["pixels"] = [list(data) for data in experiment.imageset.get_raw_data(0)]
        found["believed"] = [list(mask) for mask in experiment.imageset.get_mask(0)]
    return found

found = {}
for name in sorted(os.listdir(".")):
    if name.endswith(".expt"):
        experiments = ExperimentListFactory.from_json_file(name)
    else:
        experiments = ExperimentListFactory.from_filenames([name])
    assert len(experiments) == 1, name
    found[name] = asked(experiments[0])
print(json.dumps(found))
"""


def in_dials(folder, script):
    """What a script prints that DIALS' own Python runs in a folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    own_python = Path(PROGRAM).read_text().splitlines()[0].removeprefix("#!").split()
    run = {"cwd": folder, "env": environment, "text": True, "timeout": 300}
    done = subprocess.run([*own_python, "-c", script], capture_output=True, **run)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """All files as DIALS has them, and what was warned of each: by convention and ending."""
    folder, warned = tmp_path_factory.mktemp("table"), {}
    for name, ending in CASES:
        made, file = experiment(name), folder / f"{name}-{ending}_0001.{ending}"
        images = counts(4 if name == "panels" else 1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            written = nb.write_image(file, images, made, effects=effects(ending))
        warned[name, ending] = [str(each.message) for each in caught]
        nb.to_expt(
            made,
            folder / f"{name}-{ending}.expt",
            written[0] if len(written) == 1 else None,
            pedestal=effects(ending).offset_adu.item(),
            trusted_range=(-0.5, SATURATION - 0.5),
        )
    nb.to_expt(thick(), folder / "thick.expt")
    return in_dials(folder, ASK), warned


def test_a_thick_sensor_absorbs_where_dials_has_it(table, tmp_path):
    """Rays to the corners: those of our one layer, and those from DIALS' parallax correction."""
    (read,) = table[0]["thick.expt"]["panels"]
    nb.to_expt(thick(), tmp_path / "thick.expt")
    for made in (thick(), nb.experiment_from_expt(tmp_path / "thick.expt", nb.StructureFactors(default_F=1.0))):
        made = nb.completed(made)
        frame, detector = frame_on_host(made.panel, made.beam, "spec"), made.panel
        turn = np.eye(3) if detector.convention == "custom" else turn_to_dials(np.asarray(frame.beam))
        assert detector.mean_depth and detector.thickness_steps == 1
        edges = np.array(CORNERS) * [detector.pixels_fast, detector.pixels_slow] * float(frame.pixel_size)
        rays = np.array([turn @ ray(frame, fast, slow, 450e-6, 320e-6) for fast, slow in edges])
        dials = np.array(read["corners"])
        length = np.linalg.norm(dials, axis=1)
        apart = np.linalg.norm(rays * length[:, None] - dials, axis=1) / 0.075
        assert apart.max() < 1e-6
        front = np.array([turn @ ray(frame, fast, slow) for fast, slow in edges])
        assert np.max(np.linalg.norm(front * length[:, None] - dials, axis=1)) / 0.075 > 0.8


def ray(frame, fast, slow, thickness=None, attenuation=None):
    """Direction of the ray that a point of the detector stands for, by the same functions as the render."""
    kind = {"curved": False, "point_pixel": False}
    front = pixel_ray(frame, jnp.asarray(fast), jnp.asarray(slow), 0.0, **kind)
    depth = 0.0 if thickness is None else depth_of_absorption(frame, front.obliquity, thickness, attenuation)
    return np.array(pixel_ray(frame, jnp.asarray(fast), jnp.asarray(slow), depth, **kind).direction)


def ours(name, ending):
    whole = nb.completed(experiment(name))
    experiments = [panel_experiment(whole, number) for number in range(4 if name == "panels" else 1)]
    frames = [frame_on_host(each.panel, each.beam, "spec") for each in experiments]
    reading = reading_of(effects(ending), [(10, 12)] * len(experiments))
    return setup_of(experiments, frames, reading=reading)


@pytest.mark.parametrize("name, ending", CASES)
def test_dials_reads_what_is_there(name, ending, table):
    found, warned = table
    setup = ours(name, ending)
    needs_list = (name, ending) in NEEDS_LIST
    assert bool(warned[name, ending]) == needs_list
    assert all("to_expt" in note or "along x" in note for note in warned[name, ending])
    files = {"list": found[f"{name}-{ending}.expt"]}
    if not needs_list:
        files["image"] = found[f"{name}-{ending}_0001.{ending}"]
    for kind, read in files.items():
        check_geometry(read, setup.lab)
        for number, each in enumerate(read["panels"]):
            assert each["pedestal"] == setup.reading.offset
            low, high = each["trusted"]
            assert -1 <= low < 0
            if kind == "list" or ending != "img":
                assert SATURATION - 1 < high <= SATURATION
            else:  # the format says no other
                assert high == 65535 - OFFSET
            if "pixels" in read:
                check_pixels(read, number, counts(len(read["panels"]))[number], ending, high)
    electric = np.cross(files["list"]["normal"], files["list"]["beam"])
    assert files["list"]["fraction"] == pytest.approx((KAHN + 1) / 2)
    stokes = [np.cos(a := 2 * np.arctan2(electric[1], electric[0])), np.sin(a)]
    np.testing.assert_allclose(setup.lab.stokes[1:3], KAHN * np.array(stokes), atol=1e-9)


def check_geometry(read, lab):
    np.testing.assert_allclose(read["beam"], [0, 0, -1], atol=1e-12)
    assert read["wavelength"] == pytest.approx(lab.wavelength_A, rel=1e-9)
    np.testing.assert_allclose(read["axis"], lab.spindle, atol=1e-9)
    np.testing.assert_allclose(read["oscillation"], [lab.phi_deg, lab.osc_deg])
    assert len(read["panels"]) == len(lab.panels)
    for number, (each, place) in enumerate(zip(read["panels"], lab.panels, strict=True)):
        slow, fast = place.pixels
        expected = lab.pixel_mm(number, np.array([0.0, fast, 0, fast]), np.array([0.0, 0, slow, slow]))
        apart = np.linalg.norm(np.array(each["corners"]) - expected, axis=1) / place.pixel_mm
        assert apart.max() < PIXELS
        assert min(each["efficiency"]) > 0.999999 * max(each["efficiency"]) > 0


def check_pixels(read, number, expected, ending, high):
    """Counts are there, zero is believed, and what is full, dead or not simulated is not, as the format can say."""
    pixels, believed = (np.reshape(read[key][number], (10, 12)) for key in ("pixels", "believed"))
    away, dead = np.zeros((10, 12), bool), np.zeros((10, 12), bool)
    away[4, 5:9], dead[7, 3] = True, True
    marked = away | dead
    if ending == "cbf":
        assert (pixels[away] == -1).all() and (pixels[dead] == -2).all()
    np.testing.assert_array_equal(pixels[~marked], expected[~marked])
    assert pixels[0, 0] == 0 and believed[0, 0]
    assert believed[1, 1] == (high > SATURATION)
    plain = ~marked
    plain[1, 1] = False
    assert believed[plain].all()
    if ending != "img":
        assert not believed[marked].any()


def test_the_name_decides_what_is_written():
    assert [format_of(f"x.{ending}").name for ending in ENDINGS] == ["smv", "cbf", "nexus"]
