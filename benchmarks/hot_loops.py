"""What XLA made of the innermost loops of a program: how many kernels run at each turn."""

import re
from typing import NamedTuple


class Loop(NamedTuple):
    """Kernels of one turn of a loop: fusions, and products of matrices."""

    fusions: int
    dots: int


_HEAD = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{\s*$")
_CALLED = re.compile(r"(?:to_apply|body|condition|branch_computations|called_computations)=\{?((?:%?[\w.\-]+(?:, )?)+)")


def computations(program: str) -> dict[str, list[str]]:
    """The computations of an optimised HLO program: name → lines."""
    found: dict[str, list[str]] = {}
    name = None
    for line in program.splitlines():
        head = _HEAD.match(line)
        if head:
            name = head.group(1)
            found[name] = []
        elif name is not None and line.startswith(" "):
            found[name].append(line)
    return found


def innermost_loops(program: str) -> list[Loop]:
    """The loops that have no loop inside, the smallest first, from a program's optimised HLO."""
    parts = computations(program)

    def has_loop(name: str) -> bool:
        lines = [line for line in parts.get(name, ()) if " fusion(" not in line]
        if any(" while(" in line for line in lines):
            return True
        called = {n.strip().lstrip("%") for line in lines for m in _CALLED.findall(line) for n in m.split(",")}
        return any(has_loop(other) for other in called if other in parts)

    bodies = sorted({name.lstrip("%") for name in re.findall(r"body=(%?[\w.\-]+)", program)})
    found = []
    for name in bodies:
        if not has_loop(name):
            lines = parts[name]
            found.append(Loop(sum(" fusion(" in x for x in lines), sum(" dot(" in x for x in lines)))
    return sorted(found)
