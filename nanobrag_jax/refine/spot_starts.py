"""Where a refinement starts, from the spots themselves: number of cells, mosaic spread, fluence and amplitudes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..detector import detector_frame
from ..experiment import Experiment, completed
from ..mosaicity import CapMosaicity
from ..panels import split_panels
from ..render.simulate import simulate_pixels
from ..structure_factors import StructureFactors
from .background import flat_level
from .data import PixelData

_PART_OF_PEAK = 0.15
"""Pixels above this part of a spot's highest take part in its width: what lies below is noise and side maxima."""
_SEEN_OF_VARIANCE = 0.665
"""What they hold of the variance of a gaussian: [1 − (1 + u)e⁻ᵘ]/(1 − e⁻ᵘ) with u = −ln 0.15."""
_SIGMA_OF_BOX = 0.376
"""Standard deviation, times the length of the crystal, of the gaussian as wide at half height as sinc²: 0.886/2.355."""
_FEWEST = 5
_LEAST_PIXELS = 0.2
"""Standard deviation of spots that are narrower than can be measured."""
_LENGTHS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
_SPREADS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Around what the widths say."""
_BOXES_LOOKED_AT = 32
_FLAT_F = 100.0
_MULTIPLE = 4096


class SpotWidths(NamedTuple):
    """What the widths of spots say; None where too few are strong."""

    length_A: float | None
    """Of the crystal, or of its coherent blocks."""
    spread_rad: float | None
    """Standard deviation of the rotations of domains about an axis."""


def spot_widths(experiment: Experiment, boxes: PixelData, panel: np.ndarray) -> SpotWidths:
    """Size and spread from the second moments of the strong spots.

    Away from the beam a spot is as wide as the crystal is small; around the beam, mosaic spread widens it in proportion
    to the distance of its reciprocal lattice point from the beam.

    **Arguments:** `panel` (boxes,): of each box.
    """
    radial, around, lever, smallest = [], [], [], []
    for number, pixels, net in _strong_spots(boxes):
        q, direction, incident, pixel_q = _scattering(experiment, int(panel[number]), *pixels)
        center, out = np.average(q, axis=0, weights=net), np.average(direction, axis=0, weights=net)
        across = np.cross(incident, center)
        length = np.linalg.norm(across)
        if length <= 0:
            continue
        tangent = across / length
        outward = np.cross(out, tangent)
        own = pixel_q**2 / 12
        spread = [
            np.average(((q - center) @ axis) ** 2, weights=net) / _SEEN_OF_VARIANCE for axis in (outward, tangent)
        ]
        radial.append(spread[0] - own)
        around.append(spread[1] - own)
        lever.append(length)
        smallest.append(pixel_q * _LEAST_PIXELS)
    if len(radial) < _FEWEST:
        return SpotWidths(None, None)
    least = float(np.median(smallest)) ** 2
    size = max(float(np.median(radial)), least)
    excess = (np.array(around) - np.array(radial)) / np.square(lever)
    far = np.array(lever) >= np.median(lever)
    turned = max(float(np.median(excess[far])), 0.0)
    return SpotWidths(_SIGMA_OF_BOX / np.sqrt(size), float(np.sqrt(turned)))


def _strong_spots(boxes: PixelData):
    """Number, pixels (slow, fast) and photons above background of the pixels near the peak of each strong spot."""
    slow, fast, counts, used = (np.asarray(v) for v in (boxes.slow, boxes.fast, boxes.counts, boxes.used))
    for number in range(len(slow)):
        good = used[number]
        if good.sum() < 9:
            continue
        level = flat_level(counts[number][good])
        net = np.where(good, counts[number] - level, 0.0)
        peak = float(net.max())
        if peak < 6 * np.sqrt(level) + 8:
            continue
        here = net > max(_PART_OF_PEAK * peak, 2 * np.sqrt(level))
        if here.sum() >= 3:
            yield number, (slow[number][here], fast[number][here]), net[here]


def _scattering(
    experiment: Experiment, panel: int, slow: np.ndarray, fast: np.ndarray
) -> tuple[Float[np.ndarray, "pixels 3"], Float[np.ndarray, "pixels 3"], Float[np.ndarray, " 3"], float]:
    """Scattering vectors (1/Å) and directions of pixels, the beam's direction, and what a pixel is in 1/Å."""
    beam = completed(experiment).beam
    incident = np.asarray(beam.direction, float)
    incident = incident / np.linalg.norm(incident)
    single = split_panels(experiment.detector)[panel]
    frame = detector_frame(single, completed(experiment).beam)
    size = float(frame.pixel_size)
    rows = np.asarray(slow, float)[:, None] + 0.5, np.asarray(fast, float)[:, None] + 0.5
    place = np.asarray(frame.pix0) + size * (rows[0] * np.asarray(frame.slow) + rows[1] * np.asarray(frame.fast))
    length = np.linalg.norm(place, axis=1, keepdims=True)
    wavelength = float(np.asarray(beam.wavelength_A).reshape(-1)[0])
    return (place / length - incident) / wavelength, place / length, incident, size / float(length.mean()) / wavelength


