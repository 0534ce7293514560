"""Small experiments for tests: a triclinic crystal on a detector of 12 × 10 pixels, any part of it changed."""

import equinox as eqx
import numpy as np

import nanobrag_jax as nb

CELL = (31.0, 37.0, 44.0)
ANGLES = (84.0, 97.0, 106.0)


def factors_grid(seed=0, half=6, **changes):
    """Amplitudes from 5 to 100 for all indices from -half to half, 2 elsewhere."""
    side = 2 * half + 1
    amplitudes = np.random.default_rng(seed).uniform(5, 100, (side, side, side))
    return nb.StructureFactors(
        **({"amplitudes": amplitudes, "hkl_min": (-half, -half, -half), "default_F": 2.0} | changes)
    )


def experiment(*, crystal=(), beam=(), detector=(), goniometer=(), sampling=(), factors=None, scatterers=()):
    """An experiment; each of the first five holds keyword arguments that replace the defaults below."""
    crystal = {"cell_lengths_A": CELL, "cell_angles_deg": ANGLES, "misset_deg": (12, -27, 41)} | dict(crystal)
    crystal = {"n_cells": (5, 6, 4)} | crystal
    detector = {"pixels_fast": 12, "pixels_slow": 10, "pixel_size_mm": 3.0, "distance_mm": 60.0} | dict(detector)
    beam = {"wavelength_A": 1.2, "fluence_per_m2": 1e29, "kahn_factor": 0.3} | dict(beam)
    return nb.Experiment(
        crystal=nb.Crystal(**crystal),
        beam=nb.Beam(**beam),
        detector=nb.Detector(**detector),
        goniometer=nb.Goniometer(**dict(goniometer)),
        structure_factors=factors_grid() if factors is None else factors,
        sampling=nb.Sampling(**{"oversample": 1, "interpolate": False, **dict(sampling)}),
        scatterers=scatterers,
    )


def replaced(tree, path, value):
    """`tree` with the leaf at a dotted path replaced."""

    def find(node):
        for name in path.split("."):
            node = getattr(node, name)
        return node

    return eqx.tree_at(find, tree, value, is_leaf=lambda x: x is None)
