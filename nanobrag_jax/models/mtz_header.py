"""The header of an MTZ file, looked at before gemmi reads the file: gemmi believes what it declares."""

import os
import struct

from ..errors import InputError
from ..io.text import read_bytes

_RECORD, _START = 80, 20


def mtz_records(path: str | os.PathLike[str], name: str) -> list[str]:
    """The records of the header, 80 characters each, as far as END.

    **Raises** `InputError` for a file that is no MTZ file, whose header does not lie in it, or that declares more
    values than it holds.
    """
    data = read_bytes(path, "MTZ file")
    if not data.startswith(b"MTZ ") or len(data) < _START:
        raise InputError(f"cannot read {name}: it does not begin with MTZ")
    begins = _header_at(data)
    if begins is None:
        raise InputError(f"{name} is cut off or damaged: its header does not lie in it")
    header = data[begins:].decode("latin-1")
    records = [header[i : i + _RECORD] for i in range(0, len(header), _RECORD)]
    last = next((i for i, record in enumerate(records) if record.split()[:1] == ["END"]), len(records))
    _check_counts(records[:last], begins, name)
    return records[:last]


def _header_at(data: bytes) -> int | None:
    """The byte at which the header begins, which the file tells in words of 4 bytes, from 1; None outside the file."""
    (little,), (big,), (long,) = (struct.unpack_from(f, data, at) for f, at in (("<i", 4), (">i", 4), ("<q", 12)))
    places = (long,) if little == -1 else (little, big)
    return next((4 * (place - 1) for place in places if _START <= 4 * (place - 1) <= len(data) - _RECORD), None)


def _check_counts(records: list[str], begins: int, name: str) -> None:
    counts = next((record.split()[1:4] for record in records if record.startswith("NCOL ")), [])
    if len(counts) < 2 or not all(word.isascii() and word.isdigit() for word in counts):
        raise InputError(f"{name} is damaged: its header does not tell how many columns and reflections there are")
    columns, reflections = int(counts[0]), int(counts[1])
    listed = sum(record.startswith("COLUMN ") for record in records)
    if columns != listed:
        raise InputError(f"{name} is damaged: its header counts {columns} columns and lists {listed}")
    if 4 * columns * reflections + _RECORD > begins:
        raise InputError(
            f"{name} is damaged: it declares {reflections} reflections of {columns} columns, and has fewer"
        )


def symmetry_records(records: list[str]) -> list[str]:
    """The operators in the header as they are written."""
    return [record[5:].strip() for record in records if record.startswith("SYMM ")]
