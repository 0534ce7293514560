"""NeXus files, read back by h5py, fabio and nxmx."""

import format_cases as cases
import h5py
import numpy as np
import nxmx
import pytest
import small
from format_cases import FLAT, PLACE, POINTS, SPINDLE, case, check_same_geometry, panel, photons, positions

import nanobrag_jax as nb
from nanobrag_jax.detector import frame_on_host
from nanobrag_jax.experiment import panel_experiment
from nanobrag_jax.formats.from_experiment import setup_of
from nanobrag_jax.formats.nexus import TO_MCSTAS, Nexus, sensor_thickness_mm
from nanobrag_jax.formats.write import image_outputs
from nanobrag_jax.io.outputs import write_outputs


def in_nexus(path, panel=0):
    """(positions, beam, spindle) that the nxmx reader finds in a file."""
    with h5py.File(path) as file:
        entry = nxmx.NXmx(file).entries[0]
        module = entry.instruments[0].detectors[0].modules[panel]
        made = []
        for direction in (module.fast_pixel_direction, module.slow_pixel_direction):
            chain = nxmx.get_dependency_chain(direction.depends_on)
            assert chain[-1].path == "/entry/instrument/detector/transformations/det_z"
            matrix = nxmx.get_cumulative_transformation(chain)[0]
            made.append((matrix[:3, 3], matrix[:3, :3] @ direction.vector, direction[()].to("mm").magnitude.item()))
            assert np.linalg.norm(direction.vector) == pytest.approx(1.0, abs=1e-12)
        (origin, fast, fast_mm), (_, slow, slow_mm) = made
        phi = entry.samples[0].transformations[0].axes["phi"]
        return origin + POINTS[:, :1] * fast_mm * fast + POINTS[:, 1:] * slow_mm * slow, np.array([0, 0, 1]), phi.vector


@pytest.mark.parametrize("name", cases.DETECTORS)
def test_geometry_in_nexus(name, tmp_path):
    experiment = case(name)
    nb.write_image(tmp_path / "x.h5", photons(), experiment)
    check_same_geometry(in_nexus(tmp_path / "x.h5"), positions(experiment), PLACE)


def test_nexus_describes_the_experiment(tmp_path):
    mask = np.ones((10, 12), bool)
    mask[4, 5] = False
    beam = {"dispersion_percent": 2.0, "dispersion_fractions": (-0.5, 0.0, 0.5), "source_weights": (1.0, 2.0, 3.0)}
    experiment = small.experiment(
        detector=FLAT | {"thickness_um": 320.0, "attenuation_depth_um": 200.0, "thickness_steps": 3},
        beam=beam,
        goniometer=SPINDLE,
        sampling={"mask": mask, "roi": (1, 11, 0, 8)},
    )
    nb.write_image(tmp_path / "x.h5", np.ones((10, 12), np.uint16), experiment)
    frame = frame_on_host(experiment.detector, experiment.beam, "spec")
    with h5py.File(tmp_path / "x.h5") as file:
        read = nxmx.NXmx(file)
        entry = read.entries[0]
        instrument, sample = entry.instruments[0], entry.samples[0]
        detector, light = instrument.detectors[0], instrument.beams[0]
        assert (entry.definition, entry.source.name, entry.data[0].signal) == ("NXmx", "simulation", b"data")
        assert light.incident_wavelength.to("angstrom").magnitude == 1.2
        variant = light[light["incident_wavelength"].attrs["variant"]]
        np.testing.assert_allclose(variant[()], [1.188, 1.2, 1.212], rtol=1e-14)
        np.testing.assert_allclose(light[variant.name + "_weights"][()] * np.array([6, 3, 2]), 6.0, rtol=1e-12)
        np.testing.assert_allclose(light["incident_polarization_stokes"][()], [1, 0.3, 0, 0], atol=1e-15)
        assert detector.distance.to("mm").magnitude == pytest.approx(60.0)
        np.testing.assert_allclose(
            [float(x.magnitude) for x in (detector.beam_center_x, detector.beam_center_y)],
            [float(x) / float(frame.pixel_size) for x in frame.beam_point],
        )
        assert detector.sensor_material == "Si" and detector.sensor_thickness.to("um").magnitude == pytest.approx(320)
        assert (detector.saturation_value, detector.underload_value, detector.type) == (65535, 0, "pixel")
        assert detector.depends_on.transformation_type == "translation"
        (module,) = detector.modules
        assert tuple(module.data_origin) == (0, 0) and tuple(module.data_size) == (10, 12)
        expected = np.full((10, 12), 256)
        expected[:9, 1:] = 0
        expected[4, 5] = 256
        np.testing.assert_array_equal(detector.pixel_mask, expected)
        axis = sample.depends_on
        assert axis.transformation_type == "rotation" and axis.path.endswith("/phi")
        assert (axis[0].to("deg").magnitude, axis.end[0].to("deg").magnitude) == (5.0, 5.5)
        assert axis.increment_set.to("deg").magnitude == 0.5


def test_a_still_has_no_rotation(tmp_path):
    experiment = small.experiment(detector=FLAT, goniometer={"phi_deg": 30.0})
    nb.write_image(tmp_path / "x.h5", photons(), experiment)
    with h5py.File(tmp_path / "x.h5") as file:
        entry = nxmx.NXmx(file).entries[0]
        assert entry.samples[0].depends_on is None and entry.instruments[0].detectors[0].saturation_value is None
        assert "variant" not in entry.instruments[0].beams[0]["incident_wavelength"].attrs


