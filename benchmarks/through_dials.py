"""`python -m benchmarks.through_dials cbf nxs smv`: a rotation that one command made, processed by DIALS.

40 images of 0.5 degrees of a tetragonal crystal, mosaic, in water, with noise: imported, indexed, refined, integrated,
scaled and merged as beamline data are; then merged intensities against the amplitudes that went in. Each figure stands
beside its limit; the exit status is the number of figures beyond theirs. Last, images 1 and 31 are rendered again from
what DIALS has found. Needs DIALS (3.12 was used) and the extra `formats`.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import nanobrag_jax as nb

from . import dials_results

NAMES = {"cbf": "sweep_####.cbf", "nxs": "sweep.nxs", "smv": "sweep_####.img"}
CELL = (79.0, 79.0, 38.0)
GEOMETRY = (
    "-lambda 0.9795 -distance 150 -detpixels_x 1000 -detpixels_y 1040 -pixel 0.172 -Xbeam 91.4 -Ybeam 84.1 -polar 0.998"
)
ORIENTATION = "-misset 17 -38 71"
CRYSTAL = "-Na 10 -Nb 10 -Nc 20 -gauss_xtal -mosaic 0.1 -mosaic_domains 12 -crystal_scale 2e9"
BEAM = "-fluence 1.2e18 -beamsize 0.05 -stol water -amorphous_thick 0.2"
SAMPLING = "-phisteps 10 -oversample 2 -precision float32"
FLAGS = f"{GEOMETRY} {ORIENTATION} {CRYSTAL} {BEAM} {SAMPLING} -phi 0 -osc 0.5 -phi_sampling middle"
FINEST_A = 1.4
AGAIN = (1, 31)
"""Images that are rendered again from what DIALS has found."""

STEPS = (
    "dials.import {images}",
    "dials.find_spots imported.expt nproc=1",
    "dials.index imported.expt strong.refl space_group=P43212",
    "dials.refine indexed.expt indexed.refl",
    "dials.integrate refined.expt refined.refl nproc=1",
    "dials.scale integrated.expt integrated.refl",
    "dials.merge scaled.expt scaled.refl anomalous=False",
)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("formats", nargs="*", default=list(NAMES), help=" ".join(NAMES))
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--folder", help="keep everything there")
    options = parser.parse_args()
    if shutil.which("dials.import") is None:
        parser.error("DIALS is not installed")
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(options.folder or temporary)
        beyond = 0
        for kind in options.formats:
            folder = top / kind
            folder.mkdir(parents=True, exist_ok=True)
            beyond += through(kind, folder, options.images)
    return beyond


def through(kind: str, folder: Path, images: int) -> int:
    """Simulate, process, compare, and print; how many figures are beyond their limits."""
    write_amplitudes(folder / "true.mtz")
    command = f"-mtz true.mtz -cell {CELL[0]} {CELL[1]} {CELL[2]} {FLAGS} -images {images} -noisefile {NAMES[kind]}"
    command += " -floatfile photons.npy -exptfile sweep.expt -noprogress"
    run([sys.executable, "-m", "nanobrag_jax", *shlex.split(command)], folder, PYTHONPATH=os.getcwd())
    for step in STEPS:
        # of a NeXus file DIALS corrects for a sensor, by a number that its Wilson statistics cannot take
        geometry = " reference_geometry=sweep.expt" if kind == "nxs" else ""
        words = step.format(images=NAMES[kind].replace("####", "*") + geometry)
        files = [str(path.name) for word in words.split() if "*" in word for path in sorted(folder.glob(word))]
        run([*(word for word in words.split() if "*" not in word), *files], folder)
    experiment = nb.experiment_from_args(shlex.split(f"-mtz {folder}/true.mtz -cell 79 79 38 {FLAGS}"))
    figures = dials_results.figures(folder, experiment, CELL)
    if images >= AGAIN[1]:
        figures.append(way_back(folder))
    beyond = 0
    print(f"\n{kind}: {images} images")
    for label, value, limit, fine in figures:
        print(f"  {label:<44} {value:<24} {limit:<14} {'' if fine else 'BEYOND'}")
        beyond += not fine
    return beyond


def write_amplitudes(path: Path) -> None:
    """A unique set of amplitudes that fall off as those of proteins do, to `FINEST_A`."""
    import gemmi

    cell, group = gemmi.UnitCell(*CELL, 90, 90, 90), gemmi.SpaceGroup("P 43 21 2")
    hkl = gemmi.make_miller_array(cell, group, FINEST_A)
    square = cell.calculate_1_d2_array(hkl)
    rng = np.random.default_rng(20)
    amplitudes = 400.0 * np.sqrt(rng.exponential(size=len(hkl))) * np.exp(-15.0 * square / 4.0)
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup, mtz.cell = group, cell
    mtz.add_dataset("simulated")
    mtz.add_column("F", "F")
    mtz.set_data(np.column_stack([hkl, amplitudes]).astype(np.float32))
    mtz.write_to_file(str(path))


def way_back(folder: Path) -> dials_results.Figure:
    """Spots of images rendered from `scaled.expt` and the merged MTZ, against those of the images that went in.

    Without water, beside which spots on the scale of merged intensities are faint.
    """
    photons = np.load(folder / "photons.npy", mmap_mode="r")
    worst = 0.0
    for number in AGAIN:
        words = f"-expt scaled.expt -expt_image {number} -mtz merged.mtz -mtz_column F {CRYSTAL} {SAMPLING}"
        words += " -nonoise -nopgm -intfile /dev/null -floatfile again.npy"
        run([sys.executable, "-m", "nanobrag_jax", *shlex.split(words)], folder, PYTHONPATH=os.getcwd())
        worst = max(worst, dials_results.spots_apart(photons[number - 1], np.load(folder / "again.npy")))
    return "spots of images 1 and 31 rendered again", f"{worst:.3f} pixel", "0.05", worst <= 0.05


def run(words: list[str], folder: Path, **variables: str) -> None:
    """A program to its end; what it says stands in a file beside."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | variables
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    with open(folder / "log.txt", "a") as log:
        log.write(f"$ {shlex.join(words[:12])}\n{done.stdout}{done.stderr}\n")
    if done.returncode:
        raise SystemExit(f"{shlex.join(words[:6])} failed in {folder}:\n{(done.stdout + done.stderr)[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
