"""`python -m benchmarks.import_time [--repeat N] [--json FILE]`: what starting costs, as ratios to `import jax`.

Fresh processes, the statements one after the other in each round, so that a busy machine slows all of them. Seconds
are processor time, which other programs disturb least; the ratios are medians over the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

STATEMENTS = {
    "jax": "import jax",
    "package": "import nanobrag_jax",
    "every public name": "from nanobrag_jax import *",
    "command": "import nanobrag_jax.cli",
}
LIMIT = 1.2
"""Of `import nanobrag_jax`, as a ratio to `import jax`."""


def processor_seconds(statement: str) -> float:
    """Processor time of a Python process that runs one statement."""
    process = subprocess.Popen([sys.executable, "-c", statement])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise RuntimeError(f"`{statement}` failed")
    return usage.ru_utime + usage.ru_stime


def measure(repeat: int, names: tuple[str, ...] = tuple(STATEMENTS)) -> dict[str, dict[str, float]]:
    """Median seconds of each statement and median ratio to `import jax`, after one round that does not count."""
    rounds = [{name: processor_seconds(STATEMENTS[name]) for name in names} for _ in range(repeat + 1)][1:]
    return {
        name: {
            "seconds": statistics.median(turn[name] for turn in rounds),
            "ratio": statistics.median(turn[name] / turn["jax"] for turn in rounds),
        }
        for name in names
    }


def main(argv=None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=21)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args(argv)
    figures = measure(arguments.repeat)
    for name, row in figures.items():
        print(f"{name:18} {STATEMENTS[name]:28} {row['seconds']:.3f} s, {row['ratio']:.3f} of import jax")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
