"""The experiments that are timed."""

import json
from pathlib import Path

import nanobrag_jax as nb

GOLDEN = Path(__file__).parent.parent / "golden_data"
INPUTS = GOLDEN / "inputs"


def headline_args(**changes) -> list[str]:
    """Flags of the full-frame run, with some values replaced: `headline_args(phisteps=100, round_xtal=True)`.

    A tuple stands for several words, True for a flag without any.
    """
    runs = json.loads((GOLDEN / "pilatus" / "pilatus.json").read_text())["runs"]
    args = list(next(run["args"] for run in runs if run["mode"] == "spec"))
    for name, value in changes.items():
        values = [str(v) for v in value] if isinstance(value, tuple) else [str(value)] * (value is not True)
        if f"-{name}" in args:
            at = args.index(f"-{name}") + 1
            args[at : at + len(values)] = values
        else:
            args += [f"-{name}", *values]
    return args


def headline(pixels: int | None = None, **changes) -> nb.Experiment:
    """The full-frame run, or a square detector of so many pixels that covers the same angles."""
    if pixels is not None:
        changes |= {"detpixels_x": pixels, "detpixels_y": pixels, "pixel": 0.172 * 2463 / pixels}
    return nb.experiment_from_args(headline_args(**changes), INPUTS)


def still(domains: int = 50, pixels: int = 1024) -> nb.Experiment:
    """One still of a mosaic crystal."""
    return headline(pixels, osc=0, phisteps=1, mosaic=0.2, mosaic_domains=domains)


def pink(wavelengths: int = 40, domains: int = 5) -> nb.Experiment:
    """A beam of many wavelengths on a mosaic crystal."""
    return headline(1024, osc=0, phisteps=1, dispersion=2, dispsteps=wavelengths, mosaic=0.2, mosaic_domains=domains)


def tricubic() -> nb.Experiment:
    """One unit cell, whose amplitudes are interpolated everywhere."""
    return headline(512, Na=1, Nb=1, Nc=1, interpolate=True)


def samples_of(experiment: nb.Experiment) -> int:
    """Samples of an image: pixels × sub-pixels × layers × sources × φ steps × domains."""
    detector, sampling = experiment.detector, experiment.sampling
    pixels = detector.pixels_fast * detector.pixels_slow * sampling.oversample**2 * detector.thickness_steps
    turns = experiment.goniometer.phi_steps * experiment.crystal.mosaicity.domains
    return pixels * experiment.beam.num_sources * turns
