"""The shadow of a beam stop."""

import jax
import numpy as np
import pytest
from small import experiment

import nanobrag_jax as nb

WIDE = {"pixels_fast": 60, "pixels_slow": 50, "pixel_size_mm": 0.5, "distance_mm": 100.0}


def shadow(held):
    return ~np.asarray(held.sampling.mask)


def positions(held):
    """Distance (mm) of pixels from the direct beam on a detector at right angles to it."""
    pixel, center = 0.5, np.asarray(held.panel.beam_center_mm)[::-1] + 0.25
    fast, slow = ((np.arange(n) + 0.5) * pixel for n in (60, 50))
    return np.hypot(fast[None] - center[0], slow[:, None] - center[1])


def test_a_radius():
    """A disc around the beam, wherever it is, in which nothing is rendered."""
    plain = experiment(detector=WIDE | {"beam_center_mm": (9.0, 17.0)}, sampling={"oversample": 1})
    held = nb.with_beam_stop(plain, radius_mm=3.2)
    np.testing.assert_array_equal(shadow(held), positions(plain) <= 3.2)
    image = np.asarray(nb.simulate(held))
    assert np.all(image[shadow(held)] == 0) and np.all(
        image[~shadow(held)] == np.asarray(nb.simulate(plain))[~shadow(held)]
    )


@pytest.mark.parametrize("curved", [False, True])
def test_a_resolution(curved):
    """What is at lower resolution is in the shadow, to the last pixel."""
    plain = experiment(detector=WIDE | {"curved": curved})
    held = nb.with_beam_stop(plain, dmax_A=25.0)
    pixel, center = 0.5, np.asarray(plain.panel.beam_center_mm)[::-1] + 0.25
    fast, slow = ((np.arange(n) + 0.5) * pixel for n in (60, 50))
    f, s = fast[None] - center[0], slow[:, None] - center[1]
    angle = np.arctan(np.hypot(f, s) / 100.0)
    if curved:
        angle = np.arccos(np.cos(f / 100) * np.cos(s / 100))
    spacing = 1.2 / (2 * np.sin(angle / 2))
    np.testing.assert_array_equal(shadow(held), spacing >= 25.0)
    assert 0 < shadow(held).sum() < shadow(held).size / 2


def test_a_tilted_detector_has_an_ellipse():
    """The shadow has its radius across the beam, and is longer along the tilt."""
    tilted = experiment(detector=WIDE | {"rotations_deg": (0, 50, 0)})
    dark = shadow(nb.with_beam_stop(tilted, radius_mm=4.0))
    across, along = np.any(dark, axis=0).sum(), np.any(dark, axis=1).sum()
    assert across > 1.3 * along and along * 0.5 == pytest.approx(8.0, abs=1.0)


def test_panels_share_one_stop():
    """The shadow of a stop on two panels is that on the image that they make."""
    known = nb.detectors.jungfrau_1m(100.0)
    held = nb.with_beam_stop(nb.replace(experiment(), detector=known), radius_mm=5.0)
    dark = shadow(held)
    assert dark.shape == (2, 514, 1030)
    np.testing.assert_array_equal(dark[0], dark[1][::-1])
    hidden = 2 * np.arccos(18 / (5 / 0.075)) - np.sin(
        2 * np.arccos(18 / (5 / 0.075))
    )  # a gap of 36 pixels covers the rest
    assert dark.sum() == pytest.approx(hidden * (5 / 0.075) ** 2, rel=0.01)


def test_beside_a_mask():
    mask = np.ones((50, 60), bool)
    mask[3] = False
    held = nb.with_beam_stop(experiment(detector=WIDE, sampling={"mask": mask}), radius_mm=3.0)
    assert shadow(held)[3].all() and shadow(held).sum() > 60


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "give one of radius_mm and dmax_A, got None and None"),
        ({"radius_mm": 3, "dmax_A": 40}, "give one of radius_mm and dmax_A, got 3 and 40"),
        ({"radius_mm": -3}, "radius_mm must be positive, got -3"),
        ({"dmax_A": 0}, "dmax_A must be positive, got 0"),
    ],
)
def test_what_is_no_beam_stop(arguments, message):
    with pytest.raises(nb.InputError, match=message):
        nb.with_beam_stop(experiment(), **arguments)


def test_not_where_it_cannot_be():
    one = experiment().panel
    unequal = nb.replace(experiment(), detector=[one, nb.replace(one, pixels_fast=8)])
    with pytest.raises(nb.InputError, match="a beam stop needs panels of one size"):
        nb.with_beam_stop(unequal, radius_mm=3)
    with pytest.raises(nb.InputError, match="put it in before a transformation"):
        jax.jit(lambda e: nb.with_beam_stop(e, radius_mm=3))(experiment())


LINE = "-cell 50 60 70 90 90 90 -N 5 -default_F 10 -detpixels 60 -pixel 0.5 -oversample 1"


@pytest.mark.parametrize("words, arguments", [("-beamstop 3", {"radius_mm": 3}), ("-dmax 40", {"dmax_A": 40})])
def test_flags(words, arguments, tmp_path):
    """The same in the command, beside a saved run, too."""
    flagged = nb.experiment_from_args(f"{LINE} {words}".split())
    plain = nb.experiment_from_args(LINE.split())
    expected = shadow(nb.with_beam_stop(plain, **arguments))
    np.testing.assert_array_equal(shadow(flagged), expected)
    assert 0 < expected.sum() < expected.size / 2
    nb.save_config(tmp_path / "run.json", plain)
    beside = nb.experiment_from_args(f"-config {tmp_path / 'run.json'} {words}".split())
    np.testing.assert_array_equal(shadow(beside), expected)


def test_one_of_the_flags():
    with pytest.raises(nb.InputError, match="give one of -beamstop and -dmax"):
        nb.experiment_from_args(f"{LINE} -beamstop 3 -dmax 40".split())
