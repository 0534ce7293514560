"""What a number of a recipe may be: fixed, drawn, or read from a table, for image after image.

A draw depends on the seed, the number's name, the image and the lattice, and on nothing else. It is made from words of
a counter-based generator, whose stream is fixed for ever (`numpy.random.Philox`), by formulas written out here.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Floats = NDArray[np.float64] | np.float64
Numbers = float | Sequence | np.generic | NDArray[np.generic]
"""A number, or an array of them in any form."""

_STANDARD = NormalDist()
_BELOW = np.vectorize(_STANDARD.cdf, otypes=[np.float64])
"""Share of a gaussian below so many standard deviations."""


def _deviates(shares: Numbers) -> Floats:
    """Standard deviations below which so large a share of a gaussian lies."""
    return np.vectorize(_STANDARD.inv_cdf, otypes=[np.float64])(np.clip(shares, 2.0**-60, 1.0 - 2.0**-53))


Shape = tuple[int, ...]


class Draw:
    """The random words of one number of one image and lattice."""

    def __init__(self, seed: int, name: str, image: int, lattice: int = 0):
        key = np.array([seed & 0xFFFFFFFFFFFFFFFF, zlib.crc32(name.encode())], np.uint64)
        self.image = image
        self._words = np.random.Philox(key=key, counter=np.array([0, lattice, image, 0], np.uint64))

    def uniform(self, shape: Shape) -> Floats:
        """Numbers between 0 and 1, never either, that are multiples of 2⁻⁵³ and a half."""
        count = int(np.prod(shape, dtype=int))
        words = np.asarray(self._words.random_raw(count), np.uint64).reshape(shape)
        return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


@runtime_checkable
class Distribution(Protocol):
    """What a number may be drawn from. `kind`: its name in a recipe's file."""

    kind: ClassVar[str]

    def value(self, draw: Draw, shape: Shape) -> Floats:
        """The number of one image, of the shape of the leaf that it replaces."""
        ...

    def largest(self) -> float:
        """No number is larger."""
        ...

    def rows(self) -> int | None:
        """For how many images there are numbers; None for any."""
        ...


def _shaped(name: str, value: Numbers, shape: Shape) -> Floats:
    """A number or array for a leaf of that shape. **Raises** `InputError` where it does not fit."""
    array = np.asarray(value, np.float64)
    if array.shape not in ((), shape):
        raise InputError(f"{name} must be one number or have the shape {shape}, got {array.shape}")
    return np.broadcast_to(array, shape)


