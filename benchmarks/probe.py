"""The machine's own limit: the arithmetic of a lattice sample in hand-vectorised C (roofline.c)."""

import os
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

FLAGS = "-O3 -march=native -mprefer-vector-width=512 -ffast-math -fopenmp".split()

SAMPLES = 2463 * 2527 * 10
"""Samples of one pass of the probe."""
PASSES = 5


class Pass(NamedTuple):
    """Seconds of one pass: the shortest by the clock, and the mean of the processors'."""

    wall: float
    cpu: float


class Probe:
    """Compiled once; runs 2463 × 2527 pixels × 10 φ steps. **Raises** `OSError` without a C compiler."""

    def __init__(self, real: str = "double"):
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise OSError("no C compiler")
        self._folder = tempfile.TemporaryDirectory()
        self._program = str(Path(self._folder.name) / "roofline")
        source = Path(__file__).with_name("roofline.c")
        flags = FLAGS if os.uname().machine == "x86_64" else [f for f in FLAGS if "prefer-vector" not in f]
        try:
            subprocess.run([compiler, *flags, f"-DREAL={real}", str(source), "-o", self._program, "-lm"], check=True)
        except subprocess.CalledProcessError as error:
            raise OSError("the C compiler cannot compile roofline.c") from error

    def run(self, threads: int) -> Pass:
        """The best of its passes."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        printed = subprocess.run([self._program], capture_output=True, text=True, check=True, env=environment).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Pass(float(printed.split()[3]), cpu / PASSES)
