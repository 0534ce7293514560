"""The loss whose derivative is timed."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp

import nanobrag_jax as nb


def sum_of_squares(experiment: nb.Experiment, with_amplitudes: bool) -> tuple[Callable, tuple]:
    """A loss over cell, misset, N, spread, distance, beam centre, tilts, wavelength and fluence, and its arguments.

    The first of these is what to differentiate with respect to. **Arguments:** `with_amplitudes`: every F(hkl) too.
    """

    def leaves(e: nb.Experiment) -> list:
        crystal, detector, beam = e.crystal, e.detector, e.beam
        chosen = [crystal.cell_lengths_A, crystal.cell_angles_deg, crystal.misset_deg, crystal.n_cells]
        chosen += [crystal.mosaic_spread_deg, detector.distance_mm, detector.beam_center_mm, detector.rotations_deg]
        chosen += [detector.twotheta_deg, beam.wavelength_A, beam.fluence_per_m2]
        return chosen + ([e.structure_factors.amplitudes] if with_amplitudes else [])

    detector = experiment.detector
    data = jnp.ones((detector.pixels_slow, detector.pixels_fast))  # any will do: the arithmetic is the same

    def loss(values, experiment, data):
        return jnp.sum((nb.simulate(eqx.tree_at(leaves, experiment, values)) - data) ** 2)

    return loss, (leaves(experiment), experiment, data)
