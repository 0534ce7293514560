"""Derivatives through every combination of transformations, over images of one block, of several, and in batches.

What a new version of jax breaks first are the rules that transformations have for each other. The table runs on every
version that is supported; the numbers are those of central differences.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from small import experiment, replaced

import nanobrag_jax as nb
from nanobrag_jax.mosaicity import CapMosaicity
from nanobrag_jax.numerics import loops

START = jnp.array([10.0, 5.0, 1.2])
"""Turn of the only domain in degrees, cells along a, wavelength in Å: leaves that do not take much deriving."""
DIRECTION = jnp.array([0.3, -0.2, 0.002])
STEPS = np.array([1e-4, 1e-4, 1e-6])
LAYOUTS = {"one block": (12, 8, None), "several blocks": (16, 24, 128)}
"""Columns, rows, and pixels of a block where it is made smaller."""


def image_of(mode, columns, rows, mesh=None):
    """The image as a function of `START`."""
    whole = experiment(
        crystal={"mosaicity": CapMosaicity(0.0, axes=((0.6, 0.0, 0.8),), fractions=(1.0,))},
        detector={"pixels_fast": columns, "pixels_slow": rows},
        goniometer={"osc_deg": 1, "phi_steps": 2},
    )

    def image(values):
        moved = replaced(whole, "crystal.mosaicity.spread_deg", values[0])
        moved = replaced(moved, "crystal.n_cells", jnp.stack([values[1], jnp.asarray(6.0), jnp.asarray(4.0)]))
        moved = replaced(moved, "beam.wavelength_A", values[2])
        return nb.simulate(moved, mode, mesh=mesh)

    return image


def loss_of(image):
    """A sum in which each pixel has a weight of its own."""

    def loss(values):
        photons = image(values)
        return jnp.sum(photons * jnp.linspace(1.0, 2.0, photons.size).reshape(photons.shape)) * 1e-3

    return loss


def batch(values):
    """Three of them, the first of which is `values`."""
    return jnp.stack([values + i * DIRECTION for i in range(3)])


def first_of_batch(image):
    """The first image of a batch rendered by vmap."""
    return lambda values: jax.vmap(image)(batch(values))[0]


def jvp_in_batch(loss, values):
    return jax.vmap(lambda v: jax.jvp(loss, (v,), (DIRECTION,))[1])(batch(values))[0]


GRADIENTS = {
    "grad": lambda loss, image, v: jax.grad(loss)(v),
    "jit of grad": lambda loss, image, v: jax.jit(jax.grad(loss))(v),
    "grad of jit": lambda loss, image, v: jax.grad(jax.jit(loss))(v),
    "grad of checkpoint": lambda loss, image, v: jax.grad(jax.checkpoint(loss))(v),
    "jit of vmap of grad": lambda loss, image, v: jax.jit(jax.vmap(jax.grad(loss)))(batch(v))[0],
    "grad of vmap": lambda loss, image, v: jax.grad(loss_of(first_of_batch(image)))(v),
    "grad of checkpoint of vmap": lambda loss, image, v: jax.grad(jax.checkpoint(loss_of(first_of_batch(image))))(v),
    "jacfwd": lambda loss, image, v: jax.jacfwd(loss)(v),
    "vjp of linearize": lambda loss, image, v: jax.linear_transpose(jax.linearize(loss, v)[1], v)(jnp.ones(()))[0],
}
SLOPES = {
    "jvp": lambda loss, image, v: jax.jvp(loss, (v,), (DIRECTION,))[1],
    "jit of jvp of checkpoint": lambda loss, image, v: jax.jit(
        lambda v: jax.jvp(jax.checkpoint(loss), (v,), (DIRECTION,))[1]
    )(v),
    "vmap of jvp": lambda loss, image, v: jvp_in_batch(loss, v),
    "jvp of vmap": lambda loss, image, v: jax.jvp(loss_of(first_of_batch(image)), (v,), (DIRECTION,))[1],
}
CPARITY = ("grad", "jit of vmap of grad", "grad of checkpoint of vmap", "jvp of vmap")
"""The rest has no rule of its own there."""


@pytest.fixture(scope="module")
def expected():
    """Gradients by central differences, by mode and layout."""
    return {}


def central(loss, values):
    """The gradient by central differences, (3,)."""
    loss = jax.jit(loss)
    steps = jnp.asarray(np.diag(STEPS))
    return np.array([float(loss(values + s) - loss(values - s)) / (2 * w) for s, w in zip(steps, STEPS, strict=True)])


ROWS = [
    pytest.param(mode, layout, name, id=f"{mode}-{layout}-{name}")
    for mode in ("spec", "c-parity")
    for layout in LAYOUTS
    for name in (*GRADIENTS, *SLOPES)
    if mode == "spec" or (layout == "several blocks" and name in CPARITY)
]


def check(found, name, gradient):
    """Compare with central differences, none of which is zero."""
    assert np.all(np.abs(gradient * np.asarray(DIRECTION)) > 1e-3 * np.abs(gradient @ np.asarray(DIRECTION)))
    wanted = gradient if name in GRADIENTS else gradient @ np.asarray(DIRECTION)
    np.testing.assert_allclose(found, wanted, rtol=3e-6)


@pytest.mark.parametrize("mode, layout, name", ROWS)
def test_derivative(mode, layout, name, expected, monkeypatch):
    columns, rows, block = LAYOUTS[layout]
    if block is not None:
        monkeypatch.setattr(loops, "BLOCK_PIXELS", block)
    image = image_of(mode, columns, rows)
    loss = loss_of(image)
    if (mode, layout) not in expected:
        expected[mode, layout] = central(loss, START)
    rule = (GRADIENTS | SLOPES)[name]
    check(rule(loss, image, START), name, expected[mode, layout])


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
@pytest.mark.parametrize("name", ["jit of grad", "jvp"])
def test_derivative_with_a_mesh(mode, name, monkeypatch):
    """Of one device; `test_sharding.py` has four, and two processes."""
    columns, rows, block = LAYOUTS["several blocks"]
    monkeypatch.setattr(loops, "BLOCK_PIXELS", block)
    mesh = jax.make_mesh((1,), ("rows",), axis_types=(AxisType.Auto,))
    image = image_of(mode, columns, rows, mesh)
    loss = loss_of(image)
    check((GRADIENTS | SLOPES)[name](loss, image, START), name, central(loss_of(image_of(mode, columns, rows)), START))
