"""`python -m benchmarks.versions figures.json …`: the table of versions in docs/performance.md, one file a version.

Each file comes from `python -m benchmarks --json` with another jax, on the same machine; several files of one version
are passes, of which the fastest counts. Replaces what stands between the two marks in the page.
"""

import json
import sys
from pathlib import Path

from .report import DOCS, fastest, ruled, shown

BEGIN, END = "<!-- versions: begin -->", "<!-- versions: end -->"


def by_version(files: list[dict]) -> dict[str, dict]:
    """Figures of each version, of each case those of its fastest pass."""
    passes: dict[str, list[dict]] = {}
    for figures in files:
        machine = figures["machine"]
        passes.setdefault(f"jax {machine['jax']}, Python {machine['python']}", []).append(figures)
    return {version: fastest(found) for version, found in passes.items()}


def table(versions: dict[str, dict]) -> str:
    """A row for each case that all versions have: times the probe, and seconds to compile, of each version."""
    rows = [{row["case"]: row for row in figures["cases"]} for figures in versions.values()]
    cells = []
    for case in rows[0]:
        found = [of_version.get(case) for of_version in rows]
        if None in found:
            continue
        seconds = [row["seconds"] / row.get("probe_seconds", 1.0) for row in found if row]
        ratios = [shown(row.get("ratio")) for row in found if row]
        compiling = [shown(row.get("compile_seconds")) for row in found if row]
        cells.append([case, *ratios, f"{max(seconds) / min(seconds):.2f}", *compiling])
    head = ["case", *(f"{name}, × probe" for name in versions), "slowest / fastest"]
    return ruled([*head, *(f"{name.split(',')[0]}, compiling, s" for name in versions)], cells)


def main(argv: list[str]) -> int:
    """Write the page's block."""
    versions = by_version([json.loads(Path(name).read_text()) for name in argv])
    machine = next(iter(versions.values()))["machine"]
    where = f"{machine['date'][:10]}, {machine['cores']} cores ({machine['processor']}); {machine['clock']}."
    page = DOCS / "performance.md"
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{where}\n\n{table(versions)}\n\n{END}{rest.split(END)[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
