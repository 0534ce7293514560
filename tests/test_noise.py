"""Both kinds of noise: the reference's, pixel for pixel, and the counter-based one, by its statistics."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from nanobrag_jax.constants import LARGEST_COUNT
from nanobrag_jax.effects.photon_noise import poisson_counts, poisson_image, reference_noise
from nanobrag_jax.errors import InputError
from nanobrag_jax.numerics.pixel_random import normal_of, threefry
from nanobrag_jax.reference import noise as reference_module
from nanobrag_jax.reference.noise import reference_deviates
from nanobrag_jax.reference.random_numbers import Ran1

GOLDEN = Path(__file__).parent.parent / "golden_data"
CASES = {
    case["name"]: case
    for case in json.loads((GOLDEN / "cases.json").read_text())
    if "photons" in case.get("printed", {})
}
SIGMAS = 5.0  # a sound generator fails one check of this kind in two million


def flag(args, name, count=1):
    """The numbers after a flag, None if it is not there."""
    return tuple(int(a) for a in args[args.index(name) + 1 :][:count]) if name in args else None


def test_the_golden_noise_images_are_all_there():
    assert set(CASES) == {"noise_low", "noise_mid", "noise_high", "noise_water_roi", "kitchen_sink"}


@pytest.mark.parametrize("name", CASES)
def test_reference_noise_is_identical_to_the_golden_image(name):
    case = CASES[name]
    arrays = np.load(GOLDEN / f"{name}.npz")
    roi = flag(case["args"], "-roi", 4)
    result = reference_noise(arrays["float"], *flag(case["args"], "-seed"), roi=roi)
    assert result.image.dtype == np.uint16
    np.testing.assert_array_equal(result.image, arrays["noise"])
    assert f"{result.photons:.0f}" == case["printed"]["photons"]
    assert str(result.overloads) == case["printed"]["overloads"]


def test_another_seed_gives_another_reference_image():
    arrays = np.load(GOLDEN / "noise_mid.npz")
    assert (reference_noise(arrays["float"], 8).image != arrays["noise"]).any()


def deviate_by_definition(generator, mean, kept):
    """One reference deviate written out draw by draw, in numpy's single precision; `kept` is a list of at most one."""
    single, draw = np.float32, lambda: single(generator.draw())
    log_gamma = lambda x: reference_module._log_gamma(np.array([x], single))[0]  # noqa: E731
    if mean > 1e6:
        if kept:
            normal = kept.pop()
        else:
            square = single(0.0)
            while not 0.0 < square < 1.0:
                v1, v2 = (single(2.0 * float(draw()) - 1.0) for _ in range(2))
                square = v1 * v1 + v2 * v2
            factor = single(math.sqrt(-2.0 * math.log(square) / float(square)))
            kept.append(v1 * factor)
            normal = v2 * factor
        return single(float(mean) + math.sqrt(mean) * float(normal))
    if mean < 12.0:
        threshold, product, count = single(math.exp(-float(mean))), draw(), 0
        while product > threshold:
            product, count = product * draw(), count + 1
        return single(count)
    width, log_mean = single(math.sqrt(2.0 * float(mean))), single(math.log(mean))
    offset = mean * log_mean - log_gamma(mean + single(1.0))
    while True:
        count = single(-1.0)
        while count < 0.0:
            tangent = single(math.tan(math.pi * float(draw())))
            count = width * tangent + mean
        count = np.floor(count)
        exponent = count * log_mean - log_gamma(single(float(count) + 1.0)) - offset
        if draw() <= single(0.9 * (1.0 + float(tangent * tangent)) * math.exp(exponent)):
            return count


@pytest.mark.parametrize("chunk", [2500, 1 << 17])
def test_the_fast_walk_equals_the_definition(chunk, monkeypatch):
    monkeypatch.setattr(reference_module, "_CHUNK_DRAWS", chunk)
    monkeypatch.setattr(reference_module, "_BLOCK_PIXELS", 700)
    rng = np.random.default_rng(20)
    means = (10.0 ** rng.uniform(-3.0, 8.0, 2500)).astype(np.float32)
    means[rng.integers(0, len(means), 700)] = 40.0
    means[:5] = (0.0, 12.0, np.nextafter(np.float32(12.0), np.float32(0.0)), 1e6, 1000001.0)
    generator, kept = Ran1(9), []
    expected = [deviate_by_definition(generator, mean, kept) for mean in means]
    np.testing.assert_array_equal(reference_deviates(means, 9), np.array(expected, np.float32))


