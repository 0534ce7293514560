"""DIALS experiment lists (`.expt`, JSON), in the forms that DIALS has written over the years."""

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.text import read_bytes, shown
from ..reference.random_numbers import rotation_matrix
from .crystfel import is_crystfel_geometry, read_crystfel_geometry
from .models import ExptBeam, ExptCrystal, ExptExperiment, ExptGoniometer, ExptScan, Floats
from .panels import panels
from .table import Table

_LEAST_SINE = 1e-6


def read_expt(path: str | os.PathLike[str]) -> list[ExptExperiment]:
    """Every experiment of a list; see `read_one_expt` for one of many and for what is refused."""
    document = _Document(path)
    return [document.experiment(i) for i in range(len(document.experiments))]


def read_one_expt(path: str | os.PathLike[str], index: int = 0) -> tuple[ExptExperiment, int]:
    """Experiment number `index`, counted from 0, and how many there are.

    Models that the experiment lacks are None. A CrystFEL geometry (.geom) is one experiment without a crystal.

    **Raises** `InputError`, naming the file and the model, if the file is no experiment list, has no such experiment,
    or has a model with numbers missing or impossible.
    """
    data = read_bytes(path, "experiment list")
    if is_crystfel_geometry(data):
        if index:
            raise InputError(
                f"CrystFEL geometry {os.fspath(path)!r} is one experiment, numbered 0: there is no {index}"
            )
        return read_crystfel_geometry(path, data), 1
    document = _Document(path)
    count = len(document.experiments)
    if not 0 <= index < count:
        raise InputError(f"{document.name} has {count} experiments, numbered from 0: there is no {index}")
    return document.experiment(index), count


class _Document:
    """A parsed file; models that many experiments share are read once."""

    def __init__(self, path: str | os.PathLike[str]):
        self.name = f"experiment list {os.fspath(path)!r}"
        try:
            self.top = json.loads(read_bytes(path, "experiment list").decode("utf-8"))
        except (ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.name} is not JSON: {error}") from None
        kind = self.top.get("__id__") if isinstance(self.top, dict) else None
        if kind != "ExperimentList":
            raise InputError(f"{self.name} is no DIALS experiment list: its __id__ is {kind!r}, not 'ExperimentList'")
        experiments = self.top.get("experiment")
        if not isinstance(experiments, list) or not experiments:
            raise InputError(f"{self.name} holds no experiments")
        self.experiments: list = experiments
        self.known: dict[tuple[str, int], Any] = {}

    def experiment(self, index: int) -> ExptExperiment:
        entry = self.experiments[index]
        if not isinstance(entry, dict):
            raise InputError(f"{self.name}: experiment {index} is {shown(str(entry))}, not a table of models")
        parts = {kind: self._model(entry, index, kind, read) for kind, read in _READERS.items()}
        return ExptExperiment(**parts, identifier=str(entry.get("identifier") or ""))

    def _model(self, entry: dict, index: int, kind: str, read: Callable) -> Any:
        value = entry.get(kind)
        if value is None:
            return None
        if isinstance(value, dict):
            return read(Table(value, f"{self.name}, {kind} of experiment {index}"))
        models = self.top.get(kind, [])
        if not isinstance(models, list):
            raise InputError(f"{self.name}: {kind} must be a list of models, got {shown(str(models))}")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(models):
            raise InputError(f"{self.name}: experiment {index} names {kind} {value!r}, but there are {len(models)}")
        if (kind, value) not in self.known:
            model = models[value]
            where = f"{self.name}, {kind} {value}"
            if model is not None and not isinstance(model, dict):
                raise InputError(f"{where} is {shown(str(model))}, not a table of values")
            self.known[kind, value] = None if model is None else read(Table(model, where))
        return self.known[kind, value]


def _beam(table: Table) -> ExptBeam:
    wavelength, limits = table.optional_number("wavelength"), None
    if "wavelength_range" in table:
        limits = table.pair("wavelength_range", "two rising positive numbers (A)", lambda x: bool(0 < x[0] <= x[1]))
    if limits is None and wavelength is None:
        raise InputError(f"{table.where} has no wavelength")
    if wavelength is not None and wavelength <= 0:
        raise InputError(f"{table.where}: wavelength must be positive (A), got {wavelength:g}")
    fraction = table.number("polarization_fraction", 0.999)
    if not 0 <= fraction <= 1:
        raise InputError(f"{table.where}: polarization_fraction must be from 0 to 1, got {fraction:g}")
    return ExptBeam(
        source_direction=table.direction("direction"),
        wavelength_A=wavelength if limits is None else None,
        wavelength_range_A=limits,
        polarization_normal=table.direction("polarization_normal", (0.0, 1.0, 0.0)),
        polarization_fraction=fraction,
        divergence_deg=table.number("divergence", 0.0),
        sigma_divergence_deg=table.number("sigma_divergence", 0.0),
        flux=table.number("flux", 0.0),
        transmission=table.number("transmission", 1.0),
        probe=table.text("probe", "x-ray"),
        s0_at_scan_points=table.array("s0_at_scan_points", (-1, 3)) if "s0_at_scan_points" in table else None,
    )


