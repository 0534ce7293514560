"""Structure factors by channel: each source of the beam sees those of its own energy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import experiment

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.errors import InputError

WAVELENGTHS = (1.17, 1.19, 1.23)
WEIGHTS = (1.0, 3.0, 2.0)
HALF = 6


def tables(seed=0):
    return np.random.default_rng(seed).uniform(5, 100, (3, *(2 * HALF + 1,) * 3))


def factors(amplitudes=None, **changes):
    amplitudes = tables() if amplitudes is None else amplitudes
    given = {"hkl_min": (-HALF,) * 3, "default_F": 2.0, "channel_wavelengths_A": WAVELENGTHS}
    return nb.StructureFactors(amplitudes, **(given | changes))


def beam(wavelengths=WAVELENGTHS, weights=WEIGHTS):
    return {
        "source_positions": [[-1.0, 0, 0]] * len(wavelengths),
        "source_wavelengths_A": wavelengths,
        "source_weights": weights,
    }


def made(held, sampling=(), **more):
    return experiment(beam=beam(**more), factors=held, sampling=sampling)


@pytest.mark.parametrize("precision", [None, "mixed", "float32"])
@pytest.mark.parametrize("interpolate", [False, True])
def test_every_source_sees_its_own_amplitudes(precision, interpolate):
    """The mean of images of single sources, each with one table."""
    sampling = {"interpolate": interpolate}
    image = nb.simulate(made(factors(), sampling), precision=precision)
    parts = [
        weight * nb.simulate(made(factors(table, channel_wavelengths_A=None), sampling, wavelengths=[w], weights=[1.0]))
        for w, weight, table in zip(WAVELENGTHS, WEIGHTS, tables(), strict=True)
    ]
    expected = sum(parts) / sum(WEIGHTS)
    scale = float(expected.max())
    np.testing.assert_allclose(image / scale, expected / scale, atol=1e-12 if precision is None else 2e-3)
    other = nb.simulate(made(factors(tables()[::-1]), sampling))
    assert np.max(np.abs(image - other)) > 0.05 * scale


def test_sources_belong_to_the_nearest_channel():
    held = factors()
    wavelengths = jnp.array([0.5, 1.1799, 1.1801, 1.2099, 1.2101, 9.0])
    np.testing.assert_array_equal(held.channel_of(wavelengths), [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(factors(tables()[0], channel_wavelengths_A=None).channel_of(wavelengths), [0] * 6)


@pytest.mark.parametrize("interpolate", [False, True])
def test_derivatives_are_those_of_differences(interpolate):
    whole = made(factors(), {"interpolate": interpolate})
    direction = np.random.default_rng(1).normal(size=tables().shape)

    @jax.jit
    def value(amplitudes):
        return jnp.sum(jnp.sqrt(1.0 + nb.simulate(eqx.tree_at(_amplitudes, whole, amplitudes))))

    at = _amplitudes(whole)
    high, low = value(at + 1e-4 * direction), value(at - 1e-4 * direction)
    gradient = jax.grad(value)(at)
    assert np.all(np.max(np.abs(gradient), axis=(1, 2, 3)) > 0)
    slope = float(jnp.sum(gradient * direction))
    assert slope == pytest.approx(float(high - low) / 2e-4, rel=1e-6)
    assert float(jax.jvp(value, (at,), (jnp.asarray(direction),))[1]) == pytest.approx(slope, rel=1e-9)


def _amplitudes(whole):
    return whole.structure_factors.amplitudes


def test_a_batch_and_a_compiled_call():
    whole = made(factors())
    plain = nb.simulate(whole)
    np.testing.assert_allclose(jax.jit(nb.simulate)(whole), plain, rtol=1e-12)
    both = jnp.stack([_amplitudes(whole), 2.0 * _amplitudes(whole)])
    images = jax.vmap(lambda a: nb.simulate(eqx.tree_at(_amplitudes, whole, a)))(both)
    np.testing.assert_allclose(images[0], plain, rtol=1e-12)
    assert float(jnp.max(images[1])) > 1.5 * float(jnp.max(plain))


def test_what_is_given_holds_for_all_channels():
    given = np.ones(tables().shape[1:], bool)
    given[HALF + 1 :] = False
    filled = np.where(given, tables(), 2.0)
    np.testing.assert_allclose(nb.simulate(made(factors(given=given))), nb.simulate(made(factors(filled))), rtol=1e-12)


def test_diffuse_scattering_a_trace_and_predicted_spots():
    whole = made(factors())
    around = nb.Diffuse(gamma_A=(30.0,) * 3, sigma_A=(0.4,) * 3, laue_group=1)
    cloudy = eqx.tree_at(lambda e: e.crystal.diffuse, whole, around, is_leaf=lambda x: x is None)
    assert np.all(np.asarray(nb.simulate(cloudy)) >= 0)
    trace = nb.trace_pixel(whole, 5, 5)
    assert float(trace["I_pixel_final"]) == pytest.approx(float(nb.simulate(whole)[5, 5]), rel=1e-9)
    assert len(refine.predict(whole).slow)


def test_a_saved_run_has_them(tmp_path):
    whole = made(factors())
    nb.save_config(tmp_path / "run.json", whole)
    again = nb.load_config(tmp_path / "run.json").experiment
    np.testing.assert_array_equal(nb.simulate(again), nb.simulate(whole))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"channel_wavelengths_A": (1.0, 2.0)}, r"amplitudes must be an array of shape \(2, n, n, n\)"),
        ({"channel_wavelengths_A": (1.0, 0.9, 2.0)}, "channel_wavelengths_A must be positive and increasing"),
        ({"channel_wavelengths_A": None}, "amplitudes must be an array of shape"),
        ({"given": np.zeros((2, 2, 2), bool)}, "given must have the shape of amplitudes"),
    ],
)
def test_what_cannot_be_used(changes, message):
    with pytest.raises(InputError, match=message):
        factors(**changes)
    with pytest.raises(InputError, match="needs amplitudes of each channel"):
        nb.StructureFactors(channel_wavelengths_A=WAVELENGTHS)
    with pytest.raises(InputError, match="c-parity knows no structure factors by channel"):
        nb.simulate(made(factors()), "c-parity")
    with pytest.raises(InputError, match="refine these"):
        refine.reflection_groups(factors())


def test_sources_that_are_filled_up_keep_their_channels():
    """Eleven sources are rendered as twelve, the last of weight zero."""
    wavelengths = np.linspace(1.15, 1.25, 11)
    amplitudes = np.random.default_rng(2).uniform(5, 100, (11, *(2 * HALF + 1,) * 3))
    held = factors(amplitudes, channel_wavelengths_A=wavelengths)
    whole = made(held, wavelengths=wavelengths, weights=np.ones(11))
    parts = [
        nb.simulate(made(factors(table, channel_wavelengths_A=None), wavelengths=[w], weights=[1.0]))
        for w, table in zip(wavelengths, amplitudes, strict=True)
    ]
    np.testing.assert_allclose(nb.simulate(whole), sum(parts) / 11, rtol=1e-9)
    np.testing.assert_allclose(jax.jit(nb.simulate)(whole), sum(parts) / 11, rtol=1e-9)
