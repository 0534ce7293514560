"""Structure factors at every energy: F = P + Σ (f′ + i·f″)·G, with G of each element summed once for all energies."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from .. import checks
from ..checks import leaf
from ..constants import EV_ANGSTROM
from ..typing import Numbers
from .atoms import AtomicModel, modulus
from .sphere import load_gemmi


class Channels(eqx.Module):
    """f′ and f″ of a model's elements at some energies.

    **Arguments:** `wavelengths_A` (channels,), increasing; `f_prime`, `f_double_prime` (channels, kinds): electrons, of
    the model's `kinds`, the elements in alphabetical order.

    **Raises** `InputError`.
    """

    wavelengths_A: Float[Array, " channel"]
    f_prime: Float[Array, "channel kinds"]
    f_double_prime: Float[Array, "channel kinds"]

    def __init__(self, wavelengths_A: Numbers, f_prime: Numbers, f_double_prime: Numbers):
        self.wavelengths_A = leaf(wavelengths_A, "wavelengths_A")
        self.f_prime, self.f_double_prime = leaf(f_prime, "f_prime"), leaf(f_double_prime, "f_double_prime")

    def __check_init__(self):
        checks.positive("wavelengths_A", self.wavelengths_A, (None,))
        shape = len(self.wavelengths_A), None
        checks.finite("f_prime", self.f_prime, shape)
        checks.finite("f_double_prime", self.f_double_prime, self.f_prime.shape)


def cromer_liberman(kinds: Sequence[str], wavelengths_A: Numbers) -> Channels:
    """The channels of some wavelengths (Å), with f′ and f″ of elements by Cromer and Liberman, from gemmi."""
    gemmi = load_gemmi("anomalous scattering")
    energies = EV_ANGSTROM / np.asarray(wavelengths_A, float)
    numbers = [gemmi.Element(kind).atomic_number for kind in kinds]
    found = np.array([[gemmi.cromer_liberman(z=z, energy=float(energy)) for z in numbers] for energy in energies])
    return Channels(wavelengths_A, found[..., 0], found[..., 1])


def channel_amplitudes(model: AtomicModel, channels: Channels, F000: float | None = 0.0) -> Float[Array, "c h k l"]:
    """|F| of all indices at each energy, as `AtomicModel.amplitudes` has them at the model's own f′ and f″.

    The atoms are summed once. **Arguments:** `F000`: as there.
    """
    sums = model.sums()
    bare = eqx.tree_at(lambda m: (m.f_prime, m.f_double_prime), model, (0.0 * model.f_prime, 0.0 * model.f_prime))
    normal, _ = bare.factors()
    plan = model.plan
    h, k, l = plan.most

    def at_energy(f_prime, f_double_prime):
        shifts = (f_prime + 1j * f_double_prime)[:, None]
        plus = modulus(normal + jnp.sum(shifts * sums, 0))
        minus = modulus(jnp.conj(normal) + jnp.sum(shifts * jnp.conj(sums), 0))
        box = jnp.where(plan.given, jnp.concatenate([plus, minus])[plan.into_box], 0.0)
        return box if F000 is None else box.at[h, k, l].set(F000)

    return jax.vmap(at_energy)(channels.f_prime, channels.f_double_prime)
