"""`python -m benchmarks [--quick] [--only CASE ...] [--json FILE]`: every figure of docs/performance.md.

Each case runs in a process of its own, the probe before and after it on as many threads. `--quick` takes a few cases on
one thread and counts processor time, which does not care what else the machine does, and fails when a case takes twice
as long as recorded, three times in a row; when the innermost loops of a program have other kernels than recorded; and
when a program that may use two threads leaves its work to one.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from .cases import CASES, QUICK, Case, with_threads
from .probe import SAMPLES, Probe

Row = dict
COLUMNS = ("seconds", "ns_per_sample", "ratio", "limit", "import_seconds", "compile_seconds", "first_seconds")
COLUMNS = (*COLUMNS, "start_MB", "compiled_MB", "peak_MB", "temporary_MB", "times_forward")


def child(*arguments: str, environment: dict[str, str] | None = None) -> Row:
    """The line of JSON that a process of its own writes, started with more variables."""
    words = [sys.executable, "-m", "benchmarks.child", *arguments]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=Path(__file__).parents[1], env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measured(name: str, case: Case, threads: int, probe: Probe | None, clock: str = "wall") -> Row:
    """The row of one case. **Arguments:** `threads`: 0 for no confinement; `clock`: `wall` or `cpu` for the ratio."""
    beside = threads or min(2, os.cpu_count() or 1)
    passes = [probe.run(beside)] if probe else []
    row = {"case": name, "precision": case.precision, "threads": threads, "limit": case.limit}
    row |= child(name, str(threads), environment=case.environment)
    passes += [probe.run(beside)] if probe else []
    seconds = row["seconds" if clock == "wall" else "cpu_seconds"]
    row["ns_per_sample"] = seconds / row["samples"] * 1e9
    if passes:
        whole = min(getattr(one, clock) for one in passes)
        row["probe_seconds"] = whole
        row["ratio"] = seconds / whole if case.row == "command_row" else seconds / row["samples"] * SAMPLES / whole
    return row


def quick(name: str, case: Case, probe: Probe | None, threads: int) -> tuple[Row, bool]:
    """A case on one thread, measured again if it seems slow, and whether it stays so."""
    clock, slow = "cpu" if threads else "wall", True
    row: Row = {}
    for _ in range(3):
        row = measured(name, case, threads, probe, clock)
        slow = bool(case.recorded) and row.get("ratio", 0.0) > 2 * (case.recorded or 0.0)
        if not slow:
            break
    return row | {"limit": None, "recorded": case.recorded}, slow


LEAST_THREADS = 1.4
"""Of two threads: the processor time of both over that of the busier one."""


def changes(name: str, case: Case) -> list[str]:
    """How a case is compiled otherwise than recorded, in words; on a CPU of at least two cores."""
    if case.loops is None:
        return []
    row = child(name, "2", "watch", environment=case.environment)
    found = [f"{name}: innermost loops of (fusions, dots) {row['loops']}, recorded {[list(x) for x in case.loops]}"]
    found = found if tuple(map(tuple, row["loops"])) != case.loops else []
    shared = row["threads_at_work"]
    if shared is not None and shared < LEAST_THREADS:
        found.append(f"{name}: of two threads one does all the work ({shared:.2f} at work)")
    return found


def line(row: Row | None) -> str:
    """A row of the printed table, or its head."""
    if row is None:
        return f"{'case':28}" + "".join(f"{name.replace('_seconds', ''):>14}" for name in COLUMNS)
    values = (row.get(name) for name in COLUMNS)
    return f"{row['case']:28}" + "".join(f"{'' if v is None else format(v, '.3g'):>14}" for v in values)


def main() -> int:
    """Run the cases; with --quick the exit status says whether one has become slow."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=str(__doc__).split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few cases; fail when one takes twice what is recorded")
    parser.add_argument("--busy", action="store_true", help="one thread and processor time: for a busy machine")
    parser.add_argument("--only", nargs="+", default=None, help="cases to run, by name")
    parser.add_argument("--json", default=None, help="file for the figures")
    options = parser.parse_args()
    machine = child() | {"clock": "processor time" if options.busy else "wall time"}
    confined = machine["platform"] == "cpu" and hasattr(os, "sched_setaffinity")
    cores = len(os.sched_getaffinity(0)) if confined else 0
    cases = with_threads(cores) if confined else CASES
    unknown = sorted(set(options.only or ()) - cases.keys())
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; there are: {'; '.join(cases)}")
    try:
        probe = Probe()
    except OSError as error:
        probe = None
        print(f"no ratios to the probe: {error}")
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print(line(None))
    rows, failed = [], []
    for name in options.only or (QUICK if options.quick else cases):
        case = cases[name]
        if options.quick:
            row, slow = quick(name, case, probe, 1 if confined else 0)
            failed += [f"{name}: twice as slow as recorded"] * slow
            failed += changes(name, case) if confined and cores > 1 else []
        else:
            clock = "cpu" if options.busy and confined else "wall"
            row = measured(name, case, case.threads or min(2 - options.busy, cores), probe, clock)
            row["seconds"] = row["seconds" if clock == "wall" else "cpu_seconds"]
        rows.append(row)
        print(line(row), flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps({"machine": machine, "cases": rows}, indent=1) + "\n")
    if failed:
        print("\n".join(failed))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
