"""Readers of text and the writing of files know numpy, and of the package what says nothing of physics."""

import ast
import sys
from pathlib import Path

import pytest

import nanobrag_jax.io

MODULES = sorted(Path(nanobrag_jax.io.__file__).parent.glob("*.py"))
OUTSIDE = {"numpy"} | set(sys.stdlib_module_names)
BELOW = {"constants", "errors"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_knows_numpy_only(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= OUTSIDE
        elif isinstance(node, ast.ImportFrom):
            words = (node.module or "").split(".")
            allowed = {0: OUTSIDE, 1: {module.stem for module in MODULES}, 2: BELOW}
            assert words[0] in allowed[node.level], ast.unparse(node)
