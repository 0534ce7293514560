"""Damage: to bytes, to numbers in texts, to lines, to the types in JSON, and to the sizes that headers declare."""

import gzip
import json
import re
import struct
from collections.abc import Callable
from random import Random

_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SPECIAL = [
    b"nan", b"inf", b"-inf", b"NaN", b"Infinity", b"-Infinity", b"0", b"-0", b"-1", b"1e300", b"-1e300",
    b"1e-300", b"1e-320", b"1e999", b"9" * 400, b"21.", b"2147483648", b"-2147483649",
    b"4294967295", b"99999999999999999999",
    b"true", b"null", b"", b"[]", b"{}", b'"x"', b"1,5", b"0x10", b"1_000", b"1e", b"--1",
    b"\xd9\xa3", b"\xef\xbc\x91", b"\x00",
    b"?", b".", b"*",
    b"1e9", b"1000000000", b"-1000000000", b"0.5", b"1e-9",
]  # fmt: skip
_TREES = [
    None, True, False, 0, -1, 1, 1e300, -1e300, float("inf"), float("-inf"), float("nan"), 10**400, -(10**400),
    2**31, 2**63, 1e9, "", "x", "1", "\x00", "a\nb", [], {}, [[]], [None], [1, 2, 3], [1, "x"], {"x": 1}, [[[[[[1]]]]]],
    "../../etc/passwd",
    [float("nan")] * 3, [True] * 3, [10**400] * 9, "é" * 300,
]  # fmt: skip
_SIZES = [
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\x00" * 4,
    b"\x01\x00\x00\x00",
    b"\x00\x00\x01\x00",
]
_SEARCHED = 20_000


def damaged(data: bytes, name: str, rng: Random) -> bytes:
    """The bytes of a file after one to three kinds of damage; of packed ones what is in them."""
    if name.endswith(".gz") and rng.random() < 0.7:
        return gzip.compress(damaged(gzip.decompress(data), name[:-3], rng), 1)
    kinds: list[Callable[[bytes, Random], bytes]] = [_bytes, _cut, _slices, _sizes]
    if b"\x00" not in data[:512]:
        kinds += [_numbers, _numbers, _lines, _words]
    if name.endswith((".json", ".expt")):
        kinds += [_tree] * 6
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(kinds)(data, rng)
    return data


def _at(data: bytes, rng: Random) -> int:
    """A place, in the beginning more often than elsewhere."""
    return rng.randrange(min(len(data), rng.choice((100, 1000, len(data) or 1))) or 1)


def _bytes(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        if changed:
            changed[_at(data, rng)] = rng.choice((0, 255, 32, 10, 34, rng.randrange(256)))
    return bytes(changed)


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: _at(data, rng)]


def _slices(data: bytes, rng: Random) -> bytes:
    start, length = _at(data, rng), rng.choice((1, 4, 30, 500))
    piece = data[start : start + length]
    return (
        data[:start]
        + rng.choice((b"", piece * 2, piece[::-1], piece * 50, rng.randbytes(length)))
        + data[start + length :]
    )


def _sizes(data: bytes, rng: Random) -> bytes:
    """A number of four or eight bytes that says something else."""
    start = _at(data, rng) // 4 * 4
    new = rng.choice(
        (
            *_SIZES,
            struct.pack("<q", rng.choice((2**40, -1, 2**62))),
            struct.pack(">i", 2**30),
            struct.pack("<d", float("nan")),
        )
    )
    return data[:start] + new + data[start + len(new) :]


def _numbers(data: bytes, rng: Random) -> bytes:
    """Numbers of a text replaced by what is none, or too large."""
    found = [match.span() for match in _NUMBER.finditer(data[:_SEARCHED])]
    for start, end in sorted(rng.sample(found, min(len(found), rng.choice((1, 1, 2, 5)))), reverse=True):
        data = data[:start] + rng.choice(_SPECIAL) + data[end:]
    return data


def _words(data: bytes, rng: Random) -> bytes:
    """A word left out, doubled, or put in another's place."""
    found = [match.span() for match in re.finditer(rb"\S+", data[:_SEARCHED])]
    if len(found) < 2:
        return data
    (start, end), (other, last) = rng.sample(found, 2)
    return data[:start] + rng.choice((b"", data[start:end] * 2, data[other:last], b"'", b'"')) + data[end:]


def _lines(data: bytes, rng: Random) -> bytes:
    lines = data.split(b"\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.randrange(4)
    if change == 0:
        del lines[a]
    elif change == 1:
        lines.insert(b, lines[a])
    elif change == 2:
        lines[a], lines[b] = lines[b], lines[a]
    else:
        lines[a] = lines[a] * rng.choice((2, 200))
    return b"\n".join(lines)


def _tree(data: bytes, rng: Random) -> bytes:
    """Another type, or nothing, in the place of a value of JSON."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if rng.random() < 0.05:
        return json.dumps(rng.choice(_TREES)).encode()
    places = list(_places(tree))
    if not places:
        return data
    for holder, key in rng.sample(places, min(len(places), rng.choice((1, 1, 2)))):
        change = rng.random()
        if change < 0.1 and isinstance(holder, dict):
            holder.pop(key, None)
        elif change < 0.15 and isinstance(holder, dict):
            holder[rng.choice(("", "x", "é", str(key) + "s"))] = holder.get(key)
        elif isinstance(holder, dict) or key < len(holder):
            holder[key] = rng.choice(_TREES)
    return json.dumps(tree).encode()


def _places(tree: object):
    """(container, key) of every value in a tree."""
    for key, value in list(
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    ):
        yield tree, key
        yield from _places(value)
