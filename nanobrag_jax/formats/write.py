"""Images of an experiment to files, in the format that the name asks for."""

import os
import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from ..assemble import frame_of
from ..errors import InputError
from ..experiment import Experiment
from ..geometry import DetectorFrame, pixel_ray
from ..host import on_host
from ..io.raw import raw_bytes
from ..io.smv import smv_bytes
from ..output import LARGEST_COUNT, Output, as_float_image, header_items, panel_path, window_of, write_outputs
from ..panels import panel_experiment, split_panels
from ..typing import Mode
from . import png
from .lab import lab_of
from .minicbf import cbf_pieces, unsaid
from .names import Format, format_of, require_writer
from .nexus import nexus_pieces, num_pieces

Image = NDArray[Any]
_LARGEST_INT32 = 2**31 - 1
_CHUNK_POINTS = 1 << 20


def write_image(
    path: str | os.PathLike[str],
    image: Any,
    experiment: Experiment,
    *,
    mode: Mode = "spec",
    rings: bool = False,
) -> list[str]:
    """The names of the files written: one, or for a detector of many panels one for each (NeXus: one for all).

    **Arguments:** `path`: ends in .cbf (miniCBF), .h5, .hdf5 or .nxs (NeXus NXmx), .npy, .img or .smv (SMV), .bin or
    .raw (float32 without a header) or .png (preview); `image`: what `simulate` returned, or counts of the same shape;
    `mode`: as simulated, since the modes place some detectors differently; `rings`: resolution rings in a preview.

    CBF and SMV hold whole numbers: photons are rounded. Files appear whole or not at all.

    **Raises** `InputError` for another ending, an image of another shape, values that the format cannot hold, and a
    file that cannot be written. **Warns** where a miniCBF header cannot say where the detector is. Source:
    docs/formats.md.
    """
    kind = format_of(path)
    require_writer(kind)
    count = len(split_panels(experiment.detector))
    experiments = [panel_experiment(experiment, panel) for panel in range(count)]
    images = _panel_images(image, experiments)
    frames = [frame_of(each.detector, each.beam, mode) for each in experiments]
    for note in format_notes(kind, experiments, frames):
        warnings.warn(f"{os.fspath(path)}: {note}", stacklevel=2)
    outputs = image_outputs("write_image", os.fspath(path), kind, images, experiments, frames, rings=rings)
    write_outputs(outputs)
    return [output.path for output in outputs]


def _panel_images(image: Any, experiments: Sequence[Experiment]) -> list[Image]:
    """One array (slow, fast) for each panel. **Raises** `InputError` for other shapes."""
    shapes = [(each.detector.pixels_slow, each.detector.pixels_fast) for each in experiments]
    images = [np.asarray(part) for part in image] if isinstance(image, list | tuple) else np.asarray(image)
    if isinstance(images, np.ndarray):
        images = [images] if len(shapes) == 1 and images.ndim == 2 else list(images)
    if [part.shape for part in images] != shapes:
        wanted, got = (" and ".join(str(x) for x in found) for found in (shapes, [part.shape for part in images]))
        raise InputError(f"image must have the detector's pixels (slow, fast), {wanted}, got {got}")
    for part in images:
        if part.dtype.kind not in "iufb":
            raise InputError(f"image must hold numbers, got {part.dtype}")
    return images


def format_notes(kind: Format, experiments: Sequence[Experiment], frames: Sequence[DetectorFrame]) -> list[str]:
    """What a format cannot say of the experiment, one sentence each."""
    if kind not in ("cbf", "nexus"):
        return []
    notes = ["a curved detector is described by its tangent plane"] if experiments[0].detector.curved else []
    return notes + (unsaid(lab_of(experiments, frames)) if kind == "cbf" else [])


def image_outputs(
    flag: str,
    path: str,
    kind: Format,
    images: Sequence[Image],
    experiments: Sequence[Experiment],
    frames: Sequence[DetectorFrame],
    *,
    rings: bool = False,
) -> list[Output]:
    """The files of one image, in a format: one for each panel, NeXus one for all.

    **Arguments:** `flag`: whom to name in an error; `images` (slow, fast), `experiments` and `frames` of each panel.

    **Raises** `InputError` for values that the format cannot hold.
    """
    lab = lab_of(experiments, frames) if kind in ("nexus", "cbf") else None
    if kind == "nexus" and lab is not None:
        stored = _alike([_number_image(image, flag) for image in images])
        unused = [_unused(each) for each in experiments]
        pieces = nexus_pieces(stored, lab, unused)
        return [Output(flag, path, pieces, num_pieces(stored))]
    scale = png.grey_range([as_float_image(image) for image in images]) if kind == "png" else (0.0, 0.0)
    shown: list[float] | None = None
    outputs = []
    for panel, (image, experiment, frame) in enumerate(zip(images, experiments, frames, strict=True)):
        pieces: Iterable[bytes | memoryview]
        if lab is not None:
            largest = LARGEST_COUNT if image.dtype == np.uint16 else _LARGEST_INT32
            whole = _whole_image(image, np.int32, flag, path)
            _check_span(whole, flag, path)
            pieces = cbf_pieces(whole, lab, panel, largest)
        elif kind == "npy":
            pieces = _npy_pieces(_number_image(image, flag))
        elif kind == "smv":
            pieces = smv_bytes(_whole_image(image, np.uint16, flag, path), header_items(experiment, frame))
        elif kind == "raw":
            pieces = raw_bytes(as_float_image(image))
        else:
            levels = png.grey_levels(as_float_image(image), *scale)
            if rings:
                inverse = inverse_spacings_A(experiment, frame)
                shown = png.ring_spacings_A(inverse) if shown is None else shown
                png.draw_rings(levels, inverse, shown)
            pieces = png.png_pieces(levels)
        pieces = list(pieces)
        outputs.append(Output(flag, panel_path(path, panel, len(images)), pieces, len(pieces)))
    return outputs


