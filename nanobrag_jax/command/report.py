"""What the command tells about a run: labels and values, in the units that the labels name."""

import os
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import SupportsFloat

import numpy as np

from ..constants import EV_ANGSTROM
from ..detector import DetectorFrame
from ..experiment import Experiment
from ..formats.whole_numbers import Statistics
from ..io.hkl import HklTable
from ..mosaicity import CapMosaicity
from ..scatterers import Amorphous
from ..spot_shapes import Square
from ..window import window_of

Rows = list[tuple[str, str]]


def say(text: str) -> None:
    """Print, and go on where that is not possible: the files are still wanted.

    In silence when whoever read the report has gone, with a note where it goes to a disk that is full.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"nanobrag_jax: note: the report cannot be written: {error.strerror}", file=sys.stderr)


def numbers(values: Iterable[SupportsFloat], form: str = "g") -> str:
    """Numbers with spaces between."""
    return " ".join(format(float(x) + 0.0, form) for x in values)


def cell_of(real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges (A) and angles (deg) of the cell with the rows a, b, c."""
    lengths = np.sqrt(np.sum(real * real, axis=1))
    pairs = ((1, 2), (2, 0), (0, 1))
    cosines = [float(real[i] @ real[j] / (lengths[i] * lengths[j])) for i, j in pairs]
    return lengths, np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))


def crystal_rows(experiment: Experiment, real: np.ndarray) -> Rows:
    """Cell, orientation, size, shape and mosaic spread.

    **Arguments:** `real`: rows a, b, c in the lab at phi = 0, A.
    """
    crystal = experiment.crystal
    lengths, angles = cell_of(real)
    cells = np.asarray(crystal.n_cells)
    rows = [
        ("unit cell (A, deg)", numbers([*lengths, *angles])),
        ("orientation", "from the cell alone" if crystal.orientation is None else "from the matrix"),
        ("misset (deg)", numbers(np.asarray(crystal.misset_deg), ".6f")),
        *((f"{name} (A)", numbers(vector)) for name, vector in zip("abc", real, strict=True)),
        ("unit cells", "x".join(f"{n:g}" for n in cells)),
        ("crystal size (um)", numbers(cells * lengths * 1e-4)),
        ("spot shape", crystal.shape.name),
        ("mosaic domains", f"{crystal.mosaicity.domains}"),
    ]
    if not isinstance(crystal.shape, Square):
        rows.append(("fudge", f"{float(crystal.fudge):g}"))
    if float(crystal.scale) != 1:
        rows.append(("such crystals in the beam", f"{float(crystal.scale):g}"))
    if not isinstance(crystal.mosaicity, CapMosaicity):
        rows.append(("mosaicity", type(crystal.mosaicity).__name__))
    elif crystal.mosaicity.domains > 1:
        rows.append(("mosaic spread (deg)", f"{float(crystal.mosaic_spread_deg):g}"))
    return rows


def structure_factor_rows(experiment: Experiment, table: HklTable | None) -> Rows:
    """Extent of the grid of structure factors, and how it is read."""
    default_F = f"{float(experiment.structure_factors.default_F):g}"
    if table is None:
        return [("structure factors", f"{default_F} everywhere")]
    ranges = zip("hkl", table.hkl_min, table.values.shape, strict=True)
    return [
        ("structure factors", f"{np.count_nonzero(table.given)}, {default_F} elsewhere"),
        ("index ranges", ", ".join(f"{axis} {low} to {low + count - 1}" for axis, low, count in ranges)),
        ("look-up", "tricubic interpolation" if experiment.sampling.interpolate else "nearest index"),
    ]


def beam_rows(experiment: Experiment) -> Rows:
    """Wavelength, fluence, polarisation and sources."""
    beam = experiment.beam
    wavelength = float(beam.wavelength_A)
    rows = [
        ("wavelength (A)", f"{wavelength:g}"),
        ("photon energy (eV)", f"{EV_ANGSTROM / wavelength:g}"),
        ("fluence (photons/m^2)", f"{float(beam.fluence_per_m2):g}"),
        ("polarisation", f"Kahn factor {float(beam.kahn_factor):g}" if beam.polarized else "none"),
        ("sources", f"{beam.num_sources}"),
    ]
    if beam.source_positions is None and beam.num_sources > 1:
        rows.append(("divergence (mrad)", numbers(np.asarray(beam.divergence_mrad))))
        rows.append(("dispersion (%)", f"{float(beam.dispersion_percent):g}"))
    return rows


