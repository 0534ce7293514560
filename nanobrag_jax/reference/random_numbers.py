"""The reference program's random numbers: its generator, mosaic rotations and random missets.

Everything here is numpy and plain Python, in double precision whatever jax is set to, so that the numbers are those
of the reference to the last bit (docs/reference.md section 7).
"""

import math

import numpy as np

from ..errors import InputError

DEFAULT_MOSAIC_SEED = 12345678
"""Seed of the mosaic domains when none is given (in the reference's source it stands negated, -12345678)."""

MODULUS = 2147483647
_MULTIPLIER = 16807
_SLOTS = 32
_SLOT_WIDTH = 1 + (MODULUS - 1) // _SLOTS
_WARM_UP = 8
_LARGEST_DRAW = np.float32(1.0 - 1.2e-7)
_MISSET_CAP_RAD = 90.0  # the reference means degrees, and uses radians


def _lehmer_stream(state: int, count: int) -> np.ndarray:
    """The next `count` states of x ← 16807·x mod (2³¹ − 1), (count,) uint64, doubling the known part each turn."""
    states = np.empty(count, np.uint64)
    if count:
        states[0] = state * _MULTIPLIER % MODULUS
    known, jump = 1, _MULTIPLIER
    low, shift = np.uint64(MODULUS), np.uint64(31)
    while known < count:
        fresh = min(known, count - known)
        product = states[:fresh] * np.uint64(jump)
        # 2³¹ ≡ 1, so adding the upper bits to the lower ones reduces without a division; no state is ever 0.
        product = (product & low) + (product >> shift)
        states[known : known + fresh] = (product & low) + (product >> shift)
        known, jump = known + fresh, jump * jump % MODULUS
    return states


class Ran1:
    """The minimal-standard generator with a 32-entry shuffle that the reference draws from.

    `seed` is what the user gives (`-seed n`): the reference starts from −n, and takes 1 for n < 1.
    Scalar draws and bulk draws may be mixed; they continue one stream. Raises InputError for a seed beyond 2³¹ − 2.
    Source: docs/reference.md section 7.
    """

    def __init__(self, seed: int):
        if seed >= MODULUS:
            raise InputError(f"a random seed must be below {MODULUS}, got {seed}")
        fill = _lehmer_stream(max(int(seed), 1), _WARM_UP + _SLOTS)
        self._state = int(fill[-1])
        self._table = [int(value) for value in fill[: -_SLOTS - 1 : -1]]
        self._last = self._table[0]

    def draw(self) -> float:
        """One number in (0, 1), a float32 value held as a Python float."""
        self._state = self._state * _MULTIPLIER % MODULUS
        slot = self._last // _SLOT_WIDTH
        self._last, self._table[slot] = self._table[slot], self._state
        return float(min(np.float32(self._last / MODULUS), _LARGEST_DRAW))

    def draws(self, count: int) -> np.ndarray:
        """The next `count` numbers, shape (count,) float32: the same values as `count` scalar draws."""
        if not count:
            return np.empty(0, np.float32)
        states = _lehmer_stream(self._state, count)
        # What decides the next slot is only the top of the number a slot holds, so the one loop that cannot be
        # vectorised walks over bytes; the numbers themselves follow from who wrote to a slot before.
        visited = bytes(_visited_slots(self._last, self._table, (states // np.uint64(_SLOT_WIDTH)).astype(np.uint8)))
        slots = np.concatenate([np.arange(_SLOTS, dtype=np.uint8), np.frombuffer(visited, np.uint8)])
        written = np.concatenate([np.array(self._table, np.uint64), states])
        order = np.argsort(slots, kind="stable")
        previous = np.empty_like(written)
        previous[order[1:]] = written[order[:-1]]
        final = order[np.searchsorted(slots[order], np.arange(_SLOTS), side="right") - 1]
        self._table = [int(value) for value in written[final]]
        self._state, self._last = int(states[-1]), int(previous[-1])
        return np.minimum((previous[_SLOTS:] / MODULUS).astype(np.float32), _LARGEST_DRAW)


def _visited_slots(last: int, table: list[int], codes: np.ndarray):
    """Yield the slot that each draw reads, given the slot number (top five bits) of each new state in `codes`."""
    held = [value // _SLOT_WIDTH for value in table]
    slot = last // _SLOT_WIDTH
    for code in codes.tobytes():
        yield slot
        following = held[slot]
        held[slot] = code
        slot = following


def _axis_and_fraction(generator: Ran1) -> tuple[tuple[float, float, float], np.float32]:
    """A random unit axis and the fraction of the cap to turn by, (1 − r²)^⅓ in single precision."""
    azimuth, height, third = (2.0 * generator.draw() - 1.0 for _ in range(3))
    radius = math.sqrt(1.0 - height * height)
    axis = (radius * math.sin(math.pi * azimuth), radius * math.cos(math.pi * azimuth), height)
    base = float(np.float32(1.0 - third * third))
    return axis, np.float32(base ** float(np.float32(1.0 / 3.0)))


def random_rotations(seed: int, spread_rad: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Axes (count, 3) and angles (count,) in radians of the mosaic domains, float64.

    `seed` is what the user gives, or `DEFAULT_MOSAIC_SEED`; `spread_rad` is the cap on the angle. An angle is a
    single-precision product, as in the reference. Domain 0 is drawn and then left unrotated: its angle is 0.
    Source: docs/reference.md section 7.
    """
    axes, fractions = random_axes_and_fractions(seed, count)
    return axes, (np.float32(spread_rad) * fractions.astype(np.float32)).astype(np.float64)


def random_axes_and_fractions(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Axes (count, 3) and angles (count,) of the mosaic domains for a spread of 1: what does not change with it.

    The fractions are single-precision values held as float64; domain 0 has fraction 0. Multiplying by the spread in
    double precision differs from `random_rotations` by at most 6e-8 of the angle. Source: docs/reference.md section 7.
    """
    generator = Ran1(seed)
    drawn = [_axis_and_fraction(generator) for _ in range(count)]
    axes = np.array([axis for axis, _ in drawn], np.float64).reshape(count, 3)
    fractions = np.array([fraction for _, fraction in drawn], np.float64)
    fractions[:1] = 0.0
    return axes, fractions


def rotation_matrix(axis: np.ndarray, angle_rad: float) -> np.ndarray:
    """The right-handed rotation (3, 3) by `angle_rad` about the unit vector `axis`, float64."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    cosine = math.cos(angle_rad)
    return cosine * np.eye(3) + math.sin(angle_rad) * cross + (1.0 - cosine) * np.outer(axis, axis)


def random_misset_deg(seed: int) -> tuple[float, float, float]:
    """The misset angles about x, y and z in degrees that `-misset random` draws from `seed`.

    One mosaic rotation with a cap of 90 radians, taken apart into rotations about x, then y, then z.
    Source: docs/reference.md section 7.
    """
    axis, fraction = _axis_and_fraction(Ran1(seed))
    u = rotation_matrix(np.array(axis), float(np.float32(_MISSET_CAP_RAD) * fraction))
    rot_x = math.atan2(u[2, 1], u[2, 2])
    rot_y = math.atan2(-u[2, 0], math.hypot(u[2, 1], u[2, 2]))
    rot_z = math.atan2(u[1, 0], u[0, 0])
    return math.degrees(rot_x), math.degrees(rot_y), math.degrees(rot_z)
