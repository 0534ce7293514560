"""The value of one flag, from the words that follow it."""

import math
import re

from ...errors import InputError
from .flag import BOUNDS, LARGEST_INT, SEED, Flag
from .table import at_least_one_cell

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]+(\.0*)?")
_NOT_FINITE = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)


def is_flag(word: str) -> bool:
    """Whether a word is a flag: begins with a dash and is no number."""
    return word.startswith("-") and not _NUMBER.fullmatch(word) and not _NOT_FINITE.fullmatch(word)


def read_value(flag: Flag, spelling: str, words: list[str], notes: list[str]) -> tuple[object, int]:
    """Value of one flag from the words up to the next flag, and how many of them it used."""
    if flag.kind == "switch":
        return flag.constant, 0
    if flag.kind == "ignored":
        return None, min(len(words), 1)
    if not words:
        raise InputError(f"flag {spelling} needs {flag.takes}, got none")
    first = words[0]
    if flag.kind in ("path", "word"):
        if not first or "\0" in first or first.startswith("-") or (flag.choices and first not in flag.choices):
            raise InputError(f"flag {spelling} needs {flag.takes}, got {first!r}")
        return first, 1
    if (flag.kind, first) in (("misset", "random"), ("image", "all")):
        return first, 1
    if flag.kind == "depth" and re.fullmatch(r"\+?inf(inity)?", first, re.IGNORECASE):
        return math.inf, 1
    if flag.kind == "cell":
        return _cell(flag, spelling, words[:6])
    count = 3 if flag.kind == "misset" else flag.count
    values = [_number(flag, spelling, word, notes) for word in words[:count]]
    if len(values) < count:
        raise InputError(f"flag {spelling} needs {flag.takes}, got {len(values)}")
    if flag.kind == "vector" and not any(values) and flag.setting not in ("odet_vector", "pix0_vector"):
        raise InputError(f"{spelling} must have a direction, got 0 0 0")
    if flag.setting == "roi" and (values[0] > values[1] or values[2] > values[3]):
        raise InputError(f"{spelling} must be xmin <= xmax and ymin <= ymax (pixels), got {' '.join(words[:4])}")
    if flag.kind == "depth" and values[0] == 0:
        return math.inf, 1
    if flag.off_at_zero and values[0] == 0:
        return None, 1
    return (values[0] if count == 1 else tuple(values)), count


def _number(flag: Flag, spelling: str, word: str, notes: list[str]) -> float:
    """One number inside the flag's bounds; int for an integer flag."""
    is_int = flag.kind in ("int", "image")
    if _NOT_FINITE.fullmatch(word):
        raise InputError(f"{spelling} must be finite, got {word}")
    if not (_INTEGER if is_int else _NUMBER).fullmatch(word):
        raise InputError(f"flag {spelling} needs {flag.takes}, got {word!r}")
    number = float(word)
    if math.isinf(number) or (is_int and abs(number) > LARGEST_INT):
        raise InputError(f"{spelling} is too large, got {word}")
    number = int(number) if is_int else number
    if not BOUNDS[flag.bounds](number):
        raise InputError(f"{spelling} must be {flag.bounds}{f' ({flag.unit})' if flag.unit else ''}, got {word}")
    value = flag.convert(number) if flag.convert else number
    if flag.convert is at_least_one_cell and value != number:
        notes.append(f"{spelling} {word}: fewer than one unit cell, 1 is taken")
    if flag.bounds == SEED and number < 1:
        notes.append(f"{spelling} {word}: the reference's generator takes a seed below 1 as 1")
    if value == math.inf:
        raise InputError(f"{spelling} is too small, got {word}")
    return value


def _cell(flag: Flag, spelling: str, words: list[str]) -> tuple[object, int]:
    """Six cell parameters (A, degrees) from one to six numbers, checked to span a volume."""
    numbers = [_number(flag, spelling, word, []) for word in words]
    edges = (numbers[:3] + 2 * numbers[:1])[:3]
    angles = (numbers[3:] + 3 * [90.0])[:3]
    text = " ".join(words)
    if min(edges) <= 0:
        raise InputError(f"{spelling}: edges must be > 0 (A), got {text}")
    if not all(0 < angle < 180 for angle in angles):
        raise InputError(f"{spelling}: angles must be between 0 and 180 (deg), got {text}")
    if sum(angles) >= 360 or 2 * max(angles) >= sum(angles):
        raise InputError(f"{spelling}: no cell has the angles {' '.join(f'{angle:g}' for angle in angles)} (deg)")
    return (*edges, *angles), len(words)
