"""An HTML page on a run of stage 1: boxes, Z, offsets by resolution, parameters and correlations, as pictures."""

import base64
import html
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import InputError
from ...io.atomic import write_whole
from ..shot import Shot
from .again import refined_shots
from .fit import expected_counts
from .outputs import table_rows
from .record import Record
from .stage1 import Run, settings_in

_BOXES_SHOWN = 6
_MOST_ROWS = 200
_CLIP = 5.0
"""Standard deviations at which the colours of residuals end."""


def write_report(folder: str | os.PathLike[str], *, say: Callable[[str], None] = lambda line: None) -> Path:
    """Write report.html into the folder of a finished run of stage 1; its path. Needs matplotlib.

    **Raises** `InputError` for a folder without a finished run, and without matplotlib.
    """
    folder = Path(folder)
    pyplot = _pyplot()
    run = Run(folder, settings_in(folder))
    records = run.records()
    if not records:
        raise InputError(f"{str(folder)!r} has no shot to report on")
    parts = [f"<h1>Refinement of {len(records)} shots</h1>", _summary(records)]
    best, worst = _extremes(records)
    for title, record in (("the best", best), ("the worst", worst)):
        for shot, _ in refined_shots(run, [record]):
            parts.append(f"<h2>Boxes of {title} shot: {html.escape(record['name'])}</h2>")
            parts.append(f"<p>{html.escape(_verdict(record))}</p>")
            parts.append(_image(pyplot, boxes_figure(pyplot, shot, record)))
    for title, draw in _FIGURES:
        parts += [f"<h2>{title}</h2>", _image(pyplot, draw(pyplot, records))]
    parts += ["<h2>Shots</h2>", _table(records)]
    path = folder / "report.html"
    style = "body{font-family:sans-serif;max-width:1100px;margin:auto}td,th{padding:0 .6em;text-align:right}"
    head = f"<!doctype html><html><head><meta charset='utf-8'><title>Refinement</title><style>{style}</style></head>"
    write_whole(path, (head + "<body>" + "\n".join(parts) + "</body></html>").encode())
    say(f"written: {path}")
    return path


def _pyplot() -> ModuleType:
    try:
        import matplotlib
    except ImportError:
        raise InputError("reports need matplotlib: pip install nanobrag_jax[plots]") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _reduced(record: Record) -> float:
    return record["chi_square"] / max(record["degrees_of_freedom"], 1)


def _verdict(record: Record) -> str:
    fits = "describes" if record["describes_the_data"] else "does NOT describe"
    ended = "converged" if record["converged"] else "not converged"
    return f"{ended}: {record['reason']}; the model {fits} the data (reduced chi-square {_reduced(record):.4g})"


def _extremes(records: Sequence[Record]) -> tuple[Record, Record]:
    order = sorted(records, key=_reduced)
    return order[0], order[-1]


def _summary(records: Sequence[Record]) -> str:
    good = sum(r["converged"] and r["describes_the_data"] for r in records)
    masked = sum(int(np.sum(r["boxes"]["masked"])) for r in records)
    boxes = sum(len(r["boxes"]["row"]) for r in records)
    offsets = np.median([r["offset_pixels"] for r in records])
    saturated = sum(r["left_out"]["saturated_pixels"] for r in records)
    return (
        f"<p>{good} of {len(records)} shots converged and are described by the model. {boxes} boxes, {masked} taken "
        f"out as outliers; {saturated} saturated pixels left out. Median offset of the spots {offsets:.2f} pixels, "
        f"median reduced chi-square {np.median([_reduced(r) for r in records]):.3g}.</p>"
    )


def boxes_figure(pyplot: Any, shot: Shot, record: Record) -> Any:
    """Counts, model and normalised residuals of the best and the worst boxes of a shot."""
    held = record["boxes"]
    expected = expected_counts(shot, shot.experiment, np.array(held["factor"]), np.array(held["background"]))
    each = np.array(held["chi_square"], float)
    order = np.argsort(np.where(np.isfinite(each), each, np.inf))
    order = order[: int(np.sum(np.isfinite(each)))]
    half = _BOXES_SHOWN // 2
    chosen = list(dict.fromkeys([*order[:half], *order[-half:]]))
    figure, axes = pyplot.subplots(3, len(chosen), figsize=(1.8 * len(chosen), 5.2), squeeze=False)
    side = int(round(np.sqrt(shot.boxes.slow.shape[1])))
    used = np.asarray(shot.boxes.used)
    for column, number in enumerate(chosen):
        counts = np.where(used[number], np.asarray(shot.boxes.counts)[number], np.nan)
        model = np.where(used[number], expected[number], np.nan)
        top = float(np.nanmax(np.r_[counts, model, 1.0]))
        residual = (counts - model) / np.sqrt(np.maximum(model, 1e-6))
        rows = ((counts, 0, top, "viridis"), (model, 0, top, "viridis"), (residual, -_CLIP, _CLIP, "RdBu_r"))
        for row, (values, low, high, colors) in enumerate(rows):
            axes[row, column].imshow(values.reshape(side, side), vmin=low, vmax=high, cmap=colors, origin="lower")
            axes[row, column].set_xticks([])
            axes[row, column].set_yticks([])
        index = " ".join(str(i) for i in shot.hkl[number])
        axes[0, column].set_title(f"{index}\nχ²/pixel {each[number]:.3g}", fontsize=8)
    for row, label in enumerate(("counts", "model", "(counts − model)/σ")):
        axes[row, 0].set_ylabel(label)
    return figure


