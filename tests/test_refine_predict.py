"""Predicted spots: where the image has its maxima, and nothing bright without a prediction."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refine_cases import small_still

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.errors import InputError


def test_predictions_stand_on_the_spots():
    truth = small_still(n_cells=(14, 13, 12))
    image = np.array(nb.simulate(truth))
    spots = refine.predict(truth, widths=1.0)
    assert len({tuple(h) for h in spots.hkl}) == len(spots.hkl) > 8
    full = spots.chosen(spots.excitation < 0.4)
    for slow, fast in zip(full.slow, full.fast, strict=True):
        rows, columns = (slice(max(0, round(x) - 2), round(x) + 3) for x in (slow, fast))
        window = image[rows, columns]
        peak = np.unravel_index(np.argmax(window), window.shape)
        at = peak[0] + rows.start, peak[1] + columns.start
        if 0 < at[0] < 63 and 0 < at[1] < 59:
            assert abs(at[0] - slow) < 1.0 and abs(at[1] - fast) < 1.0
    for slow, fast in zip(spots.slow, spots.fast, strict=True):
        image[max(0, round(slow) - 4) : round(slow) + 5, max(0, round(fast) - 4) : round(fast) + 5] = 0.0
    assert image.max() < 0.12 * np.asarray(nb.simulate(truth)).max()


@pytest.mark.slow
def test_positions_agree_with_the_list_and_have_gradients():
    truth = small_still()
    spots = refine.predict(truth)
    slow, fast = refine.spot_positions(truth, spots.hkl, spots.orientation)
    np.testing.assert_allclose(slow, spots.slow)
    np.testing.assert_allclose(fast, spots.fast)

    def place(distance):
        moved = eqx.tree_at(lambda e: e.detector.distance_mm, truth, distance)
        return refine.spot_positions(moved, spots.hkl)[0]

    slope = jax.jacfwd(place)(jnp.array(120.0))
    numeric = (place(jnp.array(120.001)) - place(jnp.array(119.999))) / 0.002
    np.testing.assert_allclose(slope, numeric, atol=1e-7)
    assert np.abs(np.asarray(slope)).max() > 0.01


@pytest.mark.slow
def test_a_rotation_brings_more_spots_each_in_its_slice():
    truth = small_still()
    turning = eqx.tree_at(lambda e: e.goniometer, truth, nb.Goniometer(0.0, 8.0, phi_steps=8, spindle_axis=(0, 0, 1)))
    still, turned = refine.predict(truth), refine.predict(turning)
    assert len(turned.hkl) > 1.3 * len(still.hkl)
    assert set(turned.orientation) <= set(range(8)) and len(set(turned.orientation)) > 3
    assert np.all(np.diff(turned.excitation) >= 0)


def test_limits_of_the_list():
    truth = small_still()
    every = refine.predict(truth)
    assert len(refine.predict(truth, widths=2.0).hkl) > len(every.hkl)
    low = refine.predict(truth, dmin_A=15.0)
    assert 0 < len(low.hkl) < len(every.hkl) and low.d_spacing_A.min() >= 15.0
    bright = refine.predict(truth, min_photons=50.0)
    assert 0 < len(bright.hkl) < len(every.hkl) and bright.photons.min() >= 50.0
    with pytest.raises(InputError, match="1e\\+30 photons"):
        refine.predict(truth, min_photons=1e30)
    curved = eqx.tree_at(lambda e: e.detector, truth, nb.Detector(60, 64, pixel_size_mm=0.4, curved=True))
    with pytest.raises(InputError, match="curved"):
        refine.predict(curved)


@pytest.mark.slow
def test_round_spots_are_as_wide_as_the_volume_of_the_crystal_says():
    """Of top-hat spots all light is where they are predicted, though N differs; gaussian ones are as wide."""
    still, found = small_still(), {}
    cell, angles, misset = (getattr(still.crystal, n) for n in ("cell_lengths_A", "cell_angles_deg", "misset_deg"))
    for shape in ("gauss_star", "tophat"):
        crystal = nb.Crystal(cell, angles, misset_deg=misset, n_cells=(20, 3, 3), shape=shape)
        found[shape] = eqx.tree_at(lambda e: e.crystal, still, crystal)
    spots, same = refine.predict(found["tophat"]), refine.predict(found["gauss_star"])
    np.testing.assert_array_equal(spots.hkl, same.hkl)
    assert len(spots.hkl) > 6 and spots.excitation.max() > 0.9
    image = np.array(nb.simulate(found["tophat"]))
    for slow, fast in zip(spots.slow, spots.fast, strict=True):
        image[max(0, round(slow) - 3) : round(slow) + 4, max(0, round(fast) - 3) : round(fast) + 4] = 0.0
    assert np.all(image[3:-3, 3:-3] == 0.0)  # at the edge of the detector there are spots whose middle is beyond it
