"""What the readers of text files share: whole files as bytes, single numbers, and words for a bad place."""

import bz2
import gzip
import os
import re
import stat
import zlib
from typing import IO

from ..errors import InputError

DECIMAL = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NUMBER = re.compile(DECIMAL)
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_SHOWN_CHARACTERS = 60
_SAID_CHARACTERS = 150
_MOST_BYTES = 1 << 34
_MOST_PACKED = 1500
"""Times what a packed file has itself: no honest one holds more (gzip makes one byte of 1032 zeros)."""
_PIECE_BYTES = 1 << 24


_PACKED = {".gz": gzip.open, ".bz2": bz2.open}
"""How files with these endings are opened."""


def reason(error: OSError | ValueError | EOFError) -> str:
    """The operating system's words for an error, without number and path."""
    return getattr(error, "strerror", None) or str(error)


def one_line(error: Exception) -> str:
    """What an error says, in one short line without control characters; its kind where it says nothing."""
    said = "".join(x if x.isprintable() else " " for x in str(error)[: 4 * _SAID_CHARACTERS])
    said = " ".join(said.split()) or type(error).__name__
    return said if len(said) <= _SAID_CHARACTERS else said[: _SAID_CHARACTERS - 3] + "..."


def check_regular(path: str | os.PathLike[str], name: str) -> int:
    """The size of a file in bytes, after a look at what it is; nothing is opened that could wait or has no end.

    **Raises** `InputError`, with `name`, for what is missing, a directory, a device or a pipe, not readable, or larger
    than 16 GiB.
    """
    try:
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
            open(path, "rb").close()
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise InputError(f"cannot read {name}: {reason(error)}") from error
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"cannot read {name}: it is a device or a pipe, not a regular file")
    if found.st_size > _MOST_BYTES:
        raise InputError(f"cannot read {name}: it has {found.st_size} bytes, more than {_MOST_BYTES}")
    return found.st_size


def read_bytes(path: str | os.PathLike[str], kind: str) -> bytes:
    """Everything in a file.

    **Arguments:** `kind`: what the user calls the file ("structure-factor file").

    **Raises** `InputError`, naming the kind, the path and the operating system's reason, if the file is missing, a
    directory or not readable.
    """
    return read_start(path, kind, -1)


def read_start(path: str | os.PathLike[str], kind: str, count: int) -> bytes:
    """The first bytes of a file, at most `count`, or all of them for -1; of a packed one (.gz, .bz2) what is in it.

    **Raises** as `read_bytes`, for a damaged packed file, too.
    """
    unpack = _PACKED.get(os.path.splitext(os.fspath(path))[1].lower(), open)
    name = f"{kind} {os.fspath(path)!r}"
    size = check_regular(path, name)
    most = size if unpack is open else min(_MOST_BYTES, _MOST_PACKED * size)
    try:
        with unpack(path, "rb") as handle:
            data = _read(handle, most + 1 if count < 0 else count)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read {name}: {reason(error)}") from error
    except (zlib.error, MemoryError) as error:
        raise InputError(f"cannot read {name}: {one_line(error)}") from error
    if count < 0 and unpack is not open and len(data) > most:
        raise InputError(f"cannot read {name}: more than {most} bytes are packed in it")
    return data


def _read(handle: IO[bytes], most: int) -> bytes:
    """What there is, at most so many bytes; piece by piece, else memory for so many would be taken first."""
    pieces = []
    while most > 0 and (piece := handle.read(min(most, _PIECE_BYTES))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def plain_lines(data: bytes) -> bytes:
    r"""The text with "\n" line ends, no byte-order mark and no `#` comments; line numbers stay as they were."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"#" in data:
        data = re.sub(rb"#[^\n]*", b"", data)
    return data


def shown(text: str | bytes) -> str:
    """A piece of a file as it can stand in a message: quoted, control characters escaped, not too long."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    text = text.strip()
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 3] + "..."
    return ascii(text)


def is_number(word: str) -> bool:
    """Whether a word is what C's scanf reads as a decimal number, nan and infinity included."""
    return bool(_NUMBER.fullmatch(word) or _NOT_FINITE.fullmatch(word))


def finite_number(token: str, where: str) -> float:
    """The number a word stands for.

    Accepts what C's scanf reads as a decimal number.

    **Raises** `InputError`, beginning with `where`, for anything else, for nan and infinity, and for numbers too large
    for a double.
    """
    if _NUMBER.fullmatch(token):
        value = float(token)
        if abs(value) != float("inf"):
            return value
        raise InputError(f"{where}: {shown(token)} is too large for a number")
    if _NOT_FINITE.fullmatch(token):
        raise InputError(f"{where}: {shown(token)} is not a finite number")
    raise InputError(f"{where}: {shown(token)} is not a number")
