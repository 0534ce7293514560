"""`python -m benchmarks.report figures.json …`: the table of docs/performance.md and its plots, from the figures.

Of several files, each a pass on the same machine, the pass in which a case was fastest counts.

Replaces what stands between the two marks in the page, and docs/images/performance_*.png.
"""

import json
import sys
from pathlib import Path

import numpy as np

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
LEAST_SAMPLES = 1e7
"""From here on time is expected to grow linearly."""


def fastest(passes: list[dict]) -> dict:
    """The figures of several passes, of each case those of its fastest run; `passes`: how many there were."""
    found: dict[str, list[dict]] = {}
    for row in (row for figures in passes for row in figures["cases"]):
        found.setdefault(row["case"], []).append(row)
    rows = [min(rows, key=lambda row: row["seconds"]) | spread(rows) for rows in found.values()]
    return {"machine": passes[0]["machine"], "cases": rows}


def spread(rows: list[dict]) -> dict:
    """How many passes a case had, the most memory, and the smallest and largest ratio among them."""
    ratios = sorted(row["ratio"] for row in rows if "ratio" in row)
    told = f"{ratios[0]:.3g} to {ratios[-1]:.3g}" if len(ratios) > 1 else None
    return {"passes": len(rows), "peak_MB": max(row["peak_MB"] for row in rows), "ratios": told}


def ruled(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def shown(value, digits: int = 3) -> str:
    """A number with so many digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"


def case_table(rows: list[dict]) -> str:
    """Every case."""
    columns = {
        **{"seconds": "seconds", "ns a sample": "ns_per_sample", "× probe": "ratio", "limit": "limit"},
        **{"compiling, s": "compile_seconds", "first run, s": "first_seconds", "MB": "peak_MB", "passes": "passes"},
    }
    cells = [[row["case"], *(shown(row.get(key)) for key in columns.values()), row["ratios"] or ""] for row in rows]
    return ruled(["case", *columns, "× probe in all"], cells)


def straightness(rows: list[dict]) -> str:
    """How far times lie from one straight line through large images and long sweeps, each by itself."""
    found = []
    for what, members in (("image sizes", sizes(rows)), ("φ sweeps", sweeps(rows))):
        large = [row for row in members if row["samples"] >= LEAST_SAMPLES]
        if len(large) < 3:
            continue
        x, y = (np.array([row[key] for row in large]) for key in ("samples", "seconds"))
        slope, start = np.polyfit(x, y, 1, w=1 / y)
        off = np.max(np.abs(y / (slope * x + start) - 1))
        found.append(f"{what}: {slope * 1e9:.3g} ns a sample, no time further than {off:.1%} off the line")
    return "; ".join(found)


def sizes(rows: list[dict]) -> list[dict]:
    """Square images of 10 φ steps."""
    return [row for row in rows if " x " in row["case"] and row["case"].split(" x ")[0].isdigit()]


def sweeps(rows: list[dict]) -> list[dict]:
    """φ sweeps on 1024² pixels."""
    return [row for row in rows if row["case"].endswith(" phi steps") and row["case"][0].isdigit()]


def memory(rows: list[dict]) -> str:
    """The largest peak beside what it may be."""
    images = [row for row in rows if row.get("peak_MB")]
    if not images:
        return ""
    worst = max(images, key=lambda row: row["peak_MB"] / (500 + 64 * row["pixels"] / 1e6))
    bound = 500 + 64 * worst["pixels"] / 1e6
    found = f"{worst['case']}, {worst['peak_MB']:.0f} of {bound:.0f} MB"
    return f"Nearest to the bound of 64 bytes a pixel and 500 MB: {found}."


def block(figures: dict) -> str:
    """What stands between the marks."""
    machine, rows = figures["machine"], figures["cases"]
    devices = ", ".join(sorted(set(machine["devices"])))
    threads = max((row["threads"] for row in rows if "thread" not in row["case"]), default=0)
    where = f"{machine['date'][:10]}, {machine['cores']} cores ({machine['processor']}), devices: {devices}"
    versions = f"Python {machine['python']}, jax {machine['jax']}, nanobrag_jax {machine['nanobrag_jax']}"
    passes = [row["probe_seconds"] for row in rows if "probe_seconds" in row and row["threads"] == threads]
    probe = f" The probe took {min(passes):.4f} s at best." if passes else ""
    parts = [
        f"{where}; {versions}; {machine['clock']}, {threads or 'all'} thread{'s' * (threads != 1)}.{probe}",
        case_table(rows),
    ]
    gradients = [f"{row['case']}: {row['times_forward']:.2g} times forward" for row in rows if row.get("times_forward")]
    parts += ["; ".join(gradients) + "." if gradients else "", straightness(rows), memory(rows)]
    return "\n\n".join(filter(None, parts))


def plots(rows: list[dict], folder: Path) -> list[str]:
    """Draws time against pixels, samples and threads, as far as it was measured; returns the lines that show them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawn = []
    threads = [row for row in rows if row["case"].startswith("headline, ") and "thread" in row["case"]]
    for name, members, key, label in (
        ("pixels", sizes(rows), "pixels", "pixels (10 φ steps each)"),
        ("samples", sweeps(rows), "samples", "samples (1024² pixels)"),
        ("threads", threads, "threads", "threads (headline run)"),
    ):
        if len(members) < 2:
            continue
        figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
        x = np.array([row[key] for row in members])
        axes.loglog(x, [row["seconds"] for row in members], "o-", label="nanobrag_jax")
        if all("probe_seconds" in row for row in members):
            per_sample = np.array([row["probe_seconds"] / (2463 * 2527 * 10) for row in members])
            axes.loglog(x, per_sample * [row["samples"] for row in members], "s--", label="probe")
        axes.set(xlabel=label, ylabel="seconds")
        if name == "threads":
            axes.set_xticks(x, [str(n) for n in x])
            axes.minorticks_off()
        axes.legend(frameon=False)
        figure.savefig(folder / f"performance_{name}.png", dpi=110)
        plt.close(figure)
        drawn.append(f"![Time against {name}](images/performance_{name}.png)")
    return drawn


def main(argv: list[str]) -> int:
    """Write the page's block and the plots."""
    figures = fastest([json.loads(Path(name).read_text()) for name in argv])
    page = DOCS / "performance.md"
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    shown_below = "\n".join(plots(figures["cases"], DOCS / "images"))
    page.write_text(f"{before}{BEGIN}\n\n{block(figures)}\n\n{shown_below}\n\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
