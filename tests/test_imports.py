"""Imports point one way, and the file formats know nothing of jax (docs/architecture.md)."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nanobrag_jax"

LAYERS = [
    {"constants", "units", "typing", "errors", "precision", "lazy", "compiler_memory"},
    {
        "conventions",
        "polynomials",
        "vectors",
        "pairs",
        "checks",
        "loops",
        "sharding",
        "host",
        "steps",
        "unit_cell",
        "reference_rng",
    },
    {"pixel_random"},
    {"flags", "io", "output", "trace_record"},
    {"compare", "models", "panels", "reference_noise"},
    {"noise"},
    {"amorphous", "effects", "structure_factors"},
    {"experiment"},
    {"geometry", "crystal", "beam", "lattice", "spectra", "config"},
    {"kernel"},
    {"scene"},
    {"background", "carryover"},
    {"render", "assemble", "assemble_amorphous", "assemble_files", "dials", "dials_export", "formats", "output_plan"},
]
"""From the bottom up; a module may import from lower layers and from its own. What is not named stands on top."""

ONLY_NUMPY = ["io", "compare", "trace_record", "output"]


def modules():
    """Every module of the package: dotted name → path."""
    paths = sorted(PACKAGE.rglob("*.py"))
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


def internal(names):
    """Top-level modules of the package among dotted names."""
    return {n.split(".")[1] for n in names if n.startswith("nanobrag_jax.")}


LAYER_OF = {module: i for i, layer in enumerate(LAYERS) for module in layer}


def import_graph():
    """Top-level modules of the package → those that they import."""
    graph: dict[str, set[str]] = {}
    known = {name.split(".")[0] for name in modules()} - {"__init__", "__main__"}
    for name, path in modules().items():
        here = name.split(".")[0]
        if here in known:
            graph.setdefault(here, set()).update(internal(imports_of(name, path)) & known - {here})
    graph["experiment"] -= {"dials"}  # Experiment.from_expt, which loads its format when it is called
    return graph


def reached(graph, start):
    """Everything that a module imports, directly or not, with the module through which it does."""
    found, waiting = {}, [start]
    while waiting:
        through = waiting.pop()
        for module in graph[through] - found.keys():
            found[module] = through
            waiting.append(module)
    return found


def test_the_layers_exist():
    top = {name.split(".")[0] for name in modules()}
    assert {"geometry", "crystal", "beam", "lattice", "kernel", "scene", "carryover", "render", "io"} <= top


def test_imports_point_downwards():
    graph = import_graph()
    wrong = [
        f"{module} reaches {other} through {through}"
        for module in sorted(LAYER_OF.keys() & graph.keys())
        for other, through in reached(graph, module).items()
        if LAYER_OF.get(other, 0) > LAYER_OF[module]
    ]
    assert not wrong, "\n".join(wrong)


def test_imports_make_no_circle():
    graph = import_graph()
    circles = sorted(module for module in graph if module in reached(graph, module))
    assert not circles, f"these modules import each other: {circles}"


@pytest.mark.parametrize("name", [n for n in modules() if n.split(".")[0] in ONLY_NUMPY])
def test_only_numpy(name):
    """The standard library, numpy, and the package's own modules that obey the same rule; others only where used."""
    path = modules()[name]
    allowed = set(sys.stdlib_module_names) | {"numpy", "nanobrag_jax"}
    outside = {n.split(".")[0] for n in imports_of(name, path, everywhere=False)} - allowed
    assert not outside, f"{name} imports {sorted(outside)}"
    assert not {"jax", "jaxlib", "equinox", "jaxtyping"} & {n.split(".")[0] for n in imports_of(name, path)}
    assert internal(imports_of(name, path)) <= {*ONLY_NUMPY, "errors", "constants", "units"}


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
