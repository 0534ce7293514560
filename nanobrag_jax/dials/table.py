"""A table of values from a JSON file: each is checked as it is taken, and a complaint names its place."""

from collections.abc import Callable

import numpy as np

from ..errors import InputError
from ..io.text import shown
from .models import Floats


class Table:
    """The entries of one model, checked as they are taken."""

    def __init__(self, entries: dict, where: str):
        self.entries, self.where = entries, where

    def __contains__(self, key: str) -> bool:
        return self.entries.get(key) is not None

    def array(self, key: str, shape: tuple[int, ...], default=None) -> Floats:
        """Finite numbers of a shape; -1 stands for any length."""
        value = self.entries.get(key)
        if value is None:
            if default is None:
                raise InputError(f"{self.where} has no {key}")
            return np.asarray(default, float)
        try:
            numbers = np.asarray(value, float)
            numbers = numbers.reshape(shape)
        except (TypeError, ValueError, OverflowError):
            numbers = np.array([np.nan])
        if not np.all(np.isfinite(numbers)):
            wanted = "a number" if shape == () else f"{'x'.join(str(n) for n in shape).replace('-1', 'n')} numbers"
            raise InputError(f"{self.where}: {key} must be {wanted}, got {shown(str(value))}")
        return numbers

    def number(self, key: str, default: float | None = None) -> float:
        return float(self.array(key, (), default))

    def optional_number(self, key: str) -> float | None:
        return self.number(key) if key in self else None

    def direction(self, key: str, default=None) -> Floats:
        vector = self.array(key, (3,), default)
        length = float(np.linalg.norm(vector))
        if length == 0:
            raise InputError(f"{self.where}: {key} must have a direction, got 0 0 0")
        return vector / length

    def pair(self, key: str, allowed: str, holds: Callable[[Floats], bool], default=None) -> tuple[float, float]:
        numbers = self.array(key, (2,), default)
        if not holds(numbers):
            raise InputError(f"{self.where}: {key} must be {allowed}, got {shown(str(self.entries.get(key)))}")
        return float(numbers[0]), float(numbers[1])

    def text(self, key: str, default: str) -> str:
        return str(self.entries[key]) if key in self else default
