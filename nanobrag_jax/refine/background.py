"""The background under the spots: constants or planes, above zero everywhere."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

BackgroundKind = Literal["none", "constant", "plane"]
NUM_TERMS: dict[str, int] = {"none": 0, "constant": 1, "plane": 3}
"""Numbers of each background: photons at the centre, then the change to the edge along slow and fast."""


def flat_level(counts: Float[np.ndarray, " pixels"]) -> float:
    """Where most of the counts are: the mean of those below three deviations, cut five times; never below 0.01."""
    if not counts.size:
        return 1.0
    kept = counts
    for _ in range(5):
        center = np.median(kept) if np.median(kept) > 5 else np.mean(kept)
        kept = kept[kept <= center + 3 * np.sqrt(max(center, 0.3))]
        if not kept.size:
            return max(float(center), 0.01)
    return max(float(np.mean(kept)), 0.01)


def to_unknowns(photons: Float[Array, "... backgrounds terms"]) -> Float[Array, "... backgrounds terms"]:
    """What a driver moves for backgrounds: the logarithm of the level, then the slopes in units of the level."""
    level = photons[..., :1]
    return photons if not level.shape[-1] else jnp.concatenate([jnp.log(level), photons[..., 1:] / level], axis=-1)


def to_photons(unknowns: Float[Array, "... backgrounds terms"]) -> Float[Array, "... backgrounds terms"]:
    """Photons at the centre, and their change to the edge along slow and fast."""
    level = jnp.exp(unknowns[..., :1])
    return unknowns if not level.shape[-1] else jnp.concatenate([level, unknowns[..., 1:] * level], axis=-1)


def basis(
    slow: Array, fast: Array, center: Float[Array, "groups 2"], half_size: Float[Array, " groups"], terms: int
) -> list[Array]:
    """What each term of a background is multiplied with, (groups, pixels).

    **Arguments:** `slow`, `fast`: pixels; `center`, `half_size`: where each group's background has its middle, and how
    far it is from there to the edge; `terms`: how many.
    """
    size = half_size[:, None]
    shapes = [jnp.ones(slow.shape, center.dtype)]
    if terms > 1:
        shapes += [(slow - center[:, :1]) / size, (fast - center[:, 1:]) / size]
    return shapes[:terms]
