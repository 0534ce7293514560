"""miniCBF images: a Pilatus-style header of `# Key value` lines and int32 pixels in byte-offset compression.

The header's own words place a detector that is perpendicular to the beam. Lines that begin with `# Lab_` place any.
"""

import base64
import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..flags import EV_ANGSTROM
from .lab import Lab, PanelPlace

DATE = "1970-01-01T00:00:00.000"
"""No real one: the same run writes the same bytes."""

_VISIBLE_PIXELS = 0.01
_SEPARATOR = "--CIF-BINARY-FORMAT-SECTION--"


def cbf_pieces(image: NDArray[np.int32], lab: Lab, panel: int, largest: int) -> list[bytes | memoryview]:
    """What an int32 image (slow, fast) of a panel looks like as a miniCBF file.

    **Arguments:** `largest`: the highest count that a pixel can have, for the header.
    """
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
        *(f"# {line}" for line in header_lines(lab, panel, largest)),
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
    head = "\r\n".join(lines).encode("ascii") + b"\x0c\x1a\x04\xd5"
    return [head, packed, f"\r\n{_SEPARATOR}--\r\n;\r\n".encode("ascii")]


def header_lines(lab: Lab, panel: int, largest: int) -> list[str]:
    """The lines of the header, without their `# `."""
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
        "N_excluded_pixels = 0",
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


def misplaced_pixels(place: PanelPlace) -> float:
    """By how many pixels a corner is off for a reader that knows the header's own words only.

    Such a reader has the detector perpendicular to the beam, fast along x and slow along −y of the `Lab_` frame.
    """
    slow, fast = place.pixels
    apart = []
    for f, s in ((0, 0), (fast, 0), (0, slow), (fast, slow)):
        plain = [f - place.beam_pixels[0], place.beam_pixels[1] - s, -place.distance_mm / place.pixel_mm]
        true = place.origin_mm / place.pixel_mm + f * place.fast + s * place.slow
        apart.append(np.linalg.norm(true - plain))
    return float(max(apart))


def unsaid(lab: Lab) -> list[str]:
    """What the header's own words do not say of this geometry, one sentence each."""
    worst = max(misplaced_pixels(place) for place in lab.panels)
    found = []
    if worst > _VISIBLE_PIXELS:
        found.append(
            "most readers of miniCBF take the detector to be perpendicular to the beam, fast along x and slow along "
            f"-y: here that is wrong by up to {worst:.3g} pixels; the Lab_ lines of the header are right, and so is a "
            "NeXus file (.h5)"
        )
    if lab.osc_deg != 0 and np.linalg.norm(lab.spindle - (1.0, 0.0, 0.0)) > 1e-6:
        axis = " ".join(f"{x + 0.0:.4g}" for x in lab.spindle)
        found.append(f"most readers of miniCBF take the spindle to be along x: here it is along {axis}")
    return found


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
