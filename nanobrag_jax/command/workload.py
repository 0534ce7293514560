"""What a run asks of the machine, before anything is built: refused where no one can have meant it, unless -force."""

import os
from collections.abc import Sequence

import numpy as np

from .. import steps
from ..errors import InputError
from ..experiment import Experiment
from ..panels import split_panels
from ..window import window_of
from .assembly.asked import Asked
from .assembly.beam import completed_divergence
from .flags import Settings

SAMPLES_PER_S = 2e8
"""Of one core (docs/performance.md): square spots, double precision."""
MOST_HOURS = 24.0
_COUNTS = ("mosaic_domains", "phisteps", "dispsteps", "hdivsteps", "vdivsteps", "detector_thicksteps", "oversample")
_FINE = ("phistep_deg", "hdivstep_mrad", "vdivstep_mrad")
MOST_STEPS = 10_000_000
"""Of one kind."""
MOST_IMAGES = 100_000
"""Of a sweep."""
_DOMAIN_BYTES, _DIRECTION_BYTES, _WAVELENGTH_BYTES, _PIXEL_BYTES = 1000, 800, 400, 40
"""Measured: arrays of the scene and what they are made from."""


def check_counts(asked: Asked) -> None:
    """**Raises** `InputError` for more steps than anyone means, and more than this machine's memory holds."""
    if asked("force"):
        return
    for name, most in [*((name, MOST_STEPS) for name in _COUNTS[:-1]), ("images", MOST_IMAGES)]:
        if name in asked and asked(name) > most:
            raise InputError(
                f"{asked.flag_of(name)} {asked(name)} is more than {most}; -force renders so many nevertheless"
            )
    directions = completed_divergence(asked, "h")[0] * completed_divergence(asked, "v")[0]
    wavelengths = steps.complete_steps(asked("dispsteps"), asked("dispersion_percent"), None, "dispersion")[0]
    domains = asked("mosaic_domains") or 1
    needed = {
        ("mosaic_domains",): domains * _DOMAIN_BYTES,
        ("hdivsteps", "vdivsteps", "hdivstep_mrad", "vdivstep_mrad"): directions * _DIRECTION_BYTES,
        ("dispsteps",): directions * wavelengths * _WAVELENGTH_BYTES,
    }
    names = max(needed, key=needed.__getitem__)
    _check_memory(
        asked.settings, sum(needed.values()), names, f"{domains} domains and {directions * wavelengths} sources"
    )


def check_workload(settings: Settings, experiments: Sequence[Experiment]) -> None:
    """**Raises** `InputError` for an image that would take longer than a day, or more memory than there is.

    **Arguments:** `experiments`: one for each panel of an image.
    """
    if settings.get("force"):
        return
    pixels = samples = 0
    for experiment in experiments:
        for panel in split_panels(experiment.detector):
            pixels += panel.pixels_fast * panel.pixels_slow
            window = window_of((panel.pixels_slow, panel.pixels_fast), experiment.sampling.roi)
            samples += window.pixels * _samples_per_pixel(experiment, panel.thickness_steps)
    sizes = ("detpixels_f", "detpixels_s", "detsize_f_mm", "detsize_s_mm", "pixel_mm")
    _check_memory(settings, pixels * _PIXEL_BYTES, sizes, f"{pixels} pixels")
    hours = samples / (SAMPLES_PER_S * (os.cpu_count() or 1)) / 3600
    if hours > MOST_HOURS:
        takes = f"{hours / 24:.3g} days" if hours < 24 * 365 else f"{hours / 24 / 365:.3g} years"
        raise InputError(
            f"{_cause(settings, (*_COUNTS, *_FINE))}{samples:.3g} samples would take about {takes} on "
            f"{os.cpu_count()} cores; -force renders them nevertheless"
        )


def _samples_per_pixel(experiment: Experiment, layers: int) -> float:
    turns = experiment.goniometer.phi_steps * experiment.crystal.mosaicity.domains
    return float(experiment.sampling.oversample) ** 2 * layers * experiment.beam.num_sources * float(turns)


def _check_memory(settings: Settings, needed: float, names: tuple[str, ...], what: str) -> None:
    there = available_bytes()
    if needed > there:
        raise InputError(
            f"{_cause(settings, names)}{what} take about {needed / 1e9:.3g} GB, and {there / 1e9:.3g} GB are free; "
            "-force tries nevertheless"
        )


def _cause(settings: Settings, names: Sequence[str]) -> str:
    """The flag with the largest count (or finest step) among those given, with its number; empty for none."""
    sizes = {}
    for name in names:
        value = settings.get(name) if name in settings else None
        if isinstance(value, int | float) and value > 0:
            sizes[name] = 1.0 / value if name in _FINE or name == "pixel_mm" else float(value)
    if not sizes:
        return ""
    name = max(sizes, key=sizes.__getitem__)
    return f"{settings.flag_of(name)} {settings.get(name):.10g}: "


def available_bytes() -> float:
    """Memory that is free, by Linux's account and that of the control group; infinite where neither is kept."""
    free = [np.inf]
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            free += [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError):
        pass
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as most:
            with open("/sys/fs/cgroup/memory.current", encoding="ascii") as used:
                free.append(float(most.read()) - float(used.read()))
    except (OSError, ValueError):  # "max" is no number
        pass
    return min(free)
