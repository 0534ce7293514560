"""The six detector conventions: default vectors, beam centres and pivots (docs/reference.md section 3)."""

from typing import Literal, NamedTuple

ConventionName = Literal["mosflm", "xds", "adxv", "denzo", "dials", "custom"]
Triple = tuple[float, float, float]


class Convention(NamedTuple):
    """Unit vectors of a convention in the lab frame, and the pivot it sets (None: as asked for)."""

    beam: Triple
    fast: Triple
    slow: Triple
    normal: Triple
    twotheta_axis: Triple
    polarization: Triple
    spindle: Triple
    pivot: Literal["beam", "sample"] | None


_MOSFLM = Convention((1, 0, 0), (0, 0, 1), (0, -1, 0), (1, 0, 0), (0, 0, -1), (0, 0, 1), (0, 0, 1), "beam")

CONVENTIONS: dict[str, Convention] = {
    "mosflm": _MOSFLM,
    "denzo": _MOSFLM,
    "adxv": Convention((0, 0, 1), (1, 0, 0), (0, -1, 0), (0, 0, 1), (-1, 0, 0), (1, 0, 0), (1, 0, 0), "beam"),
    "xds": Convention((0, 0, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0), (1, 0, 0), (1, 0, 0), "sample"),
    "dials": Convention((0, 0, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 0), (0, 1, 0), (0, 1, 0), "sample"),
    "custom": _MOSFLM._replace(twotheta_axis=(0, 1, 0), pivot=None),
}


def default_beam_center_mm(convention: str, size_mm, pixel_mm, close_point_mm):
    """(Xbeam, Ybeam) in mm that a convention takes when none is given.

    **Arguments:** `size_mm` and `close_point_mm` are pairs of numbers (fast, slow), mm.
    """
    fast, slow = size_mm
    if convention in ("mosflm", "denzo"):
        return (slow + pixel_mm) / 2, (fast + pixel_mm) / 2
    if convention == "adxv":
        return (fast + pixel_mm) / 2, (slow - pixel_mm) / 2
    return close_point_mm


def beam_point(convention: str, beam_center, size, pixel):
    """(Fbeam, Sbeam) along the detector axes from (Xbeam, Ybeam), all in one unit of length."""
    x, y = beam_center
    if convention == "mosflm":
        return y + pixel / 2, x + pixel / 2
    if convention == "denzo":
        return y, x
    if convention == "adxv":
        return x, size[1] - y
    return x, y


def beam_center_at(convention: str, point, size, pixel):
    """(Xbeam, Ybeam) for a beam at (F, S) along the detector axes, all in one unit of length: undoes `beam_point`."""
    f, s = point
    if convention == "mosflm":
        return s - pixel / 2, f - pixel / 2
    if convention == "denzo":
        return s, f
    if convention == "adxv":
        return f, size[1] - s
    return f, s
