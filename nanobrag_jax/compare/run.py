"""The C program and this one on the same flags: wall times and both images."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..formats.raw import read_raw
from ..formats.smv import read_smv

OURS = (sys.executable, "-m", "nanobrag_jax")
_LAST_WORDS = 300


@dataclass(frozen=True)
class Run:
    """One program's run: the command line, its wall time in seconds (start to end), the float image (slow, fast)."""

    command: tuple[str, ...]
    seconds: float
    image: NDArray[np.float32]


def run_both(
    binary: str | os.PathLike[str],
    flags: Sequence[str],
    folder: str | os.PathLike[str],
    *,
    mode: str = "c-parity",
    ours: Sequence[str] = OURS,
) -> tuple[Run, Run]:
    """Run the C program and then this one in the current directory, with all their output going to `folder`.

    **Arguments:** `binary`: path of the C program, or a name to be found as the shell does; `flags`: for both;
    `folder`: for the images and the dump files of structure factors; `mode`: ours; `ours`: how this program is called.

    **Raises** `InputError` if a program cannot be started, fails, or leaves no image of the expected size.
    """
    program = shutil.which(os.fspath(binary))
    if program is None:
        raise InputError(f"--binary {os.fspath(binary)} is no program that can be run")
    place = Path(folder)
    theirs = _run("the C program", [program, *flags, *_outputs(flags, place, "reference")], place / "reference")
    own = [*ours, *flags, "-mode", mode, *_outputs(flags, place, "nanobrag_jax")]
    return theirs, _run("nanobrag_jax", own, place / "nanobrag_jax")


def _outputs(flags: Sequence[str], place: Path, name: str) -> list[str]:
    """Flags that send everything to a folder: a dump file too, which comes whenever structure factors are read."""
    dump = ["-dump", str(place / f"{name}.dump")] if "-hkl" in flags and "-dump" not in flags else []
    images = ["-floatfile", str(place / f"{name}.bin"), "-intfile", str(place / f"{name}.img")]
    return [*dump, *images, "-nopgm", "-nonoise"]


def _run(who: str, command: list[str], stem: Path) -> Run:
    picture, pixels = stem.with_suffix(".img"), stem.with_suffix(".bin")
    for leftover in (picture, pixels):
        leftover.unlink(missing_ok=True)
    # This package is found wherever it was imported from, installed or not.
    places = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    begin = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
    except OSError as error:
        raise InputError(f"{who} ({command[0]}) could not be started: {error.strerror or error}") from error
    seconds = time.perf_counter() - begin
    stem.with_suffix(".log").write_text(f"$ {shlex.join(command)}\n{done.stdout}{done.stderr}", encoding="utf-8")
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())[-_LAST_WORDS:]
        raise InputError(f"{who} ended with status {done.returncode}: {words or 'without a word'}")
    if not (picture.exists() and pixels.exists()):
        raise InputError(f"{who} ended well but wrote no image")
    shape = read_smv(picture).image.shape
    return Run(tuple(command), seconds, read_raw(pixels, (shape[0], shape[1])))
