"""Refine crystal and detector against one still: python examples/one_still.py --unknown cell

Makes an image with photon noise and background, starts as far off as indexing leaves things, and refines misset, beam
centre, crystal size and fluence together with the cell, the distance or both. With --plots FOLDER the figures of
docs/refinement.md are drawn.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import stills

import nanobrag_jax as nb
from nanobrag_jax import refine


@dataclass
class Run:
    """One refinement with its truth."""

    truth: nb.Experiment
    start: nb.Experiment
    counts: np.ndarray
    result: refine.Result
    seconds: float

    def errors(self) -> dict[str, np.ndarray]:
        """Refined minus true values."""
        truth = stills.true_values(self.truth, self.result.values)
        return {name: value - truth[name] for name, value in self.result.values.items()}

    def pulls(self) -> dict[str, np.ndarray]:
        """Errors in units of the standard uncertainties."""
        return {name: error / self.result.uncertainties[name] for name, error in self.errors().items()}


def run(seed: int, unknown: str, *, binning: int = 1, progress=True) -> Run:
    """Simulate and refine once."""
    rng = np.random.default_rng([seed, 2026])
    truth = stills.still(binning=binning)
    counts = stills.photon_counts(truth, rng, binning=binning)
    start = stills.random_start(truth, rng, unknown)
    began = time.perf_counter()
    data = refine.whole_image(start.experiment, counts, background="constant")
    hops = {"crystal.n_cells": 1.25}  # a local minimum in the size along the beam: hardly seen, and told by the verdict
    result = refine.fit_with_hops(start.experiment, data, start.parameters, hops=hops, progress=progress)
    return Run(truth, start.experiment, counts, result, time.perf_counter() - began)


def main(argv=None) -> Run:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unknown", choices=("cell", "distance", "both"), default="cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--binning", type=int, default=1, help="larger and fewer pixels, for a quick look")
    parser.add_argument("--plots", type=Path, help="folder for figures")
    arguments = parser.parse_args(argv)
    found = run(arguments.seed, arguments.unknown, binning=arguments.binning)
    print(found.result.summary())
    print("errors, and in units of the uncertainties:")
    for name, error in found.errors().items():
        with np.printoptions(precision=3, suppress=True):
            print(f"  {name:28s} {np.asarray(error)}  {np.asarray(found.pulls()[name])}")
    strongest = sorted(((abs(c), a, b) for a, b, c in _pairs(found.result)), reverse=True)[:6]
    print("strongest correlations:")
    for size, first, second in strongest:
        print(f"  {first} with {second}: {size:.3f}")
    print(f"{found.seconds:.1f} s with compilation")
    if arguments.plots:
        import figures

        figures.one_still(found, arguments.plots / f"one_still_{arguments.unknown}.png")
        figures.correlations(found.result, arguments.plots / f"correlations_{arguments.unknown}.png")
    return found


def _pairs(result: refine.Result):
    labels, matrix = result.labels, result.correlations
    return [(labels[i], labels[j], matrix[i, j]) for i in range(len(labels)) for j in range(i)]


if __name__ == "__main__":
    main()