def _numbers(name: str, value: Numbers) -> Floats:
    """Finite numbers. **Raises** `InputError` for anything else."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be numbers, got {value!r}") from None
    if not np.isfinite(array).all() or np.asarray(value).dtype.kind == "b":
        raise InputError(f"{name} must be finite numbers, got {value!r}")
    return array


@dataclass(frozen=True)
class Fixed:
    """The same for all images."""

    kind: ClassVar[str] = "fixed"
    constant: Numbers

    def __post_init__(self):
        _numbers("constant", self.constant)

    def value(self, draw: Draw, shape: Shape) -> Floats:
        """The value."""
        return _shaped("constant", self.constant, shape)

    def largest(self) -> float:
        """The value."""
        return float(np.max(np.asarray(self.constant, float)))

    def rows(self) -> int | None:
        """Any."""
        return None


@dataclass(frozen=True)
class Uniform:
    """Evenly between two limits, each element of an array for itself, or all `together`.

    **Raises** `InputError` for limits the wrong way round.
    """

    kind: ClassVar[str] = "uniform"
    low: Numbers
    high: Numbers
    together: bool = False

    def __post_init__(self):
        if (_numbers("low", self.low) > _numbers("high", self.high)).any():
            raise InputError(f"low must not be above high, got {self.low!r} and {self.high!r}")

    def value(self, draw: Draw, shape: Shape) -> Floats:
        """A draw."""
        low, high = _shaped("low", self.low, shape), _shaped("high", self.high, shape)
        return low + (high - low) * draw.uniform(() if self.together else shape)

    def largest(self) -> float:
        """The upper limit."""
        return float(np.max(np.asarray(self.high, float)))

    def rows(self) -> int | None:
        """Any."""
        return None


@dataclass(frozen=True)
class Normal:
    """Gaussian about a mean, cut at `low` and `high` where they are given.

    **Raises** `InputError` for a negative standard deviation.
    """

    kind: ClassVar[str] = "normal"
    mean: Numbers
    sd: Numbers
    low: float | None = None
    high: float | None = None
    together: bool = False

    def __post_init__(self):
        _numbers("mean", self.mean)
        if (_numbers("sd", self.sd) < 0).any():
            raise InputError(f"sd must not be negative, got {self.sd!r}")
        for name, limit in (("low", self.low), ("high", self.high)):
            if limit is not None:
                _numbers(name, limit)
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise InputError(f"low must be below high, got {self.low!r} and {self.high!r}")

    def value(self, draw: Draw, shape: Shape) -> Floats:
        """A draw, of the cut distribution by its own inverse."""
        mean, sd = _shaped("mean", self.mean, shape), _shaped("sd", self.sd, shape)
        share = draw.uniform(() if self.together else shape)
        if self.low is None and self.high is None:
            return mean + sd * _deviates(share)
        low, high = self.low, self.high
        with np.errstate(divide="ignore", invalid="ignore"):
            below = 0.0 if low is None else np.where(sd > 0, _BELOW((low - mean) / sd), 0.0)
            within = 1.0 if high is None else np.where(sd > 0, _BELOW((high - mean) / sd), 1.0)
        return np.clip(mean + sd * _deviates(below + (within - below) * share), low, high)

    def largest(self) -> float:
        """The upper limit, or what only one in 10¹⁷ exceeds."""
        if self.high is not None:
            return float(self.high)
        return float(np.max(np.asarray(self.mean, float) + 8.5 * np.asarray(self.sd, float)))

    def rows(self) -> int | None:
        """Any."""
        return None


@dataclass(frozen=True)
class LogNormal:
    """Its logarithm is gaussian: `median` times exp(`sigma` × a normal deviate).

    **Raises** `InputError` for a median that is not positive or a negative sigma.
    """

    kind: ClassVar[str] = "lognormal"
    median: Numbers
    sigma: Numbers
    together: bool = False

    def __post_init__(self):
        if (_numbers("median", self.median) <= 0).any():
            raise InputError(f"median must be positive, got {self.median!r}")
        if (_numbers("sigma", self.sigma) < 0).any():
            raise InputError(f"sigma must not be negative, got {self.sigma!r}")

    def value(self, draw: Draw, shape: Shape) -> Floats:
        """A draw."""
        median, sigma = _shaped("median", self.median, shape), _shaped("sigma", self.sigma, shape)
        return median * np.exp(sigma * _deviates(draw.uniform(() if self.together else shape)))

    def largest(self) -> float:
        """What only one in 10¹⁷ exceeds."""
        return float(np.max(np.asarray(self.median, float) * np.exp(8.5 * np.asarray(self.sigma, float))))

    def rows(self) -> int | None:
        """Any."""
        return None


@dataclass(frozen=True)
class Choice:
    """One of several values, (n,) or (n, …) of the leaf's shape, with weights.

    **Raises** `InputError` without values, and for weights that are negative, all zero, or not as many.
    """

    kind: ClassVar[str] = "choice"
    values: Sequence
    weights: Sequence[float] | None = None

    def __post_init__(self):
        if _numbers("values", self.values).ndim == 0 or len(self.values) == 0:
            raise InputError(f"values must be a list of at least one, got {self.values!r}")
        weights = _numbers("weights", np.ones(len(self.values)) if self.weights is None else self.weights)
        if weights.shape != (len(self.values),) or (weights < 0).any() or not weights.sum() > 0:
            raise InputError(f"weights must be one number a value, none negative, got {self.weights!r}")

    def value(self, draw: Draw, shape: Shape) -> Floats:
        """A draw."""
        weights = np.ones(len(self.values)) if self.weights is None else np.asarray(self.weights, float)
        ends = np.cumsum(weights)
        row = int(np.searchsorted(ends, float(draw.uniform(())) * ends[-1], side="right"))
        return _shaped("values", self.values[min(row, len(self.values) - 1)], shape)

    def largest(self) -> float:
        """Of the values."""
        return float(np.max(np.asarray(self.values, float)))

    def rows(self) -> int | None:
        """Any."""
        return None


@dataclass(frozen=True, eq=False)
class Table:
    """A row for each image, (images, …) of the leaf's shape: image i has row i.

    **Raises** `InputError` without rows.
    """

    kind: ClassVar[str] = "table"
    values: Numbers

    def __post_init__(self):
        if np.ndim(_numbers("values", self.values)) == 0 or self.rows() == 0:
            raise InputError("values must have a row for each image, got none")

    def value(self, draw: Draw, shape: Shape) -> Floats:
        """The image's row."""
        return _shaped("values", np.asarray(self.values)[draw.image], shape)

    def largest(self) -> float:
        """Of all rows."""
        return float(np.max(np.asarray(self.values, float)))

    def rows(self) -> int | None:
        """As many as there are."""
        return len(np.asarray(self.values))


@dataclass(frozen=True)
class Orientations:
    """Rotation matrices (3, 3), evenly over all rotations. Source: K. Shoemake, Graphics Gems III (1992), 124-132."""

    kind: ClassVar[str] = "orientations"

    def value(self, draw: Draw, shape: Shape) -> Floats:
        """A draw. **Raises** `InputError` for a leaf that is no matrix."""
        if shape != (3, 3):
            raise InputError(f"orientations are matrices (3, 3), this has the shape {shape}")
        u, v, w = np.ravel(draw.uniform((3,)))
        a, b = np.sqrt(1.0 - u), np.sqrt(u)
        x, y = a * np.sin(2 * np.pi * v), a * np.cos(2 * np.pi * v)
        z, q = b * np.sin(2 * np.pi * w), b * np.cos(2 * np.pi * w)
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * q), 2 * (x * z + y * q)],
                [2 * (x * y + z * q), 1 - 2 * (x * x + z * z), 2 * (y * z - x * q)],
                [2 * (x * z - y * q), 2 * (y * z + x * q), 1 - 2 * (x * x + y * y)],
            ]
        )

    def largest(self) -> float:
        """Of a rotation."""
        return 1.0

    def rows(self) -> int | None:
        """Any."""
        return None


KINDS: dict[str, type] = {kind.kind: kind for kind in (Fixed, Uniform, Normal, LogNormal, Choice, Table, Orientations)}
"""By their names in a file."""