def _crystal(table: Table) -> ExptCrystal:
    real = np.stack([table.array(f"real_space_{x}", (3,)) for x in "abc"])
    lengths = np.linalg.norm(real, axis=1)
    if np.min(lengths) == 0 or abs(np.linalg.det(real)) < _LEAST_SINE * np.prod(lengths):
        raise InputError(f"{table.where}: real_space_a, real_space_b and real_space_c do not span space")
    return ExptCrystal(
        real_space_A=real,
        hall_symbol=table.text("space_group_hall_symbol", " P 1"),
        A_at_scan_points=_matrices(table, "A_at_scan_points"),
        mosaicity_deg=table.optional_number("mosaicity"),
        half_mosaicity_deg=table.optional_number("ML_half_mosaicity_deg"),
        domain_size_A=table.optional_number("ML_domain_size_ang"),
    )


def _matrices(table: Table, key: str) -> Floats | None:
    return table.array(key, (-1, 3, 3)) if table.entries.get(key) else None


def _goniometer(table: Table) -> ExptGoniometer:
    moved = _matrices(table, "setting_rotation_at_scan_points")
    if "axes" not in table:
        fixed, setting = (table.array(f"{x}_rotation", (3, 3), np.eye(3)) for x in ("fixed", "setting"))
        return ExptGoniometer(table.direction("rotation_axis"), fixed, setting, moved)
    axes = table.array("axes", (-1, 3))
    angles = np.radians(table.array("angles", (len(axes),)))
    lengths = np.linalg.norm(axes, axis=1)
    scan_axis = table.number("scan_axis", 0)
    if np.min(lengths) == 0 or scan_axis != int(scan_axis) or not 0 <= scan_axis < len(axes):
        raise InputError(f"{table.where}: scan_axis {scan_axis:g} must be one of {len(axes)} axes that have directions")
    last = int(scan_axis)
    rotations = [rotation_matrix(axis / n, angle) for axis, n, angle in zip(axes, lengths, angles, strict=True)]
    fixed, setting = _product(rotations[:last]), _product(rotations[last + 1 :])
    return ExptGoniometer(axes[last] / lengths[last], fixed, setting, moved)


def _product(rotations: list[Floats]) -> Floats:
    """The rotations one after the other, the first in the list first."""
    total = np.eye(3)
    for rotation in rotations:
        total = rotation @ total
    return total


_MOST_IMAGES = 10_000_000


def _scan(table: Table) -> ExptScan:
    first, last = (int(x) for x in table.pair("image_range", "first and last image", lambda x: bool(x[0] <= x[1])))
    count = last - first + 1
    if count > _MOST_IMAGES:
        raise InputError(
            f"{table.where}: image_range {first} {last} is a scan of {count} images, more than {_MOST_IMAGES}"
        )
    properties = table.entries.get("properties")
    inner = Table(properties, table.where) if isinstance(properties, dict) else table
    if "oscillation" not in inner:
        start = width = np.zeros(count)
    elif inner is table:
        begin, step = inner.array("oscillation", (2,))
        start, width = begin + step * np.arange(count), np.full(count, step)
    else:
        start = inner.array("oscillation", (count,))
        steps = np.diff(start) if count > 1 else inner.array("oscillation_width", (-1,), [0.0])[:1]
        width = np.concatenate([steps, steps[-1:]])[:count]
    exposures = inner.array("exposure_time", (-1,), [0.0])
    exposures = np.concatenate([exposures, np.full(count, exposures[-1] if len(exposures) else 0.0)])[:count]
    return ExptScan(first, start, width, exposures)


_READERS = {
    "beam": _beam,
    "detector": panels,
    "goniometer": _goniometer,
    "scan": _scan,
    "crystal": _crystal,
    "imageset": lambda table: table.entries,
}
