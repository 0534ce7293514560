"""`python -m nanobrag_jax.compare traces | images | run`."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..formats.read import read_image
from ..io.atomic import check_writable, write_whole
from ..trace.record import Trace, read_traces
from .bundle import Bundle
from .images import ImageComparison, Thresholds, compare_images
from .pictures import require_matplotlib, write_picture
from .run import run_both
from .traces import TOLERANCE, compare_traces

PROGRAM = "python -m nanobrag_jax.compare"
EPILOG = "Exit status: 0 agreement within the limits asked for, 1 a limit is not kept, 2 something cannot be used."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status: 0, 1 where a limit is not kept, 2 for what cannot be used."""
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    options = _parser().parse_args(words[:cut])
    for name, value in vars(options).items():
        setattr(options, name, tuple(value) if isinstance(value, list) else value)
    options.flags, options.words = words[cut + 1 :], words
    try:
        return options.action(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _traces(options: argparse.Namespace) -> int:
    _before_work(options)
    a, b = (_chosen(path, options.pixel) for path in (options.a, options.b))
    found = compare_traces(a, b, options.tolerance)

    def fill(bundle: Bundle) -> None:
        for name, path in (("A", options.a), ("B", options.b)):
            bundle.note_input(path)
            bundle.add(f"{name}_{Path(path).name}", Path(path).read_bytes())

    _report(options, found.table(), found.as_dict(), fill)
    return 0 if found.first is None else 1


def _chosen(path: str, pixel: tuple[int, int] | None) -> Trace:
    """The trace of a pixel in a file, or the only one."""
    traces = read_traces(path)
    if pixel is not None:
        chosen = [trace for trace in traces if (trace.slow, trace.fast) in (pixel, (None, None))]
        if not chosen:
            raise InputError(f"trace {path!r} has no pixel slow {pixel[0]}, fast {pixel[1]}")
        return chosen[0]
    if len(traces) > 1:
        raise InputError(f"trace {path!r} has {len(traces)} pixels: say which with --pixel SLOW FAST")
    return traces[0]


def _images(options: argparse.Namespace) -> int:
    _before_work(options)
    a, b = (read_image(path, options.shape, frame=options.frame) for path in (options.a, options.b))
    found = _compare(options, a, b)

    def fill(bundle: Bundle) -> None:
        for path in (options.a, options.b, *([options.mask] if options.mask else [])):
            bundle.note_input(path)

    return _finish_images(options, found, a, b, (Path(options.a).name, Path(options.b).name), {}, "", fill)


def _run(options: argparse.Namespace) -> int:
    _before_work(options)
    if not options.flags:
        raise InputError(f"no simulation flags: they follow after --, as in {PROGRAM} run --binary PATH -- FLAGS")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nanobrag-compare-"))
        theirs, ours = run_both(options.binary, options.flags, folder, mode=options.mode)
        found = _compare(options, theirs.image, ours.image)
        seconds = {"c_program": theirs.seconds, "nanobrag_jax": ours.seconds}
        head = (
            "A is the C program, B is nanobrag_jax\n"
            f"{'wall time, start to end (s)':<42}{theirs.seconds:.3f}, {ours.seconds:.3f}"
            f" (A/B {theirs.seconds / ours.seconds:.3g})\n"
        )

        def fill(bundle: Bundle) -> None:
            bundle.note_input(theirs.command[0])
            for name in ("reference", "nanobrag_jax"):
                bundle.add(f"{name}.log", (Path(folder) / f"{name}.log").read_bytes())
            bundle.add("runs.json", json.dumps([theirs.command, ours.command], indent=1) + "\n")

        names = ("C program", "nanobrag_jax")
        more = {"wall_seconds": seconds}
        return _finish_images(options, found, theirs.image, ours.image, names, more, head, fill)


def _before_work(options: argparse.Namespace) -> None:
    """Fail early where a result could not be written."""
    if getattr(options, "png", None):
        require_matplotlib()
        _check_output("--png", options.png, options)
    if options.json and options.json != "-":
        _check_output("--json", options.json, options)


def _check_output(name: str, path: str, options: argparse.Namespace) -> None:
    """**Raises** `InputError` for a result that cannot be written, or would overwrite an input."""
    check_writable(path)
    read = (getattr(options, key, None) for key in ("a", "b", "mask", "binary"))
    if any(each and os.path.realpath(each) == os.path.realpath(path) for each in read):
        raise InputError(f"{name}: {path!r} is also an input: give another name")


def _compare(options: argparse.Namespace, a, b) -> ImageComparison:
    mask = None if options.mask is None else read_image(options.mask, a.shape)
    return compare_images(a, b, roi=options.roi, mask=mask, num_peaks=options.peaks, peak_radius=options.peak_radius)


def _finish_images(options, found: ImageComparison, a, b, names, more: dict, head: str, fill: Callable) -> int:
    """Report, draw and judge a comparison of images."""
    limits = Thresholds(
        min_correlation=options.min_correlation,
        sum_ratio=options.sum_ratio,
        max_rms_relative=options.max_rms,
        max_difference=options.max_difference,
        max_peak_distance=options.max_peak_distance,
        min_peaks=options.min_peaks,
    )
    failures = limits.failures(found)
    if options.png:
        write_picture(options.png, a, b, names=names, peaks=found.peaks, roi=options.roi)

    def fill_all(bundle: Bundle) -> None:
        fill(bundle)
        if _can_draw():
            write_picture(bundle.path("comparison.png"), a, b, names=names, peaks=found.peaks, roi=options.roi)
        else:
            bundle.add("comparison.png.missing.txt", "matplotlib is not installed: pip install nanobrag_jax[plots]\n")

    verdict = "".join(f"limit not kept: {sentence}\n" for sentence in failures)
    metrics = found.as_dict() | more | {"limits_not_kept": failures}
    _report(options, head + found.table() + verdict, metrics, fill_all)
    return 1 if failures else 0


def _can_draw() -> bool:
    try:
        require_matplotlib()
    except InputError:
        return False
    return True


def _report(options: argparse.Namespace, table: str, metrics: dict, fill: Callable[[Bundle], None]) -> None:
    """Print the table (or the JSON, with --json -), write the JSON file and the bundle."""
    content = json.dumps(metrics, indent=1) + "\n"
    print(content if options.json == "-" else table, end="")
    if options.json and options.json != "-":
        write_whole(options.json, content.encode())
    if options.bundle:
        bundle = Bundle(options.bundle)
        bundle.add("report.txt", table)
        fill(bundle)
        bundle.close([[*PROGRAM.split(), *options.words]], metrics)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="How two traces, or two images, differ.", epilog=EPILOG)
    actions = parser.add_subparsers(required=True, metavar="traces | images | run")
    traces = actions.add_parser("traces", help="two traces of a pixel, name by name", epilog=EPILOG)
    traces.add_argument("a", metavar="A", help="JSON, text or log of a trace")
    traces.add_argument("b", metavar="B")
    traces.add_argument("--tolerance", type=float, default=TOLERANCE, help="relative (default %(default)g)")
    traces.add_argument("--pixel", nargs=2, type=int, metavar=("SLOW", "FAST"), help="which, where a file has several")
    traces.set_defaults(action=_traces)
    images = actions.add_parser("images", help="two images", epilog=EPILOG)
    images.add_argument("a", metavar="A", help="raw float, SMV, PGM, CBF, HDF5, npy or npz; FILE::NAME for a dataset")
    images.add_argument("b", metavar="B")
    images.add_argument(
        "--shape",
        nargs=2,
        type=_positive,
        metavar=("SLOW", "FAST"),
        help="of raw float files; else the SMV beside them tells",
    )
    images.add_argument("--frame", type=int, default=0, help="which, where a file has several (default 0)")
    images.set_defaults(action=_images)
    run = actions.add_parser("run", help="the C program and this one on the same FLAGS, given after --", epilog=EPILOG)
    run.add_argument("--binary", required=True, metavar="PATH", help="the C program")
    run.add_argument("--mode", choices=("spec", "c-parity"), default="c-parity", help="ours (default %(default)s)")
    run.set_defaults(action=_run)
    for command in (images, run):
        _add_image_options(command)
    for command in (traces, images, run):
        command.add_argument("--json", metavar="FILE", help="write the numbers as JSON; - for standard output")
        command.add_argument("--bundle", metavar="DIR", help="a new folder with everything that a report needs")
    return parser


