"""Blocks of pixels, and the conversions that stay side by side."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanobrag_jax.numerics.loops import (
    EVEN,
    as_integer,
    block_shape,
    lookup_places,
    mapped,
    row_and_column,
    scan,
    stored_first,
)


@pytest.mark.parametrize("pixels", [1, 7, 4096, 2527 * 2463, 4148 * 4362, 65537, 8192**2])
def test_blocks_cover_the_pixels(pixels):
    blocks, size = block_shape(pixels, 65536)
    assert 0 < size <= 65536
    assert 0 <= blocks * size - pixels < blocks * EVEN and (blocks - 1) * size < pixels
    assert size < 1024 or size % EVEN == 0


@pytest.mark.parametrize("columns", [1, 3, 2463, 2**15])
def test_rows_and_columns_of_pixels(columns):
    """At both sides of each edge of a row, up to the largest image."""
    edges = np.unique(np.linspace(0, 2**30 // columns, 1000, dtype=np.int64)) * columns
    numbers = np.unique(np.clip(np.concatenate([edges - 1, edges, edges + 1]), 0, 2**30))
    row, column = jax.jit(row_and_column, static_argnums=1)(jnp.asarray(numbers, jnp.int32), columns)
    np.testing.assert_array_equal(row, numbers // columns)
    np.testing.assert_array_equal(column, numbers % columns)


@pytest.mark.parametrize(("dtype", "largest"), [(np.float64, 2**31 - 1), (np.float32, 2**23 - 1)])
def test_integers_from_the_bits_of_whole_numbers(dtype, largest):
    numbers = np.unique(np.linspace(0, largest, 1001, dtype=np.int64))
    found = as_integer(jnp.asarray(numbers, dtype))
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, numbers)


def shifted(lanes, shared, as_integer):
    """Places for a test."""
    return as_integer(lanes["x"] + lanes["y"] * shared)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_places_of_all_pixels_and_of_each(dtype, count):
    """The first one too, which is computed apart; and one at a time, and differentiated."""
    lanes = {"x": jnp.arange(count, dtype=dtype), "y": jnp.arange(count, dtype=dtype) % 7}
    expected = np.asarray(lanes["x"] + 11 * lanes["y"], np.int32)
    found = jax.jit(partial(lookup_places, shifted))(lanes, jnp.asarray(11.0, dtype))
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        jax.vmap(partial(lookup_places, shifted))(lanes, jnp.full(count, 11.0, dtype)), expected
    )
    primal, _ = jax.jvp(lambda shared: lookup_places(shifted, lanes, shared), (11.0,), (1.0,))
    np.testing.assert_array_equal(primal, expected)


def test_places_are_part_of_the_kernel_that_looks_up():
    if jax.default_backend() != "cpu":
        pytest.skip("there is one kernel anyway")
    table, x = jnp.arange(100.0), jnp.arange(50.0)

    def looked_up(x):
        return table[lookup_places(shifted, {"x": x, "y": 0 * x}, 1.0)] * x

    assert " call(" not in jax.jit(looked_up).lower(x).compile().as_text()
    slope = jax.jit(jax.grad(lambda x: looked_up(x).sum()))(x)
    np.testing.assert_array_equal(slope, table[:50])


def test_a_loop_is_not_made_one_kernel_of_one_thread():
    """Since jax 0.12 XLA does so with small loops that are not told otherwise."""
    items = jnp.arange(12.0).reshape(4, 3)
    total, seen = scan(lambda carry, item: (carry + item, carry), jnp.zeros(3), items)
    np.testing.assert_array_equal(total, items.sum(0))
    np.testing.assert_array_equal(seen, np.cumsum(items, 0) - items)
    np.testing.assert_array_equal(mapped(jnp.sum, items), items.sum(1))
    program = jax.jit(partial(scan, lambda carry, item: (carry + item, None))).lower(jnp.zeros(3), items)
    assert 'xla_cpu_small_call = "false"' in program.as_text()


def test_what_is_stored_first_stays_a_kernel_of_its_own():
    def double(x):
        return stored_first(lambda: (2 * x, x + 1))

    x = jnp.arange(5, dtype=jnp.int32)
    program = jax.jit(double).lower(x).compile()
    for found, expected in zip(program(x), (2 * x, x + 1), strict=True):
        np.testing.assert_array_equal(found, expected)
    if jax.default_backend() == "cpu":
        assert " call(" in program.as_text()
