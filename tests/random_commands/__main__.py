"""`python -m tests.random_commands --commands 2000 --seed 1`: judge random commands in both modes."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from random_commands.generate import Draw, command, layout  # noqa: E402
from random_commands.inputs import write_inputs  # noqa: E402
from random_commands.judge import judged  # noqa: E402


def main() -> int:
    """Print the first command that fails, or with --all every one; the exit status is 1 where there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.random_commands", description=str(__doc__))
    parser.add_argument("--commands", type=int, default=200, help="how many, in each mode")
    parser.add_argument("--seed", type=int, default=1, help="of the commands")
    parser.add_argument("--each", type=int, default=4, help="commands that share a program: compiling takes longest")
    parser.add_argument("--mode", choices=("spec", "c-parity"), help="this mode only")
    parser.add_argument("--keep", type=Path, help="write the input files there, to run a command again")
    parser.add_argument("--all", action="store_true", help="go on after a failure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_inputs(Path(scratch) if options.keep is None else options.keep)
        return run(options, folder)


def run(options, folder: Path) -> int:
    """Judge the commands; the exit status."""
    failures, worst, doubtful, dark, start = 0, 0.0, 0, 0, time.perf_counter()
    modes = [options.mode] if options.mode else ["spec", "c-parity"]
    for mode in modes:
        for number in range(options.commands):
            family = Draw([options.seed, number // options.each])
            words = command(Draw([options.seed, number, 1]), layout(family), mode)
            verdict = judged(words, folder, mode)
            doubtful, dark = doubtful + verdict.doubtful, dark + verdict.dark
            if verdict.ratio > 1:
                failures += 1
                print(f"command {number} of seed {options.seed}, {verdict}", flush=True)
                if not options.all:
                    return 1
            else:
                worst = max(worst, verdict.ratio)
            if (number + 1) % 100 == 0:
                print(f"{mode}: {number + 1} commands, {failures} fail", file=sys.stderr, flush=True)
    print(
        f"{options.commands} commands in {' and '.join(modes)}: {failures} fail, the others within {worst:.3g} of the "
        f"tolerance; {doubtful} pixels left out, {dark} images dark; {time.perf_counter() - start:.0f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