def _add_image_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--roi", nargs=4, type=int, metavar=("XMIN", "XMAX", "YMIN", "YMAX"), help="ends included")
    command.add_argument("--mask", metavar="FILE", help="an image: pixels of value 0 are left out")
    command.add_argument("--peaks", type=_count, default=100, metavar="N", help="strongest peaks (default %(default)s)")
    command.add_argument(
        "--peak-radius",
        type=_number,
        default=3.0,
        metavar="PIXELS",
        help="largest distance of a pair (default %(default)s)",
    )
    command.add_argument("--png", metavar="FILE", help="both images and their difference side by side")
    limits = command.add_argument_group("limits that set the exit status")
    limits.add_argument("--min-correlation", type=_number, metavar="X")
    limits.add_argument("--sum-ratio", nargs=2, type=_number, metavar=("LOW", "HIGH"))
    limits.add_argument("--max-rms", type=_number, metavar="X", help="rms difference over the rms of A")
    limits.add_argument("--max-difference", type=_number, metavar="X", help="of any pixel")
    limits.add_argument("--max-peak-distance", type=_number, metavar="PIXELS")
    limits.add_argument("--min-peaks", type=_count, metavar="N", help="matched")


def _number(word: str) -> float:
    value = float(word)
    if not np.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be finite, got {word}")
    return value


def _positive(word: str) -> int:
    value = int(word)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {word}")
    return value


def _count(word: str) -> int:
    value = int(word)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be zero or more, got {word}")
    return value
