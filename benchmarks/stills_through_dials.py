"""`python -m benchmarks.stills_through_dials`: stills in random orientations, indexed by DIALS from the known cell.

Each figure is the angle between the orientation that was simulated and the one found. DIALS 3.12 of Debian lacks a part
that its indexer of stills needs, so the one of sequences is told to take each image for itself.
"""

import argparse
import itertools
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import nanobrag_jax as nb
from nanobrag_jax.crystal import real_basis
from nanobrag_jax.dials.from_experiment import turn_to_dials
from nanobrag_jax.dials.read import read_expt
from nanobrag_jax.effects.photon_noise import poisson_image

from . import through_dials

CRYSTAL = "-Na 30 -Nb 30 -Nc 60 -gauss_xtal -crystal_scale 3e8 -oversample 7"
LIMIT_DEG = 0.02
STEPS = (
    "dials.import convert_sequences_to_stills=True still_*.cbf",
    "dials.find_spots imported.expt nproc=1 spotfinder.filter.min_spot_size=1",
    "dials.index imported.expt strong.refl unit_cell=79,79,38,90,90,90 space_group=P43212 stills.indexer=sequences "
    "joint_indexing=False detector.fix=all beam.fix=all indexing.method=real_space_grid_search nproc=1",
)


def main() -> int:
    """The command; the exit status is how many stills are not indexed, or beyond the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--folder", help="keep everything there")
    options = parser.parse_args()
    if shutil.which("dials.import") is None:
        parser.error("DIALS is not installed")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        stills = simulated(folder, options.images)
        for step in STEPS:
            words = step.split()
            files = [path.name for word in words if "*" in word for path in sorted(folder.glob(word))]
            through_dials.run([*(word for word in words if "*" not in word), *files], folder)
        angles = apart(folder, stills)
    print(" ".join(f"{angle:.4f}" for angle in angles))
    fine = sum(angle <= LIMIT_DEG for angle in angles)
    print(f"{len(angles)} of {len(stills)} indexed, {fine} within {LIMIT_DEG} degrees, the worst {max(angles):.4f}")
    return len(stills) - fine


def simulated(folder: Path, images: int) -> list[nb.Experiment]:
    """Stills written as miniCBF, and their experiments."""
    through_dials.write_amplitudes(folder / "true.mtz")
    flags = f"-mtz {folder}/true.mtz -cell 79 79 38 {through_dials.GEOMETRY} {CRYSTAL} {through_dials.BEAM}"
    start, made = nb.completed(nb.experiment_from_args(shlex.split(flags))), []
    for number, misset in enumerate(np.random.default_rng(8).uniform(0, 360, (images, 3)), 1):
        still = eqx.tree_at(lambda e: e.crystal.misset_deg, start, jnp.asarray(misset))
        photons = nb.simulate(still, precision="float32")
        counts = np.asarray(poisson_image(nb.image_key(1, number), photons, 0.0).image)
        nb.write_image(folder / f"still_{number:04d}.cbf", counts, still)
        made.append(still)
    return made


def apart(folder: Path, stills: list[nb.Experiment]) -> list[float]:
    """Degrees between each orientation found and the one simulated, whatever axes the cell's symmetry exchanges."""
    angles = []
    for found in read_expt(folder / "indexed.expt"):
        assert found.crystal is not None
        number = int(re.findall(r"still_(\d+)", str(found.imageset))[0])
        still = stills[number - 1]
        true = np.asarray(real_basis(still.crystal)) @ turn_to_dials(np.asarray(still.beam.direction)).T
        angles.append(min(angle(op @ found.crystal.real_space_A, true) for op in rotations()))
    return angles


def rotations() -> list[NDArray]:
    """Those that take a tetragonal lattice to itself."""
    made = []
    for swapped, signs in itertools.product((False, True), itertools.product((1, -1), repeat=3)):
        op = np.diag(np.array(signs, float))[[1, 0, 2] if swapped else [0, 1, 2]]
        if np.linalg.det(op) > 0:
            made.append(op)
    return made


def angle(first: NDArray, second: NDArray) -> float:
    """Of the rotation between two sets of rows a, b, c, degrees."""
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (first, second)]
    return float(np.degrees(np.arccos(np.clip((np.trace(units[0].T @ units[1]) - 1.0) / 2.0, -1.0, 1.0))))


if __name__ == "__main__":
    sys.exit(main())
