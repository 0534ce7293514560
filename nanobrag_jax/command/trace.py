"""`python -m nanobrag_jax.trace`: traces as text on standard output, and as JSON."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from ..errors import InputError
from ..io.atomic import check_writable, write_whole
from ..render.simulate import MODES, simulate
from ..trace.pixel import trace_pixel
from ..trace.record import Trace
from . import flags
from .assemble import assemble
from .output_plan import inputs_of

USAGE = "python -m nanobrag_jax.trace --pixel SLOW FAST [--pixel …] [--roi …] [--mode …] [--json FILE] -- FLAGS"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status: 0, or 2 for what cannot be used, with one line on standard error."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        text = run(words)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text, end="")
    return 0


def run(words: Sequence[str]) -> str:
    """The text of the traces asked for; writes the JSON file, if any."""
    cut = list(words).index("--") if "--" in words else len(words)
    options = _parser().parse_args(words[:cut])
    if cut == len(words):
        raise InputError(f"no simulation flags: they follow after --, as in {USAGE}")
    simulation = list(words[cut + 1 :])
    if options.roi:
        simulation += ["-roi", *map(str, options.roi)]
    if options.mode:
        simulation += ["-mode", options.mode]
    if options.json:
        check_writable(options.json)
        taken = inputs_of(flags.parse(simulation)).get(os.path.realpath(options.json))
        if taken:
            raise InputError(f"--json: {options.json!r} is also the input of {taken}: give another name")
    traces = _traces(simulation, options.pixel)
    if options.json:
        records = [trace.as_dict() for trace in traces]
        content = json.dumps(records[0] if len(records) == 1 else records, indent=1) + "\n"
        write_whole(options.json, content.encode())
    return "\n".join(trace.text() for trace in traces)


def _traces(simulation: list[str], pixels: list[list[int]]) -> list[Trace]:
    assembly = assemble(flags.parse(simulation))
    for note in assembly.notes:
        print(f"note: {note}", file=sys.stderr)
    mode = assembly.settings.get("mode")
    image = simulate(assembly.experiment, mode) if len(pixels) > 1 else None
    return [trace_pixel(assembly.experiment, slow, fast, mode, image=image) for slow, fast in pixels]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nanobrag_jax.trace",
        usage=USAGE,
        description="Print every intermediate of one pixel (or of several) of a simulation.",
        epilog="FLAGS are those of python -m nanobrag_jax. With -- between them, options cannot be mistaken for flags.",
    )
    parser.add_argument("--pixel", nargs=2, type=int, action="append", required=True, metavar=("SLOW", "FAST"))
    parser.add_argument("--roi", nargs=4, type=int, metavar=("XMIN", "XMAX", "YMIN", "YMAX"), help="as -roi")
    parser.add_argument("--mode", choices=MODES, help="as -mode; spec unless the flags say otherwise")
    parser.add_argument("--json", metavar="FILE", help="write the traces there too, with full precision")
    return parser
