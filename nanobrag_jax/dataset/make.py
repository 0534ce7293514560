"""Making a data set: which shards, by how many processes, how far it is."""

import hashlib
import json
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from ..errors import InputError
from ..io.atomic import write_whole
from ..io.text import reason
from ..numerics.precision import precision_context
from ..version import __version__
from .batch import rendered
from .recipe import Recipe
from .shards import Shard, batches_of, make_shard, num_shards, read_record, shard_name

MANIFEST = "manifest.json"


class Manifest(NamedTuple):
    """What a folder holds, or is going to."""

    version: str
    recipe_sha256: str
    seed: int
    images: int
    shard_images: int
    shards: int


def recipe_digest(recipe: Recipe) -> str:
    """A checksum of everything that decides the images; not of how many there are."""
    found = hashlib.sha256()
    leaves, structure = jax.tree.flatten((recipe.prepared, recipe.detector_effects))
    found.update(str(structure).encode())
    for leaf in leaves:
        array = np.asarray(leaf)
        found.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    for name in sorted(recipe.vary):
        found.update(name.encode() + _said(recipe.vary[name]))
    found.update(_said(recipe.lattices) + _said(recipe.base_choice) + _said(recipe.storage))
    found.update(f"{recipe.seed} {recipe.precision}".encode())
    return found.hexdigest()


def _said(part: object) -> bytes:
    """A part of a recipe as bytes: its class, and its fields, arrays among them."""
    fields = sorted(vars(part).items())
    return f"{type(part).__name__} {[(name, np.asarray(value).tolist()) for name, value in fields]}".encode()


def manifest_of(recipe: Recipe) -> Manifest:
    """The manifest of a recipe."""
    storage = recipe.storage
    return Manifest(
        __version__, recipe_digest(recipe), recipe.seed, recipe.images, storage.shard_images, num_shards(recipe)
    )


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder. **Raises** `InputError` where there is none."""
    try:
        return Manifest(**json.loads((folder / MANIFEST).read_text()))
    except OSError as error:
        raise InputError(f"{os.fspath(folder)!r} is no data set: {MANIFEST}: {reason(error)}") from None
    except (ValueError, TypeError):
        raise InputError(f"{os.fspath(folder)!r} is no data set: its {MANIFEST} cannot be read") from None


def begin(recipe: Recipe, folder: Path) -> None:
    """Make the folder, or take one that holds a part of the same data set. **Raises** `InputError` for another."""
    own = manifest_of(recipe)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {os.fspath(folder)!r}: {reason(error)}") from None
    if (folder / MANIFEST).exists():
        known = read_manifest(folder)
        if known != own:
            differ = next(name for name in Manifest._fields if getattr(known, name) != getattr(own, name))
            raise InputError(
                f"{os.fspath(folder)!r} holds another data set: its {differ} is {getattr(known, differ)}, that of this "
                f"recipe {getattr(own, differ)}"
            )
        return
    write_whole(folder / MANIFEST, (json.dumps(own._asdict(), indent=1) + "\n").encode())


def missing(recipe: Recipe, folder: Path, shards: Sequence[int] | None = None) -> list[int]:
    """Shards that are still to be made, of those that are asked for."""
    asked = range(num_shards(recipe)) if shards is None else shards
    return [shard for shard in asked if read_record(folder, shard) is None]


class Estimate(NamedTuple):
    """What a data set will take, from one batch of it."""

    seconds_an_image: float
    bytes_an_image: float


def estimate(recipe: Recipe) -> Estimate:
    """Render and compress one batch, twice, as the first compiles."""
    import h5py
    import hdf5plugin

    drawn, _ = next(batches_of(recipe, range(min(recipe.images, recipe.storage.batch))))
    np.asarray(rendered(recipe, drawn).counts)
    began = time.perf_counter()
    counts = np.asarray(rendered(recipe, drawn).counts)
    with h5py.File("estimate", "w", driver="core", backing_store=False) as file:
        chunks = (1, *counts.shape[1:])
        data = file.create_dataset("data", data=counts, chunks=chunks, **hdf5plugin.Bitshuffle(cname="lz4"))
        size = data.id.get_storage_size()
    return Estimate((time.perf_counter() - began) / len(counts), size / len(counts))


def make_dataset(
    recipe: Recipe,
    folder: str | os.PathLike[str],
    *,
    shards: Sequence[int] | None = None,
    processes: int = 1,
    report: Callable[[int], None] | None = None,
) -> list[Shard]:
    """Make what is missing of a data set; the records of the shards that were asked for.

    **Arguments:**

    - `folder`: where it lies or is to lie;
    - `shards`: which, None for all;
    - `processes`: how many work at it, each with its share of the processors;
    - `report`: called with the number of images after each batch (one process) or shard.

    A shard appears whole or not at all; the same call goes on after an interruption, and gives the same bytes.
    **Raises** `InputError` for a folder of another data set, and where shards cannot be made: the others are then
    there.
    """
    folder = Path(folder)
    begin(recipe, folder)
    left = missing(recipe, folder, shards)
    if processes == 1 or len(left) < 2:
        with precision_context(recipe.precision):
            for shard in left:
                make_shard(recipe, folder, shard, report)
    else:
        _in_processes(recipe, folder, left, min(processes, len(left)), report)
    asked = range(num_shards(recipe)) if shards is None else shards
    records = [read_record(folder, shard) for shard in asked]
    return [record for record in records if record is not None]


def _in_processes(
    recipe: Recipe, folder: Path, left: Sequence[int], processes: int, report: Callable[[int], None] | None
) -> None:
    context = multiprocessing.get_context("spawn")  # a fork would take over jax's threads
    places = context.SimpleQueue()
    for number in range(processes):
        places.put(number)
    failed: dict[int, str] = {}
    pool = ProcessPoolExecutor(processes, context, _settle, (places, processes, pickle.dumps(recipe)))
    try:
        running = {pool.submit(_made, os.fspath(folder), shard): shard for shard in left}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                shard = running.pop(future)
                try:
                    images = future.result()
                except BrokenProcessPool:
                    raise InputError(
                        f"a process died while {shard_name(shard)} was made (killed, or out of memory); the same "
                        "command goes on where it stopped"
                    ) from None
                except InputError as error:
                    failed[shard] = str(error)
                    continue
                if report:
                    report(images)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.terminate()
    if failed:
        shard, why = next(iter(failed.items()))
        raise InputError(f"{len(failed)} of {len(left)} shards failed; {shard_name(shard)}: {why}")


_own: list[Recipe] = []


def _settle(places, processes: int, recipe: bytes) -> None:
    """A process begins: it keeps to its share of the processors, before jax counts them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that is asked to stop ends the others
    number = places.get()
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number::processes] or cores)
    _own.append(pickle.loads(recipe))


def _made(folder: str, shard: int) -> int:
    with precision_context(_own[0].precision):
        return make_shard(_own[0], Path(folder), shard).images


def image_of(recipe: Recipe, number: int) -> np.ndarray:
    """The counts of one image, (slow, fast) or (panel, slow, fast), as the data set has them.

    **Raises** `InputError` for a number that the data set has not.
    """
    if not 0 <= number < recipe.images:
        raise InputError(f"images are numbered from 0 to {recipe.images - 1}, got {number}")
    with precision_context(recipe.precision):
        drawn, _ = next(batches_of(recipe, [number]))
        return np.asarray(rendered(recipe, drawn).counts[0])
