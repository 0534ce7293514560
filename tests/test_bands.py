"""An image rendered in bands is the image of `simulate`."""

import numpy as np
import pytest
import small

import nanobrag_jax as nb
from nanobrag_jax.errors import InputError
from nanobrag_jax.render import bands

CASES = {
    "plain": {},
    "region": {"sampling": {"roi": (2, 10, 3, 8)}},
    "mask": {"sampling": {"mask": np.arange(120).reshape(10, 12) % 7 < 4, "roi": (0, 9, 1, 9)}},
    "sub-pixels": {
        "sampling": {"oversample": 2},
        "detector": {"thickness_um": 300.0, "attenuation_depth_um": 200.0, "thickness_steps": 2},
    },
}

SLOW = ("region", "sub-pixels")


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CASES])
def test_bands_make_the_same_image(name, mode, monkeypatch):
    experiment = small.experiment(goniometer={"phi_steps": 3, "osc_deg": 2.0}, **CASES[name])
    monkeypatch.setattr(bands, "LEAST_BLOCK", 8)
    monkeypatch.setattr(bands, "BAND_SAMPLES", 72)
    job = bands.prepare(experiment, mode)
    seen = []
    image = bands.render([job], seen.append)[0]
    assert job.plan.bands >= 2 and len(seen) == job.plan.bands + 1
    assert seen[0] == 0.0 and seen[-1] == 1.0 and seen == sorted(seen)
    assert image.dtype == np.float32
    reference = np.asarray(nb.simulate(experiment, mode))
    assert reference.max() > 0
    np.testing.assert_allclose(image, reference, rtol=2e-7, atol=1e-12 * reference.max())


@pytest.mark.parametrize("pixels", [1, 100, 65536, 65537, 6_224_001, 2**30])
@pytest.mark.parametrize("samples", [1, 10, 1000, 10**6, 10**10])
def test_bands_cover_every_pixel_once(pixels, samples):
    plan = bands.plan_bands(pixels, samples)
    covered = plan.size * plan.per_band * plan.bands
    assert covered >= pixels and covered - plan.size * plan.per_band < pixels
    assert covered < 2**31
    assert covered - pixels <= max(0.1 * pixels, plan.bands + plan.size)
    if samples * pixels <= bands.BAND_SAMPLES:
        assert plan.bands == 1
    if samples <= 1000 and plan.bands > 1:
        assert plan.size * plan.per_band * samples < 3 * bands.BAND_SAMPLES


def test_too_bright_for_single_precision():
    job = bands.prepare(small.experiment(beam={"fluence_per_m2": 1e80}))
    with pytest.raises(InputError, match="beyond single precision"):
        bands.render([job])


def test_too_many_pixels():
    with pytest.raises(InputError, match="too many"):
        bands.prepare(small.experiment(detector={"pixels_fast": 50_000, "pixels_slow": 50_000, "pixel_size_mm": 0.01}))
