"""DIALS' reflection tables (.refl): MessagePack with one block of bytes a column, read and written without DIALS."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.atomic import write_whole
from ..io.text import check_regular, shown

_NAME, _VERSION = "dials::af::reflection_table", 1


class _Kind(NamedTuple):
    """How DIALS names a type of column, its numbers and how many there are in a row."""

    name: str
    dtype: str
    width: int


_KINDS = (
    _Kind("bool", "?", 1),
    _Kind("int", "<i4", 1),
    _Kind("std::size_t", "<u8", 1),
    _Kind("double", "<f8", 1),
    _Kind("vec2<double>", "<f8", 2),
    _Kind("vec3<double>", "<f8", 3),
    _Kind("mat3<double>", "<f8", 9),
    _Kind("int6", "<i4", 6),
    _Kind("cctbx::miller::index<>", "<i4", 3),
)
_BY_NAME = {kind.name: kind for kind in _KINDS}


class ReflectionTable(NamedTuple):
    """Columns of a reflection table by name, each (rows,) or (rows, numbers), and what belongs to it.

    `identifiers`: of experiments by their number in the column `id`, which is -1 for spots that are not indexed;
    `left_out`: columns of kinds that are not numbers in rows, such as shoeboxes.
    """

    columns: dict[str, NDArray]
    identifiers: dict[int, str]
    left_out: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many reflections."""
        return len(next(iter(self.columns.values()))) if self.columns else 0


def _msgpack() -> ModuleType:
    try:
        import msgpack
    except ImportError:
        raise InputError("reflection tables need the msgpack package: pip install nanobrag_jax[formats]") from None
    return msgpack


def read_refl(path: str | os.PathLike[str]) -> ReflectionTable:
    """A reflection table of DIALS.

    Columns are in DIALS' units: positions `xyzobs.px.value` and `xyzcal.px` in pixels and images, `xyzobs.mm.value` in
    mm and radians, `miller_index` (rows, 3), `bbox` (rows, 6), `flags` as bits.

    **Raises** `InputError` for a file that is no such table, or cut off.
    """
    msgpack, name = _msgpack(), f"reflection table {os.fspath(path)!r}"
    check_regular(path, name)
    try:
        content = msgpack.unpackb(Path(path).read_bytes(), raw=False, strict_map_key=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise InputError(f"{name} is no MessagePack, or cut off: {type(error).__name__}") from None
    if not (isinstance(content, list) and len(content) == 3 and content[:2] == [_NAME, _VERSION]):
        raise InputError(f"{name} is no reflection table of DIALS, version {_VERSION}")
    body = content[2] if isinstance(content[2], dict) else {}
    data, identifiers, rows = body.get("data"), body.get("identifiers"), body.get("nrows")
    if not (isinstance(data, dict) and isinstance(identifiers, dict) and isinstance(rows, int) and rows >= 0):
        raise InputError(f"{name} has no columns, identifiers or number of rows")
    if not all(type(number) is int and isinstance(text, str) for number, text in identifiers.items()):
        raise InputError(f"{name} has identifiers that are not numbered texts")
    columns, left_out = {}, []
    for column, entry in data.items():
        kind, held = _entry(column, entry, name)
        if kind not in _BY_NAME:
            left_out.append(str(column))
            continue
        columns[str(column)] = _numbers(_BY_NAME[kind], held, rows, f"{name}: column {shown(str(column))}")
    return ReflectionTable(columns, dict(identifiers), tuple(left_out))


def _entry(column: object, entry: object, name: str) -> tuple[str, object]:
    """Type and content of a column."""
    if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str):
        return entry[0], entry[1]
    raise InputError(f"{name}: column {shown(str(column))} does not say its type and content")


def _numbers(kind: _Kind, held: object, rows: int, where: str) -> NDArray:
    count, content = held if isinstance(held, list) and len(held) == 2 else (None, None)
    dtype = np.dtype(kind.dtype)
    bytes_wanted = rows * kind.width * dtype.itemsize
    if not isinstance(content, bytes) or len(content) != bytes_wanted or count != rows:
        raise InputError(f"{where} of {kind.name} must have {rows} rows in {bytes_wanted} bytes")
    if kind.dtype == "?":
        return np.frombuffer(content, np.uint8) != 0
    values = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="))
    return values if kind.width == 1 else values.reshape(rows, kind.width)


def write_refl(
    path: str | os.PathLike[str], columns: Mapping[str, NDArray], identifiers: Mapping[int, str] | None = None
) -> None:
    """Write a reflection table that DIALS reads.

    **Arguments:** `columns`: (rows,) or (rows, numbers) each. Whole numbers with a sign are `int`, without one
    `size_t`, three or six whole numbers a row Miller indices and boxes, two, three or nine others vectors and matrices;
    `identifiers`: of experiments by their number in the column `id`, None for none.

    **Raises** `InputError` for columns of other shapes, or unequal length, and where the file cannot be written.
    """
    msgpack, data = _msgpack(), {}
    lengths = {name: len(np.atleast_1d(values)) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"columns of a reflection table must be equally long, got {told}")
    rows = next(iter(lengths.values()), 0)
    for name, values in columns.items():
        values = np.asarray(values)
        kind = _kind_of(name, values)
        stored = np.ascontiguousarray(values, kind.dtype)
        if kind.dtype != "<f8" and np.any(stored != values):
            raise InputError(f"column {name} has numbers that do not fit into {kind.name}")
        data[name] = [kind.name, [rows, stored.tobytes()]]
    body = {"identifiers": dict(identifiers or {}), "nrows": rows, "data": data}
    write_whole(Path(path), msgpack.packb([_NAME, _VERSION, body], use_bin_type=True))


def _kind_of(name: str, values: NDArray) -> _Kind:
    """The kind of a column, by its numbers and shape."""
    letter = {"b": "?", "i": "<i4", "u": "<u8", "f": "<f8"}.get(values.dtype.kind)
    width = values.shape[1] if values.ndim == 2 else 1 if values.ndim == 1 else 0
    found = next((kind for kind in _KINDS if (kind.dtype, kind.width) == (letter, width)), None)
    if found is None:
        raise InputError(f"column {name} of {values.dtype} and shape {values.shape} has no type in a reflection table")
    return found
