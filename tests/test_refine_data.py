"""Pixels that count: whole images, masks, boxes, and what lies behind the spots."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refine_cases import counts_of, small_still

from nanobrag_jax import refine
from nanobrag_jax.errors import InputError
from nanobrag_jax.experiment import Sampling
from nanobrag_jax.refine.background import to_photons, to_unknowns
from nanobrag_jax.refine.data import background_model


def used_pixels(data):
    used = np.asarray(data.used)
    return set(zip(np.asarray(data.slow)[used].tolist(), np.asarray(data.fast)[used].tolist(), strict=True))


def test_whole_image_has_every_pixel_once():
    truth = small_still()
    data = refine.whole_image(truth, counts_of(truth))
    assert data.num_used == len(used_pixels(data)) == 64 * 60
    assert data.background.shape == (1, 1)
    assert float(data.background[0, 0]) == pytest.approx(2.0, abs=0.5)


def test_masks_regions_and_bad_pixels_are_left_out():
    truth = small_still()
    counts = counts_of(truth)
    counts[3, 4], counts[5, 6] = np.nan, -1.0
    mask = np.ones((64, 60), bool)
    mask[:2] = False
    sampling = Sampling(roi=(1, 58, 0, 63), mask=np.arange(60)[None] + np.zeros((64, 1)) != 30)
    data = refine.whole_image(eqx.tree_at(lambda e: e.sampling, truth, sampling), counts, mask=mask)
    pixels = used_pixels(data)
    assert len(pixels) == 62 * 57 - 2
    assert not {(3, 4), (5, 6), (0, 5), (10, 0), (10, 30)} & pixels


def test_boxes_overlap_nowhere_and_end_at_the_edge():
    truth = small_still()
    counts = counts_of(truth)
    data = refine.shoeboxes(truth, counts, [10.2, 13.0, 0.0], [20.0, 22.0, 59.0], half_size=3, background="plane")
    assert data.slow.shape == (3, 49) and data.background.shape == (3, 3)
    used = np.asarray(data.used)
    assert data.num_used == len(used_pixels(data))
    assert used[2].sum() == 16
    overlap = used[:2].sum()
    assert overlap == 2 * 49 - 4 * 5
    slow, fast = np.asarray(data.slow)[used], np.asarray(data.fast)[used]
    np.testing.assert_array_equal(np.asarray(data.counts)[used], counts[slow, fast])


@pytest.mark.slow
def test_backgrounds_are_planes_with_their_derivatives():
    truth = small_still()
    options = {"half_size": 2, "background": "plane", "known_background": 0.5}
    data = refine.shoeboxes(truth, counts_of(truth), [10.0, 40.0], [20.0, 30.0], **options)
    coefficients = jnp.array([[4.0, 1.0, -2.0], [3.0, 0.0, 0.0]])
    data = eqx.tree_at(lambda d: d.background, data, coefficients)
    moved = to_unknowns(data.background)
    np.testing.assert_allclose(to_photons(moved), coefficients, rtol=1e-12)
    photons, slopes = background_model(data, moved)
    corner = np.asarray(photons)[0].reshape(5, 5)
    np.testing.assert_allclose(corner[0, 0], 0.5 + 4.0 - 1.0 + 2.0)
    np.testing.assert_allclose(corner[4, 2], 0.5 + 4.0 + 1.0)
    expected = jax.jacfwd(lambda m: background_model(data, m)[0])(moved)
    np.testing.assert_allclose(slopes[0], expected[0, :, 0], atol=1e-12)
    np.testing.assert_allclose(expected[0, :, 1], 0.0)
    assert np.all(np.any(np.asarray(slopes) != 0, axis=(0, 1)))


def test_wrong_data_are_refused(unchecked):
    truth = small_still()
    counts = counts_of(truth)
    cases = [
        (lambda: refine.whole_image(truth, counts[:-1]), "counts must have"),
        (lambda: refine.whole_image(truth, counts, mask=counts[0] > 0), "mask must have"),
        (lambda: refine.whole_image(truth, counts, mask=counts < -1), "no pixel is left"),
        (lambda: refine.whole_image(truth, counts, background="flat"), "background must be"),
        (lambda: refine.whole_image(truth, counts, known_background=counts[0]), "known_background"),
        (lambda: refine.shoeboxes(truth, counts, [1.0], [1.0], half_size=0), "half_size"),
        (lambda: refine.shoeboxes(truth, counts, [], []), "at least one spot"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()
