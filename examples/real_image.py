"""Refine a real image against the pixels of its spots: python examples/real_image.py FOLDER

FOLDER holds indexed.expt, indexed.refl and the image: one 0.05° image of thaumatin from a Pilatus 12M in 24 panels,
public data of the DIALS project. No structure factors are used: each spot has an intensity of its own, and its place
and shape tell orientation, cell, size, mosaic spread and where the panels are.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import nanobrag_jax as nb
from nanobrag_jax import refine

SIGMA_MM = 0.3
"""Of the restraint of the panels' corners to where the list has them."""


def offsets(found: refine.ShotFit) -> np.ndarray:
    """Root mean square distances of the model's spots from the observed ones, (slow, fast) pixels."""
    some = found.photons > 20
    return np.sqrt(np.mean((found.calculated - found.shot.center)[some] ** 2, axis=0))


def run(folder: Path, steps: int = 70) -> list[refine.ShotFit]:
    """Two stages: crystal, and then the panels as well."""
    flat = nb.StructureFactors(default_F=100.0)
    expt, refl = folder / "indexed.expt", folder / "indexed.refl"
    (shot,) = refine.from_dials(expt, refl, flat, half_size=7, mosaic_domains=20)
    print(shot)
    crystal = [
        refine.Parameter("crystal.misset_deg", scale=0.05),
        refine.Parameter("crystal.n_cells", "positive"),
        refine.Parameter("crystal.mosaicity.spread_deg", "positive"),
        *refine.cell_parameters("tetragonal", scale_A=0.1),
    ]
    corners = np.asarray(shot.experiment.detector.panels.pix0_mm)
    panels = refine.Parameter("detector.panels.pix0_mm", restraint=(corners, SIGMA_MM))
    size, stages = refine.batch_size([shot], together=1), []
    for name, parameters in (("crystal", crystal), ("crystal and panels", [*crystal, panels])):
        began = time.perf_counter()
        options = {"free_factors": True, "outlier_z": None, "max_steps": steps, "size": size}
        (found,) = refine.fit_shots([shot], parameters, **options)
        shot = replace(shot, experiment=found.experiment)
        slow, fast = offsets(found)
        print(f"{name}, {time.perf_counter() - began:.0f} s: {found.verdict}")
        print(f"  offsets {fast:.2f} (fast) and {slow:.2f} (slow) pixels")
        for label, value in found.values.items():
            if np.size(value) <= 3:
                print(f"  {label:32s} {np.round(value, 4)} ± {np.round(found.uncertainties[label], 4)}")
        stages.append(found)
    moved = found.values["detector.panels.pix0_mm"] - corners
    print(f"panels moved by {np.sqrt(np.mean(moved**2)):.2f} mm (root mean square of a coordinate)")
    return stages


def draw(path: Path, found: refine.ShotFit, columns: int = 12) -> None:
    """Counts, model and normalised residuals of boxes, from the best to the worst."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    order = np.argsort(found.box_chi_square)
    chosen = order[np.linspace(0, len(order) - 1, columns).astype(int)]
    side = round(np.sqrt(found.shot.boxes.slow.shape[1]))
    used, counts, expected = np.asarray(found.shot.boxes.used), np.asarray(found.shot.boxes.counts), found.expected
    figure, axes = pyplot.subplots(3, columns, figsize=(1.25 * columns, 4.4))
    for column, number in enumerate(chosen):
        seen, model = (np.where(used[number], v[number], np.nan) for v in (counts, expected))
        residual = (seen - model) / np.sqrt(np.maximum(model, 0.1))
        top = max(float(np.nanmax(seen)), 1.0)
        for row, (values, low, high, colors) in enumerate(
            ((seen, 0, top, "viridis"), (model, 0, top, "viridis"), (residual, -5, 5, "RdBu_r"))
        ):
            axes[row, column].imshow(values.reshape(side, side), vmin=low, vmax=high, cmap=colors)
            axes[row, column].set(xticks=[], yticks=[])
        index = " ".join(str(i) for i in found.shot.hkl[number])
        axes[0, column].set_title(f"{index}\n{found.box_chi_square[number]:.1f}", fontsize=7)
    for row, label in enumerate(("counts", "model", "(counts − model)/σ")):
        axes[row, 0].set_ylabel(label, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main(argv=None) -> list[refine.ShotFit]:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=70, help="of each stage at most")
    parser.add_argument("--plot", type=Path, help="a picture of boxes, from the best to the worst")
    arguments = parser.parse_args(argv)
    stages = run(arguments.folder, arguments.steps)
    if arguments.plot:
        draw(arguments.plot, stages[-1])
    return stages


if __name__ == "__main__":
    main()
