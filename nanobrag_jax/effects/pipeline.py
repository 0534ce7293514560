"""The steps from photons to what is read out, in the order in which a detector takes them.

Flicker comes first because it is the beam's. Photons are counted where they are absorbed; the light that each of them
makes spreads afterwards, so that noise spreads with it. A pixel's sensitivity acts on the light that the pixel gets,
amplification on the signal of the pixel, and reading it out adds noise that nothing amplifies. The converter adds its
offset and stops at its largest number. A dead pixel reads what it always reads.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real, ScalarLike

from ..constants import LARGEST_COUNT
from ..errors import InputError
from ..numerics.pixel_random import Seed, as_key, pixel_normal, pixel_uniform, stream
from ..numerics.processes import refuse_after_fork
from ..typing import Image
from ..window import window_of
from .config import DetectorEffects
from .photon_noise import DEFAULT_SEED, NoiseImage, poisson_counts
from .psf import spread

_FLICKER, _READOUT, _CALIBRATION, _DEAD, _PANELS = 1, 2, 3, 4, 0x100


def detect(
    image: Real[Array | np.ndarray, "... slow fast"],
    effects: DetectorEffects,
    key: Seed = DEFAULT_SEED,
    *,
    panel: ScalarLike = 0,
) -> Float[Array, "... slow fast"]:
    """What a detector reads for an image of mean photon counts, (slow, fast): ADU, not yet whole numbers.

    **Arguments:** `image`: also (panel, slow, fast); `effects`: what the detector does, nothing by default; `key`: a
    whole number or a key of jax.random, of one exposure; `panel`: which panel a single image is: panels share the
    flicker of their exposure and nothing else.

    Pure; may be jitted, and mapped over images, strengths and keys. A pixel's random numbers depend on key, panel and
    place only. Differentiable in image and strengths, all but the counting of photons, whose derivative is zero: leave
    `shot_noise` out to differentiate through everything else. A jax array cannot be written into: `np.array(detect(…))`
    is a copy of one's own that can. **Raises** `InputError` for a dead_mask that does not
    fit. Source: docs/detector.md.
    """
    refuse_after_fork()
    image = jnp.asarray(image)
    if not jnp.issubdtype(image.dtype, jnp.floating):
        image = image.astype(float)
    if image.ndim == 3:
        panels = jnp.arange(image.shape[0])
        return jax.vmap(lambda one, number: detect(one, effects, key, panel=number))(image, panels)
    mask = effects.dead_mask
    if mask is not None and mask.shape != image.shape:
        raise InputError(f"dead_mask must have the image's shape {image.shape} (slow, fast), got {mask.shape}")
    return _detected(image, effects, as_key(key), panel)


@jax.jit
def _detected(image: Image, effects: DetectorEffects, key: Array, panel: ScalarLike) -> Image:
    return _finished(_analog(_counted(image, effects, key, panel), effects, key, panel), effects, panel)


def _panel_key(key: Array, panel: ScalarLike) -> Array:
    """The key of a panel; that of the first is the key itself."""
    return jnp.where(jnp.asarray(panel) == 0, key, stream(key, _PANELS + jnp.asarray(panel)))


def _places(image: Image) -> Array:
    return jnp.arange(image.size, dtype=jnp.uint32).reshape(image.shape)


def _counted(image: Image, effects: DetectorEffects, key: Array, panel: ScalarLike) -> Image:
    """Photons that are absorbed."""
    if effects.flicker_percent is not None:
        deviate = pixel_normal(stream(key, _FLICKER), jnp.zeros((), jnp.uint32)).astype(image.dtype)
        image = image * jnp.maximum(1.0 + 0.01 * effects.flicker_percent.astype(image.dtype) * deviate, 0.0)
    if effects.shot_noise:
        image = poisson_counts(_panel_key(key, panel), image, _places(image)).astype(image.dtype)
    return image


def _analog(photons: Image, effects: DetectorEffects, key: Array, panel: ScalarLike) -> Image:
    """The signal at the converter, its offset included."""
    image, kind = photons, photons.dtype
    if effects.psf is not None and effects.psf_fwhm_pixels is not None:
        image = spread(image, effects.psf, effects.psf_fwhm_pixels.astype(kind), effects.psf_radius_pixels)
    if effects.calibration_percent is not None:
        own = stream(_panel_key(as_key(effects.detector_seed), panel), _CALIBRATION)
        deviates = pixel_normal(own, _places(image)).astype(kind)
        image = image * (1.0 + 0.01 * effects.calibration_percent.astype(kind) * deviates)
    if effects.gain_adu_per_photon is not None:
        image = image * effects.gain_adu_per_photon.astype(kind)
    if effects.readout_adu is not None:
        deviates = pixel_normal(stream(_panel_key(key, panel), _READOUT), _places(image)).astype(kind)
        image = image + effects.readout_adu.astype(kind) * deviates
    if effects.offset_adu is not None:
        image = image + effects.offset_adu.astype(kind)
    return image


def _finished(image: Image, effects: DetectorEffects, panel: ScalarLike) -> Image:
    """Saturated and dead pixels."""
    if effects.saturation_adu is not None:
        image = jnp.minimum(image, effects.saturation_adu.astype(image.dtype))
    value = jnp.zeros((), image.dtype) if effects.dead_value_adu is None else effects.dead_value_adu.astype(image.dtype)
    for dead in _dead(effects, _places(image), panel):
        image = jnp.where(dead, value, image)
    return image


def _dead(effects: DetectorEffects, places: Array, panel: ScalarLike) -> list[Array]:
    """Where pixels are dead: those that are drawn, and those that are named."""
    found = []
    if effects.dead_fraction is not None:
        own = stream(_panel_key(as_key(effects.detector_seed), panel), _DEAD)
        found.append(pixel_uniform(own, places) < effects.dead_fraction)
    return found if effects.dead_mask is None else [*found, effects.dead_mask]


def dead_pixels(effects: DetectorEffects, shape: tuple[int, int], *, panel: int = 0) -> np.ndarray | None:
    """True where a detector's pixels (slow, fast) are dead, whatever the exposure; None for a detector without.

    **Arguments:** `shape`: (slow, fast); `panel`: which panel it is.
    """
    found = _dead(effects, jnp.arange(shape[0] * shape[1], dtype=jnp.uint32).reshape(shape), panel)
    return None if not found else np.logical_or.reduce([np.asarray(x) for x in found])


def noise_image(
    image: Image,
    effects: DetectorEffects,
    key: Seed = DEFAULT_SEED,
    *,
    panel: int = 0,
    roi: tuple[int, int, int, int] | None = None,
) -> NoiseImage:
    """`detect` rounded to whole numbers from 0 to 65535.

    **Arguments:** `roi`: (fast_min, fast_max, slow_min, slow_max), both ends included: pixels outside it read 0.

    **Returns** the image (uint16), the sum of the photons absorbed, and how many pixels were above the saturation.
    """
    return _whole_numbers(image, effects, as_key(key), panel, roi)


@partial(jax.jit, static_argnames="roi")
def _whole_numbers(
    image: Image, effects: DetectorEffects, key: Array, panel: ScalarLike, roi: tuple[int, int, int, int] | None
) -> NoiseImage:
    photons = _counted(image, effects, key, panel)
    analog = _analog(photons, effects, key, panel)
    read = jnp.clip(jnp.round(_finished(analog, effects, panel)), 0.0, LARGEST_COUNT)
    limit = LARGEST_COUNT if effects.saturation_adu is None else effects.saturation_adu
    window = window_of((image.shape[0], image.shape[1]), roi).slices
    inside = jnp.zeros(image.shape, jnp.uint16).at[window].set(read[window].astype(jnp.uint16))
    return NoiseImage(inside, jnp.sum(photons.astype(float)), jnp.sum(analog[window] > limit))
