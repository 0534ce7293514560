"""What the flags -expt, -spectrum, -mtz, -sfcif and -pdb bring into an assembly."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .beam import sources
from .errors import InputError
from .experiment import Beam, Detector
from .flags import GROUPS, Settings, find
from .geometry import DetectorFrame, pixel_ray
from .host import on_host
from .io.expt_models import ExptExperiment
from .io.hkl import HklTable
from .io.spectrum import Spectrum, read_spectrum
from .panels import Panels, split_panels

REFLECTION_FLAGS = {"hkl_path": "-hkl", "mtz_path": "-mtz", "sfcif_path": "-sfcif", "pdb_path": "-pdb"}
"""Settings that name structure factors; a run takes one of them."""

_KEPT_BESIDE_EXPT = ("point_pixel", "detector_thicksteps", "roi", "mask_path")
_FROM_EXPT = ("mat_path", "cell", "detector_thick_um")
_EDGE_POINTS = 9
_RESOLUTION_MARGIN = 0.999
_CELL_TOLERANCE = 0.02


def spectrum_of(settings: Settings, place: Path, notes: list[str]) -> Spectrum | None:
    """The spectrum that -spectrum names. **Raises** `InputError` beside -sourcefile."""
    if settings.get("spectrum_path") is None:
        return None
    if "source_path" in settings:
        raise InputError("give one of -spectrum and -sourcefile")
    spectrum = read_spectrum(place / settings.get("spectrum_path"))
    notes += spectrum.notes
    for name in ("dispersion_percent", "dispsteps"):
        if name in settings:
            notes.append(f"{settings.flag_of(name)} has no effect with -spectrum")
    if "wavelength_A" in settings:
        use = "only scales the matrix" if "mat_path" in settings else "has no effect"
        notes.append(f"{settings.flag_of('wavelength_A')} {use} with -spectrum")
    return spectrum


def expt_of(settings: Settings, place: Path, notes: list[str]) -> tuple[ExptExperiment, str] | None:
    """The experiment that -expt and -expt_index name, and what to call it in a message; None without -expt."""
    if settings.get("expt_path") is None:
        return None
    from .io.expt import read_one_expt

    index = settings.get("expt_index")
    record, count = read_one_expt(place / settings.get("expt_path"), index)
    if count > 1 and "expt_index" not in settings:
        notes.append(f"-expt {settings.get('expt_path')} has {count} experiments: number 0 is taken, see -expt_index")
    return record, f"experiment {index} of -expt {settings.get('expt_path')}"


def without_geometry(settings: Settings, notes: list[str]) -> Settings:
    """The settings without those that an experiment list decides, with a note for each flag that is ignored."""
    ignored = {name for flag in GROUPS["Detector"] for name in flag.settings if name not in _KEPT_BESIDE_EXPT}
    ignored |= {name for flag in GROUPS["Detector"] for name, _ in flag.also} | set(_FROM_EXPT)
    seen = dict.fromkeys(flag for flag, name, _ in settings.given if name in ignored and name in find(flag).settings)
    notes += [f"{flag} has no effect beside -expt" for flag in seen]
    values = {name: value for name, value in settings.values.items() if name not in ignored}
    return replace(settings, values=values)


def settings_from_expt(record: ExptExperiment, where: str, settings: Settings, spectrum: Spectrum | None) -> dict:
    """Settings that an experiment list stands for; flags that are given win over them.

    **Raises** `InputError` for a beam that cannot be used.
    """
    from .dials import beam_from_expt, goniometer_from_expt

    given = {} if "wavelength_A" not in settings else {"wavelength_A": settings.get("wavelength_A")}
    beam = beam_from_expt(record, where, spectrum=spectrum, **given)
    goniometer = goniometer_from_expt(record, where)
    found = {
        "convention": "CUSTOM",
        "wavelength_A": float(beam.wavelength_A),
        "beam_vector": _numbers(beam.direction),
        "polar_vector": _numbers(beam.polarization_vector),
        "polarization": float(beam.kahn_factor),
        "phi_deg": float(goniometer.phi_deg),
    }
    if goniometer.spindle_axis is not None:
        found["spindle_axis"] = _numbers(goniometer.spindle_axis)
    if float(goniometer.osc_deg) != 0.0:
        found["osc_deg"] = float(goniometer.osc_deg)
    return found


def _numbers(vector) -> tuple[float, ...]:
    return tuple(np.asarray(vector, float).tolist())


def cell_from_expt(record: ExptExperiment, where: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cell edges (Å), angles (degrees) and orientation (3, 3)."""
    from .dials import crystal_from_expt

    crystal = crystal_from_expt(record, where)
    edges, angles, orientation = crystal.cell_lengths_A, crystal.cell_angles_deg, crystal.orientation
    return np.asarray(edges), np.asarray(angles), np.asarray(orientation)