def test_an_unsure_product_is_multiplied_out(monkeypatch):
    means = np.full(2000, 5.0, np.float32)
    expected = reference_deviates(means, 4)
    monkeypatch.setattr(reference_module, "_UNSURE", 0.5)  # nearly every pixel
    np.testing.assert_array_equal(reference_deviates(means, 4), expected)


def test_reference_noise_leaves_the_outside_of_the_roi_alone():
    image = np.full((6, 8), 30.0)
    noisy = reference_noise(image, 1, adc=10.0, roi=(2, 5, 1, 3)).image
    assert (noisy[1:4, 2:6] > 10).all() and noisy.astype(int).sum() == noisy[1:4, 2:6].astype(int).sum()
    np.testing.assert_array_equal(noisy[1:4, 2:6], reference_noise(image[1:4, 2:6], 1, adc=10.0).image)


@pytest.mark.parametrize(
    ("image", "roi", "message"),
    [
        (np.ones(4), None, r"two axes .* got shape \(4,\)"),
        (np.full((2, 2), np.nan), None, "finite"),
        (np.ones((4, 5)), (0, 5, 0, 3), r"5 x 4 pixels, got \(0, 5, 0, 3\)"),
    ],
)
def test_reference_noise_refuses(image, roi, message):
    with pytest.raises(InputError, match=message):
        reference_noise(image, 1, roi=roi)


@pytest.mark.parametrize("mean", [0.01, 0.7, 4.0, 19.5, 20.5, 75.0, 3e3, 6e4, 2e6])
def test_counts_have_the_mean_and_variance_of_photons(mean):
    number = 200_000
    counts = np.asarray(poisson_counts(11, jnp.full(number, mean), jnp.arange(number)), np.float64)
    assert (counts == np.floor(counts)).all() and counts.min() >= 0.0
    assert abs(counts.mean() - mean) < SIGMAS * math.sqrt(mean / number)
    assert abs(counts.var() / mean - 1.0) < SIGMAS * math.sqrt((2.0 + 1.0 / mean) / number)


@pytest.mark.parametrize("mean", [0.5, 12.0, 25.0])
def test_counts_follow_the_poisson_distribution(mean):
    number = 200_000
    counts = np.asarray(poisson_counts(3, jnp.full(number, mean), jnp.arange(number))).astype(int)
    for k in range(int(mean + 4.0 * math.sqrt(mean)) + 1):
        odds = math.exp(k * math.log(mean) - mean - math.lgamma(k + 1))
        assert abs((counts == k).sum() - number * odds) < SIGMAS * math.sqrt(number * odds) + 1.0, k


@pytest.mark.slow
def test_counts_are_independent_of_how_the_image_is_divided():
    rng = np.random.default_rng(0)
    means = jnp.asarray(10.0 ** rng.uniform(-1.0, 4.0, (24, 36)), jnp.float32)
    index = jnp.arange(means.size).reshape(means.shape)
    whole = np.asarray(poisson_counts(5, means, index))
    rows = np.concatenate([poisson_counts(5, means[i : i + 7], index[i : i + 7]) for i in range(0, 24, 7)])
    np.testing.assert_array_equal(rows, whole)
    shuffled = rng.permutation(means.size)
    one_by_one = np.asarray(poisson_counts(5, means.ravel()[shuffled], index.ravel()[shuffled]))
    np.testing.assert_array_equal(one_by_one, whole.ravel()[shuffled])
    scanned = jax.lax.map(lambda block: poisson_counts(5, *block), (means.reshape(8, -1), index.reshape(8, -1)))
    np.testing.assert_array_equal(np.asarray(scanned).reshape(whole.shape), whole)


def test_neighbouring_pixels_and_seeds_are_uncorrelated():
    number = 100_000
    index, means = jnp.arange(number), jnp.full(number, 50.0)
    first, second = (np.asarray(poisson_counts(seed, means, index), np.float64) - 50.0 for seed in (1, 2))
    for other in (second, np.roll(first, 1)):
        assert abs((first * other).mean()) < SIGMAS * 50.0 / math.sqrt(number)