def detector_rows(experiment: Experiment, frame: DetectorFrame, pivot_ignored: bool) -> Rows:
    """Pixels, distances, beam centre and vectors of the finished geometry."""
    detector = experiment.panel
    pixel = float(frame.pixel_size)
    pivot = detector.reference_pivot if pivot_ignored else detector.pivot
    rows = [
        ("detector (fast x slow pixels)", f"{detector.pixels_fast} x {detector.pixels_slow}"),
        ("pixel (mm)", f"{pixel * 1e3:g}"),
        ("convention, pivot", f"{detector.convention.upper()}, {pivot}"),
        ("distance (mm)", f"{float(frame.distance) * 1e3:g}"),
        ("close distance (mm)", f"{float(frame.close_distance) * 1e3:g}"),
        ("beam on detector (fast, slow mm)", numbers(float(x) * 1e3 for x in frame.beam_point)),
        ("beam on detector (fast, slow pixels)", numbers(float(x) / pixel for x in frame.beam_point)),
        ("nearest point (ORGX, ORGY pixels)", numbers(float(x) / pixel + 0.5 for x in frame.close_point)),
        ("pix0 (m)", numbers(np.asarray(frame.pix0))),
        ("fast", numbers(np.asarray(frame.fast))),
        ("slow", numbers(np.asarray(frame.slow))),
        ("normal", numbers(np.asarray(frame.normal))),
        ("beam", numbers(np.asarray(frame.beam))),
        ("rotations, twotheta (deg)", numbers([*np.asarray(detector.rotations_deg), float(detector.twotheta_deg)])),
    ]
    if detector.thickness_um is not None:
        depth = detector.attenuation_depth_um
        absorbs = "no absorption" if depth is None else f"attenuation depth {float(depth):g}"
        deep = ", at its mean depth" if detector.mean_depth else ""
        rows.append(
            ("sensor (um)", f"{float(detector.thickness_um):g} in {detector.thickness_steps} layers, {absorbs}{deep}")
        )
    if detector.curved:
        rows.append(("shape", "curved"))
    return rows


def sampling_rows(experiments: Sequence[Experiment], frames: Sequence[DetectorFrame], samples_per_pixel: int) -> Rows:
    """Rotation, steps, rendered pixels and samples.

    **Arguments:** `experiments`, `frames`: one for each panel, alike but for the detector.
    """
    goniometer, sampling, detector = experiments[0].goniometer, experiments[0].sampling, experiments[0].panel
    rows = [
        ("spindle", numbers(np.asarray(goniometer.spindle_axis))),
        ("phi, osc (deg)", numbers([float(goniometer.phi_deg), float(goniometer.osc_deg)])),
        ("phi steps", f"{goniometer.phi_steps}"),
        ("oversample", f"{sampling.oversample}"),
        ("thickness steps", f"{detector.thickness_steps if detector.thickness_um is not None else 1}"),
    ]
    if sampling.dmin_A is not None:
        rows.append(("dmin (A)", f"{float(sampling.dmin_A):g}"))
    if sampling.water_um is not None:
        rows.append(("water (um)", f"{float(sampling.water_um):g}"))
    for sample in experiments[0].scatterers:
        if not isinstance(sample, Amorphous):
            rows.append(("scatterer", type(sample).__name__))
            continue
        numbers_of = (sample.thickness_mm, sample.beam_size_mm, sample.density_g_per_cm3, sample.molecular_weight_Da)
        rows.append(("amorphous (mm, mm beam, g/cm3, Da)", numbers(float(x) for x in numbers_of)))
    pixels = sum(rendered_pixels(experiment) for experiment in experiments)
    covered = sum(solid_angle(experiment, frame) for experiment, frame in zip(experiments, frames, strict=True))
    rows += [
        ("rendered pixels", f"{pixels}"),
        ("samples", f"{pixels} x {samples_per_pixel} = {pixels * samples_per_pixel:.4g}"),
        ("solid angle (sr)", f"{covered:.6g}"),
    ]
    return rows


