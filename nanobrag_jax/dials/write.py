"""Writing DIALS experiment lists, in the form that all versions read."""

import json
import os
from collections.abc import Callable, Sequence

import numpy as np

from ..io.atomic import write_whole
from .models import ExptBeam, ExptCrystal, ExptExperiment, ExptGoniometer, ExptPanel, ExptScan


def write_expt(path: str | os.PathLike[str], experiments: Sequence[ExptExperiment]) -> None:
    """Write an experiment list, whole or not at all. **Raises** `InputError` if the file cannot be written."""
    write_whole(path, expt_bytes(experiments))


def expt_bytes(experiments: Sequence[ExptExperiment]) -> bytes:
    """An experiment list as a file; models shared by several experiments are written once."""
    top: dict = {"__id__": "ExperimentList", "experiment": []}
    for kind in _WRITERS:
        top[kind] = []
    top.update(profile=[], scaling_model=[])
    places: dict[tuple[str, int], int] = {}
    for experiment in experiments:
        entry: dict = {"__id__": "Experiment", "identifier": experiment.identifier}
        for kind, write in _WRITERS.items():
            model = getattr(experiment, kind)
            if model is None:
                continue
            key = kind, id(model)
            if key not in places:
                places[key] = len(top[kind])
                top[kind].append(write(model))
            entry[kind] = places[key]
        top["experiment"].append(entry)
    return json.dumps(top, indent=2).encode() + b"\n"


def _beam(beam: ExptBeam) -> dict:
    if beam.wavelength_A is None:
        kind = {"__id__": "polychromatic", "wavelength_range": beam.wavelength_range_A}
    else:
        kind = {"__id__": "monochromatic", "wavelength": beam.wavelength_A}
    more = {} if beam.s0_at_scan_points is None else {"s0_at_scan_points": beam.s0_at_scan_points.tolist()}
    return kind | more | {
        "direction": beam.source_direction.tolist(),
        "divergence": beam.divergence_deg,
        "sigma_divergence": beam.sigma_divergence_deg,
        "polarization_normal": beam.polarization_normal.tolist(),
        "polarization_fraction": beam.polarization_fraction,
        "flux": beam.flux,
        "transmission": beam.transmission,
        "probe": beam.probe,
    }  # fmt: skip


def _detector(panels: tuple[ExptPanel, ...]) -> dict:
    root = {"name": "", "type": "", "fast_axis": [1.0, 0.0, 0.0], "slow_axis": [0.0, 1.0, 0.0], "origin": [0.0] * 3}
    children = [{"panel": i} for i in range(len(panels))]
    return {"panels": [_panel(panel) for panel in panels], "hierarchy": root | {"children": children}}


def _panel(panel: ExptPanel) -> dict:
    strategy: dict = {"type": "SimplePxMmStrategy"}
    if panel.parallax:
        strategy = {"type": "ParallaxCorrectedPxMmStrategy", "mu": panel.mu_per_mm, "t0": panel.thickness_mm}
    return {
        "name": panel.name,
        "type": panel.type,
        "fast_axis": panel.fast_axis.tolist(),
        "slow_axis": panel.slow_axis.tolist(),
        "origin": panel.origin_mm.tolist(),
        "raw_image_offset": list(panel.raw_image_offset),
        "image_size": list(panel.pixels),
        "pixel_size": list(panel.pixel_size_mm),
        "trusted_range": list(panel.trusted_range),
        "thickness": panel.thickness_mm,
        "material": panel.material,
        "mu": panel.mu_per_mm,
        "identifier": panel.identifier,
        "mask": [list(rectangle) for rectangle in panel.mask],
        "gain": panel.gain,
        "pedestal": panel.pedestal,
        "px_mm_strategy": strategy,
    }


def _crystal(crystal: ExptCrystal) -> dict:
    table: dict = {"__id__": "crystal"}
    table |= {f"real_space_{x}": row.tolist() for x, row in zip("abc", crystal.real_space_A, strict=True)}
    table["space_group_hall_symbol"] = crystal.hall_symbol
    optional = {
        "mosaicity": crystal.mosaicity_deg,
        "ML_half_mosaicity_deg": crystal.half_mosaicity_deg,
        "ML_domain_size_ang": crystal.domain_size_A,
    }
    table |= {key: value for key, value in optional.items() if value is not None}
    if crystal.A_at_scan_points is not None:
        table["A_at_scan_points"] = crystal.A_at_scan_points.reshape(-1, 9).tolist()
    return table


def _goniometer(goniometer: ExptGoniometer) -> dict:
    table: dict = {
        "rotation_axis": goniometer.rotation_axis.tolist(),
        "fixed_rotation": goniometer.fixed_rotation.reshape(-1).tolist(),
        "setting_rotation": goniometer.setting_rotation.reshape(-1).tolist(),
    }
    if goniometer.setting_at_scan_points is not None:
        table["setting_rotation_at_scan_points"] = goniometer.setting_at_scan_points.reshape(-1, 9).tolist()
    return table


def _scan(scan: ExptScan) -> dict:
    """The older form, which every version reads, where one width serves for all images."""
    first, count = scan.first_image, scan.num_images
    table = {"image_range": [first, first + count - 1], "batch_offset": 0, "valid_image_ranges": {}}
    timing = {"exposure_time": scan.exposure_s.tolist(), "epochs": [0.0] * count}
    start, width = float(scan.start_deg[0]), float(scan.width_deg[0])
    if np.allclose(scan.start_deg, start + width * np.arange(count), rtol=0.0, atol=1e-9):
        return table | timing | {"oscillation": [start, width]}
    return table | {"properties": timing | {"oscillation": scan.start_deg.tolist()}}


_WRITERS: dict[str, Callable] = {
    "beam": _beam,
    "detector": _detector,
    "goniometer": _goniometer,
    "scan": _scan,
    "crystal": _crystal,
    "imageset": dict,
}
