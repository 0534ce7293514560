"""Unit cells from vectors: edges, angles and orientation (docs/reference.md section 4)."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def cell_and_orientation(columns: Floats) -> tuple[Floats, Floats, Floats]:
    """Cell edges (Å), angles (degrees) and orientation (3, 3) of reciprocal vectors a*, b*, c* in columns, 1/Å.

    The orientation takes the standard setting (a* along x, b* in the xy plane) to the given vectors; it is a
    reflection where they are left-handed.
    """
    a, b, c = np.linalg.inv(columns)
    lengths = np.array([np.linalg.norm(v) for v in (a, b, c)])
    pairs = ((b, c, 1, 2), (c, a, 2, 0), (a, b, 0, 1))
    angles = [np.degrees(np.arccos(u @ v / (lengths[i] * lengths[j]))) for u, v, i, j in pairs]
    a_star, b_star, c_star = columns.T
    x = a_star / np.linalg.norm(a_star)
    y = b_star - (b_star @ x) * x
    y /= np.linalg.norm(y)
    z = np.cross(x, y)
    return lengths, np.array(angles), np.stack([x, y, z if z @ c_star > 0 else -z], axis=1)