def pixel_scattering(
    experiment: Experiment, panel: int, slow: np.ndarray, fast: np.ndarray
) -> Float[np.ndarray, "pixels 3"]:
    """Scattering vectors (1/Å) of the middles of pixels, for the first wavelength of the beam."""
    return _scattering(experiment, panel, slow, fast)[0]


def crystal_with_starts(
    experiment: Experiment, boxes: PixelData, panel: np.ndarray, given: Mapping[str, Any]
) -> Experiment:
    """The experiment with number of cells and mosaic spread from its spots.

    Around what the widths say they are looked for: lengths and spreads on a ladder, one after the other, judged by
    the likelihood of the strongest boxes, each with the amplitude that fits it best.

    **Arguments:** `given`: arguments of `Crystal` that are known, and stay.
    """
    widths, crystal = spot_widths(experiment, boxes, panel), experiment.crystal
    strongest = np.argsort(-net_photons(boxes))[:_BOXES_LOOKED_AT]
    strong = jax.tree.map(lambda leaf: np.asarray(leaf)[strongest], boxes)
    ladders = []
    if "n_cells" not in given:
        edges = np.asarray(crystal.cell_lengths_A, float)
        length = widths.length_A if widths.length_A is not None else 10 * float(edges.max())
        ladders.append((lambda e: e.crystal.n_cells, [np.maximum(length * x / edges, 2.0) for x in _LENGTHS]))
    if isinstance(crystal.mosaicity, CapMosaicity) and not {"mosaicity", "mosaic_spread_deg"} & set(given):
        rms = float(np.sqrt(np.mean(np.square(crystal.mosaicity.fractions)) / 3.0))
        if rms > 0:
            spread = 0.05 if widths.spread_rad is None else np.degrees(widths.spread_rad) / rms
            found = np.array([0.01, *(float(np.clip(spread, 0.04, 1.0)) * x for x in _SPREADS)])
            ladders.append((lambda e: e.crystal.mosaicity.spread_deg, list(found)))
            middle = jnp.asarray(found[1 + _SPREADS.index(1.0)])
            experiment = eqx.tree_at(lambda e: e.crystal.mosaicity.spread_deg, experiment, middle)
    for where, values in [*ladders, *ladders[:1]]:
        tried = [eqx.tree_at(where, experiment, jnp.asarray(value)) for value in values]
        experiment = min(tried, key=lambda each: _misfit(each, strong, panel[strongest]))
    return experiment


