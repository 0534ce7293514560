"""How far a detector reaches: what a model's structure factors are computed to."""

from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ...beam import Beam, sources
from ...detector import Detector, DetectorFrame, pixel_ray
from ...numerics.host import on_host

_EDGE_POINTS = 9
_MARGIN = 0.999


def finest_resolution(frames: Iterable[tuple[Detector, DetectorFrame]], beam: Beam) -> float:
    """The smallest spacing (Å) that any source scatters to any point of detectors with the given frames."""
    largest = 0.0
    for detector, frame in frames:
        counts = detector.pixels_fast, detector.pixels_slow
        edges = [np.linspace(0.0, count * float(frame.pixel_size), _EDGE_POINTS) for count in counts]
        fast, slow = (grid.ravel() for grid in np.meshgrid(*edges))
        inverse = on_host(_inverse_spacings, frame, beam, fast, slow, curved=detector.curved)
        largest = max(largest, float(np.max(inverse)))
    return _MARGIN / largest


@partial(jax.jit, static_argnames="curved")
def _inverse_spacings(frame: DetectorFrame, beam: Beam, fast: Array, slow: Array, curved: bool) -> Array:
    """|q| for each source and point of a detector, (sources, points), 1/Å."""
    ray = pixel_ray(frame, fast, slow, jnp.zeros_like(fast), curved=curved, point_pixel=True)
    lights = sources(beam)
    across = [d[None, :] - lights.incident[:, i, None] for i, d in enumerate(ray.direction)]
    return jnp.sqrt(across[0] ** 2 + across[1] ** 2 + across[2] ** 2) / lights.wavelength[:, None]
