"""From command-line settings to an experiment: files are read, counts completed, defaults filled in."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from . import assemble_files as files
from . import flags, steps
from .assemble_amorphous import amorphous_of
from .config import load_config
from .config.override import with_flags
from .constants import DEFAULT_FLUENCE_PER_M2
from .conventions import CONVENTIONS
from .errors import InputError, UsageError
from .experiment import Beam, Crystal, Detector, Experiment, Goniometer, Sampling
from .flags import Settings
from .geometry import DetectorFrame, detector_frame
from .host import on_host
from .io.fdump import read_fdump
from .io.hkl import HklTable, read_hkl
from .io.mosflm_matrix import read_matrix
from .io.smv import header_value, read_smv
from .io.source_list import read_source_list
from .io.spectrum import Spectrum
from .panels import panel_kinds, split_panels
from .reference_rng import random_misset_deg
from .spectra import spectrum_beam
from .structure_factors import StructureFactors
from .typing import Mode
from .unit_cell import cell_and_orientation

_frame = jax.jit(detector_frame, static_argnames="mode")


def frame_of(detector: Detector, beam: Beam, mode: Mode) -> DetectorFrame:
    """`geometry.detector_frame` in numpy numbers, without compiling anything."""
    return on_host(_frame, detector, beam, mode=mode)


HEADER_KEYS = {
    "SIZE1": "detpixels_f",
    "SIZE2": "detpixels_s",
    "PIXEL_SIZE": "pixel_mm",
    "DISTANCE": "distance_mm",
    "CLOSE_DISTANCE": "close_distance_mm",
    "WAVELENGTH": "wavelength_A",
    "BEAM_CENTER_X": "Xbeam_mm",
    "BEAM_CENTER_Y": "Ybeam_mm",
    "ORGX": "ORGX_pixels",
    "ORGY": "ORGY_pixels",
    "PHI": "phi_deg",
    "OSC_RANGE": "osc_deg",
}
"""Keys of an SMV header and the settings they stand for (docs/reference.md section 2)."""


@dataclass
class Assembly:
    """An experiment with what the command needs beside it: the settings, where files are, and what to tell."""

    experiment: Experiment
    settings: Settings
    directory: Path
    notes: list[str] = field(default_factory=list)
    table: HklTable | None = None


class _Lookup:
    """Settings as given, else from a header, else the flag's default."""

    def __init__(self, settings: Settings, headers: dict[str, Any]):
        self.settings, self.headers = settings, headers

    def given(self, name: str) -> Any:
        return self.settings.values.get(name, self.headers.get(name))

    def __call__(self, name: str) -> Any:
        value = self.given(name)
        return self.settings.get(name) if value is None else value


@contextlib.contextmanager
def _about(settings: Settings, *names: str):
    """Put the flags that set `names`, with the numbers given, in front of an error."""
    try:
        yield
    except InputError as error:
        given = [name for name in names if name in settings]
        words = [f"{settings.flag_of(n)}" + ("" if n.endswith("_path") else f" {settings.get(n):g}") for n in given]
        raise InputError(f"{', '.join(dict.fromkeys(words))}: {error}" if words else str(error)) from None


def experiment_from_args(args: Sequence[str], directory: str | os.PathLike[str] = ".") -> Experiment:
    """The experiment that command-line flags describe.

    **Arguments:** `args`: flags as for `python -m nanobrag_jax`; `directory`: where relative file names start.

    **Raises** `InputError` for flags or files that cannot be used.
    """
    return assemble(flags.parse(args), directory).experiment


