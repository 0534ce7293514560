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
from nanobrag_jax.models.energies import Channels, channel_amplitudes, cromer_liberman, with_measured

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


def test_a_measured_element(tmp_path):
    path = tmp_path / "scan.txt"
    path.write_text("13000 -3 4\n12000 -2.5 0.5\n12600 -8 3\n")
    channels = cromer_liberman(("C", "Se"), (0.98, 1.0))
    found = with_measured(channels, ("C", "Se"), "Se", path)
    energies = 12398.42 / np.array([0.98, 1.0])
    np.testing.assert_allclose(
        found.f_prime[:, 1], np.interp(energies, [12000, 12600, 13000], [-2.5, -8, -3]), rtol=1e-5
    )
    np.testing.assert_allclose(
        found.f_double_prime[:, 1], np.interp(energies, [12000, 12600, 13000], [0.5, 3, 4]), rtol=1e-5
    )
    np.testing.assert_array_equal(found.f_prime[:, 0], channels.f_prime[:, 0])
    for text, element, message in (
        ("12000 1\n", "Se", "line 1"),
        ("12500 1 2\n13000 1 2\n", "Se", "reaches from 12500 to 13000 eV"),
        ("12000 1 2\n12000 1 2\n", "Se", "an energy twice"),
        ("12000 1 2\n", "Fe", "'Fe' is not among"),
        ("", "Se", "must hold finite numbers"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            with_measured(channels, ("C", "Se"), element, path)
