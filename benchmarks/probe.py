"""The machine's own limit: the arithmetic of a lattice sample in hand-vectorised C (roofline.c)."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = "-O3 -march=native -mprefer-vector-width=512 -ffast-math -fopenmp".split()


class Probe:
    """Compiled once; `seconds(threads)` is the best of its runs on 2463 × 2527 pixels × 10 φ steps."""

    def __init__(self, real: str = "double"):
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise RuntimeError("no C compiler: the ratios to the probe need one")
        self._folder = tempfile.TemporaryDirectory()
        self._program = str(Path(self._folder.name) / "roofline")
        source = Path(__file__).with_name("roofline.c")
        flags = FLAGS if os.uname().machine == "x86_64" else [f for f in FLAGS if "prefer-vector" not in f]
        subprocess.run([compiler, *flags, f"-DREAL={real}", str(source), "-o", self._program, "-lm"], check=True)

    def seconds(self, threads: int | None = None) -> float:
        """Best time of five passes."""
        environment = dict(os.environ)
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        printed = subprocess.run([self._program], capture_output=True, text=True, check=True, env=environment).stdout
        return float(printed.split()[3])


SAMPLES = 2463 * 2527 * 10
"""Samples of one pass of the probe."""
