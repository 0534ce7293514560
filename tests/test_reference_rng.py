"""The reference's generator, mosaic rotations and random missets against what the reference printed."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from nanobrag_jax.errors import InputError
from nanobrag_jax.reference.random_numbers import (
    DEFAULT_MOSAIC_SEED,
    MODULUS,
    Ran1,
    random_axes_and_fractions,
    random_misset_deg,
    random_rotations,
    rotation_matrix,
)

GOLDEN = Path(__file__).parent.parent / "golden_data"

FIRST_DRAWS = {
    1: (0.415999353, 0.091964893, 0.75641048, 0.52970022),
    12345678: (0.765989304, 0.023453664, 0.589726627, 0.535101593),
}

FIRST_MOSAIC_MATRIX = [
    [0.9999132776, 0.01316198052, -0.0004466263619],
    [-0.01316372432, 0.9999047160, -0.004156359128],
    [0.0003918778877, 0.004161877945, 0.9999912626],
]


def draws_by_definition(seed: int, count: int) -> list[np.float32]:
    """`count` draws by the generator's definition, one Schrage step at a time."""

    def step(x):
        x = 16807 * (x % 127773) - 2836 * (x // 127773)
        return x + MODULUS if x < 0 else x

    x, table = max(seed, 1), [0] * 32
    for place in range(39, -1, -1):
        x = step(x)
        if place < 32:
            table[place] = x
    last, result = table[0], []
    for _ in range(count):
        x = step(x)
        slot = last // (1 + (MODULUS - 1) // 32)
        last, table[slot] = table[slot], x
        result.append(min(np.float32(last / MODULUS), np.float32(1.0 - 1.2e-7)))
    return result


@pytest.mark.parametrize("seed", FIRST_DRAWS)
def test_first_draws_are_those_of_the_reference(seed):
    expected = FIRST_DRAWS[seed]
    generator = Ran1(seed)
    np.testing.assert_allclose([generator.draw() for _ in expected], expected, rtol=2e-9)
    np.testing.assert_allclose(Ran1(seed).draws(4), np.float32(expected), rtol=1e-8)


@pytest.mark.parametrize("seed", [1, 7, 12345678, MODULUS - 1, 0, -5])
def test_bulk_and_scalar_draws_continue_one_stream(seed):
    generator, mixed = Ran1(seed), []
    for count in (3, 0, 1, 31, 1000, 33):
        bulk = generator.draws(count)
        assert bulk.dtype == np.float32 and bulk.shape == (count,)
        mixed += [*bulk, generator.draw()]
    np.testing.assert_array_equal(np.array(mixed, np.float32), draws_by_definition(seed, len(mixed)))


def test_long_bulk_draws_are_uniform_and_below_one():
    numbers = Ran1(3).draws(1 << 17).astype(np.float64)
    assert 0.0 < numbers.min() and numbers.max() < 1.0
    assert abs(numbers.mean() - 0.5) < 5.0 * math.sqrt(1.0 / 12.0 / numbers.size)


def test_a_seed_that_the_generator_cannot_take_is_refused():
    with pytest.raises(InputError, match=f"below {MODULUS}, got {MODULUS}"):
        Ran1(MODULUS)


def test_first_mosaic_matrix_before_it_is_replaced_by_the_identity():
    generator = Ran1(DEFAULT_MOSAIC_SEED)
    r1, r2, r3 = (2.0 * generator.draw() - 1.0 for _ in range(3))
    radius = math.sqrt(1.0 - r2 * r2)
    axis = np.array([radius * math.sin(math.pi * r1), radius * math.cos(math.pi * r1), r2])
    np.testing.assert_array_equal(random_rotations(DEFAULT_MOSAIC_SEED, 0.01, 1)[0][0], axis)
    angle = np.float32(math.radians(0.8)) * np.float32(np.float32(1.0 - r3 * r3) ** np.float32(1.0 / 3.0))
    np.testing.assert_allclose(rotation_matrix(axis, float(angle)), FIRST_MOSAIC_MATRIX, rtol=1e-9)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_mosaic_rotations_turn_by_at_most_the_spread(count):
    spread = math.radians(0.6)
    axes, angles = random_rotations(4242, spread, count)
    assert axes.shape == (count, 3) and angles.shape == (count,) and axes.dtype == angles.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), 1.0, rtol=1e-14)
    np.testing.assert_array_equal(angles[:1], 0.0)
    assert (angles[1:] > 0.0).all() and (angles <= spread * (1.0 + 1e-7)).all()
    np.testing.assert_array_equal(angles, angles.astype(np.float32))
    same_axes, fractions = random_axes_and_fractions(4242, count)
    np.testing.assert_array_equal(axes, same_axes)
    np.testing.assert_allclose(spread * fractions, angles, rtol=1.2e-7)


def test_rotation_matrices_are_right_handed():
    np.testing.assert_allclose(
        rotation_matrix(np.array([0.0, 0.0, 1.0]), math.pi / 2.0), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15
    )


def test_random_missets_are_those_the_reference_printed():
    printed = {
        int(case["args"][case["args"].index("-misset_seed") + 1]): case["printed"]["misset"]
        for case in json.loads((GOLDEN / "cases.json").read_text())
        if "-misset_seed" in case["args"]
    }
    assert {7, 12345, 54321} <= set(printed)
    for seed, text in printed.items():
        assert " ".join(f"{angle:.6f}" for angle in random_misset_deg(seed)) == text
