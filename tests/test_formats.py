"""Image files: written here, read back by fabio, h5py with nxmx, Pillow and numpy; pixels and places of pixels."""

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import expt_files
import fabio
import h5py
import jax.numpy as jnp
import numpy as np
import nxmx
import pytest
import small
from fabio.cbfimage import PilatusHeader
from PIL import Image

import nanobrag_jax as nb
from nanobrag_jax import cli
from nanobrag_jax.assemble import frame_of
from nanobrag_jax.compare.read_image import read_image
from nanobrag_jax.errors import InputError
from nanobrag_jax.formats import minicbf, png
from nanobrag_jax.formats.names import EXTENSIONS, format_of, format_of_output
from nanobrag_jax.formats.write import image_outputs, inverse_spacings_A
from nanobrag_jax.output import write_outputs
from nanobrag_jax.panels import panel_experiment
from nanobrag_jax.progress import Progress

PLACE = 1e-9
"""mm: the turn of the lab frame and back, in double precision."""
TEN_DIGITS_MM = 1e-6
"""mm: numbers of a header with ten digits, some hundred mm."""
SIX_DIGITS_MM = 3e-3
"""mm: numbers of an SMV header."""

FLAT = {"beam_center_mm": (11.7, 20.3), "pixel_size_mm": 3.0}
SPINDLE = {"phi_deg": 5.0, "osc_deg": 0.5, "phi_steps": 2}
DETECTORS = {
    "off centre": FLAT,
    "two theta": FLAT | {"twotheta_deg": 23.0},
    "two theta about the sample": FLAT | {"twotheta_deg": -40.0, "pivot": "sample"},
    "tilted": FLAT | {"rotations_deg": (5.0, -11.0, 23.0), "twotheta_deg": 7.0},
    "xds": {"convention": "xds", "close_point_mm": (12.0, 3.0), "rotations_deg": (0.0, 14.0, 0.0)},
    "adxv": {"convention": "adxv", "beam_center_mm": (9.0, 14.0)},
    "dials": {"convention": "dials", "close_point_mm": (30.0, 3.0)},
    "behind a right angle": FLAT | {"twotheta_deg": 90.0, "pivot": "sample"},
}
BEAMS = {"tilted": {"direction": (0.98, 0.1, -0.05), "polarization_vector": (0.0, 1.0, 0.3)}}
PERPENDICULAR = ("off centre", "xds upright")
POINTS = np.array([(0.0, 0.0), (12.0, 0.0), (0.0, 10.0), (5.5, 6.5), (11.5, 0.5)])
"""(fast, slow) in pixels from the outer corner of the first."""


def case(name):
    """An experiment on one of the detectors."""
    detector = DETECTORS[name] if name in DETECTORS else {"convention": "xds", "close_point_mm": (12.0, 3.0)}
    return small.experiment(detector=detector, beam=BEAMS.get(name, ()), goniometer=SPINDLE)


def positions(experiment):
    """Where our `POINTS` are (mm), the beam's direction and the spindle, in the experiment's own lab."""
    frame = frame_of(experiment.detector, experiment.beam, "spec")
    fast, slow = (POINTS[:, i, None] * float(frame.pixel_size) for i in (0, 1))
    spindle = np.asarray(experiment.goniometer.spindle_axis)
    return (frame.pix0 + fast * frame.fast + slow * frame.slow) * 1e3, frame.beam, spindle / np.linalg.norm(spindle)


def check_same_geometry(file, ours, tolerance):
    """Assert that two sets of (positions, beam, spindle) differ by a rotation of the lab only, and by no mirror."""

    def invariants(points, beam, spindle):
        sides = np.array([beam, spindle, np.cross(beam, spindle)])
        return points @ points.T, points @ sides.T, sides @ sides.T, np.linalg.det(points[1:4] - points[0])

    for a, b in zip(invariants(*file), invariants(*ours), strict=True):
        scale = np.linalg.norm(ours[0], axis=1).max()
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=tolerance * scale)


