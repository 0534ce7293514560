"""What becomes of a float image: statistics, integer and grey-scale images, what a format stores (docs/reference.md 9).

Numpy only. Whole images are walked a few rows at a time, so that double precision costs neither memory nor speed.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..constants import INT_PEAK, LARGEST_COUNT
from ..errors import InputError
from ..window import Roi, window_of

FloatImage = NDArray[np.float32]
Image = NDArray[np.generic]
Whole = TypeVar("Whole", bound=np.integer)

LARGEST_GREY = 255
"""White in an eight-bit picture."""

_CHUNK_PIXELS = 1 << 16


class Statistics(NamedTuple):
    """Of the rendered pixels: how many, the brightest (photons; slow and fast number), mean, rms, and rmsd."""

    pixels: int
    brightest: float
    brightest_at: tuple[int, int]
    mean: float
    rms: float
    rmsd: float


def as_float_image(image: ArrayLike, described: str = "the image") -> FloatImage:
    """An image of photons rounded to single precision, (slow, fast).

    **Raises** `InputError` if single precision cannot hold it.
    """
    given = np.asarray(image)
    with np.errstate(over="ignore"):
        rounded = given.astype(np.float32, copy=False)
    with np.errstate(invalid="ignore"):  # in double precision the sum is finite exactly where every pixel is
        finite = np.isfinite(rounded.sum(dtype=np.float64))
    if not finite:
        bad = np.argwhere(~np.isfinite(rounded))
        slow, fast = bad[0].tolist()
        raise InputError(
            f"{described} has {len(bad)} pixels beyond single precision, the first {given[slow, fast]:g} photons at "
            f"slow {slow}, fast {fast}: lower -fluence, -flux or the structure factors"
        )
    return rounded


def _chunks(window: NDArray) -> Iterator[tuple[slice, NDArray]]:
    """A few rows of a window at a time: where they are, and they themselves."""
    rows = max(1, _CHUNK_PIXELS // max(1, window.shape[1]))
    for start in range(0, window.shape[0], rows):
        part = slice(start, start + rows)
        yield part, window[part]


def statistics(image: FloatImage, roi: Roi | None = None, mask: NDArray[np.bool_] | None = None) -> Statistics:
    """Statistics of a float image (slow, fast), whose pixels outside `roi` and `mask` are 0.

    mean and rms are over rendered pixels; rmsd is over all pixels of the ROI, masked ones counting as 0, around the
    mean of the rendered ones, as the reference has it. Source: docs/reference.md section 9.
    """
    place = window_of(image.shape, roi).slices
    window = image[place]
    total = window.size if mask is None else int(np.count_nonzero(mask[place]))
    sum_, squares = 0.0, 0.0
    brightest, at = 0.0, (0, 0)
    parts = []
    for rows, part in _chunks(window):
        values = part.ravel().astype(np.float64)
        part_sum = float(values.sum())
        sum_ += part_sum
        # einsum, not a dot product: starting BLAS threads for each chunk would cost more than the sums.
        squares += float(np.einsum("i,i", values, values))
        values -= part_sum / values.size
        parts.append((values.size, part_sum / values.size, float(np.einsum("i,i", values, values))))
        peak = int(values.argmax())
        slow, fast = divmod(peak, part.shape[1])
        if float(part[slow, fast]) > brightest:
            brightest, at = float(part[slow, fast]), (rows.start + slow, fast)
    mean = sum_ / total if total else 0.0
    scatter = sum(inner + size * (middle - mean) ** 2 for size, middle, inner in parts)
    return Statistics(
        total,
        brightest,
        (at[0] + place[0].start, at[1] + place[1].start),
        mean,
        float(np.sqrt(squares / max(total - 1, 1))),
        float(np.sqrt(scatter / max(window.size - 1, 1))),
    )


def quantile_level(
    images: Sequence[FloatImage],
    quantile: float,
    rois: Sequence[Roi | None],
    masks: Sequence[NDArray[np.bool_] | None],
) -> float:
    """Photons that a fraction of the rendered pixels of all panels do not exceed; 0 where none is rendered.

    **Arguments:** `images`, `rois`, `masks`: of each panel; `quantile`: the fraction, from 0 to 1.
    """
    held = []
    for image, roi, mask in zip(images, rois, masks, strict=True):
        place = window_of(image.shape, roi).slices
        held.append(image[place].ravel() if mask is None else image[place][mask[place]])
    values = np.concatenate(held)
    return float(np.quantile(values, quantile, method="higher")) if values.size else 0.0


def default_int_scale(brightest: float) -> float:
    """Scale that takes the brightest pixel to `INT_PEAK`; 1 for an empty image."""
    return INT_PEAK / brightest if brightest > 0 else 1.0


def default_pgm_scale(rmsd: float) -> float:
    """Scale that takes five rmsd to 250; 1 for an image without contrast."""
    return 250.0 / (5.0 * rmsd) if rmsd > 0 else 1.0


def int_image(image: FloatImage, scale: float, adc: float = 40.0, roi: Roi | None = None) -> NDArray[np.uint16]:
    """floor(image·scale + adc + ½) within 0 and `LARGEST_COUNT`, (slow, fast); pixels outside the ROI are 0."""
    place = window_of(image.shape, roi).slices
    counts = np.zeros(image.shape, np.uint16)
    target = counts[place]
    for rows, part in _chunks(image[place]):
        values = np.multiply(part, scale, dtype=np.float64)
        values += adc
        rounded = np.clip(values, 0.0, LARGEST_COUNT).astype(np.float32)
        rounded += np.float32(0.5)
        target[rows] = rounded.astype(np.uint16)
    return counts


def pgm_image(image: FloatImage, scale: float) -> NDArray[np.uint8]:
    """image·scale cut to whole numbers from 0 to 255, (slow, fast)."""
    grey = np.empty(image.shape, np.uint8)
    for rows, part in _chunks(image):
        grey[rows] = np.clip(np.multiply(part, scale, dtype=np.float64), 0.0, LARGEST_GREY).astype(np.uint8)
    return grey


def as_whole_numbers(image: Image, dtype: type[Whole]) -> NDArray[Whole]:
    """Counts of a type, photons rounded. **Raises** `InputError` for values that the type cannot hold."""
    if image.dtype == dtype:
        return image.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    if image.dtype.kind == "f":
        image = np.floor(as_float_image(image).astype(np.float64) + 0.5)
    lowest, highest = (image.min(), image.max()) if image.size else (0, 0)
    if lowest < limits.min or highest > limits.max:
        worst = lowest if lowest < limits.min else highest
        raise InputError(f"the format holds whole numbers from {limits.min} to {limits.max}, the image has {worst:g}")
    return image.astype(dtype)


def as_stored_numbers(image: Image) -> Image:
    """Photons in single precision; counts as they are, int32 where they have more than 32 bits.

    **Raises** `InputError` for values that cannot be held so.
    """
    if image.dtype.kind == "f":
        return as_float_image(image)
    return image if image.dtype.kind in "iu" and image.itemsize <= 4 else as_whole_numbers(image, np.int32)


def as_frame(images: Sequence[Image], kind: np.dtype | None = None) -> list[Image]:
    """The panels of one image in the type that holds each of them, photons in single precision.

    **Arguments:** `kind`: the type of the frames before it in a file, None for the first.

    **Raises** `InputError` for numbers that cannot be held so.
    """
    stored = [as_stored_numbers(image) for image in images]
    shared = np.result_type(*stored)
    if kind is not None and not np.can_cast(shared, kind):
        raise InputError(f"all frames of a file hold numbers of one type: {shared} follows {kind}")
    return [image.astype(shared if kind is None else kind, copy=False) for image in stored]
