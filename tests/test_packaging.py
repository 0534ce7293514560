"""`pip install .` brings what the simulator and its command need; extras bring the rest."""

import ast
import re
import sys
import tomllib
from pathlib import Path

from test_imports import modules

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def distributions(requirements):
    """Names without versions and extras."""
    return {re.match(r"[A-Za-z0-9_.-]+", requirement)[0] for requirement in requirements}


CORE = distributions(PROJECT["dependencies"])
EXTRAS = {name: distributions(needed) for name, needed in PROJECT["optional-dependencies"].items()}


def outside_imports(path):
    """Foreign top-level packages: those that loading the module needs, and those that only its functions do."""
    at_once, later = set(), set()

    def visit(node, found):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found = later
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found = later
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
        for child in ast.iter_child_nodes(node):
            visit(child, found)

    visit(ast.parse(path.read_text()), at_once)
    known = set(sys.stdlib_module_names) | {"nanobrag_jax"}
    return at_once - known, later - known


def test_modules_load_with_the_core_dependencies():
    assert CORE == {"jax", "jaxlib", "numpy", "equinox", "jaxtyping"}
    for name, path in modules().items():
        foreign, _ = outside_imports(path)
        assert foreign <= CORE, f"{name} loads {sorted(foreign - CORE)}"


def test_what_functions_load_comes_with_an_extra():
    offered = EXTRAS["refine"] | EXTRAS["formats"] | EXTRAS["imgcif"] | EXTRAS["plots"]
    offered |= EXTRAS["dataset"] | EXTRAS["cluster"]
    wanted = set().union(*(outside_imports(path)[1] for path in modules().values())) - CORE
    assert {"gemmi", "optax", "fabio", "h5py", "matplotlib"} <= wanted
    assert wanted <= offered, f"no extra brings {sorted(wanted - offered)}"


def test_the_command_is_installed_by_name():
    assert PROJECT["scripts"] == {"nanobrag_jax": "nanobrag_jax.cli:run"}
    assert {"mkdocs", "mkdocs-material", "mkdocs-jupyter"} <= EXTRAS["docs"]