def _joined(records: Sequence[Record], name: str) -> np.ndarray:
    return np.concatenate([np.asarray(r["boxes"][name], float) for r in records])


def z_figure(pyplot: Any, records: Sequence[Record]) -> Any:
    """How chi-square of boxes (a pixel) and of shots is distributed."""
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2))
    values = _joined(records, "chi_square")
    axes[0].hist(np.log10(np.maximum(values[np.isfinite(values)], 1e-3)), bins=60)
    axes[0].set_xlabel("log₁₀ χ² a pixel of boxes")
    axes[1].hist(np.log10([max(_reduced(r), 1e-3) for r in records]), bins=40)
    axes[1].set_xlabel("log₁₀ reduced χ² of shots")
    return figure


def offsets_figure(pyplot: Any, records: Sequence[Record]) -> Any:
    """Distances of the model's spots from the observed ones by resolution."""
    off, spacing = _joined(records, "calculated") - _joined(records, "center"), _joined(records, "d_spacing_A")
    some = _joined(records, "photons") > 10
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4))
    axes[0].scatter(off[some, 1], off[some, 0], s=4)
    axes[0].set(xlabel="fast, pixels", ylabel="slow, pixels", aspect="equal", title="calculated − observed")
    resolution = 1.0 / spacing[some] ** 2
    axes[1].scatter(resolution, np.hypot(*off[some].T), s=4, alpha=0.4)
    edges = np.quantile(resolution, np.linspace(0, 1, 9)) if some.any() else np.zeros(0)
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        here = (resolution >= low) & (resolution <= high)
        axes[1].plot([low, high], 2 * [np.median(np.hypot(*off[some][here].T))], "k-", lw=2)
    axes[1].set(xlabel="1/d², 1/Å²", ylabel="offset, pixels")
    return figure


def parameters_figure(pyplot: Any, records: Sequence[Record]) -> Any:
    """How the parameters of shots are distributed."""
    columns = table_rows(records)
    names = [name for name in columns if f"sigma {name}" in columns][:16]
    rows = -(-len(names) // 4)
    figure, axes = pyplot.subplots(max(rows, 1), 4, figsize=(11, 2.3 * max(rows, 1)), squeeze=False)
    for axis, name in zip(axes.ravel(), names, strict=False):
        axis.hist(np.array(columns[name], float), bins=30)
        axis.set_title(name, fontsize=8)
    for axis in axes.ravel()[len(names) :]:
        axis.axis("off")
    return figure


def correlations_figure(pyplot: Any, records: Sequence[Record]) -> Any:
    """Mean correlation coefficients of the parameters of a shot."""
    labels = records[0]["labels"]
    alike = [np.array(r["correlations"]) for r in records if r["labels"] == labels]
    figure, axis = pyplot.subplots(figsize=(6.5, 5.5))
    shown = axis.imshow(np.mean(alike, axis=0), vmin=-1, vmax=1, cmap="RdBu_r")
    axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axis.set_yticks(range(len(labels)), labels, fontsize=7)
    figure.colorbar(shown)
    return figure


_FIGURES = (
    ("Chi-square", z_figure),
    ("Offsets", offsets_figure),
    ("Parameters", parameters_figure),
    ("Correlations", correlations_figure),
)


def _image(pyplot: Any, figure: Any) -> str:
    buffer = io.BytesIO()
    figure.tight_layout()
    figure.savefig(buffer, format="png", dpi=90)
    pyplot.close(figure)
    return f"<img src='data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}'>"


def _table(records: Sequence[Record]) -> str:
    """The shots, the worst first."""
    order = sorted(records, key=_reduced, reverse=True)[:_MOST_ROWS]
    cells = "".join(f"<th>{name}</th>" for name in ("shot", "reduced χ²", "offset", "boxes", "steps", "verdict"))
    rows = [f"<tr>{cells}</tr>"]
    for record in order:
        values = (
            html.escape(record["name"]),
            f"{_reduced(record):.4g}",
            f"{record['offset_pixels']:.2f}",
            str(len(record["boxes"]["row"])),
            str(record["steps"]),
            "described" if record["describes_the_data"] else "NOT described",
        )
        rows.append("<tr>" + "".join(f"<td>{value}</td>" for value in values) + "</tr>")
    return f"<table>{''.join(rows)}</table>"
