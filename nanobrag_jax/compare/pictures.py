"""A picture of two images and their difference, side by side. Needs matplotlib."""

import io
import os

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..io.atomic import write_whole
from .images import Roi
from .peaks import PeakMatch

LARGEST_PANEL = 360
"""Pixels along an edge of a panel; larger images are reduced, each block shown by what is strongest in it."""

MARKED_PEAKS = 30
"""More circles would hide what they mark; those of the brightest peaks of A are drawn."""


def require_matplotlib() -> None:
    """Raise InputError if pictures cannot be made; meant for the moment before a long run."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError("pictures need matplotlib: pip install nanobrag_jax[plots]") from error


def write_picture(
    path: str | os.PathLike[str],
    a: ArrayLike,
    b: ArrayLike,
    *,
    names: tuple[str, str] = ("A", "B"),
    peaks: PeakMatch | None = None,
    roi: Roi | None = None,
) -> None:
    """Write a PNG: A and B on one logarithmic scale, B − A on a scale that is linear around zero, peaks as circles.

    **Arguments:** `a`, `b` (slow, fast); `names`: titles; `peaks`: matched pairs to mark; `roi`: what to show, both
    ends included. Raises InputError without matplotlib, or if the file cannot be written.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm, SymLogNorm
    from matplotlib.figure import Figure

    images = [np.asarray(x, float) for x in (a, b)]
    fast_min, fast_max, slow_min, slow_max = roi or (0, images[0].shape[1] - 1, 0, images[0].shape[0] - 1)
    first, second = (x[slow_min : slow_max + 1, fast_min : fast_max + 1] for x in images)
    largest = float(np.nanmax([np.nanmax(first), np.nanmax(second), 1e-300]))
    smallest = _floor(first, second, largest)
    difference = second - first
    spread = float(np.nanmax(np.abs(difference)))
    height = 4.6 * min(1.6, max(0.35, first.shape[0] / first.shape[1])) + 1.0
    figure = Figure(figsize=(15.0, height), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    edges = (fast_min - 0.5, fast_max + 0.5, slow_max + 0.5, slow_min - 0.5)
    log = LogNorm(smallest, largest)
    both = SymLogNorm(max(spread * 1e-4, 1e-300), vmin=-max(spread, 1e-299), vmax=max(spread, 1e-299))
    shown = (
        (names[0], np.maximum(first, smallest), log, "magma"),
        (names[1], np.maximum(second, smallest), log, "magma"),
        (f"{names[1]} − {names[0]}", difference, both, "RdBu_r"),
    )
    for panel, (title, pixels, norm, colours) in zip(panels, shown, strict=True):
        drawn = panel.imshow(reduced(pixels), norm=norm, cmap=colours, extent=edges, interpolation="nearest")
        figure.colorbar(drawn, ax=panel, shrink=0.8)
        panel.set_title(title)
        panel.set_xlabel("fast (pixels)")
    panels[0].set_ylabel("slow (pixels)")
    if peaks is not None:
        for panel, positions in zip(panels, (peaks.a[:MARKED_PEAKS], peaks.b[:MARKED_PEAKS]), strict=False):
            inside = (positions >= (slow_min, fast_min)).all(1) & (positions <= (slow_max, fast_max)).all(1)
            slow, fast = positions[inside].T
            panel.plot(fast, slow, "o", markersize=9, markerfacecolor="none", markeredgecolor="cyan", alpha=0.5)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    write_whole(path, content.getvalue())


def _floor(first: NDArray, second: NDArray, largest: float) -> float:
    """Where the logarithmic scale begins: five decades, less where the images span less."""
    positive = np.concatenate([x[x > 0] for x in (first, second)])
    least = float(positive.min()) if positive.size else largest
    return min(max(least, largest * 1e-5), largest * 0.1)


def reduced(pixels: NDArray, largest: int = LARGEST_PANEL) -> NDArray:
    """An image of at most `largest` pixels along an edge: of each block the value furthest from zero."""
    step = -(-max(pixels.shape) // largest)
    if step == 1:
        return pixels
    slow, fast = (-(-n // step) for n in pixels.shape)
    padded = np.zeros((slow * step, fast * step))
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    blocks = padded.reshape(slow, step, fast, step).swapaxes(1, 2).reshape(slow, fast, -1)
    strongest = np.abs(blocks).argmax(axis=2)
    return np.take_along_axis(blocks, strongest[..., None], axis=2)[..., 0]
