"""The table of cases."""

from collections.abc import Callable
from typing import NamedTuple


class Case(NamedTuple):
    """One row of the table."""

    build: Callable | None
    """Builds the program, in the process that runs it; None for what `row` measures,"""
    limit: float | None = None
    """Times the probe that the case must not take longer than; for the command times a whole pass of the probe."""
    recorded: float | None = None
    """Times the probe that it took when this was written, on one thread: what `--quick` compares with."""
    precision: str = "float64"
    threads: int | None = None
    row: str = ""
    """a function of `timing`,"""
    options: dict | None = None
    """with these arguments."""
    environment: dict[str, str] | None = None
    """Variables that the process starts with."""
    loops: tuple[tuple[int, int], ...] | None = None
    """(fusions, matrix products) of each innermost loop on a CPU, as recorded: what `--quick` compares with."""


def _image(
    limit=None, recorded=None, mode="spec", precision="float64", threads=None, make="headline", loops=None, **changes
):
    def build():
        from . import experiments, programs

        return programs.image(getattr(experiments, make)(**changes), mode, precision)

    return Case(build, limit, recorded, precision, threads, loops=loops)


def _program(name, *arguments, limit=None, recorded=None, loops=None):
    def build():
        from . import programs

        return getattr(programs, name)(*arguments)

    return Case(build, limit, recorded, loops=loops)


def _command(limit, recorded=None, cached=False, **flags):
    return Case(None, limit, recorded, row="command_row", options={"flags": flags, "cached": cached})


CASES = {
    "headline": _image(2.0, 1.6, loops=((3, 0),)),
    "headline, c-parity": _image(2.3, 1.8, mode="c-parity", loops=((3, 0), (3, 0))),
    "headline, mixed": _image(1.5, 1.8, precision="mixed", loops=((4, 0),)),
    "headline, float32": _image(precision="float32"),
    "still, 50 domains": _image(2.0, make="still"),
    "pink beam, 40 x 5": _image(2.0, make="pink"),
    "sub-pixels 5 x 5": _image(2.0, pixels=512, oversample=5),
    "tricubic, N = 1": _image(15.0, 7.5, make="tricubic", loops=((4, 0),)),
    "tricubic, N = 1, c-parity": _image(None, mode="c-parity", make="tricubic"),
    "round spots": _image(None, pixels=1024, round_xtal=True),
    "gauss spots": _image(None, pixels=1024, gauss_xtal=True),
    "tophat spots": _image(None, pixels=1024, tophat_spots=True),
    "batch of 64 stills": _program("batch", 64, 512, limit=2.2, recorded=2.1, loops=()),
    "value and gradient": _program("gradient", False, limit=10.0, recorded=6.4, loops=((3, 0), (14, 3))),
    "value and gradient with F": _program("gradient", True, limit=None),
    "shoeboxes, 500 of 21 x 21": _program("shoeboxes"),
    "another detector size": Case(None, row="another_size_row"),
    "command, cold": _command(16.0, 9.0),
    "command, warm cache": _command(12.0, cached=True),
    "command, 1000 phi steps": _command(None, cached=True, phisteps=1000),
    **{f"{n} phi steps": _image(2.0 if n == 100 else None, pixels=1024, phisteps=n) for n in (1, 10, 100, 1000)},
    **{f"{n} x {n}": _image(None, pixels=n) for n in (256, 512, 1024, 2048, 4096, 8192)},
}

HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
CASES |= {
    f"{name}, huge pages": CASES[name]._replace(recorded=None, environment=HUGE_PAGES)
    for name in ("headline", "batch of 64 stills")
}

QUICK = tuple(name for name, case in CASES.items() if case.recorded is not None)


def with_threads(cores: int) -> dict[str, Case]:
    """The cases, and the headline run on one, two, four … threads."""
    counts = [2**i for i in range(cores.bit_length()) if 2**i <= cores]
    return CASES | {f"headline, {n} thread{'s' * (n > 1)}": CASES["headline"]._replace(threads=n) for n in counts}
