"""`python -m benchmarks.mixed_accuracy [--cases NAME ...]`: what mixed precision costs in accuracy.

Renders the golden cases in both precisions and modes, and case `basic` with ever more unit cells, and compares mixed
with double precision: the largest deviation as a fraction of the brightest pixel, and the largest relative deviation
of a pixel that has at least a hundredth of the brightest one's photons. The figures are those of docs/precision.md.
"""

import argparse
import json
import sys

import jax
import numpy as np

import nanobrag_jax as nb

from .experiments import GOLDEN, INPUTS, headline

LIMIT = 1e-5
"""Relative, of bright pixels."""
BRIGHT = 0.01
SIZES = (6, 12, 24, 48, 96, 192, 384)


def deviations(experiment: nb.Experiment, mode="spec") -> tuple[float, float]:
    """Largest deviation of the peak, and largest relative deviation of a bright pixel."""
    exact = np.asarray(nb.simulate(experiment, mode), float)
    mixed = nb.simulate(experiment, mode, precision="mixed")
    assert exact.dtype == np.float64 and mixed.dtype == np.float32
    difference = np.abs(np.asarray(mixed, float) - exact)
    peak = np.max(exact)
    if peak == 0.0:
        return float(np.max(difference)), 0.0
    bright = exact >= BRIGHT * peak
    return float(np.max(difference) / peak), float(np.max(difference[bright] / exact[bright]))


def golden_case(case: dict, mode="spec") -> tuple[float, float]:
    """The deviations of a golden case."""
    return deviations(nb.experiment_from_args([*case["args"], "-mode", mode], INPUTS), mode)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; the exit status says whether every case keeps the limit."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mixed_accuracy", description=str(__doc__).split("\n")[0]
    )
    parser.add_argument("--cases", nargs="*", help="only these golden cases (default: all, and the full frame)")
    options = parser.parse_args(argv)
    listed = {case["name"]: case for case in json.loads((GOLDEN / "cases.json").read_text())}
    rows = []
    for name in options.cases or listed:
        rows += [(name, mode, *golden_case(listed[name], mode)) for mode in listed[name]["modes"]]
        jax.clear_caches()  # Linux limits the memory mappings of a process, and each program has many
    if not options.cases:
        rows += [("full frame", mode, *deviations(headline(), mode)) for mode in ("spec", "c-parity")]
        for n in SIZES:
            args = [*listed["basic"]["args"], "-N", str(n)]
            found = deviations(nb.experiment_from_args(args, INPUTS))
            print(f"N = {n:3}: of peak {found[0]:.1e}, bright pixels {found[1]:.1e}")
    rows.sort(key=lambda row: -row[3])
    for name, mode, of_peak, relative in rows[:12]:
        print(f"{name:28} {mode:9} of peak {of_peak:.1e}, bright pixels {relative:.1e}")
    print(f"{len(rows)} images, the worst above; median of bright pixels {np.median([row[3] for row in rows]):.1e}")
    return int(any(row[3] > LIMIT for row in rows))


if __name__ == "__main__":
    sys.exit(main())
