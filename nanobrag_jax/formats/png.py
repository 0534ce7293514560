"""PNG previews: photons on a logarithmic scale, a pixel of the picture for each of the detector's, rings on request."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .image_format import FileContent, Image, ImageFormat, Shape, image_name
from .setup import Setup
from .whole_numbers import as_float_image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DARKEST = 253
"""Grey levels go from 0, white, to this one, black."""
DECADES = 5.0
"""Of the scale at most: what is fainter is white."""
RING = 254
LABEL = 255
_RING_COLOUR, _LABEL_COLOUR = (60, 120, 220), (20, 60, 160)
_NICE = (1.0, 1.2, 1.5, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0)
_NUM_RINGS = 5
_CHUNK_PIXELS = 1 << 20


def grey_range(images: Sequence[NDArray[np.float32]], black: float | None = None) -> tuple[float, float]:
    """(white, black) in photons for images that share a scale: at most `DECADES` below the brightest pixel.

    **Arguments:** `black`: in place of the brightest pixel.
    """
    brightest = max(float(image.max()) for image in images) if not black else black
    if not brightest > 0:
        return 0.1, 1.0
    faintest = min(float(image[image > 0].min()) for image in images if (image > 0).any())
    return min(max(faintest, brightest * 10.0**-DECADES), brightest * 0.1), brightest


def grey_levels(image: NDArray[np.float32], white: float, black: float) -> NDArray[np.uint8]:
    """Levels (slow, fast) proportional to the logarithm of the photons, 0 at `white` and below."""
    levels = np.empty(image.shape, np.uint8)
    step = max(1, _CHUNK_PIXELS // image.shape[1])
    scale = DARKEST / (np.log(black) - np.log(white))
    for first in range(0, image.shape[0], step):
        part = np.maximum(image[first : first + step].astype(np.float64), white)
        levels[first : first + step] = np.minimum((np.log(part) - np.log(white)) * scale + 0.5, DARKEST)
    return levels


def png_pieces(levels: NDArray[np.uint8]) -> list[bytes]:
    """What levels (slow, fast) look like as a PNG with a palette of greys and the two colours of the rings."""
    slow, fast = levels.shape
    grey = np.linspace(255, 0, DARKEST + 1).round().astype(np.uint8)
    palette = np.repeat(grey[:, None], 3, axis=1).tobytes() + bytes(_RING_COLOUR) + bytes(_LABEL_COLOUR)
    packer = zlib.compressobj(6)
    packed = []
    step = max(1, _CHUNK_PIXELS // fast)
    for first in range(0, slow, step):
        part = levels[first : first + step]
        rows = np.zeros((len(part), fast + 1), np.uint8)  # the first byte of a row: no filter
        rows[:, 1:] = part
        packed.append(packer.compress(rows.tobytes()))
    packed.append(packer.flush())
    head = struct.pack(">IIBBBBB", fast, slow, 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"PLTE", palette), *((b"IDAT", part) for part in packed if part), (b"IEND", b"")]
    return [SIGNATURE, *(_chunk(kind, content) for kind, content in chunks)]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def ring_spacings_A(inverse_A: NDArray[np.float64]) -> list[float]:
    """A handful of round resolutions (Å) that an image reaches, coarsest first.

    **Arguments:** `inverse_A`: 1/d of points all over it.
    """
    lowest, highest = float(inverse_A.min()), float(inverse_A.max())
    found = set()
    for i in range(1, _NUM_RINGS + 1):
        spacing = _NUM_RINGS / (i * highest * 0.99)
        power = 10.0 ** np.floor(np.log10(spacing))
        nice = min(_NICE, key=lambda x: abs(np.log(x * power / spacing)))
        found.add(float(f"{nice * power:.6g}"))
    return sorted((d for d in found if lowest < 1.0 / d < highest), reverse=True)


def draw_rings(levels: NDArray[np.uint8], inverse_A: NDArray[np.float64], spacings_A: Sequence[float]) -> None:
    """Draw where an image has the given resolutions, each with its label, over its levels.

    **Arguments:** `inverse_A` (slow + 1, fast + 1): 1/d at the pixels' corners.
    """
    size = max(1, max(levels.shape) // 800)
    corners = [inverse_A[s : s + levels.shape[0], f : f + levels.shape[1]] for s in (0, 1) for f in (0, 1)]
    lowest, highest = np.minimum.reduce(corners), np.maximum.reduce(corners)
    labels = []
    for spacing in spacings_A:
        on_ring = (lowest <= 1.0 / spacing) & (1.0 / spacing < highest)
        if on_ring.any():
            slow, fast = np.argwhere(on_ring)[0]
            labels.append((int(slow), int(fast), f"{spacing:g}"))
            levels[_widened(on_ring, size)] = RING
    for slow, fast, text in labels:
        _write(levels, slow, fast, text, max(1, max(levels.shape) // 400))


def _widened(marked: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Marks `size` pixels wide."""
    wide = marked.copy()
    for step in range(1, size):
        wide[step:] |= marked[:-step]
        wide[:, step:] |= marked[:, :-step]
    return wide


