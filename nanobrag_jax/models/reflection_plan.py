"""Which reflections a crystal's atoms have to be summed for: one of each set that symmetry and Friedel's law relate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .sphere import Floats, Indices, box_indices, check_box

_EDGE = 1e-9


@dataclass(frozen=True)
class ReflectionPlan:
    """The reflections of a crystal to a resolution; a constant of compiled programs, compared by what it is made from.

    **Arguments:** `cell`: edges (Å) and angles (degrees); `rotations`, `translations`: of the space group's operations,
    x' = R·x + t in fractions; `dmin_A`: the resolution.
    """

    cell: tuple[float, ...]
    rotations: tuple[tuple[tuple[int, ...], ...], ...]
    translations: tuple[tuple[float, ...], ...]
    dmin_A: float

    @cached_property
    def fractional(self) -> Floats:
        """(3, 3): from a place in Å to fractions of the cell; its rows are a*, b* and c*."""
        a, b, c = self.cell[:3]
        alpha, beta, gamma = np.radians(self.cell[3:])
        cosine = (np.cos(alpha) - np.cos(beta) * np.cos(gamma)) / np.sin(gamma)
        height = math.sqrt(1.0 - np.cos(beta) ** 2 - cosine**2)
        orthogonal = np.array(
            [
                [a, b * np.cos(gamma), c * np.cos(beta)],
                [0.0, b * np.sin(gamma), c * cosine],
                [0.0, 0.0, c * height],
            ]
        )
        return np.linalg.inv(orthogonal)

    @property
    def most(self) -> list[int]:
        """The largest h, k and l."""
        edges = np.linalg.norm(np.linalg.inv(self.fractional), axis=0)
        return [int(edge / self.dmin_A + _EDGE) for edge in edges]

    @cached_property
    def _found(self) -> tuple[Indices, Indices, NDArray[np.bool_]]:
        most = self.most
        shape = check_box(most, "the atomic model")
        box = box_indices(most).astype(np.int64)
        s = box @ self.fractional
        inside = np.sum(s * s, axis=1) <= (1.0 + _EDGE) / self.dmin_A**2
        listed = box[inside]
        span = 2 * max(most) * 3 + 1  # an index may grow in another axis of the set: h + k in a hexagonal cell
        least = np.full(len(listed), np.iinfo(np.int64).max)
        friedel = np.zeros(len(listed), bool)
        for rotation in np.unique(np.array(self.rotations), axis=0):
            for sign in (1, -1):
                mates = sign * (listed @ rotation) + span // 2
                key = (mates[:, 0] * span + mates[:, 1]) * span + mates[:, 2]
                better = key < least
                least = np.where(better, key, least)
                friedel = np.where(better, sign < 0, friedel)
        keys, place = np.unique(least, return_inverse=True)
        hkl = np.stack([keys // span**2, keys // span % span, keys % span], axis=1) - span // 2
        into = np.zeros(len(box), np.int64)
        into[inside] = place + len(keys) * friedel
        return hkl, into.reshape(shape), inside.reshape(shape)

    @property
    def hkl(self) -> Indices:
        """(reflections, 3): one of each set."""
        return self._found[0]

    @property
    def into_box(self) -> Indices:
        """(h, k, l): which amplitude of (those of `hkl`, those of their Friedel mates) an index has."""
        return self._found[1]

    @property
    def given(self) -> NDArray[np.bool_]:
        """(h, k, l): which indices are within the resolution."""
        return self._found[2]

    @cached_property
    def s(self) -> Floats:
        """(reflections, 3): reciprocal vectors, 1/Å."""
        return self.hkl @ self.fractional

    @cached_property
    def s_sqr(self) -> Floats:
        """(reflections,): 1/d², 1/Å²."""
        return np.sum(self.s * self.s, axis=1)


def operations_of(group) -> tuple[tuple, tuple]:
    """Rotations and translations of all operations of a space group of gemmi, centrings included."""
    pairs = [(np.array(op.rot) // op.DEN, np.array(op.tran) / op.DEN) for op in group.operations()]
    rotations = tuple(tuple(tuple(int(x) for x in row) for row in rotation) for rotation, _ in pairs)
    return rotations, tuple(tuple(float(x) for x in translation) for _, translation in pairs)


def grid_size(cell_edge_A: float, spacing_A: float, factors: Sequence[int] = (2, 3, 5)) -> int:
    """The least number of points along an edge that are no further apart than that, with small factors only."""
    size = max(4, math.ceil(cell_edge_A / spacing_A))
    while True:
        rest = size
        for factor in factors:
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 1
