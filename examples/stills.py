"""A simulated still for the examples: a monoclinic crystal on a small detector, with photon noise and background."""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import nanobrag_jax as nb
from nanobrag_jax import refine

CELL_LENGTHS_A = (55.0, 65.0, 75.0)
CELL_ANGLES_DEG = (90.0, 95.0, 90.0)
N_CELLS = (12.0, 12.0, 11.0)
DISTANCE_MM = 150.0
WAVELENGTH_A = 1.8
FLUENCE_PER_M2 = 2.0e28
BACKGROUND = 1.0
"""Photons a pixel under the spots."""

ORIENTATION = np.array(
    [
        [0.07733, -0.99204, 0.09939],
        [-0.73969, -0.12393, -0.66144],
        [0.66849, -0.02237, -0.74338],
    ]
)
"""b lies within 8° of the beam. A cell's shape then hardly looks like a misset; the price is that b is known worst."""


def structure_factors(seed: int = 1) -> nb.StructureFactors:
    """Amplitudes to 7 Å with Wilson's acentric distribution, the symmetry 2/m and no direct beam."""
    most = np.array([8, 9, 11])
    empty = nb.StructureFactors(np.ones(2 * most + 1), hkl_min=-most)
    groups = refine.reflection_groups(empty, "2/m")
    intensity = np.random.default_rng(seed).exponential(1.0, groups.max() + 1)
    amplitudes = 100.0 * np.sqrt(intensity[groups])
    amplitudes[tuple(most)] = 0.0
    return nb.StructureFactors(amplitudes, hkl_min=-most)


def still(orientation=ORIENTATION, *, binning: int = 1) -> nb.Experiment:
    """The true experiment: 513 × 512 pixels of 0.1 mm, or fewer larger ones."""
    fast, slow = 512 // binning + 1, 512 // binning
    rotation = _nearest_rotation(orientation)
    return nb.Experiment(
        crystal=nb.Crystal(CELL_LENGTHS_A, CELL_ANGLES_DEG, n_cells=N_CELLS, orientation=rotation),
        beam=nb.Beam(WAVELENGTH_A, fluence_per_m2=FLUENCE_PER_M2),
        detector=nb.Detector(
            fast, slow, pixel_size_mm=0.1 * binning, distance_mm=DISTANCE_MM, beam_center_mm=(25.6, 25.65)
        ),
        structure_factors=structure_factors(),
        sampling=nb.Sampling(oversample=1),  # as the counts are simulated, so that nothing is lost
    )


def _nearest_rotation(matrix) -> np.ndarray:
    left, _, right = np.linalg.svd(np.asarray(matrix, float))
    return left @ right


def random_orientation(rng: np.random.Generator) -> np.ndarray:
    """A rotation matrix, uniformly distributed."""
    w, x, y, z = direction(rng, 4)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def direction(rng: np.random.Generator, n: int) -> np.ndarray:
    """A unit vector of n components, uniformly distributed."""
    vector = rng.normal(size=n)
    return vector / np.linalg.norm(vector)


def photon_counts(experiment: nb.Experiment, rng: np.random.Generator, *, binning: int = 1) -> np.ndarray:
    """Counts (slow, fast) with Poisson noise."""
    return rng.poisson(np.asarray(nb.simulate(experiment)) + BACKGROUND * binning**2).astype(float)


@dataclass
class Start:
    """Where a refinement starts and what it refines."""

    experiment: nb.Experiment
    parameters: list[refine.Parameter]


def random_start(truth: nb.Experiment, rng: np.random.Generator, unknown: str) -> Start:
    """A start off the truth, as far as indexing would leave it, and the parameters to refine.

    Misset 0.15–0.25° off, beam centre half a (0.1 mm) pixel, cell counts 20 %, fluence a factor of 2, and, as
    `unknown` says, "cell": cell 0.1–0.2 % off, "distance": distance 0.2 mm off, or "both".
    """
    sign = lambda n: rng.choice([-1.0, 1.0], n)  # noqa: E731
    crystal, detector = truth.crystal, truth.detector
    misset = crystal.misset_deg + direction(rng, 3) * rng.uniform(0.15, 0.25)
    center = detector.beam_center_mm + 0.05 * direction(rng, 2)
    cells = crystal.n_cells * (1.0 + 0.2 * sign(3))
    fluence = truth.beam.fluence_per_m2 * 2.0 ** sign(1)[0]
    lengths, angles = crystal.cell_lengths_A, crystal.cell_angles_deg
    distance = detector.distance_mm
    off = 1.0 + sign(4) * rng.uniform(0.001, 0.002, 4)
    far = 0.2 * sign(1)[0]
    parameters = [
        refine.Parameter("crystal.misset_deg", scale=0.1),
        refine.Parameter("detector.beam_center_mm", scale=0.05),
        refine.Parameter("crystal.n_cells", "positive"),
        refine.Parameter("beam.fluence_per_m2", "positive"),
    ]
    if unknown in ("cell", "both"):
        lengths, angles = lengths * off[:3], angles.at[1].multiply(off[3])
        parameters += refine.cell_parameters("monoclinic", scale_A=0.1, scale_deg=0.1)
    if unknown in ("distance", "both"):
        distance = distance + far
        parameters.append(refine.Parameter("detector.distance_mm", scale=0.1))
    leaves = lambda e: (  # noqa: E731
        e.crystal.misset_deg,
        e.detector.beam_center_mm,
        e.crystal.n_cells,
        e.beam.fluence_per_m2,
        e.crystal.cell_lengths_A,
        e.crystal.cell_angles_deg,
        e.detector.distance_mm,
    )
    values = (misset, center, cells, fluence, lengths, angles, distance)
    return Start(eqx.tree_at(leaves, truth, tuple(map(jnp.asarray, values))), parameters)


def true_values(truth: nb.Experiment, names) -> dict[str, np.ndarray]:
    """The truth for the names of parameters."""
    return {name: np.asarray(refine.value_of(truth, name)) for name in names}
