"""SMV images: a header of `KEY=value;` lines, then unsigned shorts (docs/reference.md, sections 2 and 9)."""

import math
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..constants import SMV_ENDINGS
from ..errors import InputError
from ..io.atomic import write_whole
from ..io.text import DECIMAL, read_bytes, shown
from .image_format import FileContent, Image, ImageFormat, Shape
from .setup import VISIBLE_PIXELS, HeaderItem, Lab, Reading, Setup, Vector, plain_misfit_pixels, spindle_misfit
from .whole_numbers import as_whole_numbers

HEADER_UNIT = 512
_LONGEST_HEADER = 4096
_HEADER_BYTES = re.compile(rb"HEADER_BYTES\s*=\s*([^;\n]*)")
_BYTE_ORDERS = {"little_endian": "<u2", "big_endian": ">u2"}
_SHORT_TYPES = ("unsigned_short", "unsigned_short_int", "uint16")
# The start of a text that C's atof takes for a number.
_LEADING_NUMBER = re.compile(rf"\s*({DECIMAL}|[+-]?(?:inf(?:inity)?|nan))", re.IGNORECASE)


class SmvImage(NamedTuple):
    """An SMV file: the `header` as text, and the `image` uint16 (slow, fast)."""

    header: str
    image: NDArray[np.uint16]


OWN_BEAM_CENTER = ("NANOBRAG_BEAM_CENTER_X", "NANOBRAG_BEAM_CENTER_Y")
"""Keys of Xbeam and Ybeam where BEAM_CENTER_X and _Y are what DIALS reads; the reference finds them by their ends."""


def whole_key_value(header: str, key: str) -> float | None:
    """The number of exactly this key, the last one if there are several, or None if it is not there.

    0.0 where no number stands.
    """
    word = _header_word(header, re.escape(key))
    if word is None:
        return None
    number = _LEADING_NUMBER.match(word)
    return float(number[1]) if number else 0.0


def header_value(header: str, key: str) -> float | None:
    """The number of a header's key, or None if the key is not there.

    As the reference looks it up: the last place where the text of the key occurs counts, inside longer keys too, so
    ORGX is answered by XDS_ORGX, and DISTANCE by a later CLOSE_DISTANCE. The value is read as C's atof would, 0.0
    where no number stands.
    """
    places = list(re.finditer(rf"{re.escape(key)}[^=;\n]*=", header))
    if not places:
        return None
    number = _LEADING_NUMBER.match(header, places[-1].end())
    return float(number[1]) if number else 0.0


def _header_word(header: str, key: str) -> str | None:
    found = re.findall(rf"^[ \t]*{key}[ \t]*=[ \t]*([^;\n]*)", header, re.MULTILINE)
    return found[-1].strip() if found else None


def _pixel_count(header: str, key: str, name: str) -> int:
    value = header_value(header, key)
    if value is None:
        raise InputError(f"{name} has no {key} in its header")
    if not (1 <= value < 2**31 and value == int(value)):
        raise InputError(f"{name} has {key}={value:g} in its header, where a positive whole number is needed")
    return int(value)


def _split_header(data: bytes, name: str) -> str:
    if not data[:HEADER_UNIT].lstrip().startswith(b"{"):
        raise InputError(f"{name} is not an SMV file: it starts with {shown(data[:8])}, not with '{{'")
    found = _HEADER_BYTES.search(data, 0, HEADER_UNIT)
    if found is None:
        raise InputError(f"{name} has no HEADER_BYTES in its first {HEADER_UNIT} bytes")
    word = found[1].decode("latin-1").strip()
    if not re.fullmatch(r"[0-9]{1,9}", word) or int(word) < found.end():
        raise InputError(f"{name} has HEADER_BYTES={word}, which cannot be the length of its header")
    if int(word) > len(data):
        raise InputError(f"{name} has HEADER_BYTES={word} but is only {len(data)} bytes long")
    return data[: int(word)].decode("latin-1")


