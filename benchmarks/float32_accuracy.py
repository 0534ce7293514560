"""`python -m benchmarks.float32_accuracy [--cases NAME ...] [--json FILE]`: what single precision costs in accuracy.

Renders the golden cases in spec mode with x64 off and compares with the reference's images. Cases that the reference
renders only with a slip (sensor thickness) are compared with our own image in double precision. The figures are those
of docs/precision.md: the largest deviation of a pixel, and the root mean square, as fractions of the brightest pixel
and of the image's own root mean square.
"""

import argparse
import json
import os
import re
import sys
import warnings
from pathlib import Path

os.environ["JAX_ENABLE_X64"] = "0"

import jax
import numpy as np

import nanobrag_jax as nb

GOLDEN = Path(os.environ.get("NANOBRAG_GOLDEN", Path(__file__).parents[1] / "golden_data"))
LIMIT = 2e-3
"""Of the brightest pixel: what every spec case has to keep."""

GROUPS = {  # name → cases, first match wins
    "conventions": "conv_(?!.*phi)|custom_|xds_|twotheta_axis|detsize|mosflm_close|all_defaults",
    "tilts, curved, point pixels": "big_tilt|detector_beyond|curved|point_pixel",
    "headers, masks, regions": "mask|img|roi|int_roi",
    "cells and missets": "cell_|misset|mat_|basic_cubic",
    "crystal size": "ncells|xtalsize|sample_",
    "spot shapes": "shape_|gauss_|tophat_",
    "structure factors": "basic_hkl|hkl_(?!.*interp|N1)|hkl_nointerp",
    "interpolation": "hkl_",
    "beam": "energy|flu|polar|nopolar",
    "sources": "div|disp|sources",
    "mosaic": "mosaic_(?!domains_no)|phi_zero_mosaic",
    "phi": "phi|osc_|conv_.*phi|spindle",
    "sub-pixels, dmin": "oversample|auto_over|fine_|dmin",
    "sensor thickness": "thick",
    "water background": "water",
    "several at once": "kitchen",
    "plain": ".",
}
THICK = ("thick_5", "thick_auto_mu", "thick_one_layer")
SIZES = (6, 12, 24, 48, 96, 192, 384)


def enable_x64(on: bool):
    """A context with double precision on or off, in old and new versions of jax."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(on)
    from jax.experimental import enable_x64 as context  # pyright: ignore[reportAttributeAccessIssue]

    return context(on)


def group_of(name: str) -> str:
    """The group that a case belongs to."""
    return next(group for group, pattern in GROUPS.items() if re.match(pattern, name))


def render(args: list[str]) -> np.ndarray:
    """The image of a command in spec mode, in the precision of the moment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nb.ExperimentWarning)  # golden commands are given as they are
        experiment = nb.experiment_from_args([*args, "-mode", "spec"], GOLDEN / "inputs")
    return np.asarray(nb.simulate(experiment))


def deviations(image: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Largest deviation over the peak, and root mean square over root mean square."""
    difference = image.astype(float) - reference.astype(float)
    reference = reference.astype(float)
    return {
        "of_peak": float(np.max(np.abs(difference)) / np.max(reference)),
        "rms": float(np.sqrt(np.sum(difference**2) / np.sum(reference**2))),
    }


def measure_case(case: dict) -> dict:
    """The figures of one golden case."""
    image = render(case["args"])
    if "spec" in case["modes"]:
        with np.load(GOLDEN / f"{case['name']}.npz") as file:
            reference = file["float"]
    else:
        with enable_x64(True):
            reference = render(case["args"])
        assert reference.dtype == np.float64
    return {
        "case": case["name"],
        "group": group_of(case["name"]),
        "dtype": str(image.dtype),
        **deviations(image, reference),
    }


def measure_sizes(case: dict) -> list[dict]:
    """How the deviation grows with the crystal: case `basic` with more unit cells, against double precision."""
    rows = []
    warnings.simplefilter("ignore", nb.ExperimentWarning)  # as few sub-pixels for large crystals as for small ones
    for n in SIZES:
        args = [*case["args"], "-N", str(n)]
        with enable_x64(True):
            experiment = nb.experiment_from_args(args, GOLDEN / "inputs")
            reference = np.asarray(nb.simulate(experiment))
        edge = float(np.max(np.asarray(experiment.crystal.cell_lengths_A))) * n / float(experiment.beam.wavelength_A)
        rows.append({"N": n, "edge_over_wavelength": edge, **deviations(render(args), reference)})
    return rows


def measure_headline() -> list[dict]:
    """The full-frame run: ten windows of 64 × 64 pixels, and the sums over blocks of that size."""
    record = json.loads((GOLDEN / "pilatus" / "pilatus.json").read_text())
    run = next(run for run in record["runs"] if run["mode"] == "spec")
    image = render(run["args"])
    with np.load(GOLDEN / "pilatus" / "pilatus.npz") as file:
        windows, blocks = file["spec_windows"], file["spec_blocks"]
    edges = [np.arange(0, length, record["block"]) for length in image.shape]
    sums = np.add.reduceat(np.add.reduceat(image.astype(float), edges[0], axis=0), edges[1], axis=1)
    cut = np.stack([image[s : s + 64, f : f + 64] for s, f in record["windows"]])
    common = {"group": "full frame", "dtype": str(image.dtype)}
    return [
        {"case": "pilatus windows", **common, **deviations(cut, windows)},
        {"case": "pilatus block sums", **common, **deviations(sums, blocks)},
    ]


def print_table(rows: list[dict]) -> None:
    """The worst case of each group."""
    print(f"{'group':30} cases  of peak      rms  worst case")
    for group in [*GROUPS, "full frame"]:
        members = [row for row in rows if row["group"] == group]
        if members:
            worst = max(members, key=lambda row: row["of_peak"])
            rms = max(row["rms"] for row in members)
            print(f"{group:30} {len(members):5}  {worst['of_peak']:.1e}  {rms:.1e}  {worst['case']}")


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and say by the exit status whether every case keeps the limit."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.float32_accuracy", description=str(__doc__).split("\n")[0]
    )
    parser.add_argument(
        "--cases", nargs="*", help="only these golden cases (default: all, the full frame and the sizes)"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(argv)
    listed = {case["name"]: case for case in json.loads((GOLDEN / "cases.json").read_text())}
    names = options.cases or [n for n, case in listed.items() if "spec" in case["modes"] or n in THICK]
    rows = [measure_case(listed[name]) for name in names]
    sizes = []
    if not options.cases:
        rows += measure_headline()
        sizes = measure_sizes(listed["basic"])
    print_table(rows)
    for row in sizes:
        print(f"N = {row['N']:3}: edge/wavelength {row['edge_over_wavelength']:7.0f}, of peak {row['of_peak']:.1e}")
    if options.json:
        options.json.write_text(json.dumps({"cases": rows, "sizes": sizes}, indent=1) + "\n")
    wrong = [row["case"] for row in rows if not row["of_peak"] <= LIMIT or row["dtype"] != "float32"]
    if wrong:
        print(f"beyond {LIMIT:g} of the peak: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
