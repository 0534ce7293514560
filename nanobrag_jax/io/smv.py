"""SMV images: a header of `KEY=value;` lines, then unsigned shorts (docs/reference.md, sections 2 and 9)."""

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanobrag_jax.errors import InputError
from nanobrag_jax.io.atomic import write_whole
from nanobrag_jax.io.text import DECIMAL, read_bytes, shown

HEADER_UNIT = 512
_HEADER_BYTES = re.compile(rb"HEADER_BYTES\s*=\s*([^;\n]*)")
_BYTE_ORDERS = {"little_endian": "<u2", "big_endian": ">u2"}
_SHORT_TYPES = ("unsigned_short", "unsigned_short_int", "uint16")
# The start of a text that C's atof takes for a number.
_LEADING_NUMBER = re.compile(rf"\s*({DECIMAL}|[+-]?(?:inf(?:inity)?|nan))", re.IGNORECASE)

HeaderItem = tuple[str, str | float | Sequence[float]]


class SmvImage(NamedTuple):
    """An SMV file: the `header` as text, and the `image` uint16 (slow, fast)."""

    header: str
    image: NDArray[np.uint16]


def header_value(header: str, key: str) -> float | None:
    """Return the number of a header's key, or None if the key is not there.

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


def read_smv(path: str | os.PathLike[str]) -> SmvImage:
    """Return header and pixels of an SMV file of unsigned shorts, whichever end comes first.

    Bytes after the last pixel are ignored. Raises InputError if the file cannot be read, is not SMV, lacks SIZE1,
    SIZE2 or HEADER_BYTES, has senseless values there, holds another type of pixel or ends too early.
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


def g(x: float) -> str:
    """Return a number as C's %g writes it."""
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
    """Return the header of an SMV file.

    `items`: keys and values in order, without HEADER_BYTES, which is put first. Numbers are written as %g, whole
    numbers in full, sequences with commas, text as it is. The header is padded with spaces to 512 bytes, or to the
    next multiple where that is too short (the reference writes a broken file there).
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
    dials_origin_mm: Sequence[float] | NDArray[np.float64],
    org_x_pixels: float,
    org_y_pixels: float,
    phi_deg: float,
    osc_deg: float,
    twotheta_deg: float,
) -> list[HeaderItem]:
    """Return the header items of an image in the order of the reference (docs/reference.md, section 9).

    The names there: beam_x, beam_y are Xbeam and Ybeam; fast_beam, slow_beam are Fbeam and Sbeam after the last step
    of section 3; slow_size is size_s; dials_origin (3,); org_x, org_y are ORGX and ORGY.
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


def smv_bytes(image: NDArray[Any], items: Sequence[HeaderItem]) -> list[bytes | memoryview]:
    """Return what an image (slow, fast) of uint16 looks like as a file, in pieces (see `format_header`).

    Raises ValueError if the image is not uint16 or does not have the sizes SIZE1 (fast) and SIZE2 (slow) of the items.
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


def write_smv(path: str | os.PathLike[str], image: NDArray[Any], items: Sequence[HeaderItem]) -> None:
    """Write an image (slow, fast) of uint16 with a header of the given items.

    Raises InputError if the file cannot be written, ValueError as `smv_bytes` does.
    """
    write_whole(path, smv_bytes(image, items))