def detector_of_expt(record: ExptExperiment, where: str, settings: Settings) -> Panels:
    """The panels, or the one that -expt_panel names, with the layers of the sensor that the flags ask for."""
    from .dials import detector_from_expt

    layers = max(1, settings.get("detector_thicksteps") or 1)
    chosen, panels = settings.get("expt_panel"), record.detector or ()
    if chosen is not None and panels:
        if chosen >= len(panels):
            raise InputError(f"-expt_panel must be 0 to {len(panels) - 1}, got {chosen}")
        record = replace(record, detector=panels[chosen : chosen + 1])
    return detector_from_expt(record, where, layers, point_pixel=settings.get("point_pixel"))


def cell_of_factors(settings: Settings, place: Path) -> np.ndarray | None:
    """Edges and angles (6,) from the file that the structure factors come from, None where it has none."""
    if settings.get("pdb_path") is not None:
        from .models.density import read_model_cell

        return read_model_cell(place / settings.get("pdb_path"))
    from .models.reflections import read_mmcif_cell, read_mtz_cell

    if settings.get("mtz_path") is not None:
        return read_mtz_cell(place / settings.get("mtz_path"), settings.get("mtz_column"))
    if settings.get("sfcif_path") is not None:
        return read_mmcif_cell(place / settings.get("sfcif_path"))
    return None


FrameOf = Callable[..., DetectorFrame]


def table_of_factors(
    settings: Settings, place: Path, notes: list[str], beam: Beam, detector: Panels, frame_of: FrameOf, cell: np.ndarray
) -> HklTable | None:
    """Structure factors from an MTZ, mmCIF or model file; None where the flags name none of them.

    **Arguments:** `frame_of`: a detector's frame from (detector, beam, mode=…); `cell` (6,): the crystal's, which the
    file's is compared with. **Raises** `InputError` for more than one source, or a file that cannot be used.
    """
    named = [flag for name, flag in REFLECTION_FLAGS.items() if settings.get(name) is not None]
    if len(named) > 1:
        raise InputError(f"give one of {' and '.join(named)}")
    for name, owner in (("mtz_column", "mtz_path"), ("k_sol", "pdb_path"), ("b_sol", "pdb_path")):
        if name in settings and settings.get(owner) is None:
            notes.append(f"{settings.flag_of(name)} has no effect without {REFLECTION_FLAGS[owner]}")
    if not named or named == ["-hkl"]:
        return None
    if settings.get("mtz_path") is not None:
        from .models.reflections import sphere_from_mtz

        sphere = sphere_from_mtz(place / settings.get("mtz_path"), settings.get("mtz_column"))
    elif settings.get("sfcif_path") is not None:
        from .models.reflections import sphere_from_mmcif

        sphere = sphere_from_mmcif(place / settings.get("sfcif_path"))
    else:
        from .models.density import sphere_from_model

        frames = [(panel, frame_of(panel, beam, mode=settings.get("mode"))) for panel in split_panels(detector)]
        dmin = max(finest_resolution(frames, beam), settings.get("dmin_A") or 0.0)
        notes.append(f"-pdb: structure factors are computed to {dmin:.4g} A")
        sphere = sphere_from_model(
            place / settings.get("pdb_path"),
            dmin,
            wavelength_A=float(beam.wavelength_A),
            k_sol=settings.get("k_sol"),
            b_sol=settings.get("b_sol"),
        )
    if not np.allclose(sphere.cell, cell, rtol=_CELL_TOLERANCE):
        file, crystal = (" ".join(f"{x:.5g}" for x in numbers) for numbers in (sphere.cell, cell))
        notes.append(f"the cell of {named[0]}, {file}, differs from the crystal's, {crystal}")
    return sphere.table


def finest_resolution(frames: Iterable[tuple[Detector, Any]], beam: Beam) -> float:
    """The smallest spacing (Å) that any source scatters to any point of detectors with the given frames."""
    largest = 0.0
    for detector, frame in frames:
        counts = detector.pixels_fast, detector.pixels_slow
        edges = [np.linspace(0.0, count * float(frame.pixel_size), _EDGE_POINTS) for count in counts]
        fast, slow = (grid.ravel() for grid in np.meshgrid(*edges))
        inverse = on_host(_inverse_spacings, frame, beam, fast, slow, curved=detector.curved)
        largest = max(largest, float(np.max(inverse)))
    return _RESOLUTION_MARGIN / largest


@partial(jax.jit, static_argnames="curved")
def _inverse_spacings(frame: DetectorFrame, beam: Beam, fast: Array, slow: Array, curved: bool) -> Array:
    """|q| for each source and point of a detector, (sources, points), 1/Å."""
    ray = pixel_ray(frame, fast, slow, jnp.zeros_like(fast), curved=curved, point_pixel=True)
    lights = sources(beam)
    across = [d[None, :] - lights.incident[:, i, None] for i, d in enumerate(ray.direction)]
    return jnp.sqrt(across[0] ** 2 + across[1] ** 2 + across[2] ** 2) / lights.wavelength[:, None]
