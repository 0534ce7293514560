"""Comparing images: the numbers against known answers, peaks, thresholds, and what cannot be compared."""

import numpy as np
import pytest
from golden import images_of

from nanobrag_jax.compare import Thresholds, compare_images, find_peaks, match_peaks
from nanobrag_jax.compare.images import selection
from nanobrag_jax.errors import InputError


def spots(centres, shape=(60, 80), width=0.8, heights=None):
    """Gaussian spots on a flat background, noiseless."""
    slow, fast = np.mgrid[: shape[0], : shape[1]]
    heights = np.ones(len(centres)) if heights is None else heights
    image = np.full(shape, 1e-6)
    for (s, f), height in zip(centres, heights, strict=True):
        image += height * np.exp(-((slow - s) ** 2 + (fast - f) ** 2) / (2 * width**2))
    return image


CENTRES = np.array([[10.2, 12.4], [30.0, 40.7], [50.3, 20.0], [20.6, 60.1], [44.4, 70.4]])
HEIGHTS = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
SPOTS = spots(CENTRES, heights=HEIGHTS)


def test_an_image_is_itself():
    image = images_of("basic")["float"]
    found = compare_images(image, image)
    assert found.pixels == image.size
    assert found.correlation == 1.0 and found.sum_ratio == 1.0
    assert found.rms_difference == found.rms_relative == found.max_difference == 0.0
    assert found.peaks.sought == len(found.peaks.distances) == 100
    assert not found.peaks.distances.any()
    everything = Thresholds(0.9999, (1, 1), 0.0, 0.0, 0.0, 100)
    assert everything.failures(found) == []


def test_numbers_are_the_textbooks():
    random = np.random.default_rng(1)
    a = random.gamma(1.0, 50.0, (30, 40))
    b = 1.5 * a + random.normal(0, 5, a.shape) + 20
    found = compare_images(a, b, num_largest=3)
    assert found.correlation == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], rel=1e-13)
    assert found.sum_ratio == pytest.approx(b.sum() / a.sum(), rel=1e-13)
    assert found.rms_difference == pytest.approx(np.sqrt(np.mean((b - a) ** 2)), rel=1e-13)
    assert found.rms_relative == pytest.approx(found.rms_difference / np.sqrt(np.mean(a**2)), rel=1e-13)
    worst = np.unravel_index(np.argsort(-np.abs(b - a), axis=None)[:3], a.shape)
    assert [(item.slow, item.fast) for item in found.largest] == list(zip(*worst, strict=True))
    assert found.largest[0].difference == b[worst][0] - a[worst][0] == pytest.approx(found.max_difference)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_correlation_of_very_small_and_very_large_values(scale):
    a = np.arange(12.0).reshape(3, 4)
    assert compare_images(a * scale, (2 * a + 1) * scale).correlation == pytest.approx(1.0, rel=1e-13)
    assert compare_images(a * scale, -a * scale).correlation == pytest.approx(-1.0, rel=1e-13)


def test_region_and_mask_decide_what_is_compared():
    a = np.arange(100.0).reshape(10, 10)
    b = a.copy()
    b[2, 3], b[7, 8], b[0, 0] = 0.0, 500.0, np.nan
    found = compare_images(a, b, roi=(2, 8, 1, 7))
    assert found.pixels == 49 and [(item.slow, item.fast) for item in found.largest[:2]] == [(7, 8), (2, 3)]
    mask = np.ones_like(a, dtype=np.uint16)
    mask[7, 8] = 0
    masked = compare_images(a, b, roi=(2, 8, 1, 7), mask=mask)
    assert masked.pixels == 48 and masked.max_difference == 23.0
    assert selection((10, 10), (2, 8, 1, 7), mask).sum() == 48


def test_peaks_to_a_fraction_of_a_pixel():
    found = find_peaks(SPOTS, 10)
    assert len(found) == 5
    np.testing.assert_allclose(found, CENTRES, atol=0.12)
    np.testing.assert_allclose(found[1, 0], 30.0, atol=1e-6)
    assert len(find_peaks(SPOTS, 3)) == 3
    selected = np.ones(SPOTS.shape, bool)
    selected[30, 41] = False
    selected[11, 13] = False
    assert len(find_peaks(SPOTS, 10, selected)) == 3


def test_peaks_of_plateaus_rims_and_emptiness():
    image = np.zeros((9, 9))
    assert len(find_peaks(image, 5)) == 0
    image[4, 4:6] = 7.0
    np.testing.assert_allclose(find_peaks(image, 5), [[4.0, 4.5]])
    image[0, 0] = image[8, 4] = 9.0
    assert len(find_peaks(image, 5)) == 1
    assert len(find_peaks(np.ones((2, 30)), 5)) == 0
    assert len(find_peaks(-np.ones((5, 5)), 5)) == 0


