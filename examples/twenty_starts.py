"""How reliably the refinement of one still converges: python examples/twenty_starts.py --json starts.json

Every start has photon noise of its own. Prints the largest errors beside the limits, and the spread of the pulls
(error / standard uncertainty), which is 1 if the uncertainties are right.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import one_still

LIMITS = {
    "crystal.misset_deg": 0.003,
    "crystal.cell_lengths_A[0]": 0.02,
    "crystal.cell_lengths_A[1]": 0.02,
    "crystal.cell_lengths_A[2]": 0.02,
    "crystal.cell_angles_deg[1]": 0.02,
    "crystal.n_cells": 0.02,
    "beam.fluence_per_m2": 0.01,
    "detector.distance_mm": 0.02,
}
"""Largest errors allowed; those of cell counts and fluence are relative."""
RELATIVE = ("crystal.n_cells", "beam.fluence_per_m2")


def study(unknown: str, starts: int, *, first_seed: int = 0, binning: int = 1, tell=print) -> dict:
    """Errors and pulls over random starts."""
    runs = []
    for seed in range(first_seed, first_seed + starts):
        found = one_still.run(seed, unknown, binning=binning, progress=False)
        steps = found.result.history[-1].number
        tell(f"{unknown} start {seed}: {found.seconds:5.1f} s, {steps} steps, {found.result.verdict}")
        runs.append(found)
    table = {}
    for name in runs[0].result.values:
        truth = one_still.stills.true_values(runs[0].truth, [name])[name]
        errors = np.array([r.errors()[name] for r in runs]) / (truth if name in RELATIVE else 1.0)
        pulls = np.array([r.pulls()[name] for r in runs])
        table[name] = {
            "limit": LIMITS.get(name),
            "largest_error": np.abs(errors).max(axis=0).tolist(),
            "pull_deviation": np.sqrt(np.mean(pulls**2, axis=0)).tolist(),
            "pulls": pulls.tolist(),
            "errors": errors.tolist(),
        }
    within = [within_limits(r) for r in runs]
    everything = np.concatenate([np.asarray(t["pulls"]).ravel() for t in table.values()])
    return {
        "unknown": unknown,
        "starts": starts,
        "first_seed": first_seed,
        "converged": sum(r.result.converged for r in runs),
        "within_limits": sum(within),
        "seconds_first": runs[0].seconds,
        "seconds_others": [r.seconds for r in runs[1:]],
        "pull_deviation_of_all": float(np.sqrt(np.mean(everything**2))),
        "parameters": table,
    }


def within_limits(found: one_still.Run) -> bool:
    """Whether every refined value is as close to the truth as it has to be."""
    truth = one_still.stills.true_values(found.truth, found.result.values)
    for name, error in found.errors().items():
        size = np.abs(error / truth[name]) if name in RELATIVE else np.abs(error)
        if name in LIMITS and np.max(size) > LIMITS[name]:
            return False
    return True


def main(argv=None) -> list[dict]:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--binning", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, help="folder for the figure")
    arguments = parser.parse_args(argv)
    found = []
    for unknown in ("cell", "distance"):
        options = {"first_seed": arguments.first_seed, "binning": arguments.binning}
        found.append(study(unknown, arguments.starts, **options))
        one = found[-1]
        print(f"{unknown}: {one['converged']} of {one['starts']} converged, {one['within_limits']} within all limits")
        for name, row in one["parameters"].items():
            with np.printoptions(precision=4, suppress=True):
                errors, spread = np.asarray(row["largest_error"]), np.asarray(row["pull_deviation"])
                print(f"  {name:28s} largest error {errors} (limit {row['limit']}), pull deviation {spread}")
        print(f"  pull deviation of all: {one['pull_deviation_of_all']:.3f}; first start {one['seconds_first']:.1f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    if arguments.plots:
        import figures

        figures.starts(found, arguments.plots / "twenty_starts.png")
    return found


if __name__ == "__main__":
    main()
