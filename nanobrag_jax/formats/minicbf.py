"""miniCBF images: a Pilatus-style header of `# Key value` lines and int32 pixels in byte-offset compression.

The header's own words place a detector that is perpendicular to the beam. Lines that begin with `# Lab_` place any.
"""

import base64
import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..constants import EV_ANGSTROM, LARGEST_COUNT, LARGEST_INT32
from ..errors import InputError
from ..io.text import one_line, read_bytes
from .image_format import FileContent, Image, ImageFormat, Requirement, Shape, image_name
from .imgcif import NEEDS as IMGCIF_NEEDS
from .imgcif import beyond_minicbf, read_imgcif
from .setup import (
    VISIBLE_PIXELS,
    Lab,
    Setup,
    curved_note,
    offset_note,
    plain_misfit_pixels,
    spindle_misfit,
    unpolarised_note,
)
from .whole_numbers import as_whole_numbers

DATE = "1970-01-01T00:00:00.000"
"""No real one: the same run writes the same bytes."""

_NOT_SIMULATED, _DEAD = -1, -2
_SEPARATOR = "--CIF-BINARY-FORMAT-SECTION--"
_STARTER = b"\x0c\x1a\x04\xd5"
_DIMENSION = re.compile(rb"X-Binary-Size-(?:Fastest|Second)-Dimension: *([0-9]{1,10})(?![0-9])")


def cbf_pieces(image: NDArray[np.int32], lab: Lab, panel: int, largest: int) -> list[bytes | memoryview]:
    """What an int32 image (slow, fast) of a panel looks like as a miniCBF file.

    **Arguments:** `largest`: the highest count that a pixel can have, for the header.

    **Raises** `InputError` for pixels that are too far apart for the compression.
    """
    _check_span(image)
    packed = byte_offset(image)
    slow, fast = image.shape
    lines = [
        "###CBF: VERSION 1.5, nanobrag_jax",
        "",
        "data_image",
        "",
        '_array_data.header_convention "GENERIC_MINI"',  # PILATUS would promise a Pilatus's modules
        "_array_data.header_contents",
        ";",
        *(f"# {line}" for line in header_lines(lab, panel, largest, int(np.count_nonzero(image < 0)))),
        ";",
        "",
        "_array_data.data",
        ";",
        _SEPARATOR,
        "Content-Type: application/octet-stream;",
        '     conversions="x-CBF_BYTE_OFFSET"',
        "Content-Transfer-Encoding: BINARY",
        f"X-Binary-Size: {len(packed)}",
        "X-Binary-ID: 1",
        'X-Binary-Element-Type: "signed 32-bit integer"',
        "X-Binary-Element-Byte-Order: LITTLE_ENDIAN",
        f"Content-MD5: {base64.b64encode(hashlib.md5(packed).digest()).decode()}",
        f"X-Binary-Number-of-Elements: {image.size}",
        f"X-Binary-Size-Fastest-Dimension: {fast}",
        f"X-Binary-Size-Second-Dimension: {slow}",
        "X-Binary-Size-Padding: 0",
        "",
        "",
    ]
    head = "\r\n".join(lines).encode("ascii") + _STARTER
    return [head, packed, f"\r\n{_SEPARATOR}--\r\n;\r\n".encode("ascii")]


