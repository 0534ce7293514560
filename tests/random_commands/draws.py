"""The reference's random numbers and what it draws with them (docs/reference.md section 7)."""

import math

import numpy as np

MODULUS = 2147483647
MULTIPLIER = 16807
BIN = 1 + 2147483646 // 32
MOST = np.float32(1 - 1.2e-7)
THIRD = np.float32(1 / 3)


class Stream:
    """Uniform draws from a seed."""

    def __init__(self, seed: int):
        self.x = max(int(seed), 1)
        self.table = [0] * 32
        for step in range(40):
            self._advance()
            if step >= 8:
                self.table[39 - step] = self.x
        self.last = self.table[0]

    def _advance(self) -> None:
        self.x = self.x * MULTIPLIER % MODULUS

    def draw(self) -> np.float32:
        """The next number between 0 and 1."""
        self._advance()
        place = self.last // BIN
        self.last, self.table[place] = self.table[place], self.x
        return min(np.float32(self.last / MODULUS), MOST)


def rotation(axis, angle: float) -> np.ndarray:
    """Right-handed rotation matrix about a unit vector."""
    x, y, z = (float(v) for v in axis)
    c, s = math.cos(angle), math.sin(angle)
    k = 1.0 - c
    return np.array(
        [
            [c + x * x * k, x * y * k - z * s, x * z * k + y * s],
            [y * x * k + z * s, c + y * y * k, y * z * k - x * s],
            [z * x * k - y * s, z * y * k + x * s, c + z * z * k],
        ]
    )


def random_rotation(stream: Stream, most: float) -> np.ndarray:
    """A rotation of at most `most` radians, from three draws."""
    r1, r2, r3 = (2.0 * float(stream.draw()) - 1.0 for _ in range(3))
    around = math.sqrt(1.0 - r2 * r2)
    power = np.float32(1.0 - r3 * r3) ** THIRD
    angle = float(np.float32(np.float32(most) * power))
    return rotation((around * math.sin(math.pi * r1), around * math.cos(math.pi * r1), r2), angle)


def mosaic_rotations(seed: int, spread: float, domains: int) -> list[np.ndarray]:
    """One rotation a domain; the first is drawn, and replaced by none."""
    stream = Stream(seed)
    drawn = [random_rotation(stream, spread) for _ in range(domains)]
    return [np.eye(3), *drawn[1:]]


def random_misset(seed: int) -> tuple[float, float, float]:
    """Misset angles (radians) of a random orientation."""
    u = random_rotation(Stream(seed), 90.0)
    return (
        math.atan2(u[2, 1], u[2, 2]),
        math.atan2(-u[2, 0], math.hypot(u[2, 1], u[2, 2])),
        math.atan2(u[1, 0], u[0, 0]),
    )