def test_matching_is_one_to_one_and_closest_first():
    a = np.array([[0.0, 0.0], [0.0, 1.0], [5.0, 5.0], [9.0, 9.0]])
    b = np.array([[0.0, 0.9], [0.0, -0.5], [5.2, 5.0]])
    match = match_peaks(a, b, within=1.0)
    np.testing.assert_allclose(match.distances, [0.5, 0.1, 0.2])
    np.testing.assert_array_equal(match.b, b[[1, 0, 2]])
    assert match.sought == 4
    assert match_peaks(a, b[:1], within=1.0).distances.size == 1
    for few in (a[:0], a):
        assert match_peaks(few, b[:0], within=1.0).distances.size == 0


def test_shifted_peaks_are_found_again():
    shift = np.array([0.3, -0.2])
    found = compare_images(SPOTS, spots(CENTRES + shift, heights=HEIGHTS))
    record = found.as_dict()["peaks"]
    assert record["matched"] == record["sought"] == 5
    assert record["mean_distance"] == pytest.approx(np.hypot(*shift), abs=0.1)
    assert record["largest_distance"] < 0.5
    swapped = compare_images(SPOTS, spots(CENTRES, heights=HEIGHTS[::-1]), num_peaks=3)
    assert len(swapped.peaks.distances) == 3, "a change of rank loses no peak"
    assert len(compare_images(SPOTS, spots(CENTRES + 9, heights=HEIGHTS)).peaks.distances) == 0


FAILING = {
    "correlation": (Thresholds(min_correlation=0.9999), "correlation is 0.9"),
    "low sum": (Thresholds(sum_ratio=(2.1, 3)), "sum ratio is "),
    "high sum": (Thresholds(sum_ratio=(0, 1.9)), "at most 1.9"),
    "rms": (Thresholds(max_rms_relative=0.1), "relative rms difference is"),
    "difference": (Thresholds(max_difference=0.1), "largest difference is"),
    "peak distance": (Thresholds(max_peak_distance=0.01), "largest distance of peaks is"),
    "number of peaks": (Thresholds(min_peaks=6), "number of peaks matched is 5, at least 6"),
}


@pytest.mark.parametrize("limits, words", FAILING.values(), ids=FAILING)
def test_each_threshold_can_fail(limits, words):
    found = compare_images(SPOTS, spots(CENTRES + 0.2, heights=2 * HEIGHTS))
    (sentence,) = limits.failures(found)
    assert words in sentence
    assert Thresholds().failures(found) == []


def test_limits_on_what_is_not_there_fail():
    a = np.arange(12.0).reshape(3, 4) - 5.5
    found = compare_images(a, a)
    assert found.sum_a == 0 and found.as_dict()["sum_ratio"] is None
    assert len(Thresholds(sum_ratio=(0, 2), max_peak_distance=1).failures(found)) == 2


GOOD = np.arange(20.0).reshape(4, 5)
BAD = {
    "shapes": ((GOOD, GOOD.T), {}, "differ in shape: A is 4 x 5, B is 5 x 4"),
    "axes": ((GOOD[0], GOOD[0]), {}, r"image A must be numbers with axes \(slow, fast\)"),
    "text": ((GOOD, GOOD.astype(str)), {}, "image B must be numbers"),
    "complex": ((GOOD * 1j, GOOD), {}, "real numbers"),
    "NaN": ((GOOD, np.where(GOOD == 7, np.nan, GOOD)), {}, "image B has 1 values .* slow 1, fast 2: nan"),
    "infinite": ((np.where(GOOD > 17, np.inf, GOOD), GOOD), {}, "image A has 2 values that are not finite"),
    "constant": ((GOOD, np.full((4, 5), 3.0)), {}, "image B is 3 at every compared pixel"),
    "constant in the region": ((GOOD, GOOD), {"roi": (2, 2, 1, 1)}, "image A is 7 at every"),
    "roi beyond": ((GOOD, GOOD), {"roi": (0, 5, 0, 3)}, "roi 0 5 0 3 holds no pixel .* or leaves it"),
    "roi empty": ((GOOD, GOOD), {"roi": (3, 2, 0, 3)}, "roi 3 2 0 3 holds no pixel"),
    "mask shape": ((GOOD, GOOD), {"mask": np.ones((2, 2))}, "the mask is 2 x 2, the images are 4 x 5"),
    "mask empty": ((GOOD, GOOD), {"mask": np.zeros((4, 5))}, "leaves no pixel"),
}


@pytest.mark.parametrize("images, options, message", BAD.values(), ids=BAD)
def test_what_cannot_be_compared(images, options, message):
    with pytest.raises(InputError, match=message):
        compare_images(*images, **options)
