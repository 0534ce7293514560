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
from pathlib import Path
from random import Random

import numpy as np

SPARE_BYTES = 3 << 30
LONGEST_MESSAGE = 300


def main(argv: list[str]) -> None:
    """Go through the inputs START to START + COUNT − 1 of each reader that is named."""
    seed, folder, asked = argv[0], Path(argv[1]), argv[2:]
    import h5py  # noqa: F401
    import jax

    import nanobrag_jax as nb

    from .mutations import damaged
    from .readers import READERS
    from .samples import BESIDE

    jax.numpy.zeros(1).block_until_ready()
    nb.experiment_from_args("-cell 50 50 50 90 90 90 -default_F 1 -detpixels 9 -oversample 1".split())
    _limit_memory()
    warnings.simplefilter("ignore")
    work = folder / f"work{os.getpid()}"
    work.mkdir()
    os.chdir(work)
    for beside in BESIDE:
        shutil.copy(folder / beside, work / beside)
    for name, start, count in zip(asked[::3], asked[1::3], asked[2::3], strict=True):
        reader = READERS[name]
        samples = sorted(path for path in folder.iterdir() if path.name.startswith(reader.samples) and path.is_file())
        for index in range(int(start), int(start) + int(count)):
            digest = hashlib.sha256(f"{seed} {name} {index}".encode()).digest()
            rng = Random(int.from_bytes(digest[:8], "little"))
            sample = samples[index % len(samples)]
            path = work / sample.name
            path.write_bytes(damaged(sample.read_bytes(), sample.name, rng))
            print(f"{name}\t{index}\tstart", flush=True)
            print(f"{name}\t{index}\t{_outcome(reader, str(path), nb.InputError)}", flush=True)


def _outcome(reader, path: str, refusal: type[Exception]) -> str:
    """read, refused, or fault with what is wrong, in one line."""
    try:
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            found = reader.call(path)
    except refusal as error:
        message = str(error)
        if len(message) > LONGEST_MESSAGE:
            return f"fault: a message of {len(message)} characters: {message[:150]!r}"
        if not message.isprintable():
            return f"fault: a message with control characters: {message[:150]!r}"
        if reader.named and Path(path).name not in message and Path(path).stem not in message:
            return f"fault: no name in the message: {message!r}"
        return "refused"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "nanobrag_jax" in frame.filename]
        last = ours[-1] if ours else where
        return f"fault: {type(error).__name__} {str(error)[:150]!r} at {Path(last.filename).name}:{last.lineno}"
    if reader.finite and not _finite(found):
        return "fault: numbers that are not finite"
    return "read"


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
