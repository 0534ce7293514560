"""What is timed: a function, its arguments, and the pixels and samples that it takes."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import nanobrag_jax as nb

from . import gradients
from .experiments import headline, samples_of, still


class Program(NamedTuple):
    """A function to be compiled for its arguments."""

    function: Callable
    arguments: tuple
    pixels: int
    samples: int
    forward: Callable | None = None
    """Of a gradient, the same without its derivative."""


def image(experiment: nb.Experiment, mode, precision) -> Program:
    """One image."""

    def function(e):
        return nb.simulate(e, mode=mode, precision=precision)

    pixels = experiment.detector.pixels_fast * experiment.detector.pixels_slow
    return Program(function, (experiment,), pixels, samples_of(experiment))


def batch(count: int, pixels: int) -> Program:
    """Stills of one crystal in random orientations, by vmap."""
    experiment = still(1, pixels)
    missets = jax.random.uniform(jax.random.key(0), (count, 3), float, 0.0, 360.0)

    def function(e, missets):
        return jax.vmap(lambda m: nb.simulate(eqx.tree_at(lambda e: e.crystal.misset_deg, e, m)))(missets)

    return Program(function, (experiment, missets), count * pixels**2, count * samples_of(experiment))


def gradient(with_amplitudes: bool) -> Program:
    """value_and_grad of a sum of squares, 1024² pixels × 10 φ steps."""
    experiment = headline(1024)
    loss, arguments = gradients.sum_of_squares(experiment, with_amplitudes)
    return Program(jax.value_and_grad(loss), arguments, 1024**2, samples_of(experiment), loss)


def shoeboxes(count: int = 500, edge: int = 21) -> Program:
    """Square boxes of pixels all over the detector of the full-frame run."""
    experiment = headline()
    corners = np.random.default_rng(0).integers(0, (2527 - edge, 2463 - edge), (count, 2))
    box = np.stack(np.mgrid[:edge, :edge]).reshape(2, -1)
    slow, fast = (jnp.asarray((corners[:, axis, None] + box[axis]).ravel(), jnp.int32) for axis in (0, 1))
    pixels = slow.shape[0]
    return Program(nb.simulate_pixels, (experiment, slow, fast), pixels, pixels * experiment.goniometer.phi_steps)