def assemble(settings: Settings, directory: str | os.PathLike[str] = ".") -> Assembly:
    """Read the files that settings name and build the experiment."""
    place = Path(directory)
    notes = list(settings.notes)
    if settings.get("config_path") is not None:
        return _assemble_config(settings, place, notes)
    headers, mask = _read_headers(settings, place)
    spectrum = files.spectrum_of(settings, place, notes)
    expt = files.expt_of(settings, place, notes)
    get = _Lookup(settings, headers)
    if expt is not None:
        plain = files.without_geometry(settings, notes)
        get = _Lookup(plain, files.settings_from_expt(*expt, plain, spectrum))
    elif spectrum is not None:
        headers["wavelength_A"] = spectrum.mean_wavelength_A
    crystal, flag_cells = _crystal(get, place, notes, expt)
    detector = _detector(get, notes) if expt is None else files.detector_of_expt(*expt, settings)
    for panel in panel_kinds(detector):
        if mask is not None and mask.shape != (panel.pixels_slow, panel.pixels_fast):
            raise InputError(
                f"-mask {settings.get('mask_path')} has {mask.shape[1]} x {mask.shape[0]} pixels, "
                f"the detector {panel.pixels_fast} x {panel.pixels_slow}"
            )
        _check_roi(get("roi"), panel)
    parts = Experiment(
        crystal=crystal,
        beam=_beam(get, place, notes, spectrum),
        detector=detector,
        goniometer=_goniometer(get),
        structure_factors=StructureFactors(),
        amorphous=amorphous_of(settings, place),
    )
    cell = np.concatenate([crystal.cell_lengths_A, crystal.cell_angles_deg])
    table = files.table_of_factors(get.settings, place, notes, parts.beam, parts.detector, frame_of, cell)
    if table is None:
        table = _structure_factor_table(get, place, notes)
    else:
        notes += table.notes
    interpolate = steps.use_interpolation(get("interpolate"), flag_cells) and table is not None
    if table is None and get("interpolate"):
        notes.append("-interpolate has no effect without structure factors")
    water, dmin = get("water_um"), get("dmin_A")
    sampling = Sampling(
        _oversample(parts, get, notes),
        oversample_thick=get("oversample_thick"),
        oversample_polar=get("oversample_polar"),
        oversample_omega=get("oversample_omega"),
        interpolate=interpolate,
        dmin_A=dmin if dmin else None,
        roi=get("roi"),
        mask=mask,
        water_um=water if water else None,
    )
    factors = _structure_factors(table, get("default_F"))
    experiment = eqx.tree_at(lambda e: (e.sampling, e.structure_factors), parts, (sampling, factors))
    return Assembly(experiment, settings, place, notes, table)


def _assemble_config(settings: Settings, place: Path, notes: list[str]) -> Assembly:
    """The experiment of -config with what the other flags replace."""
    with _about(settings, "config_path"):
        config = load_config(place / settings.get("config_path"))
    experiment = with_flags(config.experiment, settings, notes)
    parts, crystal = experiment, experiment.crystal
    cell = np.concatenate([crystal.cell_lengths_A, crystal.cell_angles_deg])
    table = files.table_of_factors(settings, place, notes, parts.beam, parts.detector, frame_of, cell)
    if table is None and settings.get("hkl_path") is not None:
        table = _structure_factor_table(_Lookup(settings, {}), place, notes)
    elif table is not None:
        notes += table.notes
    if table is not None:
        default_F = experiment.structure_factors.default_F
        experiment = eqx.tree_at(lambda e: e.structure_factors, experiment, _structure_factors(table, default_F))
    return Assembly(experiment, settings, place, notes, table or _table_of(experiment.structure_factors))


def _table_of(factors: StructureFactors) -> HklTable | None:
    """The grid of structure factors as if it came from a file, None without a grid."""
    if factors.amplitudes is None:
        return None
    values = np.asarray(factors.amplitudes)
    given = np.ones(values.shape, bool) if factors.given is None else np.asarray(factors.given)
    return HklTable(factors.hkl_min, values, given)


