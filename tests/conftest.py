"""Strict numerics for every test, programs that compile fast, and the parity summary at the end of a run.

With NANOBRAG_TYPECHECK=1 every call in the package is checked against its annotations: a pass of its own, as each
trace then takes longer. Compiled programs are kept in pytest's cache folder (`pytest --cache-clear` empties it): most
of the first run's time goes into compiling, and a second run needs a third.
"""

import contextlib
import os
import shutil
from pathlib import Path

import compiler_options
import jax
import pytest
from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook

if os.environ.get("NANOBRAG_TYPECHECK", "0") != "0":
    install_import_hook("nanobrag_jax", "type_checks.check")

import nanobrag_jax  # noqa: F401  (sets double precision before any array exists)

compiler_options.use()

jax.config.update("jax_numpy_rank_promotion", "raise")

RATIOS = pytest.StashKey[dict[str, float]]()


KEPT_BYTES = 200_000_000
"""Of compiled programs; with more, the folder is emptied."""


LONG = ["test_examples.py", "test_sharding.py", "test_docs.py", "test_float32.py", "test_comparison.py"]
"""Files with few tests that take long. Several processes begin with them, so that none is left alone with one."""


def pytest_configure(config):
    config.stash[RATIOS] = {}
    config.option.loadscopereorder = False  # which would leave files with few tests to the end
    if hasattr(config, "cache") and jax.config.jax_compilation_cache_dir is None:
        with contextlib.suppress(OSError):  # a checkout that cannot be written to
            keep_programs(
                config.cache.mkdir("optimized_programs" if compiler_options.OPTIMIZED else "compiled_programs")
            )
    config.addinivalue_line("filterwarnings", "ignore::nanobrag_jax.errors.ExperimentWarning")  # asked for where meant
    # two runs at a time may read each other's half-written programs, which are then compiled again
    config.addinivalue_line("filterwarnings", "ignore:Error (reading|writing) persistent compilation cache")


@pytest.hookimpl(tryfirst=True)  # xdist writes the groups into the names of tests in this hook
def pytest_collection_modifyitems(items):
    """Tests of a file share programs: `--dist loadgroup` gives them to one process, unless grouped otherwise."""
    items.sort(key=lambda item: item.path.name not in LONG)
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))


def keep_programs(folder: Path):
    """Let jax keep compiled programs in a folder."""
    files = list(folder.iterdir())
    if sum(file.stat().st_size for file in files) > KEPT_BYTES:
        for file in files:
            file.unlink(missing_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI a test of DIALS that could run and was skipped has failed."""
    report = yield
    could_run = item.get_closest_marker("dials") is not None and shutil.which("dials.import") is not None
    if report.skipped and could_run and os.environ.get("CI"):
        report.outcome, report.longrepr = "failed", f"skipped in CI, where DIALS is installed: {report.longrepr}"
    return report


MOST_MAPPINGS = 20_000
"""Memory mappings of a process before compiled programs are let go; Linux ends a process at its limit of 65 530."""


@pytest.fixture(scope="module", autouse=True)
def let_programs_go():
    """Each compiled program holds some two hundred memory mappings: a whole run in one process needs too many."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and len(mappings.read_bytes().splitlines()) > MOST_MAPPINGS:
        jax.clear_caches()


@pytest.fixture
def unchecked():
    """No run-time type checks in this test: what a user meets who gives a value of the wrong type or shape."""
    before = jaxtyping_config.jaxtyping_disable
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def parity_ratios(request):
    """Largest deviation over tolerance of every image compared, by name; printed when the run ends."""
    return request.config.stash[RATIOS]


def pytest_terminal_summary(terminalreporter, config):
    ratios = config.stash[RATIOS]
    if ratios:
        worst = max(ratios, key=lambda name: ratios[name])
        terminalreporter.write_line(
            f"parity: {len(ratios)} images, largest deviation {ratios[worst]:.3g} of the tolerance, in {worst}"
        )