def read_smv_header(path: str | os.PathLike[str]) -> str:
    """The header of an SMV file, whatever its pixels are.

    **Raises** `InputError` if the file cannot be read, is not SMV, or lacks SIZE1, SIZE2 or HEADER_BYTES.
    """
    name = f"SMV image {os.fspath(path)!r}"
    header = _split_header(read_bytes(path, "SMV image"), name)
    for key in ("SIZE1", "SIZE2"):
        _pixel_count(header, key, name)
    return header


def read_smv(path: str | os.PathLike[str]) -> SmvImage:
    """Header and pixels of an SMV file of unsigned shorts, whichever end comes first.

    Bytes after the last pixel are ignored.

    **Raises** `InputError` if the file cannot be read, is not SMV, lacks SIZE1, SIZE2 or HEADER_BYTES, has senseless
    values there, holds another type of pixel or ends too early.
    """
    data = read_bytes(path, "SMV image")
    name = f"SMV image {os.fspath(path)!r}"
    header = _split_header(data, name)
    fast, slow = _pixel_count(header, "SIZE1", name), _pixel_count(header, "SIZE2", name)
    pixel_type = _header_word(header, "TYPE") or _SHORT_TYPES[0]
    if pixel_type.lower().replace(" ", "_") not in _SHORT_TYPES:
        raise InputError(f"{name} has TYPE={pixel_type}; only unsigned_short is read here")
    order = _header_word(header, "BYTE_ORDER") or "little_endian"
    if order.lower() not in _BYTE_ORDERS:
        raise InputError(f"{name} has BYTE_ORDER={order}; little_endian and big_endian are known")
    stored = np.dtype(_BYTE_ORDERS[order.lower()])
    there = (len(data) - len(header)) // stored.itemsize
    if there < slow * fast:
        raise InputError(f"{name} ends after {there} of {fast} x {slow} (SIZE1 x SIZE2) pixels")
    pixels = np.frombuffer(data, stored, slow * fast, offset=len(header))
    return SmvImage(header, pixels.reshape(slow, fast).astype(np.uint16))


def header_shape(path: str | os.PathLike[str]) -> Shape | None:
    """Shape (slow, fast) by the header of an SMV file; None if it cannot be read or does not say it."""
    try:
        with open(path, "rb") as handle:
            header = handle.read(_LONGEST_HEADER).decode("latin-1")
    except OSError:
        return None
    slow, fast = (header_value(header, key) for key in ("SIZE2", "SIZE1"))
    if slow is None or fast is None or not (math.isfinite(slow) and math.isfinite(fast)):
        return None
    return int(slow), int(fast)


def g(x: float) -> str:
    """A number as C's %g writes it."""
    return "%g" % x  # noqa: UP031  (format(x, "g") agrees; this says what is meant)


def _line(key: str, value: str | float | Sequence[float]) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, Sequence | np.ndarray):
        text = ",".join(g(float(x)) for x in value)
    else:
        text = str(value) if isinstance(value, int | np.integer) else g(value)
    # Readers of these files know DIALS_ORIGIN without a semicolon, as the reference writes it.
    return f"{key}={text}\n" if key == "DIALS_ORIGIN" else f"{key}={text};\n"


def format_header(items: Sequence[HeaderItem]) -> bytes:
    """The header of an SMV file.

    **Arguments:** `items`: keys and values in order, without HEADER_BYTES, which is put first. Numbers are written as
    %g, whole numbers in full, sequences with commas, text as it is.

    The header is padded with spaces to 512 bytes, or to the next multiple where that is too short (the reference
    writes a broken file there). **Raises** `ValueError` for HEADER_BYTES among the items.
    """
    if any(key == "HEADER_BYTES" for key, _ in items):
        raise ValueError("HEADER_BYTES follows from the other items; leave it out")
    lines = "".join(_line(key, value) for key, value in items)
    size = 0
    text = ""
    while len(text) > size or not size:
        size += HEADER_UNIT
        text = "{\n" + _line("HEADER_BYTES", size) + lines + "}\f"
    return text.ljust(size).encode("ascii")