def _read_headers(settings: Settings, place: Path) -> tuple[dict[str, float], np.ndarray | None]:
    """Settings from the headers of -mask and then -img, and the mask."""
    found: dict[str, float] = {}
    mask = None
    for name in ("mask_path", "img_path"):
        path = settings.get(name)
        if path is None:
            continue
        with _about(settings, name):
            image = read_smv(place / path)
        values = {setting: header_value(image.header, key) for key, setting in HEADER_KEYS.items()}
        values = {setting: value for setting, value in values.items() if value is not None}
        if name == "mask_path":
            mask = image.image != 0
            if "Ybeam_mm" in values:
                pixel = values.get("pixel_mm", settings.get("pixel_mm"))
                values["Ybeam_mm"] = image.image.shape[0] * pixel - values["Ybeam_mm"]
        for setting in ("detpixels_f", "detpixels_s"):
            values[setting] = int(values[setting])
        for key, setting in HEADER_KEYS.items():
            value = values.get(setting, 1.0)
            positive = key in ("PIXEL_SIZE", "DISTANCE", "CLOSE_DISTANCE", "WAVELENGTH")
            if not np.isfinite(value) or (positive and value <= 0):
                allowed = "positive" if positive else "finite"
                flag = settings.flag_of(name)
                raise InputError(f"{flag} {path} has {key}={value:g} in its header: it must be {allowed}")
        found.update(values)
    return found, mask


def _crystal(get: _Lookup, place: Path, notes: list[str], expt=None) -> tuple[Crystal, list[int]]:
    """The crystal, and the cell counts as the flags gave them."""
    cell, matrix_path = get("cell"), get("mat_path")
    orientation = stretched = None
    if expt is not None:
        lengths, angles, orientation = files.cell_from_expt(*expt)
    elif matrix_path is not None:
        with _about(get.settings, "mat_path"):
            star = read_matrix(place / matrix_path) / get("wavelength_A")
        lengths, angles, orientation = cell_and_orientation(star)
        if cell is not None:
            stretched = _cell_beside_matrix(get, cell, lengths, angles, notes)
    elif cell is not None:
        lengths, angles = np.array(cell[:3]), np.array(cell[3:])
    else:
        found = files.cell_of_factors(get.settings, place)
        if found is None:
            raise UsageError("give a crystal: -mat FILE (orientation matrix) or -cell a b c alpha beta gamma")
        lengths, angles = found[:3], found[3:]
    misset = get("misset_deg")
    if misset == "random":
        misset = random_misset_deg(get("misset_seed") if get("misset_seed") is not None else 1)
    flag_cells = [get(name) for name in ("Na", "Nb", "Nc")]
    sizes = [None if get(f"sample_{x}_mm") is None else get(f"sample_{x}_mm") * 1e-3 for x in "xyz"]
    edges = (lengths if stretched is None or get("mode") == "spec" else stretched) * 1e-10
    with _about(get.settings, *(f"sample_{x}_mm" for x in "xyz")):
        n_cells, more = steps.cells_from_sample_size(sizes, edges.tolist(), flag_cells, get("beamsize_mm") * 1e-3)
    notes += more
    domains, spread, note = steps.mosaic_domain_count(get("mosaic_domains"), get("mosaic_deg"))
    if note:
        notes.append(note)
    crystal = Crystal(
        lengths,
        angles,
        misset_deg=misset,
        n_cells=n_cells,
        shape=get("xtal_shape") or "square",
        fudge=get("fudge"),
        mosaic_spread_deg=spread,
        mosaic_domains=domains,
        mosaic_seed=get("mosaic_seed"),
        orientation=orientation,
        matrix_cell_lengths_A=stretched,
    )
    return crystal, flag_cells


def _cell_beside_matrix(get: _Lookup, cell, lengths, angles, notes: list[str]) -> np.ndarray:
    """Edges of a -cell given beside a -mat: c-parity stretches to them, spec only checks that they agree."""
    given = np.array(cell)
    off = np.abs(given / np.concatenate([lengths, angles]) - 1.0)
    text = " ".join(f"{x:g}" for x in cell)
    if get("mode") == "spec":
        if off.max() > 1e-3:
            matrix = " ".join(f"{x:.6g}" for x in (*lengths, *angles))
            raise InputError(f"-cell {text} disagrees with the cell of -mat, {matrix}: give one of them")
        notes.append(f"-cell {text} has no effect beside -mat")
    return given[:3]


