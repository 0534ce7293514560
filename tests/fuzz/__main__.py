"""`python -m tests.fuzz [--minutes M] [--seed S] [--inputs N] [--kills K] [READER …]`: damage, read, count.

Exit status 1 if anything broke.
The readers are those of `readers.py`, and "command lines".
"""

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .killed_writes import killed_writes
from .readers import COMMAND_LINES, READERS
from .run import Tally, fuzz
from .samples import write_samples

ROUND = 200


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--inputs", type=int, default=None, help="of each reader, in place of the minutes")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0, help="writers to end at random moments as well")
    parser.add_argument("readers", nargs="*", default=[*READERS, COMMAND_LINES])
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    total = {name: Tally() for name in options.readers}
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(options.processes) as pool:
        folder = Path(place)
        write_samples(folder)
        start = 0
        while start < options.inputs if options.inputs else time.monotonic() < until:
            count = min(ROUND, options.inputs - start) if options.inputs else ROUND
            shares = [options.readers[i :: options.processes] for i in range(options.processes)]
            jobs = [pool.submit(fuzz, share, options.seed, start, count, folder) for share in shares if share]
            for job in jobs:
                for name, tally in job.result().items():
                    total[name].read += tally.read
                    total[name].refused += tally.refused
                    total[name].faults += tally.faults
            start += count
    print(f"{'reader':16} {'inputs':>8} {'read':>8} {'refused':>8} {'faults':>8}")
    for name, tally in [*total.items(), ("all", _sum(total))]:
        print(f"{name:16} {tally.inputs:8} {tally.read:8} {tally.refused:8} {len(tally.faults):8}")
    for name, tally in total.items():
        for fault in tally.faults[:20]:
            print(f"{name} {fault}")
    wrong = killed_writes(options.kills) if options.kills else 0
    return 1 if wrong or any(tally.faults for tally in total.values()) else 0


def _sum(tallies: dict[str, Tally]) -> Tally:
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    return Tally(sum(t.read for t in tallies.values()), sum(t.refused for t in tallies.values()), faults)


if __name__ == "__main__":
    sys.exit(main())