def _unused(experiment: Experiment) -> NDArray[np.bool_] | None:
    """Pixels that were not simulated, None where all were."""
    sampling, detector = experiment.sampling, experiment.detector
    if sampling.roi is None and sampling.mask is None:
        return None
    unused = np.ones((detector.pixels_slow, detector.pixels_fast), bool)
    place = window_of(unused.shape, sampling.roi)
    unused[place] = False if sampling.mask is None else ~np.asarray(sampling.mask)[place]
    return unused


def _number_image(image: Image, flag: str) -> Image:
    """Photons in single precision; whole numbers as they are, int32 where they have more than 32 bits."""
    if image.dtype.kind == "f":
        return as_float_image(image)
    return image if image.dtype.kind in "iu" and image.itemsize <= 4 else _whole_image(image, np.int32, flag, "")


def _alike(images: list[Image]) -> list[Image]:
    return [image.astype(np.result_type(*images), copy=False) for image in images]


def _whole_image(image: Image, dtype: Any, flag: str, path: str) -> Image:
    """Whole numbers of a type. **Raises** `InputError` for values that it cannot hold."""
    if image.dtype == dtype:
        return image
    limits = np.iinfo(dtype)
    if image.dtype.kind == "f":
        image = np.floor(as_float_image(image).astype(np.float64) + 0.5)
    lowest, highest = (image.min(), image.max()) if image.size else (0, 0)
    if lowest < limits.min or highest > limits.max:
        worst = lowest if lowest < limits.min else highest
        where = f" {path}" if path else ""
        raise InputError(
            f"{flag}{where}: the format holds whole numbers from {limits.min} to {limits.max}, the image has {worst:g}"
        )
    return image.astype(dtype)


def _check_span(image: Image, flag: str, path: str) -> None:
    """Raise `InputError` for pixels that are too far apart for the compression of a miniCBF."""
    lowest, highest = min(0, int(image.min())), int(image.max())
    if highest - lowest > _LARGEST_INT32:
        raise InputError(
            f"{flag} {path}: the format holds pixels up to {_LARGEST_INT32} apart, "
            f"the image goes from {lowest} to {highest}"
        )


def _npy_pieces(image: Image) -> list[bytes | memoryview]:
    import io

    head = io.BytesIO()
    array = np.ascontiguousarray(image, image.dtype.newbyteorder("<"))
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    return [head.getvalue(), array.reshape(-1).view(np.uint8).data]


def inverse_spacings_A(experiment: Experiment, frame: DetectorFrame) -> NDArray[np.float64]:
    """1/d (1/Å) at the corners of all pixels, (slow + 1, fast + 1), for the middle of the beam."""
    detector = experiment.detector
    slow, fast = detector.pixels_slow + 1, detector.pixels_fast + 1
    inverse = np.empty((slow, fast))
    step = max(1, _CHUNK_POINTS // fast)
    for first in range(0, slow, step):
        rows = np.arange(first, min(first + step, slow), dtype=float)
        grids = np.meshgrid(rows, np.arange(fast, dtype=float), indexing="ij")
        s, f = (grid.ravel() * float(frame.pixel_size) for grid in grids)
        found = on_host(_scattering, frame, f, s, curved=detector.curved)
        inverse[first : first + len(rows)] = np.asarray(found).reshape(len(rows), fast)
    return inverse / float(experiment.beam.wavelength_A)


@partial(jax.jit, static_argnames="curved")
def _scattering(frame: DetectorFrame, fast: Array, slow: Array, curved: bool) -> Array:
    """2 sin θ at points of a detector, metres along its axes."""
    ray = pixel_ray(frame, fast, slow, jnp.zeros_like(fast), curved=curved, point_pixel=True)
    x, y, z = (d - b for d, b in zip(ray.direction, frame.beam, strict=True))
    return jnp.sqrt(x * x + y * y + z * z)
