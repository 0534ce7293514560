"""Programs for a GPU, lowered on a CPU: nothing that only a CPU has may be in them."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from small import experiment, factors_grid

import nanobrag_jax as nb
from nanobrag_jax.effects.photon_noise import poisson_image
from nanobrag_jax.numerics import loops

SWEEP = {"osc_deg": 1.0, "phi_steps": 3}
PROGRAMS = {
    "spec": lambda e: nb.simulate(e),
    "c-parity": lambda e: nb.simulate(e, "c-parity"),
    "mixed": lambda e: nb.simulate(e, precision="mixed"),
    "gradient": lambda e: jax.grad(lambda d: jnp.sum(nb.simulate(eqx.tree_at(lambda e: e.detector.distance_mm, e, d))))(
        e.detector.distance_mm
    ),
    "batch": lambda e: jax.vmap(
        lambda m: nb.simulate(eqx.tree_at(lambda e: e.crystal.misset_deg, e, m), block_pixels=None)
    )(jnp.stack([e.crystal.misset_deg] * 2)),
    "interpolated": lambda e: nb.simulate(
        eqx.tree_at(lambda e: e.sampling, e, nb.Sampling(oversample=1, interpolate=True))
    ),
    "noise": lambda e: poisson_image(1, nb.simulate(e), 40.0).image,
}


DOUBLE_AS_BITS = re.compile(r"bitcast_convert.*tensor<.*f64>\) -> ")


def lowered(name, platform):
    """The text of a program for a platform."""
    whole = experiment(detector={"pixels_fast": 32, "pixels_slow": 32}, goniometer=SWEEP, factors=factors_grid())
    arrays, static = eqx.partition(whole, eqx.is_array)
    program = jax.jit(lambda arrays: PROGRAMS[name](eqx.combine(arrays, static)))
    return export.export(program, platforms=[platform])(arrays).mlir_module()


@pytest.fixture
def several_blocks(monkeypatch):
    monkeypatch.setattr(loops, "default_block_pixels", lambda: 256)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_for_a_gpu(name, several_blocks):
    text = lowered(name, "cuda")
    assert 'inlineable = "false"' not in text, "a call that is kept from being inlined is a fence of CPUs"
    assert not DOUBLE_AS_BITS.search(text), "from the bits of a double XLA makes wrong addresses on a GPU"


@pytest.mark.parametrize("name", ["spec", "batch"])
def test_a_program_for_a_cpu_keeps_its_fences(name, several_blocks):
    """Else the test above could not fail."""
    text = lowered(name, "cpu")
    assert 'inlineable = "false"' in text and DOUBLE_AS_BITS.search(text)


def test_places_of_look_ups_are_the_same_on_both():
    """Plainly computed on a GPU, with the first pixel apart on a CPU."""

    def place(lanes, shared, to_integer):
        return to_integer(lanes + shared)

    program = jax.jit(lambda x: loops.lookup_places(place, x, 3.0))
    cpu, gpu = (str(export.export(program, platforms=[p])(jnp.arange(8.0)).mlir_module()) for p in ("cpu", "cuda"))
    assert "stablehlo.pad" in cpu and "stablehlo.pad" not in gpu
    np.testing.assert_array_equal(program(jnp.arange(8.0)), np.arange(8) + 3)
