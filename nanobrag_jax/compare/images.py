"""How two images differ: numbers over the chosen pixels, and thresholds on them."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from .peaks import PeakMatch, find_peaks, match_peaks

Roi = tuple[int, int, int, int]
"""(fast_min, fast_max, slow_min, slow_max), both ends included, as the flag -roi has it."""


@dataclass(frozen=True)
class LargestDifference:
    """One pixel: its place, both values and B − A."""

    slow: int
    fast: int
    a: float
    b: float
    difference: float


@dataclass(frozen=True)
class ImageComparison:
    """What `compare_images` finds.

    `pixels`: how many were compared; `correlation`: Pearson's; `sum_a`, `sum_b`, `sum_ratio` = B/A; `rms_difference`
    and `rms_relative`, that divided by the root mean square of A; `max_difference`: of one pixel, without sign;
    `largest`: the pixels that differ most; `peaks`:
    matched pairs.
    """

    pixels: int
    correlation: float
    sum_a: float
    sum_b: float
    sum_ratio: float
    max_a: float
    max_b: float
    rms_difference: float
    rms_relative: float
    max_difference: float
    largest: tuple[LargestDifference, ...]
    peaks: PeakMatch

    def as_dict(self) -> dict:
        """The numbers for JSON, null where there is none."""
        names = ("pixels", "correlation", "sum_a", "sum_b", "sum_ratio", "max_a", "max_b", "rms_difference")
        record: dict = {name: getattr(self, name) for name in (*names, "rms_relative", "max_difference")}
        record["sum_ratio"] = self.sum_ratio if np.isfinite(self.sum_ratio) else None
        record["largest_differences"] = [asdict(item) for item in self.largest]
        distances = self.peaks.distances
        record["peaks"] = {
            "sought": self.peaks.sought,
            "matched": len(distances),
            "mean_distance": float(distances.mean()) if distances.size else None,
            "largest_distance": float(distances.max()) if distances.size else None,
        }
        return record

    def table(self) -> str:
        """The numbers for people, one a line."""
        record = self.as_dict()
        peaks = record["peaks"]
        rows = [
            ("pixels compared", f"{self.pixels}"),
            ("correlation", f"{self.correlation:.12g}"),
            ("sum A", f"{self.sum_a:.9g}"),
            ("sum B", f"{self.sum_b:.9g}"),
            ("sum ratio B/A", f"{self.sum_ratio:.12g}"),
            ("maximum A, B", f"{self.max_a:.9g}, {self.max_b:.9g}"),
            ("rms difference", f"{self.rms_difference:.6g} ({self.rms_relative:.3g} of the rms of A)"),
            ("peaks matched", f"{peaks['matched']} of {peaks['sought']}"),
        ]
        if peaks["matched"]:
            distances = f"{peaks['mean_distance']:.6g}, {peaks['largest_distance']:.6g}"
            rows.append(("mean, largest distance of peaks (pixels)", distances))
        lines = [f"{name:<42}{text}" for name, text in rows]
        lines.append("largest differences:  slow   fast               A               B             B-A")
        for item in self.largest:
            lines.append(
                f"{'':<20}{item.slow:>6} {item.fast:>6} {item.a:>15.8g} {item.b:>15.8g} {item.difference:>15.6g}"
            )
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Thresholds:
    """Limits that a comparison must keep, None for no limit."""

    min_correlation: float | None = None
    sum_ratio: tuple[float, float] | None = None
    max_rms_relative: float | None = None
    max_difference: float | None = None
    max_peak_distance: float | None = None
    min_peaks: int | None = None

    def failures(self, found: ImageComparison) -> list[str]:
        """A sentence for each limit that is not kept."""
        peaks = found.as_dict()["peaks"]
        low, high = self.sum_ratio or (None, None)
        limits = (
            ("correlation", found.correlation, self.min_correlation, None),
            ("sum ratio", found.sum_ratio, low, high),
            ("relative rms difference", found.rms_relative, None, self.max_rms_relative),
            ("largest difference", found.max_difference, None, self.max_difference),
            ("largest distance of peaks", peaks["largest_distance"], None, self.max_peak_distance),
            ("number of peaks matched", peaks["matched"], self.min_peaks, None),
        )
        return [sentence for limit in limits if (sentence := _failure(*limit))]


def _failure(name: str, value: float | None, least: float | None, most: float | None) -> str | None:
    if least is None and most is None:
        return None
    if value is None:
        return f"{name}: there is none"
    if least is not None and not value >= least:
        return f"{name} is {value:.12g}, at least {least:.12g} is wanted"
    if most is not None and not value <= most:
        return f"{name} is {value:.12g}, at most {most:.12g} is wanted"
    return None


def compare_images(
    a: ArrayLike,
    b: ArrayLike,
    *,
    roi: Roi | None = None,
    mask: ArrayLike | None = None,
    num_peaks: int = 100,
    peak_radius: float = 3.0,
    num_largest: int = 5,
) -> ImageComparison:
    """How image B differs from image A, over the pixels of a region that a mask keeps.

    **Arguments:**

    - `a`, `b` (slow, fast): of one shape;
    - `roi`: both ends included;
    - `mask` (slow, fast): compared where not 0;
    - `num_peaks`: A's strongest peaks, which are sought among twice as many of B's (so that a change of rank at the end
      of the list loses none);
    - `peak_radius`: largest distance of a pair, pixels;
    - `num_largest`: how many pixels to list.

    **Raises** `InputError` for shapes that do not fit, a region without pixels, values that are not finite, and for
    images without variation, of which no correlation exists.
    """
    first, second = (_two_axes(name, x) for name, x in (("A", a), ("B", b)))
    if first.shape != second.shape:
        raise InputError(f"the images differ in shape: A is {_size(first)}, B is {_size(second)} (slow x fast)")
    selected = selection(first.shape, roi, mask)
    values = [image[selected] for image in (first, second)]
    for name, image, kept in zip("AB", (first, second), values, strict=True):
        _check_values(name, image, kept, selected)
    x, y = values
    difference = y - x
    rms_a = float(np.sqrt(np.mean(x * x)))
    rms = float(np.sqrt(np.mean(difference * difference)))
    strongest = find_peaks(first, num_peaks, selected), find_peaks(second, 2 * num_peaks, selected)
    order = np.argsort(-np.abs(difference), kind="stable")[:num_largest]
    slow, fast = np.nonzero(selected)
    sum_a, sum_b = float(x.sum()), float(y.sum())
    return ImageComparison(
        pixels=int(x.size),
        correlation=_correlation(x, y),
        sum_a=sum_a,
        sum_b=sum_b,
        sum_ratio=sum_b / sum_a if sum_a else float("nan"),
        max_a=float(x.max()),
        max_b=float(y.max()),
        rms_difference=rms,
        rms_relative=rms / rms_a,
        max_difference=float(np.abs(difference).max()),
        largest=tuple(
            LargestDifference(int(slow[i]), int(fast[i]), float(x[i]), float(y[i]), float(difference[i])) for i in order
        ),
        peaks=match_peaks(*strongest, peak_radius),
    )


def selection(shape: tuple[int, ...], roi: Roi | None, mask: ArrayLike | None) -> NDArray[np.bool_]:
    """Which pixels to compare, (slow, fast). Raises InputError for a region or mask that does not fit the image."""
    chosen = np.zeros(shape, bool)
    fast_min, fast_max, slow_min, slow_max = roi or (0, shape[1] - 1, 0, shape[0] - 1)
    if not (0 <= fast_min <= fast_max < shape[1] and 0 <= slow_min <= slow_max < shape[0]):
        raise InputError(
            f"roi {fast_min} {fast_max} {slow_min} {slow_max} holds no pixel of an image of "
            f"{shape[1]} x {shape[0]} pixels (fast x slow), or leaves it"
        )
    chosen[slow_min : slow_max + 1, fast_min : fast_max + 1] = True
    if mask is not None:
        kept = np.asarray(mask)
        if kept.shape != shape:
            raise InputError(f"the mask is {_size(kept)}, the images are {shape[0]} x {shape[1]} (slow x fast)")
        chosen &= kept != 0
        if not chosen.any():
            raise InputError("the mask leaves no pixel of the region to compare")
    return chosen


def _correlation(x: NDArray, y: NDArray) -> float:
    """Pearson's, with the largest values taken out first so that squares neither overflow nor vanish."""
    u, v = (z / np.abs(z).max() for z in (x - x.mean(), y - y.mean()))
    return float(np.clip(np.sum(u * v) / np.sqrt(np.sum(u * u) * np.sum(v * v)), -1.0, 1.0))


def _two_axes(name: str, image: ArrayLike) -> NDArray[np.float64]:
    pixels = np.asarray(image)
    if pixels.ndim != 2 or not (np.issubdtype(pixels.dtype, np.number) or pixels.dtype == bool):
        raise InputError(f"image {name} must be numbers with axes (slow, fast), got {pixels.dtype} of {_size(pixels)}")
    if np.iscomplexobj(pixels):
        raise InputError(f"image {name} must be real numbers, got {pixels.dtype}")
    return pixels.astype(float)


def _size(image: NDArray) -> str:
    return " x ".join(map(str, image.shape)) or "one number"


def _check_values(name: str, image: NDArray, kept: NDArray, selected: NDArray) -> None:
    wrong = ~np.isfinite(kept)
    if wrong.any():
        slow, fast = (axis[wrong][0] for axis in np.nonzero(selected))
        raise InputError(
            f"image {name} has {int(wrong.sum())} values that are not finite, the first at slow {slow}, fast {fast}: "
            f"{image[slow, fast]}; leave them out with a mask"
        )
    if kept.min() == kept.max():
        raise InputError(
            f"image {name} is {kept[0]:g} at every compared pixel: the correlation with a constant is undefined"
        )