_DIGITS = {
    "0": (7, 5, 5, 5, 7), "1": (2, 6, 2, 2, 7), "2": (7, 1, 7, 4, 7), "3": (7, 1, 7, 1, 7), "4": (5, 5, 7, 1, 1),
    "5": (7, 4, 7, 1, 7), "6": (7, 4, 7, 5, 7), "7": (7, 1, 1, 2, 2), "8": (7, 5, 7, 5, 7), "9": (7, 5, 7, 1, 7),
    ".": (0, 0, 0, 0, 2),
}  # fmt: skip
"""Characters of 3 × 5 points: rows from the top, the left point of a row in the bit of value 4."""


def _write(levels: NDArray[np.uint8], slow: int, fast: int, text: str, scale: int) -> None:
    """Put a number on a white ground, its corner near a pixel, moved inside the picture."""
    points = np.zeros((7, 4 * len(text) + 1), np.uint8)
    for i, character in enumerate(text):
        for j, row in enumerate(_DIGITS[character]):
            points[1 + j, 1 + 4 * i : 4 + 4 * i] = [row >> 2 & 1, row >> 1 & 1, row & 1]
    stamp = np.kron(points, np.ones((scale, scale), np.uint8)) * np.uint8(LABEL)
    height, width = stamp.shape
    if height > levels.shape[0] or width > levels.shape[1]:
        return
    top, left = min(slow, levels.shape[0] - height), min(fast, levels.shape[1] - width)
    levels[top : top + height, left : left + width] = stamp


class Png(ImageFormat):
    """Previews. What was measured cannot be had from one."""

    name = "png"
    label = "PNG"
    extensions = (".png",)
    foreign = "misleads"
    holds_numbers = False
    has_datasets = False
    needs_to_write = None
    needs_to_read = None

    def unsaid(self, setup: Setup) -> list[str]:
        """Nothing is expected of a picture."""
        return []

    def write(self, images: Sequence[Image], setup: Setup) -> list[FileContent]:
        """Panels share the scale, and the rings those of the first."""
        photons = [as_float_image(image) for image in images]
        scale = grey_range(photons, setup.black_photons)
        spacings: list[float] | None = None
        made = []
        for panel, image in enumerate(photons):
            levels = grey_levels(image, *scale)
            if setup.rings is not None:
                inverse = setup.rings(panel)
                spacings = ring_spacings_A(inverse) if spacings is None else spacings
                draw_rings(levels, inverse, spacings)
            pieces = png_pieces(levels)
            made.append(FileContent(pieces, len(pieces)))
        return made

    def begins(self, start: bytes) -> bool:
        """With the mark of PNG."""
        return start.startswith(SIGNATURE)

    def read(self, path: str, dataset: str, shape: Shape | None) -> Image:
        """Refused: **raises** `InputError`."""
        raise InputError(f"{image_name(path)} is a preview (PNG): the photons cannot be had from it")
