"""Grey-scale pictures."""

import json

import numpy as np
import pytest
from format_cases import case, photons

import nanobrag_jax as nb
from nanobrag_jax.errors import InputError
from nanobrag_jax.formats.pgm import read_pgm, write_pgm
from nanobrag_jax.formats.whole_numbers import default_pgm_scale, pgm_image, statistics


def test_pgm_bytes(tmp_path):
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    write_pgm(tmp_path / "i.pgm", image, 0.079703941)
    assert (tmp_path / "i.pgm").read_bytes() == b"P5\n3 2\n# pixels scaled by 0.0797039\n255\n\0\1\2\3\4\5"
    read = read_pgm(tmp_path / "i.pgm")
    np.testing.assert_array_equal(read.image, image)
    assert read.scale == 0.0797039


def test_pgm_of_pixels_that_look_like_text(tmp_path):
    image = np.frombuffer(b"  \n# 12\n", np.uint8).reshape(2, 4)
    write_pgm(tmp_path / "i.pgm", image, 1)
    np.testing.assert_array_equal(read_pgm(tmp_path / "i.pgm").image, image)


@pytest.mark.parametrize(
    "text", [b"P5 3 2 255\n", b"P5\n#a\n#b 7\n3\t#c\n2\r\n255 ", b"P5\n# pixels scaled by x\n3 2\n255\n"]
)
def test_pgm_headers_of_other_programs(tmp_path, text):
    (tmp_path / "i.pgm").write_bytes(text + b"abcdef")
    read = read_pgm(tmp_path / "i.pgm")
    assert read.image.tobytes() == b"abcdef" and read.image.shape == (2, 3) and read.scale is None


BAD_PGM = {
    "text": (b"P2\n3 2\n255\n0 0 0 0 0 0", "does not start with 'P5' but with"),
    "empty": (b"", "does not start with 'P5'"),
    "no height": (b"P5\n3\n", "has no height"),
    "no white": (b"P5\n3 2\nx", "has no white value"),
    "wide pixels": (b"P5\n3 2\n65535\n" + b"\0" * 12, "white value 65535"),
    "short": (b"P5\n3 2\n255\nabc", r"ends after 3 of 2 x 3 \(slow x fast\) pixels"),
}


@pytest.mark.parametrize("name", BAD_PGM)
def test_bad_pgm(tmp_path, name):
    content, message = BAD_PGM[name]
    (tmp_path / "i.pgm").write_bytes(content)
    with pytest.raises(InputError, match=f"PGM image '.*i.pgm'.*{message}"):
        read_pgm(tmp_path / "i.pgm")


@pytest.mark.parametrize("image", [np.zeros((2, 3)), np.zeros(3, np.uint8)])
def test_pgm_wants_bytes_with_two_axes(tmp_path, image):
    with pytest.raises(ValueError, match="must be uint8"):
        write_pgm(tmp_path / "i.pgm", image, 1)


def test_golden_picture_round_trip(tmp_path, golden):
    case = next(case for case in json.loads((golden / "cases.json").read_text()) if case["name"] == "basic")
    picture = np.load(golden / "basic.npz")["pgm"]
    write_pgm(tmp_path / "i.pgm", picture, float(case["printed"]["pgm_scale"]))
    read = read_pgm(tmp_path / "i.pgm")
    np.testing.assert_array_equal(read.image, picture)
    assert f"{read.scale:g}" == case["printed"]["pgm_scale"]


def test_a_picture_by_name_has_the_references_scale(tmp_path):
    light = photons()
    nb.write_image(tmp_path / "x.pgm", light, case("off centre"))
    found = read_pgm(tmp_path / "x.pgm")
    scale = default_pgm_scale(statistics(light).rmsd)
    np.testing.assert_array_equal(found.image, pgm_image(light, scale))
    assert found.scale == pytest.approx(scale, rel=1e-5)
    np.testing.assert_array_equal(nb.read_image(tmp_path / "x.pgm"), found.image)
