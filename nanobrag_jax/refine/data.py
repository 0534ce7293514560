"""What a model is compared with: the counts of a whole image, of a mask, or of boxes around predicted spots."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Float, Int

from ..checks import leaf
from ..detector import Detector
from ..errors import InputError
from ..experiment import Experiment
from ..numerics.sharding import axes_of, num_devices
from ..typing import Numbers
from .background import NUM_TERMS, BackgroundKind, basis, flat_level, to_photons

BATCH_PIXELS = 16384
"""Pixels whose derivatives are held at a time."""
GROUP_PIXELS = 4096
"""Of a whole image."""


class PixelData(eqx.Module):
    """Counts of one image, in groups of equally many pixels.

    A group is a box around a spot, with a background of its own, or a stretch of a whole image, with the background
    of all others. Pixels that are not `used` only fill up.
    """

    slow: Int[Array, "... groups pixels"]
    fast: Int[Array, "... groups pixels"]
    counts: Float[Array, "... groups pixels"]
    used: Bool[Array, "... groups pixels"]
    known_background: Float[Array, "... groups pixels"]
    """Background that is not refined, photons."""
    background_index: Int[Array, "... groups"]
    """Which background a group has."""
    background: Float[Array, "... backgrounds terms"]
    """Start: photons at the centre, then the change to the edge along slow and fast."""
    background_center: Float[Array, "... backgrounds 2"]
    """Where a plane has its centre, (slow, fast) pixels."""
    background_half_size: Float[Array, "... backgrounds"]
    """Pixels from the centre to the edge."""

    @property
    def num_used(self) -> int:
        """How many pixels count."""
        return int(np.sum(np.asarray(self.used)))


def whole_image(
    experiment: Experiment,
    counts: Numbers,
    *,
    mask: Numbers | None = None,
    background: BackgroundKind = "constant",
    known_background: Numbers = 0.0,
    lowest: float = 0.0,
) -> PixelData:
    """Data from every pixel of an image, or of a mask.

    **Arguments:**

    - `experiment`: gives the detector, and its own mask and region of interest;
    - `counts` (slow, fast): photons, NaN where there are none;
    - `mask` (slow, fast): True where a pixel counts;
    - `background`: what is refined under the spots, one for the image;
    - `known_background`: photons a pixel, a number or (slow, fast);
    - `lowest`: counts below it are left out; those of a detector whose pedestal was taken off may be negative.

    **Raises** `InputError` for shapes that do not fit the detector, and if no pixel is left.
    """
    image, good, known = _checked(experiment, counts, mask, known_background, lowest)
    slow, fast = np.nonzero(good)
    if not slow.size:
        raise InputError("no pixel is left: the mask excludes all of them")
    size = min(GROUP_PIXELS, slow.size)
    groups = -(-slow.size // size)
    used = np.zeros(groups * size, bool)
    used[: slow.size] = True
    slow, fast = (np.pad(v, (0, used.size - v.size)).reshape(groups, size) for v in (slow, fast))
    shape = image.shape
    center, half_size = np.array([[(shape[0] - 1) / 2, (shape[1] - 1) / 2]]), np.array([max(shape) / 2])
    image_data = image, known, slow, fast, used.reshape(groups, size)
    return _pixel_data(*image_data, np.zeros(groups, int), center, half_size, background)


def shoeboxes(
    experiment: Experiment,
    counts: Numbers,
    slow: Numbers,
    fast: Numbers,
    *,
    half_size: int = 8,
    mask: Numbers | None = None,
    background: BackgroundKind = "constant",
    known_background: Numbers = 0.0,
    lowest: float = 0.0,
) -> PixelData:
    """Data from square boxes around spots, each with its own background.

    A pixel in more than one box belongs to the nearest spot.

    **Arguments:**

    - `experiment`: gives the detector, and its own mask and region of interest;
    - `counts` (slow, fast): photons, NaN where there are none;
    - `slow`, `fast` (spots,): where the spots are, in pixels, the middle of a pixel a whole number (as `predict` gives
      them);
    - `half_size`: a box reaches so many pixels to each side;
    - `mask` (slow, fast): True where a pixel counts;
    - `background`: what is refined under the spots, one for each box;
    - `known_background`: photons a pixel, a number or (slow, fast);
    - `lowest`: counts below it are left out.

    **Raises** `InputError` for shapes that do not fit the detector, and without a spot.
    """
    image, good, known = _checked(experiment, counts, mask, known_background, lowest)
    if half_size < 1:
        raise InputError(f"half_size must be at least 1, got {half_size}")
    centers = np.stack([np.asarray(slow, float), np.asarray(fast, float)], axis=-1)
    if centers.ndim != 2 or not len(centers):
        raise InputError(f"slow and fast must list at least one spot, got shape {np.shape(slow)}")
    offsets = np.stack(np.meshgrid(*2 * [np.arange(-half_size, half_size + 1)], indexing="ij"), -1).reshape(-1, 2)
    pixels = np.round(centers).astype(int)[:, None] + offsets
    inside = np.all((pixels >= 0) & (pixels < image.shape), axis=-1)
    pixels = np.clip(pixels, 0, np.array(image.shape) - 1)
    number = pixels[..., 0] * image.shape[1] + pixels[..., 1]
    distance = np.where(inside, np.sum((pixels - centers[:, None]) ** 2, axis=-1), np.inf)
    order = np.argsort(distance.reshape(-1), kind="stable")
    _, first = np.unique(number.reshape(-1)[order], return_index=True)
    nearest = np.zeros(number.size, bool)
    nearest[order[first]] = True
    used = inside & nearest.reshape(number.shape) & good[pixels[..., 0], pixels[..., 1]]
    image_data = image, known, pixels[..., 0], pixels[..., 1], used
    half_sizes = np.full(len(centers), float(half_size))
    return _pixel_data(*image_data, np.arange(len(centers)), centers, half_sizes, background)


def _checked(experiment: Experiment, counts, mask, known, lowest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The image, which of its pixels can be used, and the known background."""
    if not isinstance(experiment.detector, Detector):
        raise InputError("refinement takes panels as images: make each with panel_experiment(experiment, panel)")
    shape = experiment.panel.pixels_slow, experiment.panel.pixels_fast
    image = np.asarray(counts, float)
    if image.shape != shape:
        raise InputError(f"counts must have the detector's shape {shape} (slow, fast), got {image.shape}")
    good = np.isfinite(image) & (image >= lowest)
    for name, given in (("mask", mask), ("sampling.mask", experiment.sampling.mask)):
        if given is None:
            continue
        if np.shape(given) != shape:
            raise InputError(f"{name} must have the detector's shape {shape} (slow, fast), got {np.shape(given)}")
        good &= np.asarray(given, bool)
    if experiment.sampling.roi is not None:
        f0, f1, s0, s1 = experiment.sampling.roi
        inside = np.zeros(shape, bool)
        inside[s0 : s1 + 1, f0 : f1 + 1] = True
        good &= inside
    known = np.asarray(known, float)
    if known.shape not in ((), shape):
        raise InputError(f"known_background must be a number or have the shape {shape}, got {known.shape}")
    return image, good, np.broadcast_to(known, shape)


