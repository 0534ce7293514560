"""What becomes of a float image: statistics, integer and grey-scale images, the SMV header (docs/reference.md 9).

Numpy only. Whole images are walked a few rows at a time, so that double precision costs neither memory nor speed.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanobrag_jax.errors import InputError
from nanobrag_jax.io.atomic import whole_file
from nanobrag_jax.io.smv import HeaderItem, smv_header_items

Roi = tuple[int, int, int, int]
FloatImage = NDArray[np.float32]

LARGEST_COUNT = 65535
INT_PEAK = 55000.0
"""Where the brightest pixel goes in the integer image when no scale is given."""

_CHUNK_PIXELS = 1 << 16


class Statistics(NamedTuple):
    """Of the rendered pixels: how many, the brightest (photons; slow and fast number), mean, rms, and rmsd."""

    pixels: int
    brightest: float
    brightest_at: tuple[int, int]
    mean: float
    rms: float
    rmsd: float


class Output(NamedTuple):
    """A file to write: the flag that names it, its path, its content in pieces, and about how many of them."""

    flag: str
    path: str
    pieces: Iterable[bytes | memoryview]
    count: int = 1


def window_of(shape: tuple[int, int], roi: Roi | None) -> tuple[slice, slice]:
    """Slices (slow, fast) of the region of interest (fast_min, fast_max, slow_min, slow_max), both ends included."""
    if roi is None:
        return slice(0, shape[0]), slice(0, shape[1])
    fast_min, fast_max, slow_min, slow_max = roi
    return slice(slow_min, slow_max + 1), slice(fast_min, fast_max + 1)


def as_float_image(image, described: str = "the image") -> FloatImage:
    """An image of photons rounded to single precision, (slow, fast).

    **Raises** `InputError` if single precision cannot hold it.
    """
    image = np.asarray(image)
    with np.errstate(over="ignore"):
        rounded = image.astype(np.float32, copy=False)
    with np.errstate(invalid="ignore"):  # in double precision the sum is finite exactly where every pixel is
        finite = np.isfinite(rounded.sum(dtype=np.float64))
    if not finite:
        bad = np.argwhere(~np.isfinite(rounded))
        slow, fast = bad[0].tolist()
        raise InputError(
            f"{described} has {len(bad)} pixels beyond single precision, the first {image[slow, fast]:g} photons at "
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
    place = window_of(image.shape, roi)
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


def default_int_scale(brightest: float) -> float:
    """Scale that takes the brightest pixel to 55000; 1 for an empty image."""
    return INT_PEAK / brightest if brightest > 0 else 1.0


def default_pgm_scale(rmsd: float) -> float:
    """Scale that takes five rmsd to 250; 1 for an image without contrast."""
    return 250.0 / (5.0 * rmsd) if rmsd > 0 else 1.0


def int_image(image: FloatImage, scale: float, adc: float = 40.0, roi: Roi | None = None) -> NDArray[np.uint16]:
    """floor(image·scale + adc + ½) within 0 and 65535, (slow, fast); pixels outside the ROI are 0."""
    place = window_of(image.shape, roi)
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
        grey[rows] = np.clip(np.multiply(part, scale, dtype=np.float64), 0.0, 255.0).astype(np.uint8)
    return grey


def header_items(experiment: Any, frame: Any) -> list[HeaderItem]:
    """Header of the SMV images of an experiment.

    **Arguments:** `experiment`: an `Experiment`; `frame`: its `DetectorFrame`, metres. Source: docs/reference.md
    section 9.
    """
    detector, goniometer = experiment.detector, experiment.goniometer
    pixel = float(frame.pixel_size)
    fast_beam, slow_beam = (float(x) * 1e3 for x in frame.beam_point)
    org_x, org_y = (float(x) / pixel + 0.5 for x in frame.close_point)
    beam_x, beam_y = (float(x) for x in np.asarray(detector.beam_center_mm))
    x, y, z = (float(v) * 1e3 for v in np.asarray(frame.pix0))
    size = np.asarray(detector.size_mm_or_default)
    return smv_header_items(
        fast_pixels=detector.pixels_fast,
        slow_pixels=detector.pixels_slow,
        pixel_mm=float(detector.pixel_size_mm),
        distance_mm=float(frame.distance) * 1e3,
        close_distance_mm=float(frame.close_distance) * 1e3,
        wavelength_A=float(experiment.beam.wavelength_A),
        beam_x_mm=beam_x,
        beam_y_mm=beam_y,
        fast_beam_mm=fast_beam,
        slow_beam_mm=slow_beam,
        slow_size_mm=float(size[1]),
        dials_origin_mm=(z, y, -x),
        org_x_pixels=org_x,
        org_y_pixels=org_y,
        phi_deg=float(goniometer.phi_deg),
        osc_deg=float(goniometer.osc_deg),
        twotheta_deg=float(detector.twotheta_deg),
    )


def solid_angle(experiment: Any, frame: Any) -> float:
    """Steradian that the rendered pixels cover together: between the pixels' edges, exactly.

    **Arguments:** as for `header_items`. The reference takes each pixel's first sub-pixel for the whole, and prints
    the sum times layers / (sources·φ steps·domains).
    """
    detector, sampling = experiment.detector, experiment.sampling
    pixel, close = float(frame.pixel_size), abs(float(frame.close_distance))
    rows, columns = window_of((detector.pixels_slow, detector.pixels_fast), sampling.roi)
    mask = None if sampling.mask is None else np.asarray(sampling.mask)[rows, columns]
    if detector.curved:
        pixels = (rows.stop - rows.start) * (columns.stop - columns.start) if mask is None else np.count_nonzero(mask)
        return float(pixels * (pixel / float(frame.distance)) ** 2)
    edges = []
    for part, foot in zip((columns, rows), frame.close_point, strict=True):
        numbers = np.array([part.start, part.stop]) if mask is None else np.arange(part.start, part.stop + 1)
        edges.append((numbers * pixel - float(foot)) / close)
    x, y = edges[0][None, :], edges[1][:, None]
    corner = np.arctan(x * y / np.sqrt(1.0 + x * x + y * y))
    patches = np.diff(np.diff(corner, axis=0), axis=1)
    return float(patches.sum() if mask is None else patches[mask].sum())


def panel_path(path: str, panel: int, panels: int) -> str:
    """The file of one panel: its number before the extension, `image_07.img`; the path itself for a lone panel.

    Something like /dev/null takes all panels.
    """
    if panels == 1 or (os.path.exists(path) and not os.path.isfile(path)):
        return path
    stem, extension = os.path.splitext(path)
    return f"{stem}_{panel:0{len(str(panels - 1))}d}{extension}"


def write_outputs(outputs: Sequence[Output], report: Callable[[float], None] | None = None) -> None:
    """Write files, all of them or none.

    **Arguments:** `report`: called with the finished fraction after each piece.

    **Raises** `InputError` that names flag and file where one cannot be written; then none has appeared.
    """
    before, total = 0, sum(output.count for output in outputs)
    with contextlib.ExitStack() as stack:
        handles = [stack.enter_context(_whole_output(output)) for output in outputs]
        for output, handle in zip(outputs, handles, strict=True):
            try:
                for number, piece in enumerate(output.pieces, 1):
                    handle.write(piece)
                    if report:
                        report((before + min(number, output.count)) / total)
                before += output.count
                handle.flush()
            except OSError as error:
                raise _FlaggedError(f"{output.flag}: cannot write {output.path!r}: {error.strerror}") from error


class _FlaggedError(InputError):
    """An error that names its flag already."""


@contextlib.contextmanager
def _whole_output(output: Output):
    try:
        with whole_file(output.path) as handle:
            yield handle
    except _FlaggedError:
        raise
    except InputError as error:
        raise _FlaggedError(f"{output.flag}: {error}") from error
