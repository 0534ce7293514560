"""A shard: some thousand images in one HDF5 file, with their table and experiment list, made whole or not at all.

While it is made its files lie in a folder of the process under `.making`; the record, which says that a shard is
there, comes last. Whoever makes a shard again writes the same bytes.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dials.from_experiment import believed_below, expt_record, turn_to_dials
from ..dials.models import ExptCrystal, ExptExperiment
from ..dials.write import expt_bytes
from ..errors import InputError
from ..experiment import Experiment
from ..formats.nexus import begin_frames, fill_frame
from ..formats.write import setup_for
from ..io.atomic import write_whole
from ..io.text import reason
from .batch import Batch, rendered
from .recipe import Drawn, Recipe, draw
from .truth import joined, parquet_bytes, truth

MAKING = ".making"
_HASH_BYTES = 1 << 22

Report = Callable[[int], None]
"""Called with the number of images that were finished."""


class Shard(NamedTuple):
    """The record of a finished shard."""

    number: int
    first: int
    images: int
    seconds: float
    sha256: dict[str, str]
    """Of each file, by its name."""


def num_shards(recipe: Recipe) -> int:
    """Of the whole data set."""
    return -(-recipe.images // recipe.storage.shard_images)


def numbers_of(recipe: Recipe, shard: int) -> range:
    """The images of a shard."""
    first = shard * recipe.storage.shard_images
    return range(first, min(first + recipe.storage.shard_images, recipe.images))


def shard_name(shard: int) -> str:
    """Of its files, without an ending."""
    return f"shard_{shard:05d}"


def record_path(folder: Path, shard: int) -> Path:
    """The file that says that a shard is there."""
    return folder / f"{shard_name(shard)}.json"


def read_record(folder: Path, shard: int) -> Shard | None:
    """The record of a shard whose files are there; None where it is to be made."""
    try:
        found = Shard(**json.loads(record_path(folder, shard).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if all((folder / name).is_file() for name in found.sha256) else None


def make_shard(recipe: Recipe, folder: Path, shard: int, report: Report | None = None) -> Shard:
    """Make a shard, unless it is there. **Raises** `InputError` where it cannot be written."""
    known = read_record(folder, shard)
    if known is not None:
        return known
    began = time.perf_counter()
    try:
        with _workplace(folder, shard) as here:
            numbers = numbers_of(recipe, shard)
            names = _written(recipe, here, shard, numbers, report)
            hashes = {name: sha256_of(here / name) for name in names}
            record = Shard(shard, numbers.start, len(numbers), round(time.perf_counter() - began, 3), hashes)
            for name in names:
                os.replace(here / name, folder / name)
    except OSError as error:
        raise InputError(f"cannot write {shard_name(shard)} in {os.fspath(folder)!r}: {reason(error)}") from error
    write_record(folder, record)
    return record


def write_record(folder: Path, record: Shard) -> None:
    """Say that a shard is there."""
    write_whole(record_path(folder, record.number), (json.dumps(record._asdict(), indent=1) + "\n").encode())


@contextlib.contextmanager
def _workplace(folder: Path, shard: int) -> Iterator[Path]:
    """A folder of this process; what killed processes of this machine left of the shard goes."""
    host, making = socket.gethostname(), folder / MAKING
    making.mkdir(exist_ok=True)
    for left in making.glob(f"{shard_name(shard)}-{host}-*"):
        if not _is_running(left.name.rpartition("-")[2]):
            shutil.rmtree(left, ignore_errors=True)
    here = making / f"{shard_name(shard)}-{host}-{os.getpid()}"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    try:
        yield here
    finally:
        shutil.rmtree(here, ignore_errors=True)
        with contextlib.suppress(OSError):  # others may be at work
            making.rmdir()


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        return True
    return True


def sha256_of(path: Path) -> str:
    """The checksum of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(_HASH_BYTES):
            found.update(part)
    return found.hexdigest()


def batches_of(recipe: Recipe, numbers: Sequence[int]) -> Iterator[tuple[Drawn, int]]:
    """What is drawn for batches of one base each, all equally long, and how many images of each count.

    The last of a base is filled up with its own last image, so that one program makes all of them.
    """
    size = recipe.storage.batch
    drawn = draw(recipe, numbers)
    for base in range(len(recipe.bases)):
        rows = np.flatnonzero(drawn.base == base)
        for first in range(0, len(rows), size):
            own = rows[first : first + size]
            filled = np.concatenate([own, np.repeat(own[-1:], size - len(own))])
            yield rows_of(drawn, filled), len(own)


def rows_of(drawn: Drawn, rows: NDArray) -> Drawn:
    """Some of the images."""
    return Drawn(
        drawn.numbers[rows],
        drawn.base[rows],
        drawn.lattices[rows],
        {name: value[rows] for name, value in drawn.of_image.items()},
        {name: value[rows] for name, value in drawn.of_lattice.items()},
    )


