"""Train a small network on images that are made while it learns: how far do the spots of a still reach?

`python examples/train_from_stream.py [--steps n]`: from the mean counts in rings around the beam to the resolution cut,
by least squares, with noise in every image. Nothing is written; each step sees new images.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax

import nanobrag_jax as nb
from nanobrag_jax import dataset

PIXELS = 64
RINGS = 16
BATCH = 16


def recipe(images: int) -> dataset.Recipe:
    """Stills of one crystal in any orientation, cut at 2.5 to 6 Å."""
    experiment = nb.Experiment(
        crystal=nb.Crystal((40.0, 50.0, 60.0), n_cells=(3, 3, 3)),
        beam=nb.Beam(1.0, fluence_per_m2=1e27),
        detector=nb.Detector(PIXELS, PIXELS, pixel_size_mm=0.8, distance_mm=50.0),
        structure_factors=nb.StructureFactors(default_F=100.0),
        sampling=nb.Sampling(oversample=2, dmin_A=3.0),
    )
    vary = {"crystal.orientation": dataset.Orientations(), "sampling.dmin_A": dataset.Uniform(2.5, 6.0)}
    storage = dataset.Storage(batch=BATCH)
    return dataset.Recipe(experiment, vary, images=images, seed=3, precision="float32", storage=storage)


def ring_means(images: jax.Array) -> jax.Array:
    """Mean of log(1 + counts) in rings about the middle, (image, ring)."""
    place = np.arange(PIXELS) - (PIXELS - 1) / 2
    ring = np.minimum(np.hypot(place[:, None], place[None, :]) * RINGS * 2 / PIXELS, RINGS - 1).astype(int)
    weights = jnp.asarray((ring.reshape(-1) == np.arange(RINGS)[:, None]) / np.bincount(ring.reshape(-1))[:, None])
    return jnp.log1p(images.astype(jnp.float32)).reshape(len(images), -1) @ weights.T.astype(jnp.float32)


def network(parameters: dict[str, jax.Array], images: jax.Array) -> jax.Array:
    """1/d of the cut."""
    hidden = jnp.tanh(ring_means(images) @ parameters["in"] + parameters["shift"][None, :])
    return (hidden @ parameters["out"])[:, 0] + parameters["mean"]


def main(argv: list[str] | None = None) -> list[float]:
    """Train; the root mean square error of 1/d (1/Å) of each step, before it learns from it."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    steps = parser.parse_args(argv).steps
    keys = jax.random.split(jax.random.key(0), 2)
    parameters = {
        "in": 0.3 * jax.random.normal(keys[0], (RINGS, 16), jnp.float32),
        "shift": jnp.zeros(16, jnp.float32),
        "out": 0.03 * jax.random.normal(keys[1], (16, 1), jnp.float32),
        "mean": jnp.float32(0.25),
    }
    optimizer = optax.adam(2e-2)
    state = optimizer.init(parameters)

    @jax.jit
    def step(parameters, state, images, dmin_A):
        def loss(parameters):
            return jnp.mean((network(parameters, images) - 1.0 / dmin_A) ** 2)

        value, slopes = jax.value_and_grad(loss)(parameters)
        changes, state = optimizer.update(slopes, state)
        return optax.apply_updates(parameters, changes), state, value

    errors = []
    for images, labels in dataset.batches(recipe(steps * BATCH), BATCH):
        parameters, state, value = step(parameters, state, images, labels["sampling.dmin_A"])
        errors.append(float(value) ** 0.5)
        if len(errors) % 50 == 0:
            print(f"step {len(errors)}: {np.mean(errors[-50:]):.4f} 1/A")
    return errors


if __name__ == "__main__":
    main()
