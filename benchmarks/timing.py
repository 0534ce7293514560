"""How long things take: compilation apart from running, the best of several runs, whole processes from outside."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax

from .experiments import INPUTS, headline_args


def best(run: Callable[[], object], repeat: int = 12) -> float:
    """Shortest wall time of `run`, seconds, after one turn that does not count."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return min(times)


def compiled(function: Callable, *arguments) -> tuple[Callable, float, float]:
    """A jitted function compiled for its arguments, seconds that tracing and compiling took, temporary megabytes."""
    start = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory = program.memory_analysis()
    return program, seconds, (memory.temp_size_in_bytes / 1e6 if memory is not None else float("nan"))


def command(cached: bool, repeat: int = 3, **changes) -> dict[str, float]:
    """Wall seconds and peak megabytes of the whole headline command, with an empty or a filled compilation cache."""
    arguments = headline_args(**changes)
    for flag in ("-mat", "-hkl"):
        at = arguments.index(flag) + 1
        arguments[at] = str(INPUTS / arguments[at])
    times, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeat + cached):
            cache = Path(folder) / ("cache" if cached else f"cache{turn}")
            environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
            start = time.perf_counter()
            program = [sys.executable, "-m", "nanobrag_jax", *arguments, "-noprogress"]
            process = subprocess.Popen(
                program, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise RuntimeError(f"the command failed: {' '.join(program)}")
            times.append(time.perf_counter() - start)
            peaks.append(usage.ru_maxrss / 1024)
    return {"seconds": statistics.median(times[cached:]), "peak_MB": max(peaks)}
