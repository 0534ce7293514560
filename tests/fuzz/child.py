"""`python -m tests.fuzz.child SEED FOLDER READER START COUNT …`: read damaged files, one line of output an input.

Its memory is limited to what it has after the imports, and 3 GB more; the time of each input its parent watches.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from .outcome import fault_in_message

SPARE_BYTES = 3 << 30
Inputs = Callable[[Random, int], Callable[[], str]]
"""From random numbers and the number of an input to what reads it and says what came of it."""


def main(argv: list[str]) -> None:
    """Go through the inputs START to START + COUNT − 1 of each reader that is named, or of the command lines."""
    seed, folder, asked = argv[0], Path(argv[1]), argv[2:]
    import compiler_options
    import h5py  # noqa: F401
    import jax

    import nanobrag_jax as nb

    from .readers import COMMAND_LINES

    compiler_options.use()
    jax.numpy.zeros(1).block_until_ready()
    nb.experiment_from_args("-cell 50 50 50 90 90 90 -default_F 1 -detpixels 9 -oversample 1".split())
    _limit_memory()
    warnings.simplefilter("ignore")
    work = folder / f"work{os.getpid()}"
    work.mkdir()
    os.chdir(work)
    for name, start, count in zip(asked[::3], asked[1::3], asked[2::3], strict=True):
        inputs = _command_lines(work) if name == COMMAND_LINES else _damaged_files(name, folder, work)
        for index in range(int(start), int(start) + int(count)):
            digest = hashlib.sha256(f"{seed} {name} {index}".encode()).digest()
            read = inputs(Random(int.from_bytes(digest[:8], "little")), index)
            print(f"{name}\t{index}\tstart", flush=True)
            print(f"{name}\t{index}\t{_outcome(read)}", flush=True)


def _command_lines(work: Path) -> Inputs:
    from .command_lines import line, outcome

    def prepared(rng: Random, index: int) -> Callable[[], str]:
        words = line(rng, index)
        return lambda: outcome(words, work)

    return prepared


def _damaged_files(name: str, folder: Path, work: Path) -> Inputs:
    from .mutations import damaged
    from .readers import READERS
    from .samples import BESIDE

    for beside in BESIDE:
        shutil.copy(folder / beside, work / beside)
    reader = READERS[name]
    samples = sorted(path for path in folder.iterdir() if path.name.startswith(reader.samples) and path.is_file())

    def prepared(rng: Random, index: int) -> Callable[[], str]:
        sample = samples[index % len(samples)]
        path = work / sample.name
        path.write_bytes(damaged(sample.read_bytes(), sample.name, rng))
        return lambda: _read(reader, str(path))

    return prepared


def _read(reader, path: str) -> str:
    """What came of a damaged file."""
    from nanobrag_jax.errors import InputError

    try:
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            found = reader.call(path)
    except InputError as error:
        wrong = fault_in_message(str(error), Path(path).name if reader.named else None)
        return f"fault: {wrong}: {str(error)[:150]!r}" if wrong else "refused"
    return "fault: numbers that are not finite" if reader.finite and not _finite(found) else "read"


def _outcome(read: Callable[[], str]) -> str:
    """read, refused, or fault with what is wrong, in one line."""
    try:
        return read()
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        last = ([frame for frame in frames if "nanobrag_jax" in frame.filename] or frames)[-1]
        return f"fault: {type(error).__name__} {str(error)[:150]!r} at {Path(last.filename).name}:{last.lineno}"


def _finite(found: object) -> bool:
    import jax

    leaves = jax.tree.leaves(found)
    arrays = [np.asarray(x) for x in leaves if isinstance(x, np.ndarray | np.generic | float | jax.Array)]
    return all(np.isfinite(x).all() for x in arrays if x.dtype.kind == "f")


def _limit_memory() -> None:
    import resource

    with open("/proc/self/statm", encoding="ascii") as sizes:
        used = int(sizes.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(sys.argv[1:])
