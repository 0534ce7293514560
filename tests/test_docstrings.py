"""Docstrings that a reader can find an argument in."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nanobrag_jax"
MOST_IN_A_PARAGRAPH = 6


def public(tree):
    """Public functions and classes with their docstring and arguments; a class has those of its constructor."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            made_by = node
            if isinstance(node, ast.ClassDef):
                found = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
                if not found:
                    continue
                made_by = found[0]
            arguments = [a.arg for a in (*made_by.args.args, *made_by.args.kwonlyargs) if a.arg != "self"]
            yield node.name, ast.get_docstring(node) or "", arguments


MANY = [
    pytest.param(docstring, arguments, id=f"{path.relative_to(PACKAGE)}:{name}")
    for path in sorted(PACKAGE.rglob("*.py"))
    for name, docstring, arguments in public(ast.parse(path.read_text()))
    if len(arguments) > MOST_IN_A_PARAGRAPH and docstring
]


@pytest.mark.parametrize("docstring, arguments", MANY)
def test_many_arguments_are_listed_one_a_line(docstring, arguments):
    """Those that belong together may share a line."""
    lines = [line.strip() for line in docstring.splitlines()]
    listed = "\n".join(line for line in lines if line.startswith("- `"))
    assert listed, "no list of arguments"
    starts = [line for line in lines if line.startswith("- `")]
    assert len(starts) >= len(arguments) / 3


def test_there_are_such_docstrings():
    assert len(MANY) > 10