def smv_header_items(
    *,
    fast_pixels: int,
    slow_pixels: int,
    pixel_mm: float,
    distance_mm: float,
    close_distance_mm: float,
    wavelength_A: float,
    beam_x_mm: float,
    beam_y_mm: float,
    fast_beam_mm: float,
    slow_beam_mm: float,
    slow_size_mm: float,
    dials_origin_mm: Sequence[float] | Vector,
    org_x_pixels: float,
    org_y_pixels: float,
    phi_deg: float,
    osc_deg: float,
    twotheta_deg: float,
) -> list[HeaderItem]:
    """The header items of an image in the order of the reference.

    **Arguments:** (names as there)

    - `fast_pixels`, `slow_pixels`: the image's size.
    - `pixel_mm`: a pixel's.
    - `distance_mm`: to the point that the beam is taken to hit.
    - `close_distance_mm`: to the nearest point of the detector's plane.
    - `wavelength_A`: of the middle of the beam.
    - `beam_x_mm`, `beam_y_mm`: Xbeam and Ybeam.
    - `fast_beam_mm`, `slow_beam_mm`: Fbeam and Sbeam after the last step of section 3.
    - `slow_size_mm`: size_s.
    - `dials_origin_mm`: (3,).
    - `org_x_pixels`, `org_y_pixels`: ORGX and ORGY.
    - `phi_deg`, `osc_deg`: where the spindle starts, and how far it turns.
    - `twotheta_deg`: the detector's swing.

    Source: docs/reference.md section 9.
    """
    half = pixel_mm / 2
    return [
        ("DIM", 2),
        ("BYTE_ORDER", "little_endian"),
        ("TYPE", "unsigned_short"),
        ("SIZE1", int(fast_pixels)),
        ("SIZE2", int(slow_pixels)),
        ("PIXEL_SIZE", float(pixel_mm)),
        ("DISTANCE", float(distance_mm)),
        ("WAVELENGTH", float(wavelength_A)),
        ("BEAM_CENTER_X", float(beam_x_mm)),
        ("BEAM_CENTER_Y", float(beam_y_mm)),
        ("ADXV_CENTER_X", float(fast_beam_mm)),
        ("ADXV_CENTER_Y", float(slow_size_mm - slow_beam_mm)),
        ("MOSFLM_CENTER_X", float(slow_beam_mm - half)),
        ("MOSFLM_CENTER_Y", float(fast_beam_mm - half)),
        ("DENZO_X_BEAM", float(slow_beam_mm)),
        ("DENZO_Y_BEAM", float(fast_beam_mm)),
        ("DIALS_ORIGIN", tuple(float(x) for x in dials_origin_mm)),
        ("XDS_ORGX", float(org_x_pixels)),
        ("XDS_ORGY", float(org_y_pixels)),
        ("CLOSE_DISTANCE", float(close_distance_mm)),
        ("PHI", float(phi_deg)),
        ("OSC_START", float(phi_deg)),
        ("OSC_RANGE", float(osc_deg)),
        ("TWOTHETA", float(twotheta_deg)),
        ("DETECTOR_SN", "000"),
        ("BEAMLINE", "fake"),  # image readers recognise these files by it
    ]


def items_for_readers(items: Sequence[HeaderItem], lab: Lab, panel: int, reading: Reading) -> list[HeaderItem]:
    """The reference's items as other programs take them, with ten digits.

    DIALS (its class for images with BEAMLINE=fake) reads BEAM_CENTER_X and _Y from the lower left corner and adds a
    pixel to each, takes ADC_OFFSET as the pedestal, 1 without it, the detector to be perpendicular to the beam and the
    spindle to be along x. Xbeam and Ybeam stand in keys of their own.
    """
    place, said = lab.panels[panel], dict(items)
    fast, slow = place.beam_pixels
    center = {
        "BEAM_CENTER_X": (fast - 1.0) * place.pixel_mm,
        "BEAM_CENTER_Y": (place.pixels[0] + 1.0 - slow) * place.pixel_mm,
    }
    more: list[HeaderItem] = [("ADC_OFFSET", reading.offset)]
    if reading.saturation is not None:
        more.append(("CCD_IMAGE_SATURATION", float(int(reading.saturation))))
    more += [(own, said[key]) for own, key in zip(OWN_BEAM_CENTER, center, strict=True) if key in said]
    return [(key, _exact(center.get(key, value) if key in said else value)) for key, value in [*items, *more]]


