r"""Point-spread functions: how the light of a photon spreads over the pixels around it.

`gauss` is $\exp(-r^2/2\sigma^2)/2\pi\sigma^2$. `fiber`, the shape of a phosphor read through a fibre-optic taper, is
$\frac{g}{2\pi}(r^2+g^2)^{-3/2}$ (Holton, Nielsen & Frankel, J. Synchrotron Rad. 19 (2012) 1006-1011), of which the
fraction $g/\sqrt{R^2+g^2}$ lies beyond a radius R. Both have the integral one over the plane. Light starts at the
middle of a pixel; a pixel collects what falls on its square.
"""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import erf
from jaxtyping import Float, ScalarLike

from ..checks import one_of
from ..numerics.loops import stored_first
from ..typing import Image

SIGMA_PER_FWHM = 1.0 / math.sqrt(8.0 * math.log(2.0))
G_PER_FWHM = 0.5 / math.sqrt(2.0 ** (2.0 / 3.0) - 1.0)

_NARROW_PIXELS = 24
"""A gaussian that reaches no farther is added up pixel by pixel along each axis, faster than by Fourier transforms."""

_NEAR = {4: 8, 8: 16}
"""Pixels within which a fibre's light is the exact integral; beyond, where that would cancel, a series is better."""


def spread(image: Image, shape: str, fwhm_pixels: ScalarLike, radius_pixels: int | None = None) -> Image:
    """An image (slow, fast) in which each pixel's light is spread by a point-spread function.

    **Arguments:** `shape`: gauss or fiber; `fwhm_pixels`: full width at half maximum; `radius_pixels`: light that goes
    farther along either axis is lost, None for no limit. Light that leaves the image is lost too. A gaussian with a
    short radius is two sums, one along each axis. Else by Fourier transforms, on a plane large enough that nothing
    comes back at the opposite edge: rounding leaves about 1e-16 of the brightest pixel everywhere (1e-7 in single
    precision), of either sign.

    **Raises** `InputError` for another shape.
    """
    one_of("psf", shape, _KERNELS)
    if shape == "gauss" and radius_pixels is not None and radius_pixels <= _NARROW_PIXELS:
        return _spread_along_axes(image, jnp.asarray(fwhm_pixels, image.dtype), radius_pixels)
    reach = [n - 1 if radius_pixels is None else min(radius_pixels, n - 1) for n in image.shape]
    padded = [fast_length(n + r) for n, r in zip(image.shape, reach, strict=True)]
    kernel = psf_kernel(shape, fwhm_pixels, [p // 2 + 1 for p in padded], radius_pixels)
    for axis, length in enumerate(padded):  # distances 0, 1, … become 0, 1, …, 1 around the padded plane
        kernel = jnp.concatenate(
            [kernel, jnp.flip(jnp.take(kernel, jnp.arange(1, (length + 1) // 2), axis), axis)], axis
        )
    product = jnp.fft.rfft2(image, padded) * jnp.fft.rfft2(kernel)
    return jnp.fft.irfft2(product, padded)[: image.shape[0], : image.shape[1]].astype(image.dtype)


def _spread_along_axes(image: Image, fwhm: Array, radius: int) -> Image:
    """A gaussian's spread as sums over 2·radius + 1 pixels along each axis."""
    weights = _gauss_along(fwhm, jnp.arange(radius + 1, dtype=image.dtype))
    for axis in range(2):
        image = _sum_along(image, weights, axis)
    return image


def _sum_along(image: Image, weights: Float[Array, " reach"], axis: int) -> Image:
    reach, count = weights.shape[0] - 1, image.shape[axis]
    # stored, or XLA would compute a neighbour anew for each pixel that it is added to
    rimmed = stored_first(lambda: jnp.pad(image, [(reach, reach) if i == axis else (0, 0) for i in range(2)]))

    def from_first(first: int) -> Image:
        return lax.slice_in_dim(rimmed, first, first + count, axis=axis)

    def total() -> Image:
        pairs = (weights[k] * (from_first(reach - k) + from_first(reach + k)) for k in range(1, reach + 1))
        return sum(pairs, weights[0] * from_first(reach))

    return stored_first(total)


def gauss_reach(fwhm_pixels: float) -> int:
    """Pixels within which all of a gaussian's light lies, to the last bit of double precision."""
    return math.ceil(8.5 * SIGMA_PER_FWHM * fwhm_pixels + 0.5)


def fast_length(least: int) -> int:
    """The smallest number not below `least` without prime factors above 5, for which Fourier transforms are fast."""
    best, fives = 2 * least, 1
    while fives < best:
        threes = fives
        while threes < best:
            twos = threes << max(0, (-(-least // threes) - 1).bit_length())
            best = min(best, twos)
            threes *= 3
        fives *= 5
    return best


def psf_kernel(
    shape: str, fwhm_pixels: ScalarLike, sizes: Sequence[int], radius_pixels: int | None = None
) -> Float[Array, "slow fast"]:
    """Fraction of a pixel's light that reaches the pixel (i, j) away from it, for i and j from 0.

    **Arguments:** as for `spread`; `sizes`: how many. **Raises** `InputError` for an unknown shape.
    """
    one_of("psf", shape, _KERNELS)
    width = jnp.asarray(fwhm_pixels)
    distances = [jnp.arange(n, dtype=width.dtype) for n in sizes]
    kernel = _KERNELS[shape](width, *distances)
    if radius_pixels is None:
        return kernel
    slow, fast = (d <= radius_pixels for d in distances)
    return jnp.where(slow[:, None] & fast[None, :], kernel, 0.0)


def _gauss(fwhm: Array, slow: Array, fast: Array) -> Array:
    return _gauss_along(fwhm, slow)[:, None] * _gauss_along(fwhm, fast)[None, :]


def _gauss_along(fwhm: Array, distances: Array) -> Array:
    """Fraction that gets so many pixels (0, 1, …) along one axis."""
    scale = 1.0 / (math.sqrt(2.0) * SIGMA_PER_FWHM * fwhm)
    return 0.5 * jnp.diff(erf((jnp.append(distances, distances.shape[0]) - 0.5) * scale))


def _fiber(fwhm: Array, slow: Array, fast: Array) -> Array:
    g = G_PER_FWHM * fwhm
    near = min(_NEAR[fwhm.dtype.itemsize], max(slow.shape[0], fast.shape[0]))
    corners = [jnp.arange(min(near, d.shape[0]) + 1, dtype=fwhm.dtype) - 0.5 for d in (slow, fast)]
    y, x = corners[0][:, None], corners[1][None, :]
    quadrant = jnp.arctan(x * y / (g * jnp.sqrt(x * x + y * y + g * g))) / (2.0 * math.pi)
    exact = jnp.diff(jnp.diff(quadrant, axis=0), axis=1)
    square = (slow * slow)[:, None] + (fast * fast)[None, :] + g * g
    # the value in the middle of the pixel, and its curvature for the rest
    series = g / (2.0 * math.pi) * square**-1.5 * (1.0 + (3.0 - 5.0 * g * g / square) * 3.0 / (24.0 * square))
    return series.at[: exact.shape[0], : exact.shape[1]].set(exact)


_KERNELS: dict[str, Callable[[Array, Array, Array], Array]] = {"gauss": _gauss, "fiber": _fiber}