def _detector(get: _Lookup, notes: list[str]) -> Detector:
    pixel = get("pixel_mm")
    counts, sizes = [], []
    for name in "fs":
        count, size = steps.pixel_count(get(f"detpixels_{name}"), get(f"detsize_{name}_mm") * 1e-3, pixel * 1e-3)
        counts.append(count)
        sizes.append(size * 1e3)
    exact = all(abs(s - n * pixel) <= 1e-9 * s for s, n in zip(sizes, counts, strict=True))
    convention = get("convention").lower()
    origin = [get("ORGX_pixels"), get("ORGY_pixels")]
    foot = [size / 2 if o is None else (o - 0.5) * pixel for o, size in zip(origin, sizes, strict=True)]
    close = [f if get(n) is None else get(n) for n, f in zip(("Xclose_mm", "Yclose_mm"), foot, strict=True)]
    center = [get("Xbeam_mm"), get("Ybeam_mm")]
    sample_pivot = convention in ("xds", "dials")
    explicit = get("pivot_explicit") if convention != "custom" else None
    asked = get("pivot") or "beam"
    pivot = asked if convention == "custom" else explicit
    close_point = None
    if sample_pivot or (explicit == "sample" and origin != [None, None]):
        close_point = foot
    _note_geometry(get, convention, sample_pivot and pivot != "beam", notes)
    if convention == "custom":
        center = [c if b is None else b for b, c in zip(center, close, strict=True)]
    elif None in center:
        default = Detector(*counts, pixel_size_mm=pixel, size_mm=sizes, convention=convention, close_point_mm=close)
        fallback = np.asarray(default.beam_center_mm)
        center = [f if b is None else b for b, f in zip(center, fallback, strict=True)]
    thick_steps, thick, layer = steps.complete_steps(
        get("detector_thicksteps"), get("detector_thick_um") * 1e-6, None, "thickness"
    )
    mu, note = steps.layer_attenuation(get("detector_abs_um"), thick)
    if note:
        notes.append(note)
    vectors = {"fast_axis": "fdet_vector", "slow_axis": "sdet_vector", "twotheta_axis": "twotheta_axis"}
    custom = {name: get(setting) if convention == "custom" else None for name, setting in vectors.items()}
    _check_plane(get, convention)
    return Detector(
        *counts,
        pixel_size_mm=pixel,
        size_mm=None if exact else sizes,
        distance_mm=get("distance_mm"),
        close_distance_mm=get("close_distance_mm"),
        beam_center_mm=center,
        close_point_mm=close_point,
        pix0_mm=_honoured_pix0(get, convention, notes),
        convention=convention,
        pivot=pivot,
        reference_pivot=asked,
        normal_axis=_given_normal(get, convention, notes),
        rotations_deg=[get(f"detector_rot{x}_deg") for x in "xyz"],
        twotheta_deg=get("twotheta_deg"),
        curved=get("curved_detector"),
        point_pixel=get("point_pixel"),
        thickness_um=thick * 1e6 if thick > 0 else None,
        attenuation_depth_um=1e6 / mu if mu > 0 else None,
        thickness_steps=thick_steps,
        layer_fraction=layer / thick if thick > 0 else None,
        **custom,
    )


def _check_plane(get: _Lookup, convention: str) -> None:
    """Raise where the fast and slow vectors given span no plane."""
    usual = CONVENTIONS[convention]
    given = [get(name) if convention == "custom" else None for name in ("fdet_vector", "sdet_vector")]
    fast, slow = (np.array(u if v is None else v, float) for v, u in zip(given, (usual.fast, usual.slow), strict=True))
    if np.linalg.norm(np.cross(fast, slow)) < 1e-6 * np.linalg.norm(fast) * np.linalg.norm(slow):
        words = [" ".join(f"{x:g}" for x in v) for v in (fast, slow)]
        raise InputError(f"-fdet_vector {words[0]} and -sdet_vector {words[1]} are parallel: they must span a plane")


def _given_normal(get: _Lookup, convention: str, notes: list[str]):
    """The normal vector, or None where it follows from fast and slow: the reference wants exactly unit length."""
    if convention != "custom":
        return None
    normal = get("odet_vector")
    if normal is None:
        return (1.0, 0.0, 0.0)
    if float(np.sqrt(np.sum(np.square(normal)))) == 1.0:
        return normal
    notes.append("-odet_vector is not of unit length: fast x slow is taken")
    return None


