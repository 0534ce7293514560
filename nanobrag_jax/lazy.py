"""Names of a package that are loaded when they are first asked for (PEP 562)."""

import sys
from collections.abc import Callable
from importlib import import_module


def lazy_names(
    package: str, *, modules: str = "", **names: str
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package that exports without importing.

    **Arguments:** `package`: its `__name__`; `modules`: names of modules that are exported themselves; `names`: for
    each other module the names that the package exports of it; all separated by spaces.
    """
    home = {name: module for module, exported in names.items() for name in exported.split()}
    found_in = dict.fromkeys(modules.split(), "") | home

    def find(name: str) -> object:
        if name not in found_in:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(f"{package}.{found_in[name] or name}")
        value = getattr(module, name) if found_in[name] else module
        setattr(sys.modules[package], name, value)  # the next time Python finds it without us
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *found_in})

    return find, listed, sorted(found_in)
