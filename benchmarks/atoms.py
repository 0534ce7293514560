"""`python -m benchmarks.atoms [ATOMS]`: what the gradient by the coordinates of a protein's atoms at 2 Å takes.

Of a 512 × 512 still of 20 mosaic domains, beside the gradient by its structure factors, in processor time. The protein
is made up: atoms at random in P 21 21 21, 26 Å³ of cell for each of the asymmetric unit and of solvent.
"""

import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import nanobrag_jax as nb
from nanobrag_jax.models.atoms import AtomicModel, Atoms

DMIN_A, PIXELS = 2.0, 512
MOSAIC = {"mosaic_spread_deg": 0.3, "mosaic_domains": 20}


def protein(count: int) -> AtomicModel:
    """So many atoms of carbon, nitrogen, oxygen and sulphur, with bulk solvent."""
    rng = np.random.default_rng(1)
    edge = (4 * count * 26.0) ** (1 / 3)
    kinds = rng.choice(["C", "N", "O", "S"], count, p=[0.62, 0.17, 0.2, 0.01]).tolist()
    atoms = Atoms(kinds, rng.random((count, 3)), b_iso_A2=rng.uniform(10, 40, count))
    return AtomicModel(
        atoms, cell=(edge, edge * 0.9, edge / 0.9, 90, 90, 90), space_group="P 21 21 21", dmin_A=DMIN_A, k_sol=0.35
    )


def experiment(model: AtomicModel) -> nb.Experiment:
    """A still to the resolution of the model at the corners."""
    return nb.Experiment(
        crystal=nb.Crystal(
            model.plan.cell[:3], model.plan.cell[3:], n_cells=(20, 20, 20), misset_deg=(10, 20, 30), **MOSAIC
        ),
        beam=nb.Beam(1.0),
        detector=nb.Detector(pixels_fast=PIXELS, pixels_slow=PIXELS, pixel_size_mm=0.2, distance_mm=130.0),
        structure_factors=nb.StructureFactors.from_atoms(model),
        sampling=nb.Sampling(1),
    )


def best(function, *arguments) -> float:
    """Seconds of processor time, the least of five."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(5):
        start = time.process_time()
        jax.block_until_ready(function(*arguments))
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Print a row of figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    model = protein(count)
    still = experiment(model)

    def loss(factors):
        return jnp.mean(nb.simulate(eqx.tree_at(lambda e: e.structure_factors, still, factors)) ** 2)

    def by_atoms(positions):
        return loss(nb.StructureFactors.from_atoms(eqx.tree_at(lambda m: m.atoms.positions, model, positions)))

    def by_amplitudes(amplitudes):
        return loss(eqx.tree_at(lambda f: f.amplitudes, still.structure_factors, amplitudes))

    amplitudes = best(jax.jit(jax.grad(by_amplitudes)), still.structure_factors.amplitudes)
    coordinates = best(jax.jit(jax.grad(by_atoms)), model.atoms.positions)
    tabulated = best(jax.jit(lambda m: nb.StructureFactors.from_atoms(m).amplitudes), model)
    print(f"{count} atoms, {len(model.plan.hkl)} unique reflections, grid {model.grid and model.grid.shape}")
    print(f"gradient by F {amplitudes:.3f} s, by coordinates {coordinates:.3f} s: {coordinates / amplitudes:.2f} times")
    print(f"structure factors from atoms {tabulated:.3f} s")


if __name__ == "__main__":
    main()
