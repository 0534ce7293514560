"""What a model is compared with: the counts of a whole image, of a mask, or of boxes around predicted spots."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from ..checks import leaf
from ..errors import InputError
from ..experiment import Experiment
from ..panels import num_panels
from ..typing import Numbers

BackgroundKind = Literal["none", "constant", "plane"]
_TERMS = {"none": 0, "constant": 1, "plane": 3}
_GROUP_PIXELS = 4096


class PixelData(eqx.Module):
    """Counts of one image, in groups of equally many pixels.

    A group is a box around a spot, with a background of its own, or a stretch of a whole image, with the background
    of all others. Pixels that are not `used` only fill up.
    """

    slow: Int[Array, "... groups pixels"]
    fast: Int[Array, "... groups pixels"]
    counts: Float[Array, "... groups pixels"]
    used: Bool[Array, "... groups pixels"]
    known: Float[Array, "... groups pixels"]
    """Background that is known and not refined, photons."""
    background_of: Int[Array, "... groups"]
    """Which background a group has."""
    background: Float[Array, "... backgrounds terms"]
    """Start: photons at the middle, then the change to the edge along slow and fast."""
    middle: Float[Array, "... backgrounds 2"]
    """Where a plane has its middle, (slow, fast) pixels."""
    reach: Float[Array, "... backgrounds"]
    """Pixels from the middle to the edge."""

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
) -> PixelData:
    """Data from every pixel of an image, or of a mask.

    **Arguments:** `experiment`: gives the detector, and its own mask and region of interest; `counts` (slow, fast):
    photons, NaN where there are none; `mask` (slow, fast): True where a pixel counts; `background`: what is refined
    under the spots, one for the image; `known_background`: photons a pixel, a number or (slow, fast).

    **Raises** `InputError`.
    """
    image, good, known = _checked(experiment, counts, mask, known_background)
    slow, fast = np.nonzero(good)
    if not slow.size:
        raise InputError("no pixel is left: the mask excludes all of them")
    size = min(_GROUP_PIXELS, slow.size)
    groups = -(-slow.size // size)
    used = np.zeros(groups * size, bool)
    used[: slow.size] = True
    slow, fast = (np.pad(v, (0, used.size - v.size)).reshape(groups, size) for v in (slow, fast))
    shape = image.shape
    middle, reach = np.array([[(shape[0] - 1) / 2, (shape[1] - 1) / 2]]), np.array([max(shape) / 2])
    of = np.zeros(groups, int)
    return _assembled(image, known, slow, fast, used.reshape(groups, size), of, middle, reach, background)


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
) -> PixelData:
    """Data from square boxes around spots, each with its own background.

    **Arguments:** `slow`, `fast` (spots,): where the spots are, in pixels, the middle of a pixel a whole number (as
    `predict` gives them); `half_size`: a box reaches so many pixels to each side; others as for `whole_image`. A
    pixel in more than one box belongs to the nearest spot.

    **Raises** `InputError`.
    """
    image, good, known = _checked(experiment, counts, mask, known_background)
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
    reach = np.full(len(centers), float(half_size))
    of = np.arange(len(centers))
    return _assembled(image, known, pixels[..., 0], pixels[..., 1], used, of, centers, reach, background)


def _checked(experiment: Experiment, counts, mask, known) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The image, which of its pixels can be used, and the known background."""
    if num_panels(experiment.detector) is not None:
        raise InputError("refinement takes panels as images: make each with panel_experiment(experiment, panel)")
    shape = experiment.detector.pixels_slow, experiment.detector.pixels_fast
    image = np.asarray(counts, float)
    if image.shape != shape:
        raise InputError(f"counts must have the detector's shape {shape} (slow, fast), got {image.shape}")
    good = np.isfinite(image) & (image >= 0)
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


def _assembled(image, known, slow, fast, used, of, middle, reach, kind: BackgroundKind) -> PixelData:
    if kind not in _TERMS:
        raise InputError(f"background must be none, constant or plane, got {kind!r}")
    counts = np.where(used, image[slow, fast], 0.0)
    under = np.where(used, known[slow, fast], 0.0)
    start = np.zeros((len(middle), _TERMS[kind]))
    if _TERMS[kind]:
        for number in range(len(middle)):
            mine = used & (of == number)[:, None]
            start[number, 0] = _level((counts - under)[mine])
    return PixelData(
        slow=jnp.asarray(slow, jnp.int32),
        fast=jnp.asarray(fast, jnp.int32),
        counts=leaf(counts),
        used=jnp.asarray(used),
        known=leaf(under),
        background_of=jnp.asarray(of, jnp.int32),
        background=leaf(start),
        middle=leaf(middle),
        reach=leaf(reach),
    )


def _level(values: np.ndarray) -> float:
    """Where most of the counts are: the mean of those below three deviations, cut three times; never below 0.01."""
    if not values.size:
        return 1.0
    kept = values
    for _ in range(5):
        center = np.median(kept) if np.median(kept) > 5 else np.mean(kept)
        kept = kept[kept <= center + 3 * np.sqrt(max(center, 0.3))]
        if not kept.size:
            return max(float(center), 0.01)
    return max(float(np.mean(kept)), 0.01)


def background_start(data: PixelData) -> Float[Array, "... backgrounds terms"]:
    """What a driver moves for backgrounds: the logarithm of the level, then the slopes in units of the level."""
    level = data.background[..., :1]
    if not level.shape[-1]:
        return data.background
    return jnp.concatenate([jnp.log(level), data.background[..., 1:] / level], axis=-1)


def background_photons(moved: Float[Array, "... backgrounds terms"]) -> Float[Array, "... backgrounds terms"]:
    """Photons at the middle, and their change to the edge along slow and fast, from what a driver moved."""
    level = jnp.exp(moved[..., :1])
    return jnp.concatenate([level, moved[..., 1:] * level], axis=-1)


def behind(data: PixelData, moved: Float[Array, "backgrounds terms"]) -> tuple[Array, Array]:
    """Photons behind the spots, (groups, pixels), and their derivatives, (groups, pixels, terms).

    **Arguments:** `moved`: as `background_start` gives it: a level above zero keeps all else possible.
    """
    terms = data.background.shape[-1]
    if not terms:
        return data.known, jnp.zeros((*data.slow.shape, 0), data.counts.dtype)
    photons = background_photons(moved)[data.background_of][:, None]
    forms = [jnp.ones_like(data.known)]
    if terms == 3:
        middle, reach = data.middle[data.background_of], data.reach[data.background_of][:, None]
        forms += [(data.slow - middle[:, :1]) / reach, (data.fast - middle[:, 1:]) / reach]
    total = sum(photons[..., t] * form for t, form in enumerate(forms))
    slopes = [total, *(photons[..., 0] * form for form in forms[1:])]
    return data.known + total, jnp.stack(slopes, axis=-1)
