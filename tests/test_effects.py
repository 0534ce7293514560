"""What a detector adds to photons: each step by its statistics, the point-spread function by its integrals."""

import math
import typing

import compiler_options
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nanobrag_jax as nb
from nanobrag_jax.constants import PSF_SHAPES
from nanobrag_jax.effects import noise_image, pipeline, psf_kernel, spread
from nanobrag_jax.effects.photon_noise import poisson_image
from nanobrag_jax.effects.psf import fast_length
from nanobrag_jax.numerics.pixel_random import as_key, pixel_normal, pixel_uniform, stream
from nanobrag_jax.typing import PsfShape

SIGMAS = 5.0  # a sound generator fails one check of this kind in two million
IMAGE = jnp.asarray(np.random.default_rng(0).gamma(1.0, 20.0, (24, 31)))
EVERYTHING = {
    "flicker_percent": 4.0, "shot_noise": True, "psf": "fiber", "psf_fwhm_pixels": 1.7, "calibration_percent": 3.0,
    "gain_adu_per_photon": 2.5, "readout_adu": 3.0, "offset_adu": 40.0, "saturation_adu": 300.0, "dead_fraction": 0.05,
}  # fmt: skip


def effects(**changes):
    return nb.DetectorEffects(**changes)


def flat(mean, side=300):
    return jnp.full((side, side), mean)


def many(image, given, number):
    """Readings of one image with keys 0 … number − 1, (number, slow, fast)."""
    keys = jax.vmap(as_key)(jnp.arange(number))
    return np.asarray(jax.vmap(lambda key: nb.detect(image, given, key))(keys))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_nothing_is_done_by_default(dtype):
    image = IMAGE.astype(dtype).at[3, 4].set(jnp.nan).at[5, 6].set(-0.0)
    read = nb.detect(image, effects())
    assert read.dtype == dtype and np.asarray(read).tobytes() == np.asarray(image).tobytes()
    key = as_key(1)
    work = str(jax.make_jaxpr(lambda x: nb.detect(x, effects(), key))(image))
    assert not any(word in work for word in ("random", "fft", "mul", "add", "select", "exp"))


@pytest.mark.slow
def test_everything_keeps_shape_and_precision():
    assert nb.detect(IMAGE, effects(**EVERYTHING), 3).dtype == jnp.float64
    with jax.enable_x64(False):
        read = nb.detect(jnp.asarray(np.asarray(IMAGE), jnp.float32), effects(**EVERYTHING), 3)
    assert read.dtype == jnp.float32
    np.testing.assert_allclose(read, nb.detect(IMAGE, effects(**EVERYTHING), 3), rtol=2e-5, atol=1e-3)


def test_flicker_scales_a_whole_exposure():
    ratios = many(IMAGE[:3, :4], effects(flicker_percent=5.0), 4000) / np.asarray(IMAGE[:3, :4])
    np.testing.assert_allclose(ratios, np.broadcast_to(ratios[:, :1, :1], ratios.shape), rtol=1e-14)
    factors = ratios[:, 0, 0]
    assert abs(factors.mean() - 1.0) < SIGMAS * 0.05 / math.sqrt(4000)
    assert abs(factors.std() / 0.05 - 1.0) < SIGMAS / math.sqrt(2 * 4000)
    assert (many(IMAGE[:3, :4], effects(flicker_percent=200.0), 100) >= 0.0).all()


def test_photons_are_those_of_the_noise_image():
    counted = nb.detect(IMAGE, effects(shot_noise=True), 7)
    np.testing.assert_array_equal(counted + 40, poisson_image(7, IMAGE).image)


def test_calibration_errors_belong_to_the_detector():
    given = effects(calibration_percent=3.0)
    first, second = (np.asarray(nb.detect(flat(50.0), given, key)) / 50.0 for key in (1, 2))
    np.testing.assert_array_equal(first, second)
    assert abs(first.mean() - 1.0) < SIGMAS * 0.03 / 300 and abs(first.std() / 0.03 - 1.0) < SIGMAS / 300 / math.sqrt(2)
    np.testing.assert_allclose(nb.detect(flat(5.0), given) / 5.0, first, rtol=1e-14)
    other = np.asarray(nb.detect(flat(50.0), effects(calibration_percent=3.0, detector_seed=2))) / 50.0
    assert abs(((first - 1) * (other - 1)).mean()) < SIGMAS * 0.03**2 / 300