def _pixel_data(
    image: np.ndarray,
    known: np.ndarray,
    slow: np.ndarray,
    fast: np.ndarray,
    used: np.ndarray,
    index: np.ndarray,
    center: np.ndarray,
    half_size: np.ndarray,
    kind: BackgroundKind,
) -> PixelData:
    """The pixels' counts, and backgrounds that start at the level of the pixels that have them."""
    if kind not in NUM_TERMS:
        raise InputError(f"background must be {', '.join(NUM_TERMS)}, got {kind!r}")
    counts = np.where(used, image[slow, fast], 0.0)
    under = np.where(used, known[slow, fast], 0.0)
    start = np.zeros((len(center), NUM_TERMS[kind]))
    if start.shape[1]:
        for number in range(len(center)):
            start[number, 0] = flat_level((counts - under)[used & (index == number)[:, None]])
    return PixelData(
        slow=jnp.asarray(slow, jnp.int32),
        fast=jnp.asarray(fast, jnp.int32),
        counts=leaf(counts),
        used=jnp.asarray(used),
        known_background=leaf(under),
        background_index=jnp.asarray(index, jnp.int32),
        background=leaf(start),
        background_center=leaf(center),
        background_half_size=leaf(half_size),
    )


def background_model(data: PixelData, unknowns: Float[Array, "backgrounds terms"]) -> tuple[Array, Array]:
    """Photons under the spots, (groups, pixels), and their derivatives by `unknowns`, (groups, pixels, terms).

    **Arguments:** `unknowns`: as `background.to_unknowns` gives them: a level above zero keeps all else possible.
    """
    terms = data.background.shape[-1]
    if not terms:
        return data.known_background, jnp.zeros((*data.slow.shape, 0), data.counts.dtype)
    index = data.background_index
    photons = to_photons(unknowns)[index][:, None]
    shapes = basis(data.slow, data.fast, data.background_center[index], data.background_half_size[index], terms)
    total = sum(photons[..., t] * shape for t, shape in enumerate(shapes))
    slopes = [total, *(photons[..., 0] * shape for shape in shapes[1:])]
    return data.known_background + total, jnp.stack(slopes, axis=-1)