def counts_image(seed=0):
    """Counts of all sizes of the compression: bytes, words, long words and beyond."""
    rng = np.random.default_rng(seed)
    image = rng.poisson(3.0, (10, 12)).astype(np.int32)
    image[2, 3:9] = [40000, -5, 2_000_000, 2**31 - 9, -7, 0]
    image[7, 1:4] = [127, 255, 254]
    return image


def photons(seed=0):
    """An image of photons, bright and dark pixels far apart."""
    return np.random.default_rng(seed).lognormal(0.0, 4.0, (10, 12)).astype(np.float32)


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


@pytest.mark.parametrize("name", DETECTORS)
def test_geometry_in_nexus(name, tmp_path):
    experiment = case(name)
    nb.write_image(tmp_path / "x.h5", photons(), experiment)
    check_same_geometry(in_nexus(tmp_path / "x.h5"), positions(experiment), PLACE)


@pytest.mark.parametrize("name", [*DETECTORS, "xds upright"])
def test_geometry_in_minicbf(name, tmp_path):
    experiment = case(name)
    upright, path = name in PERPENDICULAR, tmp_path / "x.cbf"
    if upright:
        nb.write_image(path, counts_image(), experiment)
    else:
        with pytest.warns(UserWarning, match="most readers of miniCBF take"):
            nb.write_image(path, counts_image(), experiment)
    contents = fabio.open(path).header["_array_data.header_contents"]
    words = PilatusHeader(contents)
    lines = dict(line[2:].split(maxsplit=1) for line in contents.splitlines() if line.startswith("# Lab"))
    origin, fast, slow, spindle = (
        np.array(lines[f"Lab_{key}"].split()[:3], float) for key in ("origin", "fast", "slow", "spindle")
    )
    pixel = words["Pixel_size"][0] * 1e3
    exact = origin + pixel * (POINTS[:, :1] * fast + POINTS[:, 1:] * slow)
    ours = positions(experiment)
    check_same_geometry((exact, np.array([0, 0, -1]), spindle), ours, TEN_DIGITS_MM)
    # As the readers have it that know these words only: perpendicular to the beam, fast along x, slow along -y.
    beam, distance = words["Beam_xy"], words["Detector_distance"] * 1e3
    flat = (POINTS - beam) * (pixel, -pixel)
    simple = np.column_stack([flat, np.full(len(flat), -distance)])
    if upright:
        check_same_geometry((simple, np.array([0, 0, -1]), np.array([1, 0, 0])), ours, TEN_DIGITS_MM)
    if name != "behind a right angle":
        hit = origin + pixel * (beam[0] * fast + beam[1] * slow)
        np.testing.assert_allclose(hit, [0, 0, -distance], atol=1e-4)
    assert words["Wavelength"] == 1.2 and words["Start_angle"] == 5.0 and words["Angle_increment"] == 0.5
    assert words["Polarization"] == pytest.approx(0.65) and words["Count_cutoff"] == 2**31 - 1


