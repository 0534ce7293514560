"""Small functions evaluated by numpy give what jax computes."""

import contextlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from jax import lax

import nanobrag_jax as nb
from nanobrag_jax.detector import frame_on_host
from nanobrag_jax.numerics.host import on_host
from nanobrag_jax.render.scene import build_scene, scene_on_host

X = np.array([0.3, -1.2, 2.5, 0.0])
M = np.arange(12.0).reshape(3, 4) - 5.5

FUNCTIONS = {
    "functions of a number": lambda x, m: [f(x) for f in (jnp.sin, jnp.cos, jnp.abs, jnp.exp, jnp.floor, jnp.sign)],
    "roots": lambda x, m: (jnp.sqrt(x * x), lax.rsqrt(x * x + 1), x**3, jnp.square(x), x**-2),
    "arithmetic": lambda x, m: (x + 1, 2 - x, x * x, x / (x - 7), -x, jnp.maximum(x, 0), jnp.minimum(x, 1), x % 2),
    "whole numbers": lambda x, m: (jnp.arange(5) // 2, jnp.arange(-3, 3) % 2, lax.div(jnp.arange(-3, 3), 2)),
    "comparisons": lambda x, m: (x == 0, x != 0, x < 1, x <= 0, x > 0.3, x >= 0.3, ~(x > 0), (x > 0) & (x < 1)),
    "one of each row": lambda x, m: jnp.unstack(m),
    "on this platform": lambda x, m: lax.platform_dependent(x, cpu=lambda x: x + 1, default=lambda x: x + 2),
    "choices": lambda x, m: (jnp.where(x > 0, x, -1), lax.select_n(jnp.arange(4) % 3, x, 2 * x, 3 * x)),
    "shapes": lambda x, m: (m.T, m.reshape(2, 6), m[None], m[1:, ::2], m[0], jnp.stack([x, x]), jnp.tile(x, (2, 3))),
    "joins": lambda x, m: (jnp.concatenate([m, m], 1), jnp.pad(m, ((1, 0), (0, 2))), jnp.eye(3), jnp.zeros_like(m)),
    "negative padding": lambda x, m: lax.pad(m, 0.0, ((-1, 0, 0), (0, 1, 1))),
    "products": lambda x, m: (m @ x, m.T @ m, jnp.einsum("ij,ik->ikj", m, m), jnp.einsum("ij,ij->i", m, m)),
    "sums": lambda x, m: (m.sum(), m.sum(0), m.sum(1), jnp.cross(x[:3], x[1:])),
    "conversions": lambda x, m: (x.astype(jnp.float32), x.astype(int), (x > 0).astype(float)),
    "inner functions": lambda x, m: jax.jit(lambda y: jnp.sin(y) + m[0])(x),
    "custom derivatives": lambda x, m: jax.nn.relu(x),
    "vmap": lambda x, m: jax.vmap(lambda row: jnp.cross(row[:3], row[1:]))(m),
    "what numpy does not have": lambda x, m: (lax.cummax(x), jnp.sort(m, axis=0), jax.scipy.special.erf(x)),
    "a loop": lambda x, m: lax.scan(lambda total, row: (total + row, total), x, m),
    "a condition": lambda x, m: lax.cond(x[0] > 0, lambda: x + 1, lambda: x - 1),
    "constants": lambda x, m: (jnp.asarray(M) @ x, x.at[1].set(5.0)),
    "an argument itself": lambda x, m: (x, 3.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_what_jax_computes(name):
    jitted = jax.jit(FUNCTIONS[name])
    ours, theirs = on_host(jitted, X, M), jitted(X, M)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert isinstance(a, np.ndarray) and (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "crystal": {"mosaic_spread_deg": 0.5, "mosaic_domains": 3, "shape": "gauss_star"},
            "beam": {"divergence_fractions": ((0.1, 0), (0, 0.2)), "divergence_mrad": (3.0, 2.0)},
            "detector": {"convention": "xds", "rotations_deg": (1, 2, 3), "twotheta_deg": 12.0, "thickness_um": 300.0},
            "goniometer": {"phi_steps": 4, "osc_deg": 1.0},
            "sampling": {"water_um": 2.0, "dmin_A": 3.0},
        },
    ],
    ids=["plain", "everything"],
)
def test_a_scene(mode, changes):
    experiment = small.experiment(**changes)
    jitted = jax.jit(partial(build_scene, mode=mode))
    ours, theirs = on_host(jitted, experiment), jitted(experiment)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15 * (1 + np.max(np.abs(b))))


@contextlib.contextmanager
def compilations():
    """Notes each compilation in a list."""
    compiled = []

    def note(event, *_, **__):
        compiled.extend([event] * event.endswith("backend_compile_duration"))

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield compiled
    finally:
        jax.monitoring.clear_event_listeners()


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
def test_nothing_is_compiled(mode):
    """All that a scene is derived with has a numpy form, whatever version of jax traces it."""
    experiment = small.experiment(
        crystal={"mosaic_spread_deg": 0.4, "mosaic_domains": 3}, goniometer={"phi_steps": 3, "osc_deg": 1.0}
    )
    with compilations() as compiled:
        frame = frame_on_host(experiment.panel, experiment.beam, mode)
        scene = scene_on_host(experiment, mode)
    assert isinstance(frame.pix0, np.ndarray) and isinstance(scene.unrotated, np.ndarray) and not compiled
    with compilations() as compiled:
        jax.jit(lambda x: x + 12345)(1)
    assert compiled


def test_in_a_derivative_the_scene_is_one_operation():
    """Step by step it would be two hundred programs."""
    experiment = small.experiment(detector={"pixels_fast": 11, "pixels_slow": 7})

    def total(distance_mm):
        return jnp.sum(nb.simulate(small.replaced(experiment, "detector.distance_mm", distance_mm)))

    with compilations() as compiled:
        assert jax.grad(total)(60.0) != 0
    assert 0 < len(compiled) < 60