def test_readout_noise():
    given = effects(readout_adu=3.0)
    first, second = (np.asarray(nb.detect(flat(10.0), given, key)) - 10.0 for key in (1, 2))
    assert abs(first.mean()) < SIGMAS * 3.0 / 300 and abs(first.std() / 3.0 - 1.0) < SIGMAS / 300 / math.sqrt(2)
    for other in (second, np.roll(first, 1, 0), np.roll(first, 1, 1)):
        assert abs((first * other).mean()) < SIGMAS * 9.0 / 300
    assert abs((first**4).mean() / 81.0 - 3.0) < SIGMAS * math.sqrt(96.0) / 300


def test_gain_acts_before_the_readout_and_the_offset():
    plain = nb.detect(IMAGE, effects(readout_adu=2.0)) - IMAGE
    amplified = nb.detect(IMAGE, effects(readout_adu=2.0, gain_adu_per_photon=7.0, offset_adu=11.0))
    np.testing.assert_allclose(amplified, 7.0 * IMAGE + plain + 11.0, rtol=1e-13)


def test_variance_of_the_whole_chain():
    """gain²·(mean + (calibration·mean)²) + readout²; the flicker adds the same to every pixel."""
    given = effects(shot_noise=True, calibration_percent=10.0, gain_adu_per_photon=4.0, readout_adu=6.0)
    read = np.asarray(nb.detect(flat(100.0), given, 5))
    variance = 16.0 * (100.0 + 100.0**2 * 0.01 + 100.0 * 0.01) + 36.0
    assert abs(read.mean() / 400.0 - 1.0) < SIGMAS * math.sqrt(variance) / 400.0 / 300
    assert abs(read.var() / variance - 1.0) < SIGMAS * math.sqrt(2.0) / 300


def test_saturated_pixels():
    read = nb.detect(jnp.asarray([[1.0, 99.0, 100.0, 1e9]]), effects(saturation_adu=120.0, offset_adu=20.0))
    np.testing.assert_array_equal(read, [[21.0, 119.0, 120.0, 120.0]])


def test_dead_pixels_stay_where_they_are():
    given = effects(dead_fraction=0.02, saturation_adu=50.0, dead_value_adu=-1.0)
    read = np.asarray(nb.detect(flat(60.0), given, 1))
    np.testing.assert_array_equal(read, nb.detect(flat(70.0), given, 2))
    dead = (read == -1.0).sum()
    assert set(np.unique(read)) == {-1.0, 50.0}
    assert abs(dead - 0.02 * read.size) < SIGMAS * math.sqrt(0.02 * read.size)
    assert (np.asarray(nb.detect(flat(1.0), effects(dead_fraction=1.0))) == 0).all()
    mask = np.zeros(IMAGE.shape, bool)
    mask[2, 3] = True
    read = nb.detect(IMAGE, effects(dead_mask=mask, offset_adu=5.0))
    assert read[2, 3] == 0.0 and (np.asarray(read)[~mask] == np.asarray(IMAGE + 5.0)[~mask]).all()


@pytest.mark.parametrize("shape", ["gauss", "fiber"])
@pytest.mark.parametrize("fwhm", [2.0, *(pytest.param(x, marks=pytest.mark.slow) for x in (0.3, 9.0))])
def test_spread_is_the_sum_over_all_pixels(shape, fwhm):
    kernel = np.asarray(psf_kernel(shape, fwhm, IMAGE.shape))
    slow, fast = (np.abs(np.subtract.outer(np.arange(n), np.arange(n))) for n in IMAGE.shape)
    expected = np.einsum("ikjl,kl->ij", kernel[slow[:, :, None, None], fast[None, None, :, :]], IMAGE)
    np.testing.assert_allclose(spread(IMAGE, shape, jnp.asarray(fwhm)), expected, rtol=1e-12)
    near = np.where((slow <= 4)[:, :, None, None] & (fast <= 4)[None, None, :, :], 1.0, 0.0)
    expected = np.einsum("ikjl,kl->ij", near * kernel[slow[:, :, None, None], fast[None, None, :, :]], IMAGE)
    np.testing.assert_allclose(spread(IMAGE, shape, jnp.asarray(fwhm), 4), expected, rtol=1e-12)


