"""What the tests of sharding run in processes of their own, with virtual devices: `python on_devices.py PART ...`.

Prints one JSON object of figures a part; `test_sharding.py` says what they have to be.
"""

import json
import os
import sys

if __name__ == "__main__":
    options = (
        os.environ.get("XLA_FLAGS", ""),
        f"--xla_force_host_platform_device_count={os.environ.get('DEVICES', '4')}",
    )
    os.environ["XLA_FLAGS"] = " ".join(options)

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import nanobrag_jax as nb
from nanobrag_jax import dataset, refine

MASK = np.random.default_rng(1).random((32, 24)) > 0.3
SAMPLINGS = {
    "plain": {},
    "roi": {"roi": (3, 17, 5, 21)},
    "mask": {"mask": MASK},
    "dmin": {"dmin_A": 4.0},
    "interpolate": {"interpolate": True},
    "sub-pixels": {"oversample": 2, "oversample_omega": True},
}


def experiment(rows=32, columns=24, **sampling) -> nb.Experiment:
    """A sweep from φ = 0, whose first step inherits vectors in c-parity, on a detector that sees the grid's end."""
    return nb.Experiment(
        crystal=nb.Crystal((40.0, 50.0, 60.0), n_cells=(3, 4, 5), mosaic_spread_deg=0.5, mosaic_domains=2),
        beam=nb.Beam(1.1),
        detector=nb.Detector(columns, rows, pixel_size_mm=19.2 / columns, distance_mm=60.0),
        goniometer=nb.Goniometer(0.0, 1.0, phi_steps=3),
        structure_factors=nb.StructureFactors(
            np.random.default_rng(0).uniform(1, 9, (9, 9, 9)), hkl_min=(-4, -4, -4), default_F=10.0
        ),
        sampling=nb.Sampling(**{"oversample": 1, "interpolate": False, **sampling}),
    )


def deviation(found, expected) -> float:
    """Largest difference, of the largest value."""
    expected = np.asarray(expected)
    return float(np.max(np.abs(np.asarray(found) - expected)) / np.max(np.abs(expected)))


