"""Images of an experiment to files, in the format that the name asks for."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from ..detector import frame_on_host
from ..effects import DetectorEffects
from ..errors import InputError
from ..experiment import Experiment, completed, panel_experiment
from ..io.outputs import Output, panel_path, write_outputs
from ..panels import PanelStack, panel_kinds, split_panels
from ..typing import Mode
from .from_experiment import reading_of, setup_of
from .image_format import Image, ImageFormat, require_writer
from .registry import format_of
from .setup import PHOTONS, Setup
from .whole_numbers import as_float_image, quantile_level


def write_image(
    path: str | os.PathLike[str],
    image: ArrayLike | Sequence[ArrayLike],
    experiment: Experiment,
    *,
    mode: Mode = "spec",
    rings: bool = False,
    quantile: float | None = None,
    effects: DetectorEffects | None = None,
) -> list[str]:
    """The names of the files written: one, or for a detector of many panels one for each (NeXus: one for all).

    **Arguments:**

    - `path`: ends in .cbf (miniCBF), .h5, .hdf5 or .nxs (NeXus NXmx), .npy, .img or .smv (SMV), .bin or .raw (float32
      without a header), .png or .pgm (pictures), or as a format of your own does.
    - `image`: what `simulate` returned, or counts of the same shape.
    - `experiment`: whose image it is.
    - `mode`: as simulated, since the modes place some detectors differently.
    - `rings`: resolution rings in a preview;
    - `quantile`: the fraction of the simulated pixels that stay within a picture's scale, None for its usual one;
    - `effects`: of the detector that made the counts, whose offset, saturation and dead pixels are then said in the
      format's way.

    CBF and SMV hold whole numbers: photons are rounded. Files appear whole or not at all.

    **Raises** `InputError` for another ending, an image of another shape, values that the format cannot hold, and a
    file that cannot be written. **Warns** of what a format cannot say, or what DIALS takes to be otherwise. Source:
    docs/formats.md.
    """
    kind = format_of(path)
    require_writer(kind)
    images = panel_images(image, experiment)
    setup = setup_for(experiment, mode, rings=rings, effects=effects)
    if quantile is not None:
        setup = replace(setup, black_photons=_level(images, quantile, setup))
    for note in kind.unsaid(setup):
        warnings.warn(f"{os.fspath(path)}: {note}", stacklevel=2)
    outputs = image_outputs("write_image", os.fspath(path), kind, images, setup)
    write_outputs(outputs)
    return [output.path for output in outputs]


def _level(images: Sequence[Image], quantile: float, setup: Setup) -> float | None:
    """Photons that a fraction of the simulated pixels do not exceed, None where that is a dark one."""
    if not 0 <= quantile <= 1:
        raise InputError(f"quantile must be from 0 to 1, got {quantile:g}")
    masks = [None if unused is None else ~unused for unused in setup.unused]
    return quantile_level([as_float_image(image) for image in images], quantile, [None] * len(images), masks) or None


def setup_for(
    experiment: Experiment, mode: Mode, *, rings: bool = False, effects: DetectorEffects | None = None
) -> Setup:
    """What files can say of an experiment and of the detector that made its counts."""
    count = len(split_panels(experiment.detector))
    experiment = completed(experiment)
    experiments = [panel_experiment(experiment, panel) for panel in range(count)]
    frames = [frame_on_host(each.panel, each.beam, mode) for each in experiments]
    reading = PHOTONS if effects is None else reading_of(effects, _shapes(experiment))
    return setup_of(experiments, frames, rings=rings, plain_header=mode == "c-parity", reading=reading)


def _shapes(experiment: Experiment) -> list[tuple[int, int]]:
    """(slow, fast) of each panel."""
    detector = experiment.detector
    panels = panel_kinds(detector) * (detector.count if isinstance(detector, PanelStack) else 1)
    return [(panel.pixels_slow, panel.pixels_fast) for panel in panels]


def panel_images(image: ArrayLike | Sequence[ArrayLike], experiment: Experiment) -> list[Image]:
    """One array (slow, fast) for each panel. **Raises** `InputError` for other shapes."""
    shapes = _shapes(experiment)
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


def image_outputs(flag: str, path: str, kind: ImageFormat, images: Sequence[Image], setup: Setup) -> list[Output]:
    """The files of one exposure in a format: one for all panels, or one for each with its number in the name.

    **Arguments:** `flag`: whom to name in an error; `images`: of each panel (slow, fast).

    **Raises** `InputError`, naming flag and file, for values that the format cannot hold.
    """
    try:
        contents = kind.write(images, setup)
    except InputError as error:
        raise InputError(f"{flag} {path}: {error}") from error
    if len(contents) not in (1, len(images)):
        raise ValueError(f"{type(kind).__name__}.write made {len(contents)} files of {len(images)} panels")
    paths = [panel_path(path, number, len(contents)) for number in range(len(contents))]
    return [Output(flag, place, *content) for place, content in zip(paths, contents, strict=True)]
