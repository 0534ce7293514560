"""How long things take: wall and processor time of the best of several runs, and whole commands from outside."""

import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax

import nanobrag_jax as nb

from .experiments import INPUTS, headline, headline_args, samples_of
from .hot_loops import innermost_loops
from .programs import Program

ENOUGH_SECONDS = 3.0
MOST_RUNS = 30


def best(run: Callable[[], object]) -> dict[str, float]:
    """Wall seconds of the first run, and the shortest wall and processor seconds of those after it."""
    turns = []
    while len(turns) < 3 or (sum(wall for wall, _ in turns) < ENOUGH_SECONDS and len(turns) < MOST_RUNS):
        start = time.perf_counter(), time.process_time()
        jax.block_until_ready(run())
        turns.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    walls, processors = zip(*turns[1:], strict=True)
    return {"first_seconds": turns[0][0], "seconds": min(walls), "cpu_seconds": min(processors)}


def peak_MB() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def thread_seconds() -> dict[str, float]:
    """Processor seconds of each thread of this process so far, by its number; empty where Linux does not tell."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for path in Path("/proc/self/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # a thread that has ended
            words = path.read_text().rsplit(")", 1)[1].split()
            found[path.parent.name] = (int(words[11]) + int(words[12])) / tick
    return found


def watch_row(program: Program, seconds: float = 1.0) -> dict[str, Any]:
    """What shows that a program is still compiled as it was: the kernels of its innermost loops, and how many threads
    share its work (processor time of all over that of the busiest, whatever else the machine does)."""
    compiled = jax.jit(program.function).lower(*program.arguments).compile()
    row: dict[str, Any] = {"loops": innermost_loops(compiled.as_text())}
    jax.block_until_ready(compiled(*program.arguments))
    before, spent = thread_seconds(), 0.0
    while spent < seconds:
        jax.block_until_ready(compiled(*program.arguments))
        shares = {n: s - before.get(n, 0.0) for n, s in thread_seconds().items()}
        spent = sum(shares.values()) if shares else seconds
    return row | {"threads_at_work": spent / max(shares.values()) if shares else None}


def program_row(program: Program) -> dict[str, Any]:
    """Compilation, first and warm run, and memory of a program, in this process."""
    row: dict[str, Any] = {"start_MB": peak_MB()}
    start = time.perf_counter()
    compiled = jax.jit(program.function).lower(*program.arguments).compile()
    row |= {"compile_seconds": time.perf_counter() - start, "compiled_MB": peak_MB()}
    row |= best(lambda: compiled(*program.arguments))
    memory = compiled.memory_analysis()
    row["temporary_MB"] = None if memory is None else memory.temp_size_in_bytes / 1e6
    row["peak_MB"] = peak_MB()
    row |= {"pixels": program.pixels, "samples": program.samples}
    if program.forward is not None:
        forward = jax.jit(program.forward).lower(*program.arguments).compile()
        row["times_forward"] = row["cpu_seconds"] / best(lambda: forward(*program.arguments))["cpu_seconds"]
    return row


def another_size_row(sizes: tuple[int, ...] = (700, 900, 1100)) -> dict[str, Any]:
    """What the first image of another number of pixels takes beyond the next one: the median over some sizes."""
    jax.block_until_ready(nb.simulate(headline(512)))
    rows = [(size, best(partial(nb.simulate, headline(size)))) for size in sizes]
    size, row = rows[-1]
    return row | {
        "compile_seconds": statistics.median(row["first_seconds"] - row["seconds"] for _, row in rows),
        "peak_MB": peak_MB(),
        "pixels": size**2,
        "samples": samples_of(headline(size)),
    }


def command_row(flags: dict, cached: bool, repeat: int = 5) -> dict[str, Any]:
    """Seconds and peak megabytes of the whole headline command, with an empty or a filled compilation cache."""
    arguments = headline_args(**flags)
    for flag in ("-mat", "-hkl"):
        at = arguments.index(flag) + 1
        arguments[at] = str(INPUTS / arguments[at])
    walls, processors, peaks = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeat + cached):
            cache = Path(folder) / ("cache" if cached else f"cache{turn}")
            environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
            start = time.perf_counter()
            words = [sys.executable, "-m", "nanobrag_jax", *arguments, "-noprogress"]
            process = subprocess.Popen(
                words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise RuntimeError(f"the command failed: {' '.join(words)}")
            walls.append(time.perf_counter() - start)
            processors.append(usage.ru_utime + usage.ru_stime)
            peaks.append(usage.ru_maxrss / 1024)
    return {
        "seconds": min(walls[cached:]),
        "cpu_seconds": min(processors[cached:]),
        "peak_MB": max(peaks),
        "pixels": 2463 * 2527,
        "samples": 2463 * 2527 * int(flags.get("phisteps", 10)),
    }