def rendered_pixels(experiment: Experiment) -> int:
    """How many pixels lie inside the region of interest and the mask."""
    sampling, detector = experiment.sampling, experiment.panel
    window = window_of((detector.pixels_slow, detector.pixels_fast), sampling.roi)
    return window.pixels if sampling.mask is None else int(np.count_nonzero(np.asarray(sampling.mask)[window.slices]))


def statistics_rows(found: Statistics, experiment: Experiment, frame: DetectorFrame) -> Rows:
    """Brightest pixel and moments of an image; the place in metres is that of the pixel's last sub-pixel."""
    n = experiment.sampling.sub_pixels
    slow, fast = found.brightest_at
    metres = [(number * n + n - 0.5) * (float(frame.pixel_size) / n) for number in (fast, slow)]
    return [
        ("max_I (photons)", f"{found.brightest:g}"),
        ("max_I at (fast, slow pixel)", f"{fast} {slow}"),
        ("max_I at (fast, slow m)", numbers(metres) if found.brightest > 0 else "0 0"),
        ("mean", f"{found.mean:g}"),
        ("rms", f"{found.rms:g}"),
        ("rmsd", f"{found.rmsd:g}"),
    ]


def text(rows: Rows) -> str:
    """Rows as lines, the values under each other."""
    return "\n".join(f"  {label:<37}{value}" for label, value in rows)


def spent(times: Sequence[float], labels: Sequence[str] = ("reading", "compiling", "rendering", "writing")):
    """The row that says how long each part of a run took.

    **Arguments:** `times`: when the first part began, and when each of them ended, in seconds.
    """
    spans = [after - before for before, after in pairwise(times)]
    parts = [f"{label} {span:.2f}" for label, span in zip(labels, spans, strict=True)]
    return "time (s)", f"{times[-1] - times[0]:.2f}: {', '.join(parts)}"


def pixel_list(image: np.ndarray, place: tuple[slice, slice], mask: np.ndarray | None) -> Iterable[str]:
    """A line `slow fast photons` for every rendered pixel, a row at a time."""
    rows, columns = place
    yield "# slow fast photons"
    for slow in range(rows.start, rows.stop):
        chosen = np.arange(columns.start, columns.stop)
        if mask is not None:
            chosen = chosen[mask[slow, columns]]
        if len(chosen):
            photons: Sequence[float] = image[slow, chosen].tolist()
            yield "\n".join(f"{slow} {fast} {value:.8g}" for fast, value in zip(chosen, photons, strict=True))


def solid_angle(experiment: Experiment, frame: DetectorFrame) -> float:
    """Steradian that the rendered pixels cover together: between the pixels' edges, exactly.

    **Arguments:** as for `header_items`. The reference takes each pixel's first sub-pixel for the whole, and prints
    the sum times layers / (sources·φ steps·domains).
    """
    detector, sampling = experiment.panel, experiment.sampling
    pixel, close = float(frame.pixel_size), abs(float(frame.close_distance))
    rows, columns = window_of((detector.pixels_slow, detector.pixels_fast), sampling.roi).slices
    mask = None if sampling.mask is None else np.asarray(sampling.mask)[rows, columns]
    if detector.curved:
        pixels = (rows.stop - rows.start) * (columns.stop - columns.start) if mask is None else np.count_nonzero(mask)
        return float(pixels * (pixel / float(frame.distance)) ** 2)
    edges = []
    for part, foot in zip((columns, rows), frame.close_point, strict=True):
        numbers = np.array([part.start, part.stop]) if mask is None else np.arange(part.start, part.stop + 1)
        edges.append((numbers * pixel - float(foot)) / close)
    x, y = edges[0][None, :], edges[1][:, None]
    corner = np.arctan(x * y / np.sqrt(1.0 + x * x + y * y))
    patches = np.diff(np.diff(corner, axis=0), axis=1)
    return float(patches.sum() if mask is None else patches[mask].sum())
