"""What DIALS made of simulated images, as figures beside their limits."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import nanobrag_jax as nb
from nanobrag_jax.dials.read import read_one_expt

Figure = tuple[str, str, str, bool]
"""What it is, its value, its limit, and whether it is within."""

RANGE_A = (4.0, 1.7)
"""Where intensities are asked to be unbiased."""

_INDEXED = """
import json
from dials.array_family import flex
table = flex.reflection_table.from_file("indexed.refl")
print(json.dumps([int(table.get_flags(table.flags.indexed).count(True)), len(table)]))
"""


def figures(folder: Path, experiment: nb.Experiment, cell: tuple[float, float, float]) -> list[Figure]:
    """Fraction indexed, cell, beam centre, and intensities against the amplitudes that went in.

    **Arguments:** `folder`: where DIALS worked; `experiment`: of image 1; `cell`: a, b, c of the simulation.
    """
    indexed, found = in_dials(folder, _INDEXED)
    record, _ = read_one_expt(folder / "refined.expt")
    edges = np.linalg.norm(record.crystal.real_space_A, axis=1)
    cell_error = float(np.max(np.abs(np.sort(edges) / np.sort(cell) - 1.0)))
    apart = beam_centre_apart(record, experiment)
    counts, truth, spacing = compared(folder)
    r1, cc, trend = agreement(counts, truth, spacing)
    return [
        ("spots indexed", f"{indexed} of {found}, {indexed / found:.2%}", "99 %", indexed >= 0.99 * found),
        ("cell, relative error", f"{cell_error:.1e}", "2e-4", cell_error <= 2e-4),
        ("beam centre", f"{apart:.4f} pixel", "0.02", apart <= 0.02),
        ("reflections compared", f"{len(counts)}", "", True),
        ("R1(F) against the input", f"{r1:.2%}", "2 %", r1 <= 0.02),
        ("CC(I)", f"{cc:.5f}", "0.999", cc >= 0.999),
        ("trend of intensities, 4 to 1.7 A", f"{trend:.2%}", "1 %", trend <= 0.01),
    ]


def in_dials(folder: Path, script: str):
    """What a script prints that DIALS' own Python runs in a folder, read as JSON."""
    program = shutil.which("dials.import")
    assert program is not None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    python = Path(program).read_text().splitlines()[0].removeprefix("#!").split()
    run = {"cwd": folder, "env": environment, "text": True, "check": True}
    return json.loads(subprocess.run([*python, "-c", script], capture_output=True, **run).stdout)


def beam_centre_apart(record, experiment: nb.Experiment) -> float:
    """Pixels between where the refined beam meets the refined detector and where it was simulated to."""
    (panel,) = record.detector
    direction = -record.beam.source_direction
    point = direction * (panel.origin_mm @ panel.normal) / (direction @ panel.normal) - panel.origin_mm
    pixel = panel.pixel_size_mm[0]
    refined = np.array([point @ panel.fast_axis, point @ panel.slow_axis]) / pixel
    frame = nb.detector.frame_on_host(experiment.panel, nb.completed(experiment).beam, "spec")
    return float(np.linalg.norm(refined - np.asarray(frame.beam_point) / float(frame.pixel_size)))


def compared(folder: Path) -> tuple[NDArray, NDArray, NDArray]:
    """Merged intensities, squares of the amplitudes that went in, and spacings in Å, of the same reflections."""
    import gemmi

    true = gemmi.read_mtz_file(str(folder / "true.mtz"))
    merged = gemmi.read_mtz_file(str(folder / "merged.mtz"))
    for mtz in (true, merged):
        mtz.ensure_asu()
    put_in = {tuple(row[:3].astype(int)): row[3] for row in np.array(true)}
    table, intensity = np.array(merged), merged.column_labels().index("IMEAN")
    rows = [row for row in table if np.isfinite(row[intensity]) and tuple(row[:3].astype(int)) in put_in]
    hkl = np.array([row[:3] for row in rows]).astype(np.int32)
    counts = np.array([row[intensity] for row in rows])
    truth = np.array([put_in[tuple(index)] for index in hkl.tolist()]) ** 2
    return counts, truth, true.cell.calculate_d_array(hkl)


def agreement(counts: NDArray, truth: NDArray, spacing: NDArray) -> tuple[float, float, float]:
    """R1 of amplitudes, correlation of intensities, and how far shells of resolution are from one scale."""
    amplitudes, true = np.sqrt(np.maximum(counts, 0.0)), np.sqrt(truth)
    scale = np.sum(amplitudes * true) / np.sum(true * true)
    r1 = np.sum(np.abs(amplitudes / scale - true)) / np.sum(true)
    inside = (spacing <= RANGE_A[0]) & (spacing >= RANGE_A[1])
    edges = np.quantile(spacing[inside] ** -3.0, np.linspace(0.0, 1.0, 6))
    shells = np.clip(np.searchsorted(edges, spacing**-3.0) - 1, 0, 4)
    ratios = [np.sum(counts[m]) / np.sum(truth[m]) for m in (inside & (shells == i) for i in range(5))]
    fit = np.polyfit(np.arange(5), ratios, 1)
    trend = abs(4.0 * fit[0] / np.mean(ratios))
    return float(r1), float(np.corrcoef(counts, truth)[0, 1]), float(trend)


def spots_apart(first: NDArray, second: NDArray, brightest: int = 60, half: int = 4) -> float:
    """Root mean square distance of centres of bright spots in two images, pixels.

    Spots that the second image lacks, as merged data are not complete, are left out.
    """
    apart, heights = [], []
    image, free = np.array(first, float), np.ones(first.shape, bool)
    for _ in range(brightest):
        slow, fast = np.unravel_index(np.where(free, image, 0.0).argmax(), image.shape)
        box = slice(max(0, slow - half), slow + half + 1), slice(max(0, fast - half), fast + half + 1)
        free[box] = False
        if min(slow, fast) >= half and box[0].stop <= image.shape[0] and box[1].stop <= image.shape[1]:
            other = np.asarray(second[box], float)
            apart.append(centre(image[box]) - centre(other))
            heights.append(other.max() / image[slow, fast])
    there = np.array(heights) > 0.3 * np.median(heights)
    return float(np.sqrt(np.mean(np.sum(np.square(np.array(apart)[there]), axis=1))))


def centre(box: NDArray) -> NDArray:
    """Centre of mass above a tenth of the height, pixels."""
    low = np.median(box)
    weights = np.maximum(box - low - 0.1 * (box.max() - low), 0.0)
    return np.array([np.average(x, weights=weights) for x in np.indices(box.shape)])