@pytest.mark.parametrize(
    "name, turn", [("off centre", 0.0), ("two theta", 23.0), ("two theta about the sample", -40.0)]
)
def test_geometry_in_smv(name, turn, tmp_path):
    """From the point nearest to the sample, its distance and the swing about the axis of the convention."""
    experiment, turn = case(name), DETECTORS[name].get("twotheta_deg", 0.0)
    nb.write_image(tmp_path / "x.img", np.zeros((10, 12)), experiment)
    header = {key: float(value) for key, value in fabio.open(tmp_path / "x.img").header.items() if is_number(value)}
    assert header["TWOTHETA"] == turn and header["WAVELENGTH"] == 1.2 and header["OSC_RANGE"] == 0.5
    pixel = header["PIXEL_SIZE"]
    fast, slow = ((POINTS[:, i] - (header[f"XDS_ORG{key}"] - 0.5)) * pixel for i, key in ((0, "X"), (1, "Y")))
    flat = np.column_stack([np.full(len(fast), header["CLOSE_DISTANCE"]), -slow, fast])
    angle = np.radians(-turn)  # about -z
    swing = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    ours = positions(experiment)
    np.testing.assert_allclose(flat @ swing.T, ours[0], atol=SIX_DIGITS_MM)


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_pixels(tmp_path):
    experiment, counts, light = case("off centre"), counts_image(), photons()
    small_counts = np.abs(counts) % 60000
    nb.write_image(tmp_path / "x.cbf", counts, experiment)
    found = fabio.open(tmp_path / "x.cbf").data
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, counts)
    nb.write_image(tmp_path / "y.CBF", light, experiment)
    np.testing.assert_array_equal(fabio.open(tmp_path / "y.CBF").data, np.floor(light.astype(float) + 0.5))
    nb.write_image(tmp_path / "x.img", small_counts, experiment)
    np.testing.assert_array_equal(fabio.open(tmp_path / "x.img").data, small_counts)
    nb.write_image(tmp_path / "x.bin", light.astype(float), experiment)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "x.bin", np.float32).reshape(10, 12), light)
    for values in (light, counts, small_counts.astype(np.uint16), counts.astype(np.int64)):
        stored = np.int32 if values.dtype == np.int64 else values.dtype
        nb.write_image(tmp_path / "x.npy", values, experiment)
        nb.write_image(tmp_path / "x.nxs", values, experiment)
        with h5py.File(tmp_path / "x.nxs") as file:
            data = file["entry/data/data"]
            assert data.compression == "gzip" and data.shape == (1, 10, 12)
            for found in (np.load(tmp_path / "x.npy"), data[0], file["entry/instrument/detector/data"][0]):
                assert found.dtype == stored
                np.testing.assert_array_equal(found, values)
        with fabio.open(tmp_path / "x.nxs") as image:
            np.testing.assert_array_equal(image.data, values)
    for name in ("x.cbf", "x.nxs"):
        np.testing.assert_array_equal(read_image(tmp_path / name), counts)


@pytest.mark.parametrize("bits", [7, 8, 9, 15, 16, 17, 29, 30])
def test_byte_offsets(bits, tmp_path):
    """Steps on both sides of every length of the compression."""
    rng = np.random.default_rng(bits)
    image = rng.choice(np.array([0, 1, -1, 2**bits - 1, -(2**bits) + 1, 2 ** (bits - 1), -(2 ** (bits - 1))]), (10, 12))
    nb.write_image(tmp_path / "x.cbf", image.astype(np.int32), case("off centre"))
    np.testing.assert_array_equal(fabio.open(tmp_path / "x.cbf").data, image)
    assert len(minicbf.byte_offset(np.zeros((3, 5), np.int32))) == 15


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
    frame = frame_of(experiment.detector, experiment.beam, "spec")
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


def panel(x, rows, angle=0.0):
    axis = (np.cos(np.radians(angle)), 0.0, np.sin(np.radians(angle)))
    return nb.Detector(
        12, rows, pixel_size_mm=2.0, convention="custom", pix0_mm=(x, 6.0, -60.0), fast_axis=axis, slow_axis=(0, -1, 0)
    )