PixelArrays = tuple[Array, ...]
"""The leaves of `PixelData` that have groups, in their order; or those that have backgrounds."""


def split_by_axis(data: PixelData) -> tuple[PixelArrays, PixelArrays]:
    """Leaves that have groups of pixels, and leaves that have backgrounds."""
    leaves = tuple(jax.tree.leaves(data))
    return leaves[:6], leaves[6:]


def rejoined(pixels: PixelArrays, backgrounds: PixelArrays) -> PixelData:
    """What `split_by_axis` took apart."""
    return PixelData(*pixels, *backgrounds)


def batches_in_shares(mesh: Mesh) -> PartitionSpec:
    """How arrays (images, batches, …) are laid out over devices."""
    return PartitionSpec(None, axes_of(mesh))


def in_batches(data: Sequence[PixelData], mesh: Mesh | None) -> PixelData:
    """All images' data with equally many groups, cut into batches, equally many for each device.

    **Raises** `InputError` for images whose groups or backgrounds are of different kinds.
    """
    if len({(d.slow.shape[1], d.background.shape[1]) for d in data}) > 1:
        raise InputError("images refined together must have boxes of one size and one kind of background")
    pixels = data[0].slow.shape[1]
    most = max(d.slow.shape[0] for d in data)
    devices = num_devices(mesh)
    together = max(1, min(-(-most // devices), BATCH_PIXELS // pixels))
    batches = -(-most // (together * devices)) * devices
    backgrounds = max(d.background.shape[0] for d in data)

    def padded(v: Array, count: int, value: int = 0) -> np.ndarray:
        return np.pad(np.asarray(v), ((0, count - v.shape[0]), *((0, 0) for _ in v.shape[1:])), constant_values=value)

    def filled(d: PixelData) -> list[np.ndarray]:
        grouped = [padded(v, batches * together).reshape(batches, together, *v.shape[1:]) for v in split_by_axis(d)[0]]
        levels, sizes = (padded(v, backgrounds, 1) for v in (d.background, d.background_half_size))
        return [*grouped, levels, padded(d.background_center, backgrounds), sizes]

    stacked = [np.stack(leaves) for leaves in zip(*map(filled, data), strict=True)]  # by numpy: nothing is compiled
    layout = None if mesh is None else NamedSharding(mesh, batches_in_shares(mesh))
    grouped, single = split_by_axis(PixelData(*map(jnp.asarray, stacked)))
    return rejoined(jax.device_put(grouped, layout), single)