@pytest.mark.parametrize("rows", [(10, 10), (10, 7)], ids=["equal", "unequal"])
def test_panels(rows, tmp_path):
    experiment = nb.Experiment(
        crystal=nb.Crystal(small.CELL),
        structure_factors=nb.StructureFactors(default_F=1.0),
        beam=nb.Beam(direction=(0, 0, -1), polarization_vector=(1, 0, 0), kahn_factor=0.9),
        detector=[panel(-30.0, rows[0], 12.0), panel(3.0, rows[1], -9.0)],
    )
    images = [photons(i)[:n] for i, n in enumerate(rows)]
    given = np.stack(images) if rows[0] == rows[1] else images
    assert nb.write_image(tmp_path / "x.h5", given, experiment) == [str(tmp_path / "x.h5")]
    with h5py.File(tmp_path / "x.h5") as file:
        detector = nxmx.NXmx(file).entries[0].instruments[0].detectors[0]
        for i, module in enumerate(detector.modules):
            (slow, fast), size = module.data_origin, module.data_size
            np.testing.assert_array_equal(file["entry/data/data"][0, slow : slow + size[0], fast : size[1]], images[i])
    for i in range(2):
        check_same_geometry(in_nexus(tmp_path / "x.h5", i), positions(panel_experiment(experiment, i)), PLACE)
    names = nb.write_image(tmp_path / "x.npy", given, experiment)
    assert names == [str(tmp_path / f"x_{i}.npy") for i in range(2)]
    for name, image in zip(names, images, strict=True):
        np.testing.assert_array_equal(np.load(name), image)


def test_progress_and_same_bytes(tmp_path):
    sizes = {"pixels_fast": 1500, "pixels_slow": 1200, "pixel_size_mm": 0.1}
    experiment = nb.completed(small.experiment(detector=sizes))
    frame = frame_on_host(experiment.detector, experiment.beam, "spec")
    image = np.random.default_rng(1).random((1200, 1500)).astype(np.float32)
    seen = []
    for name in ("a.h5", "b.h5"):
        path = str(tmp_path / name)
        write_outputs(image_outputs("-floatfile", path, Nexus(), [image], setup_of([experiment], [frame])), seen.append)
    assert len(seen) > 10 and seen == sorted(seen[: len(seen) // 2]) * 2 and 0 < seen[0] < 0.5 < seen[-1] <= 1.0
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("wavelength", [0.4, 0.7, 1.0, 1.5, 2.5, 4.0])
def test_no_sensor_is_nothing_to_correct_for(wavelength):
    """DIALS divides intensities by 1 − exp(−μt/cos α): that is the same for every angle, and above 0."""
    thickness = sensor_thickness_mm(0.0, wavelength)
    assert sensor_thickness_mm(0.45, wavelength) == 0.45 and 0 < thickness < 1e-14
    table = {0.4: 0.3084, 0.7: 1.483, 1.0: 4.208, 1.5: 13.71, 2.5: 58.38, 4.0: 208.9}  # of silicon, 1/mm
    cosines = np.cos(np.radians(np.linspace(0.0, 60.0, 200)))
    efficiency = 1.0 - np.exp(-table[wavelength] * thickness / cosines)
    np.testing.assert_array_equal(efficiency, 2.0**-53)


def test_polarisation_in_the_frame_of_nexus(tmp_path):
    """At an angle to x, of which McStas' frame has the other direction: U has the other sign."""
    made = small.experiment(beam={"polarization_vector": (0.0, 0.6, 0.8), "kahn_factor": 0.5})
    nb.write_image(tmp_path / "x.h5", np.zeros((10, 12)), made)
    whole = nb.completed(made)
    lab = setup_of([whole], [frame_on_host(whole.panel, whole.beam, "spec")]).lab
    angle = np.arctan2(*(TO_MCSTAS @ np.array([lab_x(lab), lab_y(lab), 0.0]))[1::-1])
    with h5py.File(tmp_path / "x.h5") as file:
        found = file["entry/instrument/beam/incident_polarization_stokes"][()]
    np.testing.assert_allclose(found, [1, 0.5 * np.cos(2 * angle), 0.5 * np.sin(2 * angle), 0], atol=1e-12)
    assert abs(found[2]) > 0.4


def lab_x(lab):
    return np.cos(np.arctan2(lab.stokes[2], lab.stokes[1]) / 2)


def lab_y(lab):
    return np.sin(np.arctan2(lab.stokes[2], lab.stokes[1]) / 2)


def test_limits_and_marks(tmp_path):
    """The saturation of the detector, and the bits of pixels that are dead or were not simulated."""
    dead, mask = np.zeros((10, 12), bool), np.ones((10, 12), bool)
    dead[2, 3] = dead[4, 5] = True
    mask[4, 5:8] = False
    effects = nb.DetectorEffects(saturation_adu=2000.0, dead_mask=dead)
    made = small.experiment(sampling={"mask": mask})
    nb.write_image(tmp_path / "x.h5", np.ones((10, 12), np.uint16), made, effects=effects)
    nb.write_image(tmp_path / "y.h5", np.ones((10, 12), np.uint16), small.experiment())
    with h5py.File(tmp_path / "x.h5") as file, h5py.File(tmp_path / "y.h5") as plain:
        detector = file["entry/instrument/detector"]
        assert (detector["saturation_value"][()], detector["underload_value"][()]) == (2000, 0)
        marks = detector["pixel_mask"][()]
        assert plain["entry/instrument/detector/saturation_value"][()] == 65535
        assert not plain["entry/instrument/detector/pixel_mask"][()].any()
    assert (marks[2, 3], marks[4, 5], marks[4, 6]) == (2, 2 | 256, 256)
    assert np.count_nonzero(marks) == 4
