"""Imports point one way, and the file formats know nothing of jax (docs/architecture.md)."""

import ast
import functools
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nanobrag_jax"

LAYERS = [
    {"constants", "conventions", "described", "errors", "lazy", "quiet_start", "typing", "version", "window"},
    {"checks", "io", "numerics", "reference", "steps"},
    {"beam", "effects", "goniometer", "models", "mosaicity", "scatterers", "spot_shapes"},
    {"detector", "laue_groups", "structure_factors"},
    {"diffuse"},
    {"crystal"},
    {"panels"},
    {"detectors", "sub_pixels"},
    {"experiment"},
    {"beam_stop", "changes", "molecule"},
    {"config", "dials"},
    {"formats"},
    {"render"},
    {"refine", "trace"},
    {"compare"},
    {"command"},
    {"cli", "dataset"},
]
"""The rooms of the package, modules and folders at its top, from the bottom up: a room imports from lower ones."""

ONLY_NUMPY = [
    *("io", "compare", "trace.record", "trace.table", "window"),
    *("formats.image_format", "formats.setup", "formats.whole_numbers", "formats.read", "formats.registry"),
    *(f"formats.{name}" for name in "smv raw pgm minicbf imgcif nexus hdf5 npy png".split()),
]


def modules():
    """Every module of the package: dotted name → path.

    Without the `__main__` of a folder: a program, which runs what it likes and is imported by nothing.
    """
    paths = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")
    named = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in paths}
    return {name.removesuffix(".__init__"): path for name, path in named.items()}


def imports_of(name, path, everywhere=True):
    """Dotted names that a module imports; inside the package without the package's own name."""
    package = ["nanobrag_jax", *name.split(".")]
    if path.name != "__init__.py":
        package = package[:-1]
    elif name == "__init__":
        package = ["nanobrag_jax"]
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{target}.{alias.name}" for alias in node.names}
    return found


def internal(names, known):
    """The modules of the package that dotted names stand for: `known` ones, the longest that fits each."""
    inside = (name.split(".")[1:] for name in names if name.startswith("nanobrag_jax."))
    parents = ([".".join(words[:n]) for n in range(len(words), 0, -1)] for words in inside)
    return {fits[0] for candidates in parents if (fits := [c for c in candidates if c in known])}


@functools.cache
def import_graph():
    """Modules of the package → those that they import. The package itself, which only exports, is none of them."""
    known = {name: path for name, path in modules().items() if name != "__init__"}
    return {name: internal(imports_of(name, path), known) - {name} for name, path in known.items()}


def room_of(name):
    """The module or folder at the top of the package that a module is in."""
    return name.split(".")[0]


def reached(graph, start):
    """Everything that a module imports, directly or not."""
    found, waiting = set(), [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def test_the_layers_are_the_rooms_of_the_package():
    listed = [room for layer in LAYERS for room in layer]
    assert len(listed) == len(set(listed))
    assert set(listed) == {room_of(name) for name in import_graph()}


def test_imports_point_downwards():
    layer_of = {room: i for i, layer in enumerate(LAYERS) for room in layer}
    wrong = [
        f"{module} imports {other}"
        for module, imported in import_graph().items()
        for other in sorted(imported)
        if room_of(other) != room_of(module) and layer_of[room_of(other)] >= layer_of[room_of(module)]
    ]
    assert not wrong, "\n".join(wrong)


def test_imports_make_no_circle():
    """Between modules, also of one room."""
    graph = import_graph()
    assert "numerics.vectors" in reached(graph, "command.run")
    circles = sorted(module for module in graph if module in reached(graph, module))
    assert not circles, f"these modules import each other: {circles}"


def obeys(name):
    """Whether a module is to know numpy only."""
    return any(name == pure or name.startswith(f"{pure}.") for pure in ONLY_NUMPY)


@pytest.mark.parametrize("name", list(filter(obeys, modules())))
def test_only_numpy(name):
    """The standard library, numpy, and the package's own modules that obey the same rule; others only where used."""
    path = modules()[name]
    allowed = set(sys.stdlib_module_names) | {"numpy", "nanobrag_jax"}
    outside = {n.split(".")[0] for n in imports_of(name, path, everywhere=False)} - allowed
    assert not outside, f"{name} imports {sorted(outside)}"
    assert not {"jax", "jaxlib", "equinox", "jaxtyping"} & {n.split(".")[0] for n in imports_of(name, path)}
    others = {module for module in import_graph()[name] if not obeys(module)}
    assert others <= {"errors", "constants", "version"}


def test_the_package_only_exports():
    body = ast.parse((PACKAGE / "__init__.py").read_text()).body
    docstring, *statements = body
    assert isinstance(docstring, ast.Expr)
    branch = next(node for node in statements if isinstance(node, ast.If))
    assert ast.unparse(branch.test) == "TYPE_CHECKING"
    (table,) = branch.orelse  # what these names are at run time: tests/test_lazy.py
    assert ast.unparse(table).startswith("__getattr__, __dir__, __all__ = lazy_names(")
    for statement in [node for node in statements if node is not branch] + branch.body:
        assert isinstance(statement, ast.ImportFrom), ast.unparse(statement)
        if statement.level:
            known = ("lazy_names",)
            assert all(alias.asname == alias.name or alias.name in known for alias in statement.names)
