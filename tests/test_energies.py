"""Structure factors of atoms at every energy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from atoms import make_structure, write_structure

import nanobrag_jax as nb
from nanobrag_jax.errors import InputError
from nanobrag_jax.models.atoms import AtomicModel
from nanobrag_jax.models.energies import Channels, channel_amplitudes, cromer_liberman

WAVELENGTHS = (0.95, 0.978, 0.981, 1.1)  # on both sides of the edge of selenium


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_structure(make_structure("P -1"), tmp_path_factory.mktemp("energies") / "model.pdb")


def test_each_channel_is_the_model_at_its_wavelength(path):
    model = AtomicModel.from_file(path, 2.4)
    held = nb.StructureFactors.from_atoms(model, channels=cromer_liberman(model.kinds, WAVELENGTHS))
    for table, wavelength in zip(held.amplitudes, WAVELENGTHS, strict=True):
        alone = AtomicModel.from_file(path, 2.4, wavelength_A=wavelength).amplitudes()
        np.testing.assert_allclose(table, alone, rtol=1e-9, atol=1e-9)
    assert float(jnp.max(jnp.abs(held.amplitudes[1] - held.amplitudes[2]))) > 0.5
    np.testing.assert_allclose(held.channel_wavelengths_A, WAVELENGTHS)


def test_derivatives_by_anomalous_scattering(path):
    model = AtomicModel.from_file(path, 3.0)
    channels = cromer_liberman(model.kinds, WAVELENGTHS)

    @jax.jit
    def value(channels):
        return jnp.sum(channel_amplitudes(model, channels) ** 1.5)

    gradient = jax.grad(value)(channels)
    for find in (lambda c: c.f_prime, lambda c: c.f_double_prime):
        direction = np.random.default_rng(1).normal(size=find(channels).shape)
        high, low = (value(eqx.tree_at(find, channels, find(channels) + s * 1e-4 * direction)) for s in (1, -1))
        assert float(jnp.sum(find(gradient) * direction)) == pytest.approx(float(high - low) / 2e-4, rel=1e-6)


def test_what_cannot_be_used():
    with pytest.raises(InputError, match="f_prime must be an array of shape"):
        Channels([1.0, 1.1], [[0.0]], [[0.0]])
    with pytest.raises(InputError, match="wavelengths_A must be positive"):
        Channels([-1.0], [[0.0]], [[0.0]])