@pytest.mark.parametrize("rows", [(10, 10), (10, 7)], ids=["equal", "unequal"])
def test_panels(rows, tmp_path):
    experiment = nb.Experiment(
        crystal=nb.Crystal(small.CELL),
        structure_factors=nb.StructureFactors(default_F=1.0),
        beam=nb.Beam(direction=(0, 0, -1), polarization_vector=(1, 0, 0)),
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


def greys_in(path):
    """Grey values of a picture, 255 for white."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), float)


def levels_in(path):
    """Places in the palette."""
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_preview(tmp_path):
    experiment, light = case("tilted"), photons()
    light[3, 4] = 0.0
    nb.write_image(tmp_path / "x.png", light, experiment)
    shown = greys_in(tmp_path / "x.png")
    black = light.max()
    white = black * 1e-5
    expected = 255.0 * (1.0 - np.clip(np.log(np.maximum(light, 1e-30) / white) / np.log(black / white), 0.0, 1.0))
    np.testing.assert_allclose(shown, expected, atol=1.01)
    assert shown[3, 4] == 255 and shown.min() == 0
    nb.write_image(tmp_path / "dark.png", np.zeros((10, 12)), experiment)
    assert greys_in(tmp_path / "dark.png").min() == 255


def test_rings_are_where_the_resolution_is(tmp_path):
    """A tilted detector; the spacing of each pixel corner follows from its angle to the beam."""
    experiment = small.experiment(
        detector=DETECTORS["tilted"] | {"pixels_fast": 240, "pixels_slow": 200, "pixel_size_mm": 0.3}
    )
    nb.write_image(tmp_path / "x.png", np.zeros((200, 240)), experiment, rings=True)
    levels = levels_in(tmp_path / "x.png")
    frame = frame_of(experiment.detector, experiment.beam, "spec")
    slow, fast = np.mgrid[:200, :240] + 0.5
    place = frame.pix0 + (fast[..., None] * frame.fast + slow[..., None] * frame.slow) * float(frame.pixel_size)
    angle = np.arccos(place @ np.asarray(frame.beam) / np.linalg.norm(place, axis=-1))
    spacing = 1.2 / (2 * np.sin(angle / 2))
    inverse = inverse_spacings_A(experiment, frame)
    drawn = png.ring_spacings_A(inverse)
    assert 3 <= len(drawn) <= 5 and drawn == sorted(drawn, reverse=True)
    on_ring = levels == png.RING
    nearest = np.min([np.abs(1 / spacing - 1 / d) for d in drawn], axis=0)
    steepest = max(np.abs(np.diff(inverse, axis=axis)).max() for axis in (0, 1))
    assert on_ring.sum() > 100 and nearest[on_ring].max() <= 1.01 * steepest
    for d in drawn:
        assert (np.abs(1 / spacing[on_ring] - 1 / d) <= steepest).any(), d
    assert (levels == png.LABEL).any()


BAD = [
    ("x.tif", np.zeros((10, 12)), r"cannot write '.*x\.tif': its name must end in \.cbf, \.h5, "),
    ("x", np.zeros((10, 12)), "its name must end in"),
    ("x.h5", np.zeros((12, 10)), r"image must have the detector's pixels \(slow, fast\), \(10, 12\), got \(12, 10\)"),
    ("x.h5", np.zeros((1, 2, 10, 12)), "image must have the detector's pixels"),
    ("x.npy", np.full((10, 12), "a"), "image must hold numbers, got <U1"),
    ("x.img", np.full((10, 12), 70000), r"x\.img: the format holds whole numbers from 0 to 65535, the image has 70000"),
    ("x.img", np.full((10, 12), -3.0), "whole numbers from 0 to 65535, the image has -3"),
    ("x.cbf", np.full((10, 12), 3e9), "whole numbers from -2147483648 to 2147483647, the image has 3e"),
    ("x.cbf", np.repeat([[-5], [2**31 - 1]], 60).reshape(10, 12), "pixels up to 2147483647 apart, .* from -5 to"),
    ("x.h5", np.full((10, 12), 2**40), "whole numbers from -2147483648"),
    ("x.npy", np.full((10, 12), np.nan), "beyond single precision"),
    ("no/x.npy", np.zeros((10, 12)), "the folder '.*no' does not exist"),
]


@pytest.mark.parametrize("name, image, message", BAD, ids=[f"{name} {i}" for i, (name, *_) in enumerate(BAD)])
def test_refused(name, image, message, tmp_path):
    with pytest.raises(InputError, match=message):
        nb.write_image(tmp_path / name, image, case("off centre"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("extension", [".cbf", ".h5", ".npy", ".img", ".bin", ".png"])
@pytest.mark.parametrize("how", ["at the end", "while writing"])
def test_a_full_disk_leaves_nothing(extension, how, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / f"x{extension}"
    if how == "at the end":
        monkeypatch.setattr(os, "fsync", full)
    elif os.path.exists("/dev/full"):
        path.symlink_to("/dev/full")
    with pytest.raises(ValueError, match=f"cannot write '.*x{extension}': No space left on device"):
        nb.write_image(path, np.ones((10, 12)), case("off centre"))
    assert [name for name in os.listdir(tmp_path) if not (tmp_path / name).is_symlink()] == []


KILLED = """
import os, signal, sys
import numpy as np
import nanobrag_jax as nb
from nanobrag_jax.assemble import frame_of
from nanobrag_jax.formats.names import format_of
from nanobrag_jax.formats.write import image_outputs
from nanobrag_jax.output import write_outputs

experiment = nb.experiment_from_args("-cell 50 -default_F 1 -detpixels_x 600 -detpixels_y 500".split())
frame = frame_of(experiment.detector, experiment.beam, "spec")
image = np.random.default_rng(0).random((500, 600)).astype(np.float32)
outputs = []
for name in sys.argv[1:]:
    outputs += image_outputs("-floatfile", name, format_of(name), [image], [experiment], [frame])
write_outputs(outputs, lambda fraction: os.kill(os.getpid(), signal.SIGKILL) if fraction > 0.9 else None)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_run_leaves_nothing_that_looks_complete(tmp_path):
    names = ["x.cbf", "x.h5", "x.npy", "x.img", "x.bin", "x.png"]
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", KILLED, *names]
    result = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}, timeout=100)
    assert result.returncode == -signal.SIGKILL
    left = os.listdir(tmp_path)
    assert len(left) == len(names) and all(name.startswith(".nanobrag-") and name.endswith(".tmp") for name in left)


