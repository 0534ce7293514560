"""How far a data set is, whether its files are those that were written, and a sheet of some of its images."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..formats.png import grey_levels, grey_range, png_pieces
from ..io.atomic import write_whole
from .make import Manifest, read_manifest
from .shards import MAKING, Shard, read_record, sha256_of, shard_name

_SHEET = 4
"""Images along each edge of the sheet."""
_SHEET_PIXELS = 256
"""Of an image on it, at most."""


class Progress(NamedTuple):
    """How far a data set is."""

    manifest: Manifest
    shards: list[Shard]
    making: list[str]
    """Names of the folders in which shards are being made, or were when their process was killed."""

    @property
    def images(self) -> int:
        """That are there."""
        return sum(shard.images for shard in self.shards)

    def lines(self) -> list[str]:
        """In words."""
        manifest, seconds = self.manifest, sum(shard.seconds for shard in self.shards)
        found = [
            f"{self.images} of {manifest.images} images, {len(self.shards)} of {manifest.shards} shards",
            f"made by nanobrag_jax {manifest.version}, seed {manifest.seed}, recipe {manifest.recipe_sha256[:12]}",
        ]
        if seconds > 0:
            found.append(f"{self.images / seconds:.3g} images/s a process")
        if self.making:
            found.append(f"{len(self.making)} shards at work, or left by a process that was killed")
        return found


def progress(folder: str | os.PathLike[str]) -> Progress:
    """How far a data set is. **Raises** `InputError` for a folder that holds none."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    records = (read_record(folder, shard) for shard in range(manifest.shards))
    making = sorted(path.name for path in (folder / MAKING).glob("shard_*"))
    return Progress(manifest, [record for record in records if record is not None], making)


def check(folder: str | os.PathLike[str]) -> list[str]:
    """What is wrong with the files of a data set, in words: checksums that are not those written, missing shards."""
    folder, found = Path(folder), []
    for shard in range(read_manifest(folder).shards):
        record = read_record(folder, shard)
        if record is None:
            found.append(f"{shard_name(shard)} is not there")
            continue
        found += [f"{name} was changed" for name, sha in record.sha256.items() if sha256_of(folder / name) != sha]
    return found


def write_sheet(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> int:
    """Some images of a data set as a PNG; how many. **Raises** `InputError` where there are none yet."""
    import h5py
    import hdf5plugin  # noqa: F401  (reads what it has packed)

    found = progress(folder)
    if not found.shards:
        raise InputError(f"{os.fspath(folder)!r} has no finished shard to show images of")
    tiles: list[np.ndarray] = []
    for shard in found.shards:
        with h5py.File(Path(folder) / f"{shard_name(shard.number)}.h5", "r") as file:
            data = file["entry/data/data"]
            assert isinstance(data, h5py.Dataset)
            for frame in range(min(shard.images, _SHEET**2 - len(tiles))):
                step = max(1, -(-max(data.shape[1:]) // _SHEET_PIXELS))
                rows, columns = (n // step * step for n in data.shape[1:])
                image = np.asarray(data[frame], np.float32)[:rows, :columns]
                tiles.append(image.reshape(rows // step, step, columns // step, step).max((1, 3)))
        if len(tiles) == _SHEET**2:
            break
    white, black = grey_range(tiles)
    blank = np.zeros(tiles[0].shape, np.uint8)
    levels = [np.pad(grey_levels(tile, white, black), 1, constant_values=128) for tile in tiles]
    levels += [np.pad(blank, 1)] * (-len(levels) % _SHEET)
    rows_ = [np.hstack(levels[i : i + _SHEET]) for i in range(0, len(levels), _SHEET)]
    write_whole(path, png_pieces(np.vstack(rows_)))
    return len(tiles)
