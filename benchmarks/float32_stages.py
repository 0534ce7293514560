"""`python -m benchmarks.float32_stages`: which part of the computation loses accuracy in single precision.

The sum over samples of golden cases, evaluated three times in single precision: everything; with the scene (detector
frame, crystal vectors, sources) derived in double precision; and with the scattering vectors in double precision as
well, so that only indices, structure factors and lattice factors are single. Each is compared with double precision;
the figures, largest deviations as fractions of the peak, are those of docs/precision.md.
"""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import nanobrag_jax as nb
from nanobrag_jax.numerics.vectors import Vec3
from nanobrag_jax.render.kernel import sample
from nanobrag_jax.render.scene import Scene, build_scene, first_point, point_ray, source_terms

from .float32_accuracy import GOLDEN, enable_x64

CASES = ("basic", "big_tilt", "ncells_abc", "conv_mosflm_phi", "divergence_square", "mosaic_7", "hkl_interpolate")


def single(tree):
    """A pytree with its numbers rounded to float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def scattering_vectors(scene: Scene, shape) -> list[Vec3]:
    """q of every pixel for each source."""
    slow, fast = (jnp.asarray(x.ravel(), jnp.int32) for x in np.mgrid[: shape[0], : shape[1]])
    ray = point_ray(scene, slow, fast, first_point())
    lights = [jax.tree.map(lambda x, n=i: x[n], scene.sources) for i in range(scene.sources.weight.shape[0])]
    return [source_terms(scene, ray, source).q for source in lights]


def summed(scene: Scene, vectors: list[Vec3]) -> np.ndarray:
    """Σ (F·F_latt)² over sources and orientations, one value a pixel."""
    total = jnp.zeros_like(vectors[0].x)
    for q in vectors:
        for real in scene.orientations:
            rows = Vec3(*real[0]), Vec3(*real[1]), Vec3(*real[2])
            total = total + sample(q, rows, scene.lattice, scene.grid, scene.settings.interpolate).intensity
    return np.asarray(total)


def measure(case: dict) -> list[float]:
    """Deviations of the three evaluations, of the peak."""
    derive = jax.jit(partial(build_scene, mode="spec"))
    args, shape = [*case["args"], "-mode", "spec"], case["shape"]
    with enable_x64(False):
        all_single = derive(nb.experiment_from_args(args, GOLDEN / "inputs"))
        images = [summed(all_single, scattering_vectors(all_single, shape))]
    with enable_x64(True):
        double = derive(nb.experiment_from_args(args, GOLDEN / "inputs"))
        vectors = scattering_vectors(double, shape)
        reference = summed(double, vectors)
        rounded = single(double)
        images += [summed(rounded, scattering_vectors(rounded, shape)), summed(rounded, single(vectors))]
    assert reference.dtype == np.float64 and all(image.dtype == np.float32 for image in images)
    return [float(np.max(np.abs(image - reference)) / np.max(reference)) for image in images]


def main() -> None:
    """Print a row for each case."""
    listed = {case["name"]: case for case in json.loads((GOLDEN / "cases.json").read_text())}
    print(f"{'case':20} all single  scene double  + rays double")
    for name in CASES:
        print(f"{name:20} {{:10.1e}}  {{:12.1e}}  {{:13.1e}}".format(*measure(listed[name])), flush=True)


if __name__ == "__main__":
    main()