def _honoured_pix0(get: _Lookup, convention: str, notes: list[str]):
    """The corner of the first pixel in mm where nothing else says where the detector is (spec mode only)."""
    pix0 = get("pix0_vector")
    if pix0 is None or convention != "custom":
        return None
    others = ("Xbeam_mm", "Ybeam_mm", "Xclose_mm", "Yclose_mm", "ORGX_pixels", "ORGY_pixels")
    flag = get.settings.flag_of("pix0_vector")
    if any(get(name) is not None for name in others):
        notes.append(f"{flag} has no effect beside a beam centre, close point or ORGX/ORGY")
        return None
    if get("mode") == "c-parity":
        notes.append(f"{flag} has no effect in c-parity: the reference recomputes it")
    return np.array(pix0) * (1.0 if get("pix0_vector_unit") == "mm" else 1e3)


def _note_geometry(get: _Lookup, convention: str, header_only: bool, notes: list[str]) -> None:
    if get("mode") == "c-parity" and convention != "custom" and get("pivot_explicit"):
        notes.append(
            f"-pivot {get('pivot_explicit')} has no effect in c-parity with the {convention.upper()} convention"
        )
    if header_only:
        for name in ("Xbeam_mm", "Ybeam_mm", "Xclose_mm", "Yclose_mm"):
            if name in get.settings.values:
                flag = get.settings.flag_of(name)
                notes.append(f"{flag} moves only header values with the {convention.upper()} convention, not the image")
    if convention in ("mosflm", "denzo", "adxv"):
        asked = get("mode") == "spec" and get("pivot_explicit") == "sample"
        origin = () if asked else ("ORGX_pixels", "ORGY_pixels")
        for name in ("Xclose_mm", "Yclose_mm", *origin):
            if name in get.settings.values:
                instead = "give -ORGX, -ORGY and -pivot sample" if get("mode") == "spec" else "give a beam centre"
                flag = get.settings.flag_of(name)
                notes.append(f"{flag} has no effect with the {convention.upper()} convention: {instead}")


def _beam(get: _Lookup, place: Path, notes: list[str], spectrum: Spectrum | None = None) -> Beam:
    given_fluence = get("fluence_per_m2")
    custom = get("convention") == "CUSTOM"
    fluence = steps.fluence(
        get("flux_per_s"),
        get("exposure_s"),
        get("beamsize_mm") * 1e-3,
        DEFAULT_FLUENCE_PER_M2 if given_fluence is None else given_fluence,
    )
    direction = get("beam_vector") if custom else None
    common = {
        "fluence_per_m2": fluence,
        "kahn_factor": get("polarization"),
        "polarized": not get("nopolar"),
        "direction": direction,
        "polarization_vector": get("polar_vector") if custom else None,
    }
    if get("source_path") is not None:
        return _listed_sources(get, place, notes, common)
    horizontal, vertical = _divergence(get, "h"), _divergence(get, "v")
    pairs = np.array(steps.divergence_grid(horizontal, vertical, get("round_div")))
    if not len(pairs):
        raise InputError("-round_div leaves no source: give -square_div or other divergence steps")
    ranges = np.array([horizontal[1], vertical[1]])
    fractions = pairs / np.where(ranges > 0, ranges, 1.0)
    if spectrum is not None:
        return spectrum_beam(spectrum, divergence_mrad=ranges * 1e3, divergence_fractions=fractions, **common)
    count, spread, step = steps.complete_steps(
        get("dispsteps"), _scaled(get("dispersion_percent"), 0.01), None, "dispersion"
    )
    steps_apart = step * np.arange(count) / spread - 0.5 if spread > 0 else np.zeros(1)
    return Beam(
        get("wavelength_A"),
        divergence_mrad=ranges * 1e3,
        divergence_fractions=fractions,
        dispersion_percent=spread * 100.0,
        dispersion_fractions=steps_apart,
        **common,
    )