def header_lines(lab: Lab, panel: int, largest: int, excluded: int = 0) -> list[str]:
    """The lines of the header, without their `# `. **Arguments:** `excluded`: how many pixels are marked."""
    place = lab.panels[panel]
    pixel_m = place.pixel_mm * 1e-3
    sensor = [f"Silicon sensor, thickness {place.sensor_mm * 1e-3:.6f} m"] if place.sensor_mm > 0 else []
    beam = f"({place.beam_pixels[0]:.10g}, {place.beam_pixels[1]:.10g})"
    return [
        "Detector: GENERIC, simulated by nanobrag_jax, S/N 00-0000",
        DATE,
        f"Pixel_size {pixel_m:.10g} m x {pixel_m:.10g} m",
        *sensor,
        "Exposure_time 1.0 s",
        "Exposure_period 1.0 s",
        "Tau = 0 s",
        f"Count_cutoff {largest} counts",
        f"Threshold_setting: {EV_ANGSTROM / lab.wavelength_A / 2:.0f} eV",
        f"N_excluded_pixels = {excluded}",
        f"Wavelength {lab.wavelength_A:.10g} A",
        f"Detector_distance {place.distance_mm * 1e-3:.10g} m",
        f"Beam_xy {beam} pixels",
        f"Start_angle {lab.phi_deg:.10g} deg.",
        f"Angle_increment {lab.osc_deg:.10g} deg.",
        f"Detector_2theta {lab.twotheta_deg:.10g} deg.",
        f"Polarization {(np.hypot(lab.stokes[1], lab.stokes[2]) + 1) / 2:.10g}",
        f"Phi {lab.phi_deg:.10g} deg.",
        f"Phi_increment {lab.osc_deg:.10g} deg.",
        "Lab_frame right-handed, sample at the origin, beam along 0 0 -1",
        f"Lab_origin {_numbers(place.origin_mm)} mm",
        f"Lab_fast {_numbers(place.fast)}",
        f"Lab_slow {_numbers(place.slow)}",
        f"Lab_spindle {_numbers(lab.spindle)}",
    ]


def _numbers(values: Sequence[float] | NDArray[np.float64]) -> str:
    return " ".join(f"{x + 0.0:.12g}" for x in values)


def unsaid(lab: Lab) -> list[str]:
    """What the header's own words do not say of this geometry, one sentence each."""
    worst = max(plain_misfit_pixels(place) for place in lab.panels)
    found = []
    if worst > VISIBLE_PIXELS:
        found.append(
            "most readers of miniCBF take the detector to be perpendicular to the beam, fast along x and slow along "
            f"-y: here that is wrong by up to {worst:.3g} pixels; the Lab_ lines of the header are right, and so are a "
            "NeXus file (.h5) and the experiment list of -exptfile (to_expt): dials.import … reference_geometry=FILE"
        )
    axis = spindle_misfit(lab)
    if axis is not None:
        found.append(f"most readers of miniCBF take the spindle to be along x: here it is along {axis}")
    return found


def marked(counts: NDArray[np.int32], setup: Setup, panel: int) -> NDArray[np.int32]:
    """Counts with −1 in pixels that were not simulated and −2 in dead ones, as Pilatus detectors have it."""
    away, dead = setup.unused[panel], setup.reading.dead_pixels(panel)
    if away is None and dead is None:
        return counts
    counts = counts.copy()
    if dead is not None:
        counts[dead] = _DEAD
    if away is not None:
        counts[away] = _NOT_SIMULATED
    return counts


def byte_offset(image: NDArray[np.int32]) -> bytes:
    """Pixels as differences, each in 1, 2 or 4 bytes, longer ones after escape codes.

    No two pixels may be 2³¹ or more apart: the longer form for these is one that few readers know.
    """
    steps = np.diff(image.reshape(-1).astype(np.int64), prepend=np.int64(0))
    size = np.abs(steps)
    two, four = size > 0x7F, size > 0x7FFF
    if not two.any():
        return steps.astype(np.int8).tobytes()
    lengths = 1 + 2 * two.astype(np.int64) + 4 * four
    starts = np.cumsum(lengths) - lengths
    packed = np.zeros(int(lengths.sum()), np.uint8)
    packed[starts[~two]] = steps[~two].astype(np.int8).view(np.uint8)
    _put(packed, starts[two], b"\x80")
    _put(packed, starts[two & ~four] + 1, steps[two & ~four].astype("<i2"))
    _put(packed, starts[four] + 1, b"\x00\x80")
    _put(packed, starts[four] + 3, steps[four].astype("<i4"))
    return packed.tobytes()