def test_progress_and_same_bytes(tmp_path):
    experiment = small.experiment(detector={"pixels_fast": 1500, "pixels_slow": 1200, "pixel_size_mm": 0.1})
    frame = frame_of(experiment.detector, experiment.beam, "spec")
    image = np.random.default_rng(1).random((1200, 1500)).astype(np.float32)
    seen = []
    for name in ("a.h5", "b.h5"):
        path = str(tmp_path / name)
        write_outputs(image_outputs("-floatfile", path, "nexus", [image], [experiment], [frame]), seen.append)
    assert len(seen) > 10 and seen == sorted(seen[: len(seen) // 2]) * 2 and 0 < seen[0] < 0.5 < seen[-1] <= 1.0
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize(
    "path, usual, kind, misleading",
    [
        ("a.cbf", "raw", "cbf", False),
        ("a.H5", "smv", "nexus", False),
        ("a.npy", "smv", "npy", False),
        ("a.bin", "raw", "raw", False),
        ("a.dat", "raw", "raw", False),
        ("/dev/null", "smv", "smv", False),
        ("a.img", "smv", "smv", False),
        ("a.bin", "smv", "smv", False),
        ("a.img", "raw", "raw", True),
        ("a.png", "smv", "smv", True),
        ("a.png", "png", "png", False),
        ("a", "png", "png", False),
        ("a.h5", "png", "png", True),
    ],
)
def test_names(path, usual, kind, misleading):
    found, note = format_of_output(path, usual)
    assert (found, note is not None) == (kind, misleading)


def test_every_extension_is_a_format():
    assert {format_of(f"x{extension.upper()}") for extension in EXTENSIONS} == set(EXTENSIONS.values())


def test_nexus_needs_h5py(tmp_path, monkeypatch):
    monkeypatch.setattr("nanobrag_jax.formats.names.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"NeXus files need h5py: pip install nanobrag_jax\[formats\]"):
        nb.write_image(tmp_path / "x.h5", photons(), case("off centre"))


SMALL = "-cell 50 60 70 -default_F 100 -N 5 -detpixels_x 12 -detpixels_y 9 -pixel 1 -oversample 12 -nopgm".split()


def test_the_command_follows_the_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*SMALL, "-fluence", "1e27"]) == 0
    light = np.fromfile("floatimage.bin", np.float32).reshape(9, 12)
    counts, noise = (fabio.open(name).data for name in ("intimage.img", "noiseimage.img"))
    names = ["-floatfile", "a.h5", "-intfile", "a.cbf", "-noisefile", "a.npy", "-png", "a.png", "-png_rings"]
    before = set(os.listdir())
    assert cli.main([*SMALL, "-fluence", "1e27", *names]) == 0
    assert set(os.listdir()) - before == {"a.h5", "a.cbf", "a.npy", "a.png"}
    with h5py.File("a.h5") as file:
        assert file["entry/data/data"].dtype == np.float32
        np.testing.assert_array_equal(file["entry/data/data"][0], light)
    np.testing.assert_array_equal(fabio.open("a.cbf").data, counts)
    assert (np.load("a.npy").dtype, fabio.open("a.cbf").data.dtype) == (np.uint16, np.int32)
    np.testing.assert_array_equal(np.load("a.npy"), noise)
    assert levels_in("a.png").shape == (9, 12)
    report = capsys.readouterr()
    assert "written (-png)                       a.png" in report.out and report.err == ""


def test_the_command_notes_what_a_name_or_format_hides(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = ["-floatfile", "a.img", "-intfile", "a.cbf", "-png_rings", "-nonoise"]
    assert cli.main([*SMALL, *names, "-twotheta", "20"]) == 0
    notes = capsys.readouterr().err
    assert "a.img will hold raw float32 numbers, though its name looks like SMV" in notes
    assert "a.cbf: most readers of miniCBF take the detector to be perpendicular" in notes
    assert "-png_rings has no effect without -png" in notes
    assert os.path.getsize("a.img") == 4 * 9 * 12


def test_the_command_refuses_before_it_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nanobrag_jax.formats.names.importlib.util.find_spec", lambda name: None)
    assert cli.main([*SMALL, "-floatfile", "a.h5"]) == 1
    report = capsys.readouterr()
    assert report.out == "" and os.listdir() == []
    assert report.err == "nanobrag_jax: error: -floatfile: NeXus files need h5py: pip install nanobrag_jax[formats]\n"


def test_panels_of_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    panels = [expt_files.panel(origin=origin) for origin in ([-3.2, 2.4, -80.0], [3.4, 2.4, -80.0])]
    expt_files.write(tmp_path / "two.expt", expt_files.experiment_list(detector={"panels": panels}))
    flags = ["-expt", "two.expt", "-default_F", "100", "-N", "4", "-oversample", "1", "-nopgm", "-nonoise"]
    assert cli.main([*flags, "-floatfile", "a.h5", "-intfile", "a.cbf", "-png", "a.png"]) == 0
    assert sorted(os.listdir()) == ["a.h5", "a_0.cbf", "a_0.png", "a_1.cbf", "a_1.png", "two.expt"]
    with h5py.File("a.h5") as file:
        both = file["entry/data/data"][0]
        assert both.shape == (48, 32) and both[:24].max() > 0 and both[24:].max() > 0
    brightest = [int(fabio.open(f"a_{i}.cbf").data.max()) for i in range(2)]
    assert max(brightest) == 55040


def test_the_sensor_in_minicbf(tmp_path):
    """Only a sensor of several layers shows the parallax that readers correct for."""
    sensor = {"thickness_um": 450.0, "attenuation_depth_um": 200.0}
    for steps, expected in ((4, ("Silicon", 0.00045)), (1, None)):
        experiment = small.experiment(detector=FLAT | sensor | {"thickness_steps": steps})
        nb.write_image(tmp_path / "x.cbf", jnp.zeros((10, 12)), experiment)
        words = PilatusHeader(fabio.open(tmp_path / "x.cbf").header["_array_data.header_contents"])
        assert words._dict.get("sensor") == expected


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_a_writer_that_fails_leaves_nothing(stop, tmp_path, monkeypatch):
    def broken(*arguments):
        yield b"the beginning"
        raise stop

    monkeypatch.setattr("nanobrag_jax.formats.write.nexus_pieces", broken)
    with pytest.raises(stop):
        nb.write_image(tmp_path / "x.h5", photons(), case("off centre"))
    assert os.listdir(tmp_path) == []


def test_the_meter_says_what_it_does(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    clock = iter(range(100))
    monkeypatch.setattr("nanobrag_jax.progress.time.perf_counter", lambda: float(next(clock)))
    stream = Terminal()
    meter = Progress(True, stream, doing="writing")
    meter(0.25)
    assert "\rwriting [" in stream.getvalue() and " 25%" in stream.getvalue()