def _exact(value: str | float | Sequence[float]) -> str | float | Sequence[float]:
    return f"{value:.10g}" if isinstance(value, float) else value


def smv_bytes(image: Image, items: Sequence[HeaderItem]) -> list[bytes | memoryview]:
    """What an image (slow, fast) of uint16 looks like as a file, in pieces (see `format_header`).

    **Raises** `ValueError` if the image is not uint16 or does not have the sizes SIZE1 (fast) and SIZE2 (slow) of the
    items.
    """
    named = dict(items)
    if image.dtype != np.uint16 or image.shape != (named.get("SIZE2"), named.get("SIZE1")):
        raise ValueError(
            f"image is {image.dtype} {image.shape}, but the header says uint16 "
            f"({named.get('SIZE2')}, {named.get('SIZE1')}) (slow, fast)"
        )
    order = str(named.get("BYTE_ORDER"))
    if order not in _BYTE_ORDERS:
        raise ValueError(f"BYTE_ORDER must be one of {', '.join(_BYTE_ORDERS)}, got {order}")
    pixels = np.ascontiguousarray(image, _BYTE_ORDERS[order])
    return [format_header(items), pixels.reshape(-1).view(np.uint8).data]


def write_smv(path: str | os.PathLike[str], image: Image, items: Sequence[HeaderItem]) -> None:
    """Write an image (slow, fast) of uint16 with a header of the given items.

    **Raises** `InputError` if the file cannot be written, `ValueError` as `smv_bytes`.
    """
    write_whole(path, smv_bytes(image, items))


class Smv(ImageFormat):
    """The reference's own integer images."""

    name = "smv"
    label = "SMV"
    extensions = SMV_ENDINGS
    foreign = "misleads"
    holds_numbers = True
    has_datasets = False
    needs_to_write = None
    needs_to_read = None

    def unsaid(self, setup: Setup) -> list[str]:
        """Tilts, two-theta and a spindle that is not along x; nothing where the header is to be the reference's."""
        if setup.plain_header:
            return []
        worst = max(plain_misfit_pixels(place) for place in setup.lab.panels)
        axis, found = spindle_misfit(setup.lab), []
        if worst > VISIBLE_PIXELS:
            found.append(f"DIALS takes the detector to be perpendicular to the beam, wrong by up to {worst:.3g} pixels")
        if axis is not None:
            found.append(f"DIALS takes the spindle to be along x, and it is along {axis}")
        if found:
            return [
                f"of an SMV file {' and '.join(found)}: import with the experiment list of -exptfile FILE (to_expt in "
                "Python) as reference_geometry=FILE"
            ]
        return []

    def write(self, images: Sequence[Image], setup: Setup) -> list[FileContent]:
        """Unsigned shorts; photons are rounded."""
        made = []
        for panel, (image, header) in enumerate(zip(images, setup.headers, strict=True)):
            if not setup.plain_header:
                header = items_for_readers(header, setup.lab, panel, setup.reading)
            made.append(smv_bytes(as_whole_numbers(image, np.uint16), header))
        return [FileContent(pieces, len(pieces)) for pieces in made]

    def begins(self, start: bytes) -> bool:
        """With a brace."""
        return start.lstrip().startswith(b"{")

    def read(self, path: str, dataset: str, shape: Shape | None) -> Image:
        """The pixels; `read_smv` has the header too."""
        return read_smv(path).image
