"""Grey-scale pictures: binary PGM, eight bits (docs/reference.md, section 9)."""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.atomic import write_whole
from ..io.text import read_bytes, shown
from .image_format import FileContent, Image, ImageFormat, Shape
from .setup import Setup
from .whole_numbers import LARGEST_GREY, as_float_image, default_pgm_scale, pgm_image, statistics

# A number of the header; white space and comments may stand before it.
_FIELD = re.compile(rb"(?:\s|#[^\n]*\n)+([0-9]+)")
_SCALE = re.compile(rb"# pixels scaled by (\S+)")


class PgmImage(NamedTuple):
    """A picture: `image` uint8 (slow, fast), and the `scale` its comment names (None if it names none)."""

    image: NDArray[np.uint8]
    scale: float | None


def pgm_bytes(image: Image, scale: float) -> list[bytes | memoryview]:
    """What a uint8 image (slow, fast) looks like as a file, in pieces.

    A comment line says by what its pixels were scaled. **Raises** `ValueError` if it is not a two-dimensional uint8
    array.
    """
    if image.dtype != np.uint8 or image.ndim != 2:
        raise ValueError(f"a PGM image must be uint8 with axes (slow, fast), got {image.dtype} with {image.ndim} axes")
    slow, fast = image.shape
    header = f"P5\n{fast} {slow}\n# pixels scaled by {scale:g}\n{LARGEST_GREY}\n"
    return [header.encode("ascii"), np.ascontiguousarray(image).reshape(-1).data]


def write_pgm(path: str | os.PathLike[str], image: Image, scale: float) -> None:
    """Write a uint8 image (slow, fast).

    **Raises** `InputError` if the file cannot be written, `ValueError` as `pgm_bytes`.
    """
    write_whole(path, pgm_bytes(image, scale))


def read_pgm(path: str | os.PathLike[str]) -> PgmImage:
    """The picture in a binary (P5) PGM file with 255 as its white.

    **Raises** `InputError` if the file cannot be read, is another kind of picture or is too short.
    """
    data = read_bytes(path, "PGM image")
    name = f"PGM image {os.fspath(path)!r}"
    if not data.startswith(b"P5"):
        raise InputError(f"{name} does not start with 'P5' but with {shown(data[:8])}")
    fields, end = [], 2
    for what in ("width", "height", "white value"):
        found = _FIELD.match(data, end)
        if found is None or len(found[1]) > 9:
            raise InputError(f"{name} has no {what} in its header")
        fields.append(int(found[1]))
        end = found.end()
    fast, slow, maximum = fields
    if maximum != LARGEST_GREY:
        raise InputError(f"{name} has the white value {maximum}; only {LARGEST_GREY} is read here")
    pixels = data[end + 1 : end + 1 + slow * fast]  # exactly one byte of white space ends the header
    if len(pixels) != slow * fast:
        raise InputError(f"{name} ends after {len(pixels)} of {slow} x {fast} (slow x fast) pixels")
    scale = _SCALE.search(data, 0, end)
    try:
        number = None if scale is None else float(scale[1])
    except ValueError:
        number = None
    return PgmImage(np.frombuffer(pixels, np.uint8).reshape(slow, fast).copy(), number)


class Pgm(ImageFormat):
    """Grey-scale pictures as the reference makes them."""

    name = "pgm"
    label = "PGM"
    extensions = (".pgm",)
    foreign = "misleads"
    holds_numbers = False
    has_datasets = False
    needs_to_write = None
    needs_to_read = None

    def unsaid(self, setup: Setup) -> list[str]:
        """Nothing is expected of a picture."""
        return []

    def write(self, images: Sequence[Image], setup: Setup) -> list[FileContent]:
        """Photons on the reference's scale, which all panels share: five times the largest rmsd is nearly white;
        or white where the setup says.
        """
        photons = [as_float_image(image) for image in images]
        if setup.black_photons:
            scale = LARGEST_GREY / setup.black_photons
        else:
            scale = default_pgm_scale(max(statistics(image).rmsd for image in photons))
        return [FileContent(pgm_bytes(pgm_image(image, scale), scale)) for image in photons]

    def begins(self, start: bytes) -> bool:
        """With P5."""
        return start.startswith(b"P5")

    def read(self, path: str, dataset: str, shape: Shape | None) -> Image:
        """The greys; `read_pgm` has their scale too."""
        return read_pgm(path).image
