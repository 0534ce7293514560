"""An account of the compiled programs in a folder: what was written is what is read.

`programs.json` has the size, time and inode of each file that was found whole. A file that differs from its entry (cut
off, overwritten, moved into another's place) is removed, and so is a new one that does not unpack to its end: jax
would run the first and trip over the second at each start.
"""

import contextlib
import importlib
import json
import os
import zlib
from pathlib import Path

from ..errors import InputError
from ..io.atomic import write_whole

ACCOUNT = "programs.json"
KEPT_PROGRAMS = 200
"""Programs in the folder; the oldest go first."""
_SUFFIX = "-cache"


def account_for(folder: Path) -> None:
    """Remove what is damaged or too much, and write down what there is, as far as the folder allows it."""
    with contextlib.suppress(OSError, InputError):
        known, kept = _known(folder), {}
        for entry in os.scandir(folder):
            if entry.name.endswith(_SUFFIX):
                mark = _mark(entry)
                before = known.get(entry.name)
                if mark is not None and (before == mark or (before is None and _whole(entry.path))):
                    kept[entry.name] = mark
                else:
                    os.unlink(entry.path)
        _remove_oldest(folder, kept)
        if kept != known:
            write_whole(folder / ACCOUNT, json.dumps(kept).encode())


def remove_programs(folder: Path, begins: str = "") -> None:
    """Remove the programs whose names begin so."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(begins) and entry.name.endswith(_SUFFIX):
                os.unlink(entry.path)


def _known(folder: Path) -> dict[str, list[int]]:
    try:
        known = json.loads((folder / ACCOUNT).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _mark(entry: os.DirEntry[str]) -> list[int] | None:
    """Size, time and inode of a file; None for what is no file, links included."""
    if not entry.is_file(follow_symlinks=False):
        return None
    found = entry.stat(follow_symlinks=False)
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _whole(path: str) -> bool:
    """Whether a file unpacks to its end, by the packer that jax uses: zlib or, where it is installed, zstandard."""
    data = Path(path).read_bytes()
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        try:
            zstandard = importlib.import_module("zstandard")
        except ImportError:
            return False
        try:
            zstandard.ZstdDecompressor().decompress(data)
        except zstandard.ZstdError:
            return False
        return True
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(data)
    except zlib.error:
        return False
    return unpacker.eof


def _remove_oldest(folder: Path, kept: dict[str, list[int]]) -> None:
    """Keep the folder from growing without end."""
    for name in sorted(kept, key=lambda name: kept[name][1])[: max(len(kept) - KEPT_PROGRAMS, 0)]:
        os.unlink(folder / name)
        del kept[name]