def _put(packed: NDArray[np.uint8], starts: NDArray[np.int64], content: bytes | NDArray) -> None:
    """Write the same bytes, or one number each, at many places."""
    if isinstance(content, bytes):
        rows = np.frombuffer(content, np.uint8)[None, :]
    else:
        rows = content.view(np.uint8).reshape(len(content), content.itemsize)
    packed[starts[:, None] + np.arange(rows.shape[1])] = rows


def _check_span(image: NDArray[np.int32]) -> None:
    lowest, highest = min(0, int(image.min())), int(image.max())
    if highest - lowest > LARGEST_INT32:
        raise InputError(
            f"the format holds pixels up to {LARGEST_INT32} apart, the image goes from {lowest} to {highest}"
        )


def _check_whole(data: bytes, name: str) -> None:
    """Raise `InputError` for a file without pixels, in which fabio looks for them for ever, or with too few."""
    head, found, pixels = data.partition(_SEPARATOR.encode())[2].partition(_STARTER)
    if not found:
        raise InputError(f"{name} is not a CBF file that can be read: it ends before its pixels")
    sizes = [int(x) for x in _DIMENSION.findall(head)]
    if len(sizes) != 2 or b"x-CBF_BYTE_OFFSET" not in head:
        return
    if sizes[0] * sizes[1] > len(pixels):  # of each pixel a byte at least
        raise InputError(f"{name} is cut short: its header declares {sizes[0]} x {sizes[1]} pixels")


def read_cbf(path: str) -> Image:
    """The pixels of a CBF file, read by fabio, or by pycbf what is no miniCBF: of several arrays (panel, slow, fast).

    **Raises** `InputError` for a file that cannot be read.
    """
    import fabio

    data = read_bytes(path, "image")
    _check_whole(data, image_name(path))
    more = beyond_minicbf(data)
    if more is not None and IMGCIF_NEEDS.missing:
        raise InputError(
            f"{image_name(path)} is imgCIF with {more}, which needs pycbf: pip install {IMGCIF_NEEDS.install}"
        )
    if more is not None:
        return read_imgcif(path)
    try:
        with fabio.open(path) as image:
            return np.asarray(image.data)
    except Exception as error:  # the reader raises many kinds for a damaged file
        raise InputError(f"{image_name(path)} is not a CBF file that can be read: {one_line(error)}") from error


class MiniCbf(ImageFormat):
    """A file for each panel; any CBF file is read."""

    name = "cbf"
    label = "miniCBF"
    extensions = (".cbf",)
    foreign = "decides"
    holds_numbers = True
    has_datasets = False
    needs_to_write = None
    needs_to_read = Requirement("fabio", "nanobrag_jax[formats]")

    def unsaid(self, setup: Setup) -> list[str]:
        """What stands in the `Lab_` lines alone."""
        return curved_note(setup) + unsaid(setup.lab) + offset_note(setup) + unpolarised_note(setup)

    def write(self, images: Sequence[Image], setup: Setup) -> list[FileContent]:
        """Counts as int32; photons are rounded. Pixels that were not simulated are −1, dead ones −2."""
        made = []
        for panel, image in enumerate(images):
            stored = LARGEST_COUNT if image.dtype == np.uint16 else LARGEST_INT32
            largest = stored if setup.reading.saturation is None else int(setup.reading.saturation)
            counts = marked(as_whole_numbers(image, np.int32), setup, panel)
            pieces = cbf_pieces(counts, setup.lab, panel, largest)
            made.append(FileContent(pieces, len(pieces)))
        return made

    def begins(self, start: bytes) -> bool:
        """With ###CBF."""
        return start.startswith(b"###CBF")

    def read(self, path: str, dataset: str, shape: Shape | None) -> Image:
        """The pixels."""
        return read_cbf(path)
