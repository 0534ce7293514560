"""The package exports its names without loading what is behind them."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import nanobrag_jax as nb
from benchmarks import import_time

PACKAGE = Path(nb.__file__)


def printed_by(*statements):
    """What a fresh Python process prints, read as JSON."""
    code = "\n".join(["import json, sys", *statements])
    command = [sys.executable, "-W", "error", "-c", code]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_the_package_loads_jax_and_little_else():
    new, double = printed_by(
        "import jax",
        "before = set(sys.modules)",
        "import nanobrag_jax",
        "print(json.dumps([sorted(sys.modules.keys() - before), bool(jax.config.jax_enable_x64)]))",
    )
    assert double, "double precision has to be on before any array exists"
    assert len(new) < 10, new
    assert {name.split(".")[0] for name in new} == {"nanobrag_jax"}


def test_every_name_can_be_had():
    assert {"simulate", "Experiment", "cli", "refine", "__version__"} <= set(dir(nb))
    for name in nb.__all__:
        assert getattr(nb, name) is vars(nb)[name]  # found by us once, then by Python itself
    everything = {}
    exec("from nanobrag_jax import *", everything)
    assert set(nb.__all__) <= everything.keys()
    assert everything["simulate"] is nb.simulate and callable(nb.cli.main)
    with pytest.raises(AttributeError, match="'nanobrag_jax' has no attribute 'simulation'"):
        _ = nb.simulation


def test_readers_and_type_checkers_see_the_same_names():
    tree = ast.parse(PACKAGE.read_text())
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    static = {alias.name: node.module for node in branch.body for alias in node.names}
    assert static.keys() == set(nb.__all__)
    for name, module in static.items():
        found = getattr(nb, name)
        assert found.__name__ == f"nanobrag_jax.{name}" if module is None else found.__name__ == name
        if module is not None:
            assert getattr(sys.modules[f"nanobrag_jax.{module}"], name) is found


@pytest.mark.slow
def test_names_may_be_had_first_inside_a_traced_function():
    """Modules loaded while jax traces keep no traced value: the next trace could not use it."""
    leaked = printed_by(
        "import jax, nanobrag_jax as nb",
        "jax.jit(lambda x: (dir([getattr(nb, name) for name in nb.__all__]), x)[1])(1.0)",
        "modules = [m for name, m in sys.modules.items() if name.startswith('nanobrag_jax')]",
        "held = [(m.__name__, n) for m in modules for n, v in vars(m).items() if isinstance(v, jax.core.Tracer)]",
        "print(json.dumps([len(modules), held]))",
    )
    assert leaked[0] > 40 and leaked[1] == []


@pytest.mark.slow
def test_importing_the_package_takes_as_long_as_importing_jax():
    figures = import_time.measure(7, ("jax", "package"))
    assert figures["package"]["ratio"] <= import_time.LIMIT, figures


def test_importing_makes_no_array():
    """Else jax starts its devices, and `jax.distributed.initialize` comes too late."""
    code = (
        "import pkgutil, importlib, nanobrag_jax, jax._src.xla_bridge as bridge\n"
        "for module in pkgutil.walk_packages(nanobrag_jax.__path__, 'nanobrag_jax.'):\n"
        "    '__main__' in module.name or importlib.import_module(module.name)\n"
        "print(len(bridge._backends))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "0", done.stderr[-500:] or done.stdout