@pytest.mark.slow
def test_the_image_is_the_same_under_jit_for_keys_and_with_64_bits_off():
    image = np.random.default_rng(1).uniform(0.0, 60.0, (20, 30)).astype(np.float32)
    expected = poisson_image(-7, jnp.asarray(image))
    jitted = jax.jit(poisson_image, static_argnames="roi")(-7, jnp.asarray(image))
    key = jax.random.key(np.uint32(2**32 - 7), impl="threefry2x32")
    results = [jitted, poisson_image(key, jnp.asarray(image))]
    for x64 in (False, True):
        with jax.enable_x64(x64):
            results.append(poisson_image(-7, jnp.asarray(image)))
            results.append(reference_noise(image, 7))
    assert results[3].image.tobytes() == results[5].image.tobytes()
    for result in (results[0], results[1], results[2], results[4]):
        np.testing.assert_array_equal(np.asarray(result.image), np.asarray(expected.image))


def test_bright_pixels_are_clipped_and_counted_and_photons_summed():
    image = jnp.asarray([[0.0, -3.0, jnp.nan, 1e5], [1e7, 1e12, 1e38, 5.0]], jnp.float32)
    noisy = poisson_image(1, image, adc=40.0)
    assert noisy.image.dtype == jnp.uint16
    assert noisy.image[0, :3].tolist() == [40, 40, 40] and noisy.image[1, 3] < 80
    assert noisy.image[0, 3] == LARGEST_COUNT and (noisy.image[1, :3] == LARGEST_COUNT).all()
    assert int(noisy.overloads) == 4 and np.isfinite(noisy.photons)
    dim = poisson_image(1, jnp.full((8, 9), 3.0), adc=2.5)
    np.testing.assert_array_equal(np.asarray(dim.image, int).sum() - 2 * 72, float(dim.photons))


def test_the_roi_changes_no_pixel_inside_it():
    image = jnp.full((10, 12), 30.0)
    whole, part = poisson_image(1, image).image, poisson_image(1, image, roi=(3, 7, 2, 5)).image
    np.testing.assert_array_equal(part[2:6, 3:8], whole[2:6, 3:8])
    assert int(part.astype(int).sum()) == int(part[2:6, 3:8].astype(int).sum())


def test_an_image_without_two_axes_is_refused():
    with pytest.raises((InputError, TypeCheckError), match="two axes|'slow fast'"):
        poisson_image(1, jnp.ones(5))


def test_random_words_are_those_of_jax_keys():
    key = jax.random.key(7, impl="threefry2x32")
    first, second = jax.random.key_data(key)
    for place in (0, 1, 2**32 - 1):
        words = threefry((first, second), (jnp.uint32(0), jnp.uint32(place)))
        assert jax.random.key_data(jax.random.fold_in(key, place)).tolist() == [int(word) for word in words]


def test_normal_deviates_follow_the_distribution_into_the_tails():
    bits = np.linspace(0, 2**32 - 1, 20001).astype(np.uint32)
    found = np.asarray(normal_of(jnp.asarray(bits)), float)
    share = ((bits & 0x7FFFFFFF) + 0.5) / 2**32
    below = np.array([0.5 * math.erfc(x / math.sqrt(2)) for x in np.abs(found)])
    np.testing.assert_allclose(below, share, rtol=2e-2, atol=1e-7)
    assert np.array_equal(found > 0, bits >> 31 == 1) or np.all(found[(found > 0) != (bits >> 31 == 1)] == 0)


@pytest.mark.parametrize("mean", [1e-3, 0.4, 3.0, 15.9, 16.1, 40.0, 1e3, 1e5, 1e7])
def test_chi_square_of_a_million_counts(mean):
    """Cells of about equal odds; the sum of squares is within five of its standard deviations."""
    scipy_stats = pytest.importorskip("scipy.stats")
    counts = np.asarray(poisson_counts(11, jnp.full(1_000_000, mean), jnp.arange(1_000_000)), float)
    edges = np.unique(scipy_stats.poisson.ppf(np.linspace(0.02, 0.98, 25), mean))
    odds = np.diff(np.concatenate([[0.0], scipy_stats.poisson.cdf(edges, mean), [1.0]]))
    cells = np.searchsorted(edges, counts)
    keep = odds * counts.size > 5
    seen = np.bincount(cells, minlength=len(odds))
    chi_square = np.sum((seen - odds * counts.size)[keep] ** 2 / (odds * counts.size)[keep])
    freedom = max(keep.sum() - 1, 1)
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom) + 5
