"""Structure factors at every energy: F = P + Σ (f′ + i·f″)·G, with G of each element summed once for all energies."""

import os
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
from ..errors import InputError
from ..io.number_columns import BadLineError, parse_table
from ..io.text import plain_lines, read_bytes
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


def with_measured(channels: Channels, kinds: Sequence[str], element: str, path: str | os.PathLike[str]) -> Channels:
    """The channels with f′ and f″ of one element from a text of three columns: photon energy in eV, f′ and f″.

    **Arguments:** `kinds`: of the model. Rows may come in any order, between them f′ and f″ are interpolated.

    **Raises** `InputError` for a file that is no such table, an energy beyond it, and an element the model has not.
    """
    name = f"table of anomalous scattering {os.fspath(path)!r}"
    if element not in kinds:
        raise InputError(f"element {element!r} is not among those of the model, {', '.join(kinds)}")
    try:
        rows = parse_table(plain_lines(read_bytes(path, "table of anomalous scattering")), 3, "energy f' f''").values
    except BadLineError as error:
        raise InputError(f"{name}, line {error.line}: {error.what}") from None
    if not len(rows) or not np.all(np.isfinite(rows)):
        raise InputError(f"{name} must hold finite numbers")
    energy, f_prime, f_double_prime = rows[np.argsort(rows[:, 0], kind="stable")].T
    if np.any(np.diff(energy) == 0):
        raise InputError(f"{name} gives an energy twice: {energy[1:][np.diff(energy) == 0][0]:g} eV")
    wanted = EV_ANGSTROM / np.asarray(channels.wavelengths_A)
    beyond = wanted[(wanted < energy[0]) | (wanted > energy[-1])]
    if len(beyond):
        raise InputError(f"{name} reaches from {energy[0]:g} to {energy[-1]:g} eV, a channel is at {beyond[0]:g} eV")
    place = list(kinds).index(element)
    return Channels(
        channels.wavelengths_A,
        channels.f_prime.at[:, place].set(np.interp(wanted, energy, f_prime)),
        channels.f_double_prime.at[:, place].set(np.interp(wanted, energy, f_double_prime)),
    )
