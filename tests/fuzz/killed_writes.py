"""Writers ended at a random moment: what lies there then is the old set, the new set, or nothing.

A child writes sets of files over and over, each set with a number in it; a signal, or a limit of the size of files,
ends it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
ENDS = ("SIGKILL", "SIGTERM", "SIGINT", "file size")
SETS = ("three files", "panels", "configuration", "sweep in one file", "sweep in files", "data set")
_CHILD = """
import sys
from tests.fuzz.killed_writes import write_for_ever
write_for_ever(*sys.argv[1:])
"""


def write_for_ever(kind: str, end: str) -> None:
    """Write sets 1, 2, 3 … in the current folder, with a line of output before each."""
    import numpy as np
    import small

    import nanobrag_jax as nb
    from nanobrag_jax.dataset.shards import shard_name
    from nanobrag_jax.errors import InputError
    from nanobrag_jax.io.file_set import FileSet
    from nanobrag_jax.io.outputs import Output, write_outputs
    from nanobrag_jax.io.signals import stop_like_interruptions

    stop_like_interruptions()
    experiment = small.experiment(goniometer={"osc_deg": 1.0, "phi_steps": 2})
    place = {"pixels_fast": 12, "pixels_slow": 10, "pixel_size_mm": 3.0}
    panels = nb.replace(experiment, detector=[nb.Detector(distance_mm=d, **place) for d in (60.0, 70.0)])
    if end == "file size":
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (400, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    number = 0
    while True:
        number += 1
        print(number, flush=True)
        image = np.full((10, 12), number % 30000, np.int32)
        try:
            if kind == "three files":
                write_outputs([Output("-x", name, [str(number).encode() + b"\n"] * 400) for name in "abc"])
            elif kind == "panels":
                nb.write_image("image.img", [image, image], panels)
            elif kind == "configuration":
                nb.save_config(
                    "run.json",
                    small.replaced(experiment, "structure_factors.amplitudes", np.full((13, 13, 13), float(number))),
                )
            elif kind == "sweep in one file":
                nb.write_sweep("sweep.h5", (image for _ in range(5)), experiment, 5)
            elif kind == "sweep in files":
                nb.write_sweep("sweep_####.img", (image for _ in range(3)), experiment, 3)
            else:
                with FileSet() as files:
                    for name in (shard_name(0), shard_name(1)):
                        files.open(name).write(str(number).encode() * 1000)
        except InputError as error:
            sys.exit(f"nanobrag_jax: error: {error}")


def numbers_there(kind: str, folder: Path) -> set[int]:
    """The numbers of the sets that complete files in a folder are of. Raises for a file that is not whole."""
    import numpy as np

    import nanobrag_jax as nb

    found = set()
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if kind == "three files":
            words = path.read_bytes().split()
            assert len(words) == 400
            found |= {int(word) for word in words}
        elif kind == "configuration":
            if path.suffix == ".json":
                try:
                    found |= set(
                        np.unique(np.asarray(nb.load_config(path).experiment.structure_factors.amplitudes)).astype(int)
                    )
                except nb.InputError as error:  # the one mixture that a kill between two renames can make is refused
                    assert "is not the one that this was written with" in str(error)
            else:
                json.dumps(sorted(np.load(path)))
        elif kind == "data set":
            text = path.read_bytes()
            assert len(text) % 1000 == 0
            found.add(int(text[: len(text) // 1000]))
        elif path.suffix == ".npy":
            found |= set(np.unique(np.load(path)).tolist())
        else:
            found |= set(np.unique(np.asarray(nb.read_image(path))).tolist())
    return found


def killed(kind: str, end: str, rng: Random, folder: Path) -> str:
    """What a child leaves behind that ends so: "old or new", "absent", or what is wrong."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "PYTHONWARNINGS": "ignore",
    }
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, kind, end], cwd=folder, env=environment, stdout=-1, stderr=-1, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(rng.uniform(0.0, 0.3))
    if end != "file size":
        child.send_signal(getattr(signal, end))
    _, said = child.communicate(timeout=60)
    if end == "file size" and "error: " not in said:
        return f"no sentence: {said[-200:]!r}"
    try:
        numbers = numbers_there(kind, folder)
    except Exception as error:
        return f"damaged: {error}"
    if len(numbers) > 1 and kind != "sweep in files":  # each of whose images is complete in itself
        return f"mixed: {sorted(numbers)}"
    left = [name for name in os.listdir(folder) if name.endswith(".tmp")]
    if left and end != "SIGKILL":
        return f"left behind: {left}"
    return "old or new" if numbers else "absent"


def killed_writes(kills: int) -> int:
    """End so many writers, print what was left, and say how many were wrong."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for index in range(kills):
        kind, end = SETS[index % len(SETS)], ENDS[index // len(SETS) % len(ENDS)]
        with tempfile.TemporaryDirectory() as place:
            counts[kind, end, killed(kind, end, Random(index), Path(place))] += 1
    for (kind, end, what), count in sorted(counts.items()):
        print(f"{kind:20} {end:10} {count:5} {what}")
    wrong = sum(count for (_, _, what), count in counts.items() if what not in ("old or new", "absent"))
    print(f"{kills} writes ended, {wrong} wrong")
    return wrong