def images(mesh: Mesh) -> dict:
    """Deviations of shared-out images from those of one device, by mode and kind of sampling; odd numbers of rows."""
    found = {}
    for mode in ("spec", "c-parity"):
        for name, sampling in SAMPLINGS.items():
            whole = experiment(**sampling)
            image = nb.simulate(whole, mode, mesh=mesh)
            found[f"{mode} {name}"] = deviation(image, nb.simulate(whole, mode))
            assert image.addressable_shards[0].data.shape == (32 // mesh.size, 24)
        odd = experiment(31)
        found[f"{mode} 31 rows"] = deviation(nb.simulate(odd, mode, mesh=mesh), nb.simulate(odd, mode))
    whole = experiment()
    slow, fast = np.arange(30) % 32, np.arange(30) % 24
    found["list"] = deviation(nb.simulate_pixels(whole, slow, fast, mesh=mesh), nb.simulate_pixels(whole, slow, fast))
    found["mixed"] = deviation(nb.simulate(whole, precision="mixed", mesh=mesh), nb.simulate(whole, precision="mixed"))
    # with interpolation that ends on a later device's pixels the order of devices matters
    latch = experiment(interpolate=True)
    found["interpolation matters"] = deviation(nb.simulate(latch, "c-parity"), nb.simulate(latch))
    return found


def squares(mesh):
    """A loss over all pixels, and its gradient: a function of experiment and data."""

    def loss(whole, data):
        return jnp.sum((nb.simulate(whole, mesh=mesh, block_pixels=1024) - data) ** 2)

    return jax.jit(lambda whole, data: eqx.filter_value_and_grad(loss)(whole, data))


def gradients(mesh: Mesh) -> dict:
    """Deviation of a loss's gradient, leaf by leaf at its worst, and bytes that one device needs."""
    whole = experiment(512, 512)
    data = 0.9 * np.asarray(nb.simulate(whole))
    rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    alone, shared = (squares(None), data), (squares(mesh), jax.device_put(data, rows))
    (value, expected), (shared_value, found) = (loss(whole, counts) for loss, counts in (alone, shared))
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    worst = max(deviation(a, b) for a, b in pairs if np.any(np.asarray(b)))
    sizes = [f.lower(whole, counts).compile().memory_analysis().temp_size_in_bytes for f, counts in (alone, shared)]
    outputs = [
        jax.jit(lambda e, m=m: nb.simulate(e, mesh=m)).lower(whole).compile().memory_analysis().output_size_in_bytes
        for m in (None, mesh)
    ]
    return {
        "value": deviation(shared_value, value),
        "gradient": worst,
        "temporary share": sizes[1] / sizes[0],
        "image share": outputs[1] / outputs[0],
    }


def batch(mesh: Mesh) -> dict:
    """A batch of orientations whose images stay on their devices, without a word between them.

    Many of them: what each device keeps for itself, the geometry of a block, is to be little beside its share.
    """
    whole = experiment(32, 32)
    missets = jnp.asarray(np.random.default_rng(2).uniform(-30, 30, (128 * mesh.size, 3)))
    over = jax.jit(
        jax.vmap(lambda m: nb.simulate(eqx.tree_at(lambda e: e.crystal.misset_deg, whole, m), block_pixels=512))
    )
    laid_out = jax.device_put(missets, NamedSharding(mesh, PartitionSpec(mesh.axis_names)))
    alone, shared = over.lower(missets).compile(), over.lower(laid_out).compile()
    text = shared.as_text()
    sizes = [program.memory_analysis().temp_size_in_bytes for program in (alone, shared)]
    return {
        "deviation": deviation(over(laid_out), over(missets)),
        "temporary share": sizes[1] / sizes[0],
        "collectives": [word for word in ("all-gather", "all-reduce", "all-to-all", "permute") if word in text],
    }


def fits(mesh: Mesh) -> dict:
    """A refinement on the mesh against the same on one device."""
    from refine_cases import counts_of, small_still

    truth = small_still()
    start = eqx.tree_at(lambda e: e.crystal.misset_deg, truth, jnp.array([11.1, 16.9, 23.15]))
    data = refine.whole_image(start, counts_of(truth))
    parameters = [refine.Parameter("crystal.misset_deg", scale=0.1)]
    alone = refine.fit(start, data, parameters, progress=False)
    shared = refine.fit(start, data, parameters, progress=False, mesh=mesh)
    name = "crystal.misset_deg"
    return {
        "converged": bool(shared.converged),
        "value": deviation(shared.values[name], alone.values[name]),
        "uncertainty": deviation(shared.uncertainties[name], alone.uncertainties[name]),
    }


def stream(mesh: Mesh) -> dict:
    """A stream of images with noise on the mesh against the same on one device."""
    recipe = dataset.Recipe(
        experiment(16, 16), {"crystal.misset_deg": dataset.Uniform(-30.0, 30.0)}, images=8, precision="float64"
    )
    alone, shared = (next(dataset.batches(recipe, 8, mesh=m)) for m in (None, mesh))
    return {
        "differ": int((np.asarray(alone.images) != np.asarray(shared.images)).sum()),
        "photons": int(np.asarray(alone.images).max()),
        "images a device": shared.images.addressable_shards[0].data.shape[0],
        "labels a device": shared.labels["image"].addressable_shards[0].data.shape[0],
    }


def processes(mesh: Mesh) -> dict:
    """One of several processes: its shards of an image and the gradient of a loss against its own single device."""
    whole = experiment()
    image, expected = nb.simulate(whole, "c-parity", mesh=mesh), np.asarray(nb.simulate(whole, "c-parity"))
    shards = [deviation(shard.data, expected[shard.index]) for shard in image.addressable_shards]
    rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    data = 0.9 * np.asarray(nb.simulate(whole))
    laid_out = jax.make_array_from_callback(data.shape, rows, lambda index: data[index])

    def turned(mesh, data):
        def loss(misset_deg, data):
            moved = eqx.tree_at(lambda e: e.crystal.misset_deg, whole, misset_deg)
            return jnp.sum((nb.simulate(moved, mesh=mesh) - data) ** 2)

        return jax.jit(jax.value_and_grad(loss))(whole.crystal.misset_deg, data)

    value, gradient = turned(mesh, laid_out)
    own_value, own = turned(None, data)
    return {
        "processes": jax.process_count(),
        "devices": jax.device_count(),
        "shards": len(shards),
        "image": max(shards),
        "value": deviation(value, own_value),
        "gradient": deviation(gradient, own),
    }


def main(parts: list[str]) -> None:
    """Run parts and print the figures of each."""
    if parts == ["processes"]:
        address, number = os.environ["COORDINATOR"], int(os.environ["PROCESS"])
        jax.distributed.initialize(address, num_processes=2, process_id=number)
    two = jax.device_count() // 2
    mesh = Mesh(np.array(jax.devices()).reshape(two, -1), ("rows", "more"))
    for part in parts:
        print(json.dumps(globals()[part](mesh)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
