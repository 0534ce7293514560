import ast
import sys
from pathlib import Path

import pytest

import nanobrag_jax.io

MODULES = sorted(Path(nanobrag_jax.io.__file__).parent.glob("*.py"))
ALLOWED = {"numpy", "nanobrag_jax.errors"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_knows_numpy_only(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name in ALLOWED or name.split(".")[0] in ALLOWED or name.startswith("nanobrag_jax.io."), name
