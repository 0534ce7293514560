"""How precise and how honest a refinement of one still is, over draws of its noise: python examples/forty_draws.py

513 × 512 pixels; mosaic spread, cell, misset (0.15° off at the start), sizes and scale refined against boxes around
sixty spots, draw after draw in one compiled program. Prints root mean square errors, and the spread of the pulls:
errors in units of the uncertainties, 1 where these are right.
"""

import argparse

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import stills

from nanobrag_jax import refine
from nanobrag_jax.mosaicity import CapMosaicity

SPREAD_DEG = 0.1
PARAMETERS = (
    refine.Parameter("crystal.misset_deg", scale=0.1),
    refine.Parameter("crystal.n_cells", "positive"),
    refine.Parameter("crystal.mosaicity.spread_deg", "positive"),
    refine.Parameter("scale", "positive"),
    *refine.cell_parameters("monoclinic", scale_A=0.1, scale_deg=0.1),
)


def main(argv=None) -> dict[str, np.ndarray]:
    """The command; pulls (draws, values) by parameter."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--binning", type=int, default=1, help="larger and fewer pixels, for a quick look")
    parser.add_argument("--brightness", type=float, default=10.0, help="times the fluence of the other examples")
    arguments = parser.parse_args(argv)
    truth = stills.still(binning=arguments.binning)
    truth = eqx.tree_at(
        lambda e: (e.crystal.mosaicity, e.beam.fluence_per_m2),
        truth,
        (CapMosaicity.drawn(SPREAD_DEG, 10), truth.beam.fluence_per_m2 * arguments.brightness),
    )
    spots = refine.predict(truth, widths=2.0)
    spots = spots.chosen(np.argsort(-spots.photons)[:60])
    shots = []
    for draw in range(arguments.draws):
        rng = np.random.default_rng([draw, 40])
        counts = stills.photon_counts(truth, rng, binning=arguments.binning)
        off = rng.normal(size=3)
        start = eqx.tree_at(
            lambda e: (e.crystal.misset_deg, e.crystal.n_cells, e.crystal.mosaicity.spread_deg),
            truth,
            (
                truth.crystal.misset_deg + 0.15 * off / np.linalg.norm(off),
                truth.crystal.n_cells * np.exp(0.1 * rng.normal(size=3)),
                jnp.asarray(1.5 * SPREAD_DEG),
            ),
        )
        half_size = max(7 // arguments.binning, 4)
        shots.append(refine.shot_of(start, counts, spots, half_size=half_size, number=draw))
    found = list(refine.fit_shots(shots, PARAMETERS, hops={"crystal.n_cells": 1.25}, tolerance=0.01, outlier_z=None))
    print(f"{sum(f.converged and f.describes_the_data for f in found)} of {len(found)} converged and are described")
    pulls = {}
    for name in found[0].values:
        true = np.asarray(refine.value_of(truth, name)) if name != "scale" else np.ones(())
        errors = np.array([f.values[name] - true for f in found])
        pulls[name] = errors / np.array([f.uncertainties[name] for f in found])
        rms, spread = np.sqrt(np.mean(errors**2, axis=0)), np.std(pulls[name], axis=0)
        print(f"  {name:34s} error {np.round(rms, 5)} (rms), pulls {np.round(spread, 2)}")
    print(f"pulls of all parameters: {np.std(np.concatenate([p.ravel() for p in pulls.values()])):.2f}")
    return pulls


if __name__ == "__main__":
    main()
