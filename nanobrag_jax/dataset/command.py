"""`python -m nanobrag_jax.dataset make | show | image | check`."""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..command.compilation_cache import use_compilation_cache
from ..errors import InputError
from ..formats import write_image
from ..io.resumable import run_resumable
from ..numerics.precision import precision_context
from .document import load_recipe
from .make import begin, estimate, image_of, make_dataset, missing
from .recipe import Recipe
from .shards import num_shards, numbers_of
from .show import check, progress, write_sheet
from .slurm import make_on_slurm, options_of

_SAY_EVERY_S = 10.0


def main(argv: Sequence[str]) -> int:
    """Run one of the commands; the exit status: 0, 1 with a sentence on stderr, 130 after an interruption."""
    options = _parser().parse_args(argv)

    def run() -> int:
        use_compilation_cache()
        return options.run(options)

    return run_resumable("nanobrag_jax.dataset", run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nanobrag_jax.dataset", description="Data sets from one recipe.")
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("make", help="make the images of a recipe, or go on making them")
    make.add_argument("recipe", help="the recipe's file (docs/datasets.md)")
    make.add_argument("-out", required=True, metavar="DIR", help="where the data set lies or is to lie")
    make.add_argument("-images", type=int, default=None, metavar="n", help="how many, in place of the recipe's number")
    make.add_argument("-shard", default=None, metavar="k/n", help="make the k-th of n parts only, k from 0 to n-1")
    make.add_argument(
        "-processes", type=int, default=1, metavar="p", help="processes that share the work and the cores"
    )
    make.add_argument("-slurm", default=None, metavar="OPTIONS", help="by a job array: partition=gpu,time=60,tasks=8")
    make.set_defaults(run=_make)
    show = commands.add_parser("show", help="how far a data set is")
    show.add_argument("folder", metavar="DIR")
    show.add_argument("-sheet", default=None, metavar="PNG", help="write a picture of some of its images")
    show.set_defaults(run=_show)
    image = commands.add_parser("image", help="one image again, from its recipe")
    image.add_argument("recipe")
    image.add_argument("number", type=int)
    image.add_argument(
        "-out", default=None, metavar="FILE", help="an image file, by its ending (default image_NUMBER.cbf)"
    )
    image.set_defaults(run=_image)
    checking = commands.add_parser("check", help="whether the files of a data set are those that were written")
    checking.add_argument("folder", metavar="DIR")
    checking.set_defaults(run=_check)
    return parser


def _with_images(recipe: Recipe, images: int | None) -> Recipe:
    return recipe if images is None else replace(recipe, images=images)


def shards_of_part(recipe: Recipe, part: str) -> range:
    """The shards of part k of n. **Raises** `InputError` for what is no k/n."""
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", part)
    if match is None or not int(match[1]) < int(match[2]):
        raise InputError(f"-shard must be k/n with k from 0 to n-1, got {part!r}")
    return range(int(match[1]), num_shards(recipe), int(match[2]))


def _make(options: argparse.Namespace) -> int:
    recipe = _with_images(load_recipe(options.recipe), options.images)
    folder = Path(options.out)
    if options.processes < 1:
        raise InputError(f"-processes must be a positive whole number, got {options.processes}")
    if options.slurm is not None:
        if options.shard is not None or options.processes != 1:
            raise InputError("-slurm shares the work out itself: leave -shard and -processes out")
        make_on_slurm(recipe, folder, options_of(options.slurm), say=lambda line: print(line, flush=True))
        print("\n".join(progress(folder).lines()))
        return 0
    shards = range(num_shards(recipe)) if options.shard is None else shards_of_part(recipe, options.shard)
    begin(recipe, folder)
    left = missing(recipe, folder, shards)
    images = sum(len(numbers_of(recipe, shard)) for shard in left)
    if images:
        with precision_context(recipe.precision):
            guess = estimate(recipe)
        seconds = images * guess.seconds_an_image
        size = _size(images * guess.bytes_an_image)
        print(f"{images} images in {len(left)} shards to make: about {size}, {_hms(seconds / options.processes)}")
        meter = _Meter(images)
        make_dataset(recipe, folder, shards=shards, processes=options.processes, report=meter)
        meter.finish()
    print("\n".join(progress(folder).lines()))
    return 0


class _Meter:
    """Images a second and time left: on one line of a terminal, else a line every ten seconds."""

    def __init__(self, images: int):
        self.images, self.done = images, 0
        self.began = self.said = time.perf_counter()
        self.terminal = sys.stderr.isatty()

    def __call__(self, more: int) -> None:
        self.done += more
        now = time.perf_counter()
        if now - self.said < (0.2 if self.terminal else _SAY_EVERY_S):
            return
        self.said = now
        rate = self.done / (now - self.began)
        line = (
            f"{self.done} of {self.images} images, {rate:.3g} images/s, {_hms((self.images - self.done) / rate)} left"
        )
        sys.stderr.write(f"\r{line:78}" if self.terminal else f"{line}\n")
        sys.stderr.flush()

    def finish(self) -> None:
        """End the line."""
        if self.terminal:
            sys.stderr.write("\r" + " " * 78 + "\r")


def _hms(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _show(options: argparse.Namespace) -> int:
    print("\n".join(progress(options.folder).lines()))
    if options.sheet is not None:
        print(f"{options.sheet}: {write_sheet(options.folder, options.sheet)} images")
    return 0


def _image(options: argparse.Namespace) -> int:
    recipe = load_recipe(options.recipe)
    counts = image_of(recipe, options.number)
    out = options.out or f"image_{options.number:06d}.cbf"
    names = write_image(out, counts.astype(np.int32), recipe.prepared[0], effects=recipe.detector_effects)
    print(f"{', '.join(names)}: image {options.number}, counts from {counts.min()} to {counts.max()}")
    return 0


def _check(options: argparse.Namespace) -> int:
    found = check(options.folder)
    if found:
        raise InputError(f"{options.folder}: {len(found)} faults: {'; '.join(found[:10])}")
    print(f"{options.folder}: all files are those that were written")
    return 0
