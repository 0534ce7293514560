"""miniCBF files, read back by fabio."""

import fabio
import jax.numpy as jnp
import numpy as np
import pytest
import small
from fabio.cbfimage import PilatusHeader
from format_cases import (
    DETECTORS,
    FLAT,
    PERPENDICULAR,
    POINTS,
    TEN_DIGITS,
    case,
    check_same_geometry,
    counts_image,
    positions,
)

import nanobrag_jax as nb
from nanobrag_jax.formats import minicbf


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
    check_same_geometry((exact, np.array([0, 0, -1]), spindle), ours, TEN_DIGITS)
    # As the readers have it that know these words only: perpendicular to the beam, fast along x, slow along -y.
    beam, distance = words["Beam_xy"], words["Detector_distance"] * 1e3
    flat = (POINTS - beam) * (pixel, -pixel)
    simple = np.column_stack([flat, np.full(len(flat), -distance)])
    if upright:
        check_same_geometry((simple, np.array([0, 0, -1]), np.array([1, 0, 0])), ours, TEN_DIGITS)
    if name != "behind a right angle":
        hit = origin + pixel * (beam[0] * fast + beam[1] * slow)
        np.testing.assert_allclose(hit, [0, 0, -distance], atol=1e-4)
    assert words["Wavelength"] == 1.2 and words["Start_angle"] == 5.0 and words["Angle_increment"] == 0.5
    assert words["Polarization"] == pytest.approx(0.65) and words["Count_cutoff"] == 2**31 - 1


@pytest.mark.parametrize("bits", [7, 8, 9, 15, 16, 17, 29, 30])
def test_byte_offsets(bits, tmp_path):
    """Steps on both sides of every length of the compression."""
    rng = np.random.default_rng(bits)
    image = rng.choice(np.array([0, 1, -1, 2**bits - 1, -(2**bits) + 1, 2 ** (bits - 1), -(2 ** (bits - 1))]), (10, 12))
    nb.write_image(tmp_path / "x.cbf", image.astype(np.int32), case("off centre"))
    np.testing.assert_array_equal(fabio.open(tmp_path / "x.cbf").data, image)
    assert len(minicbf.byte_offset(np.zeros((3, 5), np.int32))) == 15


def test_the_sensor_in_minicbf(tmp_path):
    """Only a sensor of several layers shows the parallax that readers correct for."""
    sensor = {"thickness_um": 450.0, "attenuation_depth_um": 200.0}
    for steps, expected in ((4, ("Silicon", 0.00045)), (1, None)):
        experiment = small.experiment(detector=FLAT | sensor | {"thickness_steps": steps})
        nb.write_image(tmp_path / "x.cbf", jnp.zeros((10, 12)), experiment)
        words = PilatusHeader(fabio.open(tmp_path / "x.cbf").header["_array_data.header_contents"])
        assert words._dict.get("sensor") == expected
