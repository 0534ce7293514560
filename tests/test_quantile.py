"""-quantile: the scale of counts and pictures by a fraction of the pixels."""

import numpy as np
import pytest

import nanobrag_jax as nb
from nanobrag_jax.formats.whole_numbers import quantile_level

LINE = "-cell 50 60 70 90 90 90 -N 8 -default_F 10 -detpixels 60 -pixel 0.5 -oversample 1 -nonoise -noprogress"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words):
    assert nb.cli.main(f"{LINE} -floatfile f.npy -intfile i.npy -pgmfile p.pgm -adc 0 {words}".split()) == 0
    return np.load("f.npy"), np.load("i.npy")


def test_the_level_of_a_fraction():
    """Over rendered pixels of all panels; one of the pixels, not between two."""
    image = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    mask = image < 6
    assert quantile_level([image], 0.5, [None], [None]) == 6.0
    assert quantile_level([image], 1.0, [None], [None]) == 11.0
    assert quantile_level([image], 1.0, [None], [mask]) == 5.0
    assert quantile_level([image], 1.0, [(0, 1, 0, 1)], [None]) == 5.0
    assert quantile_level([image, 10 * image], 1.0, [None] * 2, [None] * 2) == 110.0
    assert quantile_level([image], 1.0, [None], [np.zeros((3, 4), bool)]) == 0.0


def test_counts_by_a_fraction(folder):
    """That fraction is within the scale, and the direct beam is cut."""
    photons, counts = run("-quantile 0.99")
    level = quantile_level([photons], 0.99, [None], [None])
    wanted = np.minimum(np.floor(photons.astype(float) * 55000.0 / level + 0.5), 65535)
    np.testing.assert_allclose(counts, wanted, atol=1)  # on a rounding edge
    assert np.mean(counts <= 55000) == pytest.approx(0.99, abs=0.001) and counts.max() == 65535
    plain = run("")[1]
    assert plain.max() == 55000 and np.median(plain) < np.median(counts)


def test_a_scale_wins(folder):
    photons, counts = run("-quantile 0.5 -scale 2")
    np.testing.assert_array_equal(counts, np.floor(photons.astype(float) * 2 + 0.5))


def test_a_fraction_of_dark_pixels(folder):
    """Nothing to scale by: the usual scale."""
    assert run("-quantile 0 -dmin 10")[1].max() == 55000


def test_what_is_no_fraction():
    with pytest.raises(nb.InputError, match="-quantile must be from 0 to 1, got 1.5"):
        nb.experiment_from_args(f"{LINE} -quantile 1.5".split())
