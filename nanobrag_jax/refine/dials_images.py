"""Counts of the images that a DIALS experiment list names: photons panel by panel, and the pixels that do not count."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dials.models import ExptExperiment, ExptPanel
from ..dials.to_experiment import scan_images
from ..errors import InputError
from ..formats import read_image
from ..io.outputs import is_template, numbered_path

_NO_COUNT = 2**32 - 1
"""What 32 bits without a sign say where there is no count; counters of 16 bits have 2¹⁶ − 1."""


class ImagePlace(NamedTuple):
    """Where an image is: a file, and which of its frames, counted from 0."""

    path: str
    frame: int


class PanelCounts(NamedTuple):
    """Photons of one panel, (slow, fast), NaN where there is no count to be believed; and how many pixels those are."""

    photons: NDArray[np.float64]
    masked: NDArray[np.bool_]
    """Outside of what the experiment list and the marks in the image believe, saturated pixels aside."""
    saturated: NDArray[np.bool_]


def image_place(record: ExptExperiment, image: int, folder: str | os.PathLike[str], where: str) -> ImagePlace:
    """The file and frame of an image by its number in the scan; that of a still is 1.

    **Arguments:** `folder`: of the experiment list, for names that are relative; `where`: what messages call the
    experiment.

    **Raises** `InputError` where the experiment names no images, or not this one.
    """
    entry = record.imageset or {}
    place = image - scan_images(record)[0]
    frames = entry.get("single_file_indices")
    template, names = entry.get("template"), entry.get("images")
    if isinstance(template, str) and template:
        named = numbered_path(template, image) if is_template(template) else template
        frame = 0 if is_template(template) else image - 1
    elif isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        if not 0 <= place < max(len(names), len(frames or [])):
            raise InputError(f"{where} names {len(names)} images: there is no number {image}")
        named, frame = names[min(place, len(names) - 1)], 0
    else:
        raise InputError(f"{where} names no images: its imageset has neither a template nor images")
    if isinstance(frames, list) and 0 <= place < len(frames) and not (template and is_template(template)):
        frame = int(frames[place])
    path = named if os.path.isabs(named) else str(Path(folder) / named)
    return ImagePlace(path, frame)


def panel_counts(
    stored: NDArray, panels: tuple[ExptPanel, ...], where: str, *, gain: float | None = None
) -> list[PanelCounts]:
    """Photons of each panel from an image as it is stored.

    Left out are pixels that are marked (NaN, 2³² − 1, negative ones unless there is a pedestal), below the trusted
    range or in a rectangle of the panel's mask; and, counted by themselves, those above the trusted range.

    **Arguments:** `stored`: (slow, fast), or (panels, slow, fast); `gain`: counts a photon, None for that of the panel.

    **Raises** `InputError` for an image that does not have the panels.
    """
    return [_counted(part, panel, gain) for part, panel in zip(_cut(stored, panels, where), panels, strict=True)]


def _cut(stored: NDArray, panels: tuple[ExptPanel, ...], where: str) -> list[NDArray]:
    """The part of an image that each panel is."""
    shapes = [(panel.pixels[1], panel.pixels[0]) for panel in panels]
    if stored.ndim == 3 and [part.shape for part in stored] == shapes:
        return list(stored)
    if stored.ndim == 2 and len(panels) == 1 and stored.shape == shapes[0]:
        return [stored]
    corners = [(panel.raw_image_offset[1], panel.raw_image_offset[0]) for panel in panels]
    if len(set(corners)) == 1 < len(panels):  # not said: one below the other, as in this package's NeXus files
        corners = [(int(start), 0) for start in np.cumsum([0, *(slow for slow, _ in shapes[:-1])])]
    reach = [max(corner[k] + shape[k] for corner, shape in zip(corners, shapes, strict=True)) for k in (0, 1)]
    if stored.ndim != 2 or stored.shape[0] < reach[0] or stored.shape[1] < reach[1]:
        got = " x ".join(str(n) for n in stored.shape[::-1])
        raise InputError(f"{where} has {got} pixels, but its panels reach to {reach[1]} x {reach[0]} (fast x slow)")
    return [stored[s : s + m, f : f + n] for (s, f), (m, n) in zip(corners, shapes, strict=True)]


def _counted(stored: NDArray, panel: ExptPanel, gain: float | None) -> PanelCounts:
    low, high = panel.trusted_range
    values = stored.astype(np.float64)
    kind = stored.dtype
    no_count = {2: 2**16 - 1, 4: _NO_COUNT}.get(kind.itemsize) if kind.kind == "u" else None
    marked = ~np.isfinite(values) | (values < low)
    marked |= values == (_NO_COUNT if no_count is None else no_count)
    if panel.pedestal == 0:
        marked |= values < 0
    for x0, y0, x1, y1 in panel.mask:
        marked[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    saturated = ~marked & (values > high)
    counts_a_photon = gain if gain is not None else panel.gain if panel.gain > 0 else 1.0
    photons = (values - panel.pedestal) / counts_a_photon
    photons[marked | saturated] = np.nan
    return PanelCounts(photons, marked, saturated)


class ImageReader:
    """Reads images and keeps the last one, as many experiments may share it."""

    def __init__(self) -> None:
        self._last: tuple[ImagePlace, NDArray] | None = None

    def read(self, place: ImagePlace) -> NDArray:
        """The image as it is stored. **Raises** `InputError` for one that cannot be read."""
        if self._last is None or self._last[0] != place:
            self._last = place, np.asarray(read_image(place.path, frame=place.frame))
        return self._last[1]