def _written(recipe: Recipe, here: Path, shard: int, numbers: range, report: Report | None) -> list[str]:
    """Write the files of a shard; their names."""
    import h5py
    import hdf5plugin

    name = shard_name(shard)
    tables: list[dict[str, NDArray]] = []
    panels: list[NDArray] = []
    setup = setup_for(recipe.prepared[0], "spec", effects=recipe.detector_effects)
    with h5py.File(here / f"{name}.h5", "w") as file, ThreadPoolExecutor(1) as writer:
        data = None

        def store(batch: Batch, drawn: Drawn, count: int) -> None:
            nonlocal data
            counts, real = np.asarray(batch.counts)[:count], np.asarray(batch.real_space_A)[:count]
            own = rows_of(drawn, np.arange(count))
            if data is None:
                shapes = [counts.shape[-2:]] * (counts.shape[1] if counts.ndim == 4 else 1)
                packing = dict(hdf5plugin.Bitshuffle(cname="lz4"))
                data = begin_frames(file, shapes, counts.dtype, setup, len(numbers), packing)
            for image, number in zip(counts, own.numbers, strict=True):
                fill_frame(data, int(number) - numbers.start, list(image) if image.ndim == 3 else [image])
            tables.append(truth(recipe, own, real))
            panels.append(np.asarray(batch.panels_m)[:count])
            if report:
                report(count)

        waiting: Future | None = None
        for drawn, count in batches_of(recipe, numbers):
            batch = rendered(recipe, drawn)  # at work while the one before is compressed
            if waiting is not None:
                waiting.result()
            waiting = writer.submit(store, batch, drawn, count)
        if waiting is not None:
            waiting.result()
        order = np.argsort(np.concatenate([table["image"] for table in tables]))
        columns = joined(tables, order)
        _put_truth(file, columns)
    (here / f"{name}.parquet").write_bytes(parquet_bytes(columns))
    names = [f"{name}.h5", f"{name}.parquet"]
    if recipe.storage.expt:
        (here / f"{name}.expt").write_bytes(
            expt_bytes(_experiments(recipe, name, columns, np.concatenate(panels)[order]))
        )
        names.append(f"{name}.expt")
    for file_name in names:
        with open(here / file_name, "rb+") as written:
            os.fsync(written.fileno())
    return names


def _put_truth(file, columns: dict[str, NDArray]) -> None:
    """The table beside the images, and the wavelength of each of them where readers look for it."""
    for name, values in columns.items():
        file.create_dataset(f"truth/{name}", data=values, track_times=False)
    place = "entry/instrument/beam/incident_wavelength"
    wavelengths = columns["beam.wavelength_A"]
    if (wavelengths != wavelengths[0]).any():
        attributes = dict(file[place].attrs)
        del file[place]
        file.create_dataset(place, data=wavelengths, track_times=False).attrs.update(attributes)


def _experiments(recipe: Recipe, name: str, columns: dict[str, NDArray], panels_m: NDArray) -> list[ExptExperiment]:
    """One experiment for each lattice of each image, as DIALS has stills of several lattices; the file lies beside.

    Images share beam and detector unless these differ. **Arguments:** `panels_m` (image, panel, 3, 3).
    """
    counts = _counts_of(recipe)
    records = [expt_record(base, None, panels=counts) for base in recipe.prepared]
    turns = [_turn(base) for base in recipe.prepared]
    moves, shines = (any(key.startswith(part) for key in recipe.vary) for part in ("detector.", "beam."))
    found = []
    for row, number in enumerate(columns["image"].tolist()):
        record, turn = records[columns["base"][row]], turns[columns["base"][row]]
        assert record.beam is not None and record.detector is not None and record.crystal is not None
        if shines:
            beam = replace(record.beam, wavelength_A=float(columns["beam.wavelength_A"][row]))
            if "beam.direction" in columns:
                direction = columns["beam.direction"][row]
                beam = replace(beam, source_direction=-turn @ direction / np.linalg.norm(direction))
            record = replace(record, beam=beam)
        if moves or shines:
            places = (panels_m[row] @ turn.T) * [[1e3], [1.0], [1.0]]
            placed = (
                replace(panel, origin_mm=origin, fast_axis=fast, slow_axis=slow)
                for panel, (origin, fast, slow) in zip(record.detector or (), places, strict=True)
            )
            record = replace(record, detector=tuple(placed))
        record = replace(record, imageset=_imageset(name, row))
        lattices = int(columns["lattices"][row])
        if lattices == 0:
            found.append(replace(record, crystal=None, identifier=f"{number}"))
        assert record.crystal is not None
        for lattice in range(lattices):
            real = columns["crystal.real_space_A"][row, lattice] @ turn.T
            crystal = ExptCrystal(real, record.crystal.hall_symbol)
            found.append(replace(record, crystal=crystal, identifier=f"{number}-{lattice}"))
    return found


def _imageset(name: str, row: int) -> dict[str, object]:
    lookups = {"mask": "", "gain": "", "pedestal": "", "dx": "", "dy": "", "params": {}}
    return {"__id__": "ImageSet", "images": [f"{name}.h5"], "single_file_indices": [row], **lookups}


def _counts_of(recipe: Recipe) -> dict[str, object]:
    """What the counts of an image stand for, as fields of a panel."""
    effects, largest = recipe.effects, float(np.iinfo(recipe.storage.dtype).max)
    if effects.saturation_adu is not None:
        largest = min(largest, float(effects.saturation_adu))
    found: dict[str, object] = {"trusted_range": believed_below(largest)}
    for name, strength in (("pedestal", effects.offset_adu), ("gain", effects.gain_adu_per_photon)):
        if strength is not None:
            found[name] = float(strength)
    return found


def _turn(base: Experiment) -> NDArray:
    direction = np.asarray(base.beam.direction, float)
    return turn_to_dials(direction / np.linalg.norm(direction))