def whole(quadrant):
    """The sum over all pixels of a kernel given for distances from 0."""
    weight = [np.where(np.arange(n) == 0, 1.0, 2.0) for n in quadrant.shape]
    return float(weight[0] @ quadrant @ weight[1])


@pytest.mark.parametrize("fwhm", [0.5, 3.0])
def test_kernels_have_the_integral_one(fwhm):
    """A gaussian inside a few widths; of the fibre the known part of the plane that a square takes in."""
    assert whole(np.asarray(psf_kernel("gauss", fwhm, (40, 40)))) == pytest.approx(1.0, abs=1e-14)
    half, g = 199.5, 0.652383013252053 * fwhm
    inside = 2 / math.pi * math.atan(half**2 / (g * math.sqrt(2 * half**2 + g * g)))
    assert whole(np.asarray(psf_kernel("fiber", fwhm, (200, 200)))) == pytest.approx(inside, rel=2e-7)
    with jax.enable_x64(False):
        single = psf_kernel("fiber", jnp.float32(fwhm), (200, 200))
    np.testing.assert_allclose(single, psf_kernel("fiber", fwhm, (200, 200)), rtol=4e-4)


@pytest.mark.parametrize("shape", ["gauss", "fiber"])
def test_half_the_height_is_at_half_the_width(shape):
    """With pixels that are small against the width a kernel is the function itself."""
    kernel = np.asarray(psf_kernel(shape, 200.0, (101, 101)))
    assert kernel[0, 100] / kernel[0, 0] == pytest.approx(0.5, rel=1e-4)
    assert kernel[60, 80] / kernel[0, 0] == pytest.approx(0.5, rel=1e-4)
    expected = 4 * math.log(2) / math.pi / 200**2 if shape == "gauss" else 1 / (2 * math.pi * (0.652383 * 200) ** 2)
    assert kernel[0, 0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_spread_keeps_the_light_of_the_middle_and_the_noise_follows():
    image = jnp.zeros((64, 64)).at[20:40, 24:44].set(100.0)
    blurred = spread(image, "gauss", jnp.asarray(2.5))
    assert float(blurred.sum()) == pytest.approx(float(image.sum()), rel=1e-13)
    assert float(blurred.min()) > -1e-12
    read = np.asarray(nb.detect(flat(100.0, 200), effects(shot_noise=True, psf="gauss", psf_fwhm_pixels=2.0), 3))
    read = read[20:-20, 20:-20] - 100.0
    kernel = np.asarray(psf_kernel("gauss", 2.0, (8, 8)))
    line = np.concatenate([kernel[0, :0:-1], kernel[0]]) / kernel[0].sum()  # a gaussian is a product of two lines
    line /= line.sum()
    for step in (0, 1, 2):
        expected = 100.0 * (line @ line) * (line[step:] @ line[: len(line) - step])
        found = (read[:, : read.shape[1] - step] * read[:, step:]).mean()
        assert found == pytest.approx(expected, abs=0.04 * 100.0 * (line @ line) ** 2), step


def test_fast_lengths():
    sizes = sorted(2**a * 3**b * 5**c for a in range(11) for b in range(7) for c in range(5))
    for least in range(1, 513):
        assert fast_length(least) == min(n for n in sizes if n >= least)


def test_a_key_decides_everything_however_it_is_used():
    given = effects(**EVERYTHING)
    one = nb.detect(IMAGE, given, 3)
    np.testing.assert_array_equal(nb.detect(IMAGE, given, jax.random.key(3, impl="threefry2x32")), one)
    assert (np.asarray(nb.detect(IMAGE, given, 4)) != np.asarray(one)).mean() > 0.8
    mapped = many(IMAGE, given, 5)
    # normal deviates are numbers of single precision, which not every program rounds alike where it does not optimise
    rounding = {"rtol": 1e-12, "atol": 1e-10} if compiler_options.OPTIMIZED else {"rtol": 1e-7, "atol": 0.0}
    np.testing.assert_allclose(mapped[3], one, **rounding)
    keys = jax.vmap(as_key)(jnp.arange(5))
    in_turn = jax.jit(lambda keys: jax.lax.map(lambda key: nb.detect(IMAGE, given, key), keys))(keys)
    np.testing.assert_allclose(in_turn, mapped, **rounding)


def test_random_numbers_belong_to_pixels():
    index = jnp.arange(600)
    key = stream(as_key(5), 2)
    for draw in (pixel_normal, pixel_uniform):
        together = np.asarray(draw(key, index))
        parts = np.concatenate([draw(key, index[i : i + 200]) for i in range(0, 600, 200)])
        np.testing.assert_array_equal(parts, together)
        np.testing.assert_array_equal(draw(key, index.reshape(20, 30)[:, ::-1]), together.reshape(20, 30)[:, ::-1])
    uniform = np.asarray(pixel_uniform(key, jnp.arange(90000)))
    assert 0.0 < uniform.min() and uniform.max() < 1.0
    assert abs(uniform.mean() - 0.5) < SIGMAS / math.sqrt(12) / 300


def test_steps_of_one_key_are_independent():
    normal = [np.asarray(pixel_normal(stream(as_key(1), number), jnp.arange(90000))) for number in (1, 2, 3)]
    normal.append(np.asarray(pixel_normal(as_key(1), jnp.arange(90000))))
    for i, first in enumerate(normal):
        for second in normal[:i]:
            assert abs((first * second).mean()) < SIGMAS / 300


@pytest.mark.slow
def test_panels_share_the_flicker_only():
    panels = jnp.stack([flat(1000.0, 60)] * 2)
    alone = effects(flicker_percent=10.0)
    np.testing.assert_array_equal(nb.detect(panels, alone, 2)[1], nb.detect(panels[0], alone, 2))
    for given in ({"shot_noise": True, "readout_adu": 30.0}, {"calibration_percent": 3.0}):
        read = nb.detect(panels, effects(**given), 2)
        for panel in (0, 1):
            np.testing.assert_array_equal(read[panel], nb.detect(panels[panel], effects(**given), 2, panel=panel))
        first, second = np.asarray(read) - 1000.0
        assert abs((first * second).mean()) < SIGMAS * first.std() * second.std() / 60


STRENGTHS = {
    "flicker_percent": 4.0, "psf_fwhm_pixels": 1.7, "calibration_percent": 3.0, "gain_adu_per_photon": 2.5,
    "readout_adu": 3.0, "offset_adu": 4.0, "saturation_adu": 60.0,
}  # fmt: skip


@pytest.mark.parametrize("shape", ["gauss", pytest.param("fiber", marks=pytest.mark.slow)])
def test_derivatives(shape):
    """Every strength and the image, forward and reverse, against central differences."""
    weights = jnp.asarray(np.random.default_rng(1).normal(size=IMAGE.shape))
    names = list(STRENGTHS)
    values = jnp.asarray([STRENGTHS[name] for name in names])

    def loss(values, image):
        given = effects(psf=shape, dead_fraction=0.05, **STRENGTHS)
        given = eqx.tree_at(lambda e: [getattr(e, name) for name in names], given, list(values))
        return jnp.sum(weights * nb.detect(image, given, 9))

    by_value, by_pixel = jax.jit(jax.grad(loss, argnums=(0, 1)))(values, IMAGE)
    assert (np.abs(by_value) > 1e-3).all() and (np.abs(by_pixel) > 1e-12).mean() > 0.9
    run = jax.jit(loss)
    for i in range(len(names)):
        step = 1e-6 * values[i]
        there, back = run(values.at[i].add(step), IMAGE), run(values.at[i].add(-step), IMAGE)
        assert by_value[i] == pytest.approx(float((there - back) / (2 * step)), rel=2e-6), names[i]
    towards = jnp.asarray(np.random.default_rng(2).normal(size=IMAGE.shape))
    _, slope = jax.jvp(loss, (values, IMAGE), (values, towards))
    terms = np.concatenate([by_value * values, np.ravel(by_pixel * towards)])
    # deviates are in single precision: another program, or another processor, rounds some of them the other way
    assert slope == pytest.approx(terms.sum(), abs=1e-8 * np.abs(terms).sum())
    difference = (run(values, IMAGE + 1e-4 * towards) - run(values, IMAGE - 1e-4 * towards)) / 2e-4
    assert (by_pixel * towards).sum() == pytest.approx(float(difference), rel=1e-6)


def test_counting_has_no_derivative():
    slope = jax.grad(lambda image: nb.detect(image, effects(shot_noise=True, gain_adu_per_photon=2.0), 1).sum())(IMAGE)
    np.testing.assert_array_equal(slope, jnp.zeros_like(IMAGE))


@pytest.mark.slow
def test_the_noise_image_is_what_is_read_in_whole_numbers():
    given = effects(**EVERYTHING)
    read = nb.detect(IMAGE, given, 3)
    noise = noise_image(IMAGE, given, 3)
    assert noise.image.dtype == jnp.uint16
    np.testing.assert_array_equal(noise.image, np.round(np.clip(read, 0, 65535)))
    assert int(noise.overloads) <= int((np.asarray(read) == 300.0).sum())
    part = noise_image(IMAGE, given, 3, roi=(4, 20, 5, 9))
    np.testing.assert_array_equal(part.image[5:10, 4:21], noise.image[5:10, 4:21])
    assert part.image.sum() == part.image[5:10, 4:21].sum()
    plain = noise_image(IMAGE, effects(shot_noise=True, offset_adu=40.0), 3)
    expected = poisson_image(3, IMAGE)
    np.testing.assert_array_equal(plain.image, expected.image)
    assert (float(plain.photons), int(plain.overloads)) == (float(expected.photons), int(expected.overloads))


def test_strengths_compile_nothing_new():
    for strength in (1.0, 2.0, 3.0):
        nb.detect(IMAGE, effects(readout_adu=strength, gain_adu_per_photon=strength), 1)
    detected = pipeline._detected
    before = detected._cache_size()
    nb.detect(IMAGE, effects(readout_adu=7.0, gain_adu_per_photon=0.1), 8)
    assert detected._cache_size() == before


@pytest.mark.parametrize("given, message", [
    ({"flicker_percent": -1}, "flicker_percent must be zero or positive, got -1"),
    ({"psf": "gauss", "psf_fwhm_pixels": 0}, "psf_fwhm_pixels must be positive, got 0"),
    ({"psf": "round", "psf_fwhm_pixels": 1}, "psf must be one of gauss, fiber, got 'round'"),
    ({"psf": "fiber"}, "psf and psf_fwhm_pixels belong together, got fiber and None"),
    ({"psf_fwhm_pixels": 2}, "psf and psf_fwhm_pixels belong together, got None and 2"),
    ({"psf": "gauss", "psf_fwhm_pixels": 1, "psf_radius_pixels": 0}, "psf_radius_pixels must be a whole number"),
    ({"gain_adu_per_photon": 0}, "gain_adu_per_photon must be positive, got 0"),
    ({"readout_adu": np.nan}, "readout_adu must be zero or positive, got nan"),
    ({"saturation_adu": -5}, "saturation_adu must be positive, got -5"),
    ({"dead_fraction": 1.5}, "dead_fraction must be between 0 and 1, got 1.5"),
    ({"offset_adu": np.inf}, "offset_adu must be finite, got inf"),
])  # fmt: skip
def test_bad_strengths(given, message, unchecked):
    with pytest.raises(nb.InputError, match=message):
        effects(**given)


def test_a_mask_of_dead_pixels_has_to_fit():
    with pytest.raises(nb.InputError, match="dead_mask must have the image's shape"):
        nb.detect(IMAGE, effects(dead_mask=np.zeros((3, 4), bool)))


def test_an_unknown_point_spread_function_is_refused_everywhere():
    """With the list of those that there are; it was a fibre's before."""
    assert set(typing.get_args(PsfShape)) == set(PSF_SHAPES)
    for name in PSF_SHAPES:
        assert psf_kernel(name, 1.5, (3, 3)).shape == (3, 3)
    message = "psf must be one of gauss, fiber, got 'lorentz'"
    with pytest.raises(nb.InputError, match=message):
        spread(jnp.ones((4, 4)), "lorentz", 1.5)
    with pytest.raises(nb.InputError, match=message):
        psf_kernel("lorentz", 1.5, (3, 3))
    with pytest.raises(nb.InputError, match="flag -psf needs gauss or fiber, got 'lorentz'"):
        nb.experiment_from_args(["-cell", "50", "-default_F", "1", "-psf", "lorentz"])
    with pytest.raises(nb.InputError, match="shape must be one of square, round, gauss_star, tophat, gauss, or"):
        nb.Crystal((50, 50, 50), shape="cube")


def test_an_unknown_point_spread_function_of_a_detector(unchecked):
    with pytest.raises(nb.InputError, match="psf must be one of gauss, fiber, got 'lorentz'"):
        nb.DetectorEffects(psf="lorentz", psf_fwhm_pixels=1.5)