def _divergence(get: _Lookup, direction: str) -> tuple[int, float, float]:
    """(count, range, step) of the horizontal or vertical divergence, radians."""
    names = [f"{direction}div{what}" for what in ("steps", "range_mrad", "step_mrad")]
    count, range_, step = (get(name) for name in names)
    with _about(get.settings, names[2]):
        return steps.complete_steps(count, _scaled(range_, 1e-3), _scaled(step, 1e-3), "divergence")


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _listed_sources(get: _Lookup, place: Path, notes: list[str], common: dict) -> Beam:
    with _about(get.settings, "source_path"):
        listed = read_source_list(place / get("source_path"))
    notes += listed.notes
    toward = common["direction"] or CONVENTIONS[get("convention").lower()].beam
    behind = -10.0 * np.array(toward) / np.linalg.norm(toward)
    return Beam(
        get("wavelength_A"),
        source_positions=np.where(np.isnan(listed.positions), behind, listed.positions),
        source_wavelengths_A=np.where(np.isnan(listed.wavelengths_m), get("wavelength_A"), listed.wavelengths_m * 1e10),
        source_weights=np.where(np.isnan(listed.weights), 1.0, listed.weights),
        **common,
    )


def _goniometer(get: _Lookup) -> Goniometer:
    osc, step = get("osc_deg"), get("phistep_deg")
    with _about(get.settings, "phistep_deg"):
        count, osc_rad, step_rad = steps.complete_phi(
            get("phisteps"), None if osc is None else steps.radians(osc), None if step is None else steps.radians(step)
        )
    degrees = osc if osc is not None and osc_rad == steps.radians(osc) else osc_rad * steps.RADIAN
    ratio = 1.0 if osc_rad == 0 or step_rad == osc_rad / count else step_rad * count / osc_rad
    spindle = get("spindle_axis") if get("convention") == "CUSTOM" else None
    return Goniometer(get("phi_deg"), degrees, phi_steps=count, spindle_axis=spindle, step_ratio=ratio)


def _structure_factor_table(get: _Lookup, place: Path, notes: list[str]) -> HklTable | None:
    dump = "dump_path" in get.settings
    if get("hkl_path") is not None:
        with _about(get.settings, "hkl_path"):
            table = read_hkl(place / get("hkl_path"))
    elif dump or (get("mode") == "c-parity" and (place / get("dump_path")).is_file()):
        with _about(get.settings, "dump_path"):
            table = read_fdump(place / get("dump_path"))
        notes.append(f"structure factors are read from the dump file {get('dump_path')}")
    elif get("default_F") == 0:
        raise UsageError("give structure factors: -hkl FILE, -dump FILE of an earlier run, or -default_F x")
    else:
        return None
    notes += table.notes
    return table if table.values.size else None


def _structure_factors(table: HklTable | None, default_F) -> StructureFactors:
    if table is None:
        return StructureFactors(default_F=default_F)
    return StructureFactors(table.values, hkl_min=table.hkl_min, given=table.given, default_F=default_F)


def _check_roi(roi, detector: Detector) -> None:
    if roi is not None:
        f0, f1, s0, s1 = roi
        if not (0 <= f0 <= f1 < detector.pixels_fast and 0 <= s0 <= s1 < detector.pixels_slow):
            raise InputError(
                f"-roi {f0} {f1} {s0} {s1} does not lie on the detector of "
                f"{detector.pixels_fast} x {detector.pixels_slow} pixels"
            )


def _oversample(experiment: Experiment, get: _Lookup, notes: list[str]) -> int:
    """The number of sub-pixels along an edge, for which the finished geometry is needed."""
    crystal, panels = experiment.crystal, split_panels(experiment.detector)
    frames = [frame_of(panel, experiment.beam, mode=get("mode")) for panel in panels]
    auto = steps.auto_oversample(
        [float(x) * 1e-10 for x in np.asarray(crystal.cell_lengths_A)],
        np.asarray(crystal.n_cells).tolist(),
        float(experiment.beam.wavelength_A) * 1e-10,
        min(abs(float(frame.distance)) for frame in frames),
        max(float(frame.pixel_size) for frame in frames),
    )
    oversample, note = steps.choose_oversample(get("oversample"), auto)
    if note:
        notes.append(note)
    return oversample
