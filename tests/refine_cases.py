"""A small still for the tests of refinement."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import nanobrag_jax as nb

CENTER_MM = (12.4, 12.9)
BACKGROUND = 2.0


def small_still(**leaves) -> nb.Experiment:
    """64 × 60 pixels of 0.4 mm with a dozen spots; `leaves`: fields of the crystal to replace."""
    amplitudes = np.sqrt(np.random.default_rng(3).exponential(1.0, (17, 19, 21))) * 100.0
    amplitudes[8, 9, 10] = 0.0
    experiment = nb.Experiment(
        crystal=nb.Crystal((55.0, 65.0, 75.0), (90.0, 95.0, 90.0), misset_deg=(11.0, 17.0, 23.0), n_cells=(7, 6, 6)),
        beam=nb.Beam(1.8, fluence_per_m2=2e29),
        detector=nb.Detector(60, 64, pixel_size_mm=0.4, distance_mm=120.0, beam_center_mm=CENTER_MM),
        structure_factors=nb.StructureFactors(amplitudes, hkl_min=(-8, -9, -10)),
        sampling=nb.Sampling(1),
    )
    for name, value in leaves.items():
        experiment = eqx.tree_at(lambda e, n=name: getattr(e.crystal, n), experiment, jnp.asarray(value, float))
    return experiment


def counts_of(experiment: nb.Experiment, seed: int = 1, background=BACKGROUND) -> np.ndarray:
    """Photon counts with noise."""
    return np.random.default_rng(seed).poisson(np.asarray(nb.simulate(experiment)) + background).astype(float)
