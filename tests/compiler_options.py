"""Options of XLA's compiler with which the tests' programs are ready sooner."""

import os

import jax
import jaxlib

OPTIMIZED = os.environ.get("NANOBRAG_OPTIMIZED", "0") != "0"
"""Whether to leave the options alone."""

OPTIONS = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
"""Nearly all of a run is compiling small programs that run once on a few pixels: with these it takes half the time.

Only rounding differs. The options of users have the processes that test_cli.py and others start, those in which
parity/test_images.py renders golden cases of every kind once more, and with NANOBRAG_OPTIMIZED=1 all tests.
"""
if jaxlib.version.__version_info__ < (0, 11):  # later there is one way of emitting code only, and no such option
    OPTIONS.append("--xla_cpu_use_fusion_emitters=false")


def flags() -> str:
    """The value of XLA_FLAGS for processes that are to have the options, too."""
    given = os.environ.get("XLA_FLAGS", "")
    return given if OPTIMIZED else " ".join([given, *OPTIONS])


def use() -> None:
    """Give the options to the compiler of this process, and not to those it starts."""
    given = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = flags()
    jax.devices()  # which is when they are read
    del os.environ["XLA_FLAGS"]
    if given is not None:
        os.environ["XLA_FLAGS"] = given
