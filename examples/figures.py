"""The figures of docs/refinement.md; needs matplotlib."""

from pathlib import Path

import matplotlib
import numpy as np

import nanobrag_jax as nb
from nanobrag_jax import refine

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

BLUE, ORANGE, GREY = "#2166ac", "#d6604d", "#888888"


def _save(figure, path: Path) -> None:
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    plt.close(figure)
    print(f"wrote {path}")


def one_still(found, path: Path) -> None:
    """Data, start and end around some strong spots, what is left, and how the objective fell."""
    window = (slice(150, 290), slice(140, 280))
    shape = found.counts.shape
    background = float(found.result.backgrounds[0][0, 0])
    began = np.asarray(nb.simulate(found.start)) + background
    ended = np.asarray(nb.simulate(found.result.experiment)) + background
    residual = found.result.residuals[0].image(shape)
    figure, axes = plt.subplots(1, 5, figsize=(14.5, 3.1), layout="constrained")
    top = np.quantile(found.counts[window], 0.999)
    shown = ((found.counts, "counts"), (began, "model at the start"), (ended, "model refined"))
    for axis, (image, title) in zip(axes, shown, strict=False):
        axis.imshow(np.sqrt(image[window]), vmin=0, vmax=np.sqrt(top), cmap="gray_r", interpolation="nearest")
        axis.set_title(title, fontsize=10)
    axes[3].imshow(residual[window], vmin=-4, vmax=4, cmap="RdBu_r", interpolation="nearest")
    axes[3].set_title("(counts − model) / σ, ±4", fontsize=10)
    for axis in axes[:4]:
        axis.set_xticks([])
        axis.set_yticks([])
    history = [s for s in found.result.history if s.accepted]
    axes[4].semilogy([s.number for s in history], [max(s.distance, 1e-4) for s in history], "o-", color=BLUE, ms=4)
    axes[4].axhline(0.01, color=GREY, lw=0.8, ls="--")
    axes[4].set_xlabel("step")
    axes[4].xaxis.set_major_locator(plt.MaxNLocator(integer=True))
    axes[4].set_title("distance to the minimum / σ", fontsize=10)
    _save(figure, path)


def correlations(result: refine.Result, path: Path) -> None:
    """The correlation matrix."""
    short = [label.split(".")[-1] for label in result.labels]
    figure, axis = plt.subplots(figsize=(6.6, 5.6), layout="constrained")
    shown = axis.imshow(result.correlations, vmin=-1, vmax=1, cmap="RdBu_r")
    axis.set_xticks(range(len(short)), short, rotation=90, fontsize=8)
    axis.set_yticks(range(len(short)), short, fontsize=8)
    for (row, column), value in np.ndenumerate(result.correlations):
        if row != column and abs(value) >= 0.3:
            color = "white" if abs(value) > 0.6 else "black"
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6, color=color)
    figure.colorbar(shown, ax=axis, shrink=0.7)
    _save(figure, path)


def starts(found: list[dict], path: Path) -> None:
    """Errors in units of their limits, and all pulls, for both variants."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained", width_ratios=(3, 2, 2))
    for axis, one in zip(axes, found, strict=False):
        names, rows = [], []
        for name, row in one["parameters"].items():
            if row["limit"] is None:
                continue
            errors = np.atleast_2d(np.asarray(row["errors"]).T) / row["limit"]
            for number, values in enumerate(errors):
                index = f"[{number}]" if len(errors) > 1 else ""
                names.append(name.split(".")[-1] + index)
                rows.append(values)
        for place, values in enumerate(rows):
            axis.plot(np.full(len(values), place), values, "o", color=BLUE, ms=3, alpha=0.5)
        axis.axhspan(-1, 1, color=GREY, alpha=0.12)
        axis.set_ylim(-1.5, 1.5)
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
        axis.set_title(f"error / limit, {one['unknown']} unknown", fontsize=10)
    x = np.linspace(-4, 4, 200)
    bins = np.linspace(-4, 4, 33)
    for one, color in zip(found, (BLUE, ORANGE), strict=True):
        pulls = np.concatenate([np.ravel(row["pulls"]) for row in one["parameters"].values()])
        axes[2].hist(pulls, bins, density=True, histtype="step", color=color, label=f"{one['unknown']} unknown")
    axes[2].plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=GREY, lw=1)
    axes[2].set_title("pulls of all parameters", fontsize=10)
    axes[2].set_ylim(0, 0.75)
    axes[2].legend(fontsize=8, frameon=False)
    _save(figure, path)


def amplitudes(found, path: Path) -> None:
    """Amplitudes before and after, against the truth."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained", sharey=True)
    shown = ((found.started, "at the start", GREY), (found.refined, "refined", BLUE))
    top = 1.05 * max(found.true.max(), found.refined.max())
    for axis, (values, title, color) in zip(axes, shown, strict=True):
        axis.plot([0, top], [0, top], color="black", lw=0.6)
        sigma = found.sigma if values is found.refined else None
        sigma = None if sigma is None else np.minimum(sigma, values)
        axis.errorbar(found.true, values, yerr=sigma, fmt="o", ms=2.5, lw=0.6, color=color)
        axis.set_xlim(0, top)
        axis.set_ylim(0, top)
        axis.set_xlabel("true amplitude")
        axis.set_title(f"{title}: R1 {found.r1(values):.3f}", fontsize=10)
    _save(figure, path)