def _misfit(experiment: Experiment, boxes: PixelData, panel: np.ndarray) -> float:
    """Minus the logarithm of the likelihood of boxes with flat backgrounds and amplitudes that give their photons."""
    used, counts = np.asarray(boxes.used), np.asarray(boxes.counts)
    simulated, net = simulated_photons(experiment, boxes, panel), np.maximum(net_photons(boxes), 0.0)
    total = simulated.sum(axis=1)
    model = simulated * (net / np.where(total > 0, total, 1.0))[:, None] + _levels(boxes)[:, None] + 1e-3
    return float(np.sum(np.where(used, model - counts * np.log(model), 0.0)))


def _levels(boxes: PixelData) -> Float[np.ndarray, " boxes"]:
    """Photons a pixel of each box's flat background."""
    pairs = zip(np.asarray(boxes.counts), np.asarray(boxes.used), strict=True)
    return np.array([flat_level(counts[used]) if used.any() else 0.0 for counts, used in pairs])


def net_photons(boxes: PixelData) -> Float[np.ndarray, " boxes"]:
    """Photons of each box above its flat background."""
    net = np.asarray(boxes.counts) - _levels(boxes)[:, None]
    return np.sum(np.where(np.asarray(boxes.used), net, 0.0), axis=1)


def amplitudes_from_boxes(shots: Sequence[tuple[PixelData, np.ndarray]]) -> StructureFactors:
    """A table with an amplitude for each reflection that has a box, about 100: roots of mean photons above background.

    **Arguments:** `shots`: boxes and their indices (boxes, 3).
    """
    hkl = np.concatenate([indices for _, indices in shots])
    photons = np.concatenate([net_photons(boxes) for boxes, _ in shots])
    low, high = hkl.min(axis=0), hkl.max(axis=0)
    place = tuple((hkl - low).T)
    total, seen = np.zeros(high - low + 1), np.zeros(high - low + 1)
    np.add.at(total, place, photons)
    np.add.at(seen, place, 1.0)
    mean = total / np.maximum(seen, 1)
    typical = max(float(np.mean(mean[seen > 0])), 1e-6)
    amplitudes = np.where(seen > 0, _FLAT_F * np.sqrt(np.maximum(mean / typical, 0.02)), 0.0)
    return StructureFactors(amplitudes, hkl_min=tuple(int(x) for x in low))


def fluence_from_boxes(experiment: Experiment, boxes: PixelData, panel: np.ndarray) -> Experiment:
    """The experiment with the fluence that has as many photons in the boxes as there are above background."""
    simulated = simulated_photons(experiment, boxes, panel)
    seen = float(np.sum(np.maximum(net_photons(boxes), 0.0)))
    ratio = seen / float(simulated.sum()) if simulated.sum() > 0 and seen > 0 else 1.0
    fluence = jnp.asarray(np.asarray(experiment.beam.fluence_per_m2) * ratio)
    return eqx.tree_at(lambda e: e.beam.fluence_per_m2, experiment, fluence)


def simulated_photons(experiment: Experiment, boxes: PixelData, panel: np.ndarray) -> Float[np.ndarray, "boxes pixels"]:
    """Simulated photons of the pixels of boxes, 0 where they do not count.

    Lists of pixels are filled up, so that their lengths rarely change and nothing is compiled again.
    """
    used = np.asarray(boxes.used)
    total = np.zeros(used.shape)
    panels = split_panels(experiment.detector)
    for number in np.unique(panel):
        here = np.flatnonzero(panel == number)
        pixels = [np.asarray(v)[here].reshape(-1) for v in (boxes.slow, boxes.fast)]
        length = _MULTIPLE * -(-len(pixels[0]) // _MULTIPLE)
        filled = [np.pad(v, (0, length - len(v))) for v in pixels]
        alone = eqx.tree_at(lambda e: e.detector, experiment, panels[number])
        photons = np.asarray(simulate_pixels(alone, filled[0], filled[1]))[: len(pixels[0])].reshape(len(here), -1)
        total[here] = np.where(used[here], photons, 0.0)
    return total
