"""Fast reading of tables of numbers: tens of thousands of lines in milliseconds."""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .text import is_number, shown

_NEWLINE, _SPACE, _PLUS, _MINUS, _DOT, _ZERO = b"\n +-.0"
_PLAIN = b"0123456789+-. \t\n"
_LONGEST_WORD = 15  # digits and point: the whole number stays below 2**53 and is exact in a double


class BadLineError(ValueError):
    """A line that is no row of the table; `line` counts from 1."""

    def __init__(self, line: int, what: str):
        """Keep the number of the line and what is wrong with it."""
        super().__init__(what)
        self.line = line
        self.what = what


class Table(NamedTuple):
    """Rows of a text: `values` float64 (rows, columns), `lines` (rows,) the line of each, `longer` rows cut short."""

    values: NDArray[np.float64]
    lines: NDArray[np.int64]
    longer: int


class _Words(NamedTuple):
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    per_line: NDArray[np.int64]


def _words(text: NDArray[np.uint8]) -> _Words:
    inside = np.zeros(len(text) + 2, bool)
    np.greater(text, _SPACE, out=inside[1:-1])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = edges[0::2], edges[1::2]
    first = np.zeros(len(text) + 1, bool)
    first[starts] = True
    line_begins = np.concatenate([[0], np.flatnonzero(text == _NEWLINE) + 1])
    return _Words(starts, ends, np.add.reduceat(first, line_begins, dtype=np.int64))


def _without_further_columns(text: NDArray[np.uint8], words: _Words, columns: int) -> NDArray[np.uint8]:
    """The text with everything after the first so many words of each line blanked out."""
    first_word = np.cumsum(words.per_line) - words.per_line
    column = np.arange(len(words.starts)) - np.repeat(first_word, words.per_line)
    further = column >= columns
    change = np.zeros(len(text) + 1, np.int8)
    change[words.starts[further]] += 1
    change[words.ends[further]] -= 1
    return np.where(np.cumsum(change[:-1], dtype=np.int8) > 0, np.uint8(_SPACE), text)


def _decimal_places(text: NDArray[np.uint8], words: _Words) -> NDArray[np.int64] | None:
    """The number of digits after each word's point (-1 without one), or None if a word has two points."""
    points = np.flatnonzero(text == _DOT)
    owner = np.searchsorted(words.starts, points, side="right") - 1
    if np.any(owner[1:] == owner[:-1]):
        return None
    places = np.full(len(words.starts), -1, np.int64)
    places[owner] = words.ends[owner] - 1 - points
    return places


def _decimal_numbers(
    text: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """The values of words made of a sign, digits and a point, or None if one of them is made otherwise.

    Digits are summed as whole numbers and divided once by a power of ten, so the result is the correctly rounded one.
    The loop runs over the characters of a word, from its end; each pass handles that character of all words.
    """
    first = text[starts]
    negative = first == _MINUS
    digits_from = starts + (negative | (first == _PLUS))
    with_point = places >= 0
    if np.any(ends - digits_from - with_point < 1):
        return None
    longest = int(np.max(ends - digits_from, initial=0))
    if longest > _LONGEST_WORD:
        return None
    total = np.zeros(len(starts), np.int64)
    for back in range(longest):
        position = ends - 1 - back
        digit = np.where(position >= digits_from, text[np.maximum(position, 0)], _ZERO).astype(np.int64)
        digit -= _ZERO
        if back <= np.max(places, initial=-1):
            digit[places == back] = 0  # the point itself
        if np.any((digit < 0) | (digit > 9)):
            return None
        total += digit * 10**back
    # Digits before the point were counted one place too high: the point took a place of its own.
    if np.any(with_point):
        unit = 10 ** np.maximum(places, 0)
        fraction = total % unit
        total = np.where(with_point, (total - fraction) // 10 + fraction, total)
        values = total / unit
    else:
        values = total.astype(np.float64)
    return np.where(negative, -values, values)


def _values(data: bytes, text: NDArray[np.uint8], words: _Words, columns: int) -> NDArray[np.float64] | None:
    """The words as numbers (rows, columns), or None if they are not all numbers."""
    places = None if data.translate(None, _PLAIN) else _decimal_places(text, words)
    if places is not None:
        table = [array.reshape(-1, columns) for array in (words.starts, words.ends, places)]
        parts = [_decimal_numbers(text, *(array[:, i] for array in table)) for i in range(columns)]
        numbers = [part for part in parts if part is not None]
        if len(numbers) == columns:
            return np.stack(numbers, axis=1)
    with warnings.catch_warnings():  # older numpy warns of a word that is no number and returns what came before it
        warnings.simplefilter("error", DeprecationWarning)
        try:  # any other spelling of numbers: exponents, many digits, nan
            return np.fromstring(data, np.float64, sep=" ").reshape(-1, columns)
        except (ValueError, DeprecationWarning):
            return None


def _bad_line(data: bytes, columns: int, names: str) -> BadLineError:
    for number, line in enumerate(data.decode("latin-1").split("\n"), 1):
        words = line.split()
        if 0 < len(words) < columns:
            return BadLineError(number, f"{shown(line)} has {len(words)} of the {columns} columns {names}")
        for word in words[:columns]:
            if not is_number(word):
                return BadLineError(number, f"{shown(word)} is not a number in {shown(line)}")
    return BadLineError(1, "the text cannot be read as numbers")


def parse_table(data: bytes, columns: int, names: str) -> Table:
    """The numbers of a text, one row per line that is not blank.

    `names` ("h k l F") is what the columns are called in messages. Words after the first `columns` of a line are
    ignored and such lines counted.

    **Raises** `BadLineError` at the first line with fewer words or one that is no number; it does not refuse nan and
    inf.
    """
    text = np.frombuffer(data, np.uint8)
    words = _words(text)
    longer = int(np.count_nonzero(words.per_line > columns))
    lines = np.flatnonzero(words.per_line) + 1
    short = (words.per_line > 0) & (words.per_line < columns)
    values = None
    if not np.any(short):
        if longer:
            text = _without_further_columns(text, words, columns)
            data = text.tobytes()
            words = _words(text)
        values = _values(data, text, words, columns)
    if values is None:
        raise _bad_line(data, columns, names)
    return Table(values, lines, longer)
