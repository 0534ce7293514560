"""Every flag with every kind of value that cannot be meant, alone and beside others: a sentence, or a sound image."""

import contextlib
import io
import os
import re
import shutil
from pathlib import Path
from random import Random

import numpy as np

from nanobrag_jax.command.flags import FLAGS
from nanobrag_jax.command.flags.flag import Flag
from nanobrag_jax.io.locks import LOCK_FILE

from .outcome import fault_in_message

BASE = "-default_F 100 -cell 50 60 70 80 95 100 -N 5 -lambda 1.1 -distance 60 -detpixels 12 -pixel 2 -oversample 1"
TABLE = b"1 2 3 40\n0 1 1 30\n"
NUMBERS = [
    "nan", "inf", "-inf", "0", "-1", "1", "1e300", "-1e300", "1e-300", "1e-320", "1e999", "9" * 400, "1e9",
    "2147483647", "-2147483648", "x", "", "1,5", "0x10", "true", "\u0663", "\uff11", "1\x00", "-", "--", "90", "0.5",
    "359.9", "180",
]  # fmt: skip
PATHS = [
    "missing",
    ".",
    "/dev/null",
    "/dev/full",
    "/dev/zero",
    "",
    "a" * 300,
    "in.hkl",
    "../x",
    "no/such/folder/x",
    "x\ny",
    "\x00",
]
WORDS = ["x", "", "nan", "é" * 200, "-1", "SPEC"]
_BINARY = ("floatimage.bin",)


def line(rng: Random, index: int) -> list[str]:
    """A command line about the flag that is next."""
    flag = FLAGS[index % len(FLAGS)]
    words = BASE.split()
    for other in rng.sample(FLAGS, rng.choice((0, 0, 1, 2))):
        words += [_spelling(other, rng), *_good(other)]
    return [*words, _spelling(flag, rng), *_bad(flag, rng)]


def _spelling(flag: Flag, rng: Random) -> str:
    return rng.choice(flag.spellings).replace("…", "")


def _good(flag: Flag) -> list[str]:
    if flag.kind == "word":
        return [flag.choices[-1]] if flag.choices else ["F"]
    words = {"int": ["2"], "float": ["0.5"], "path": ["in.hkl"], "cell": ["50"], "depth": ["300"], "image": ["2"]}
    words |= {"vector": ["0", "1", "0"], "misset": ["1", "2", "3"]}
    return words.get(flag.kind, []) * (flag.count if flag.kind in ("int", "float") else 1)


def _bad(flag: Flag, rng: Random) -> list[str]:
    if flag.kind == "switch":
        return rng.choice(([], ["x"], ["1", "2"]))
    kinds = {"path": PATHS, "word": [*WORDS, *flag.choices]}
    values = kinds.get(flag.kind, NUMBERS)
    count = {"vector": 3, "misset": 3, "cell": 6}.get(flag.kind, flag.count)
    wanted = rng.choice((count, count, count, count, count - 1, count + 1))
    words = _good(flag) if rng.random() < 0.3 else []
    return [rng.choice(values) if i >= len(words) or rng.random() < 0.4 else words[i] for i in range(wanted)]


def outcome(words: list[str], work: Path) -> str:
    """read, refused, or fault with what is wrong, of a command line in an empty folder."""
    from nanobrag_jax.cli import main

    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "in.hkl").write_bytes(TABLE)
    os.chdir(folder)
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(words)
    finally:
        os.chdir(work)
    said = err.getvalue().splitlines()
    if words.count("in.hkl") > 1 and (folder / "in.hkl").read_bytes() != TABLE:
        return f"fault: an input is overwritten: {words}"
    if status:
        left = [path.name for path in folder.iterdir() if path.name not in ("in.hkl", LOCK_FILE)]
        if left:
            return f"fault: {left} is written in spite of status {status}: {words}"
        last = said[-1] if said else ""
        wrong = fault_in_message(last, None)
        if not re.match(r"nanobrag_jax: error: ", last):
            wrong = "no sentence"
        return f"fault: {wrong}: {last[:200]!r}: {words}" if wrong else "refused"
    for path in folder.iterdir():
        if path.name in _BINARY:
            image = np.fromfile(path, np.float32)
            if not (np.isfinite(image).all() and (image >= 0).all()):
                return f"fault: an image that is not finite or negative: {words}"
    return "read"
