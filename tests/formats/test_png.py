"""Previews, looked at by Pillow."""

import numpy as np
import pytest
import small
from format_cases import DETECTORS, case, photons
from PIL import Image

import nanobrag_jax as nb
from nanobrag_jax.detector import frame_on_host
from nanobrag_jax.errors import InputError
from nanobrag_jax.formats import png
from nanobrag_jax.formats.from_experiment import inverse_spacings_A


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
    frame = frame_on_host(experiment.detector, experiment.beam, "spec")
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


def test_a_preview_is_not_read(tmp_path):
    nb.write_image(tmp_path / "x.png", photons(), case("tilted"))
    with pytest.raises(InputError, match=r"^image '.*x.png' is a preview \(PNG\): the photons cannot be had from it$"):
        nb.read_image(tmp_path / "x.png")


def test_black_can_be_another_level_than_the_brightest():
    image = np.ones((10, 12), np.float32)
    image[0, 0], image[1, 1] = 1e6, 100.0
    assert png.grey_range([image]) == (10.0, 1e6)
    assert png.grey_range([image], 100.0) == (1.0, 100.0)
    assert png.grey_levels(image, *png.grey_range([image], 100.0))[[0, 1], [0, 1]].tolist() == [png.DARKEST] * 2


def test_a_fraction_of_the_pixels_decides(tmp_path):
    """In both pictures, over what was simulated; the brightest pixel is cut."""
    experiment, light = small.experiment(sampling={"mask": np.indices((10, 12))[0] > 0}), photons()
    light[5, 5], light[0] = 1e6, 0.0
    level = np.quantile(light[1:].astype(np.float32), 0.9, method="higher")
    nb.write_image(tmp_path / "x.png", light, experiment, quantile=0.9)
    levels = levels_in(tmp_path / "x.png")
    assert np.all(levels[light >= level] == png.DARKEST) and np.mean(levels[1:] == png.DARKEST) < 0.2
    nb.write_image(tmp_path / "x.pgm", light, experiment, quantile=0.9)
    assert np.all(nb.read_image(tmp_path / "x.pgm")[light >= level] >= 254)
    with pytest.raises(InputError, match="quantile must be from 0 to 1, got 2"):
        nb.write_image(tmp_path / "x.png", light, experiment, quantile=2)
