"""The golden data and what counts as agreement with it (golden_data/README.md)."""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(os.environ.get("NANOBRAG_GOLDEN", Path(__file__).parents[1] / "golden_data"))
INPUTS = GOLDEN / "inputs"
SUPERVISOR = Path(
    os.environ.get("NANOBRAG_SUPERVISOR", Path(__file__).parents[2] / "shared" / "reference" / "supervisor")
)

RELATIVE = 1e-6
"""Of a pixel's own value: the reference rounds to float32 (6e-8), and sums of some thousand terms in another order."""
OF_PEAK = 1e-9
"""Of the image's maximum: dark pixels between spots are differences of numbers of the size of a peak."""
TOPHAT_EDGE = 1e-4
"""Fraction of pixels that may fall on the other side of the edge of a top-hat spot, which has no width."""
SIX_DIGITS = 5.1e-6
"""Relative rounding of a number printed with %g."""


def load_cases() -> list[dict]:
    """The records of cases.json, none where the golden data is missing."""
    path = GOLDEN / "cases.json"
    return json.loads(path.read_text()) if path.exists() else []


CASES = load_cases()
BY_NAME = {case["name"]: case for case in CASES}


def absent(path: Path) -> None:
    """Skip the test for want of data, or fail where it has to be there (in CI)."""
    reason = f"no golden data at {path}"
    if os.environ.get("CI"):
        pytest.fail(reason + ", and CI has to have it")
    pytest.skip(reason)


def case_of(name: str) -> dict:
    """A record by name."""
    if name not in BY_NAME:
        absent(GOLDEN / "cases.json")
    return BY_NAME[name]


@cache
def images_of(name: str) -> dict[str, np.ndarray]:
    """The images of a case: float, and int, pgm, noise where there are any."""
    path = GOLDEN / f"{name}.npz"
    if not path.exists():
        absent(path)
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def deviation(image, reference, peak: float | None = None) -> np.ndarray:
    """|image − reference| over the tolerance, pixel by pixel: agreement is 1 or less (NaN never is)."""
    image, reference = np.asarray(image, float), np.asarray(reference, float)
    peak = float(np.max(np.abs(reference))) if peak is None else peak
    allowed = RELATIVE * np.abs(reference) + OF_PEAK * peak
    difference = np.abs(image - reference)
    return np.where(difference == 0, 0.0, difference / np.maximum(allowed, np.finfo(float).tiny))


def check_image(image, reference, *, edges: bool = False) -> float:
    """Raise AssertionError unless `image` is the reference's; the largest deviation over the tolerance.

    `edges`: whether one pixel in ten thousand may differ, for top-hat spots.
    """
    assert image.shape == reference.shape, f"shape {image.shape}, the reference has {reference.shape}"
    assert image.dtype == reference.dtype == np.float32, f"{image.dtype}, the reference is {reference.dtype}"
    ratio = deviation(image, reference)
    wrong = ~(ratio <= 1.0)
    allowed = int(TOPHAT_EDGE * image.size) if edges else 0
    if wrong.sum() > allowed:
        slow, fast = np.unravel_index(np.argmax(np.where(np.isnan(ratio), np.inf, ratio)), ratio.shape)
        raise AssertionError(
            f"{wrong.sum()} of {image.size} pixels differ; worst at slow {slow}, fast {fast}: {image[slow, fast]!r}, "
            f"the reference {reference[slow, fast]!r}, {ratio[slow, fast]:.3g} times the tolerance"
        )
    return float(np.max(ratio[~wrong], initial=0.0))
