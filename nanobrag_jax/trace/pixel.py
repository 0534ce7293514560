"""`trace_pixel`: the terms of one pixel under their names."""

from typing import SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from .. import checks
from ..constants import DEG_PER_RAD, R_E_SQR_M2
from ..errors import InputError
from ..experiment import Experiment
from ..render.scene import Scene, scene_on_host
from ..render.simulate import MODES, simulate
from ..typing import Mode
from ..window import window_of
from .history import History, history
from .record import CRYSTAL, FIRST_STEP, Carried, Trace, Value
from .terms import Terms, terms_of


def trace_pixel(
    experiment: Experiment,
    slow: SupportsIndex,
    fast: SupportsIndex,
    mode: Mode = "spec",
    *,
    image: ArrayLike | None = None,
) -> Trace:
    """Every intermediate of one pixel.

    The terms are the kernel's own, for source 0, mosaic domain 0 and the first sub-pixel of each sensor layer;
    `I_before_scaling` is the sum over all samples of the pixel. `I_pixel_final` is the pixel of the image that
    `simulate` gives, the same double: the whole image is rendered for it, as a program for fewer pixels may round
    differently in the last digit. It equals I_before_scaling · r_e_sqr · fluence · crystal_scale / steps ·
    capture_fraction · polar · omega_pixel + background_photons to rounding, without the factors named in
    `factors_in_sum`.

    **Arguments:** `slow`, `fast`: pixel numbers; `mode`: as for `simulate`; `image`: what `simulate` gave for this
    experiment and mode, if it is at hand.

    **Raises** `InputError` for a pixel off the detector, or not rendered because of the region of interest or the
    mask. Source: docs/reference.md sections 8, 10 and 11.
    """
    checks.one_of("mode", mode, MODES)
    slow, fast = int(slow), int(fast)
    rendered, corner = _rendered(experiment)
    _check_pixel(experiment, rendered, corner, slow, fast)
    scene = jax.tree.map(jnp.asarray, scene_on_host(experiment, mode))
    before = history(scene, rendered, corner, slow, fast) if mode == "c-parity" else None
    state = None if before is None else before.state
    terms = jax.tree.map(np.asarray, terms_of(scene, state, jnp.asarray(slow, jnp.int32), jnp.asarray(fast, jnp.int32)))
    pixels = np.asarray(simulate(experiment, mode) if image is None else image)
    shape = experiment.panel.pixels_slow, experiment.panel.pixels_fast
    if pixels.shape != shape:
        raise InputError(f"image must have the detector's shape {shape} (slow, fast), got {pixels.shape}")
    scene = jax.tree.map(np.asarray, scene)
    crystals = float(experiment.crystal.scale)
    scaled_by = {"fluence_photons_per_m2": float(experiment.beam.fluence_per_m2)}
    scaled_by |= {} if crystals == 1 else {"crystal_scale": crystals}
    values = _values(scene, terms, scaled_by, float(pixels[slow, fast]))
    carried = None if before is None else _carried(before, terms)
    return Trace(slow, fast, values, _phi_steps(scene, terms), mode, carried, _factors_in_sum(scene))


def _rendered(experiment: Experiment) -> tuple[np.ndarray, tuple[int, int]]:
    """Which pixels of the region of interest are rendered, and the (slow, fast) numbers of its first."""
    detector, sampling = experiment.panel, experiment.sampling
    window = window_of((detector.pixels_slow, detector.pixels_fast), sampling.roi)
    corner = window.slow, window.fast
    if sampling.mask is None:
        return np.ones((window.rows, window.columns), bool), corner
    return np.asarray(sampling.mask)[window.slices], corner


def _check_pixel(experiment: Experiment, rendered: np.ndarray, corner: tuple[int, int], slow: int, fast: int) -> None:
    limits = experiment.panel.pixels_slow, experiment.panel.pixels_fast
    if not (0 <= slow < limits[0] and 0 <= fast < limits[1]):
        raise InputError(
            f"pixel slow {slow}, fast {fast} is not on the detector of {limits[0]} x {limits[1]} pixels (slow x fast)"
        )
    row, column = slow - corner[0], fast - corner[1]
    if not (0 <= row < rendered.shape[0] and 0 <= column < rendered.shape[1]):
        raise InputError(f"pixel slow {slow}, fast {fast} is not rendered: it lies outside the region of interest")
    if not rendered[row, column]:
        raise InputError(f"pixel slow {slow}, fast {fast} is not rendered: the mask leaves it out")


def _numbers(array) -> Value:
    """A number, or a tuple of numbers."""
    flat = np.asarray(array, float).reshape(-1)
    return float(flat[0]) if np.ndim(array) == 0 else tuple(float(x) for x in flat)


def _vector(components, index=()) -> tuple[float, ...]:
    return tuple(float(np.asarray(x)[index]) for x in components)


def _stars(rows: ArrayLike) -> dict[str, Value]:
    return {name: _numbers(row) for name, row in zip(CRYSTAL, np.asarray(rows), strict=True)}


def _step(terms: Terms, layer: int, turn: int) -> dict[str, Value]:
    """The names that belong to one φ step."""
    at = layer, turn
    found: dict[str, Value] = {}
    for name, real in zip(FIRST_STEP, terms.real[at], strict=False):
        found[name] = _numbers(real)
    sample = terms.sample
    found["hkl_frac"], found["hkl_rounded"] = _vector(sample.hkl, at), _vector(sample.nearest_hkl, at)
    for axis, factor in zip("abc", sample.factors, strict=True):
        found[f"F_latt_{axis}"] = float(factor[at])
    found["F_latt"] = float(sample.F_latt[at])
    found["F_cell"] = float(np.broadcast_to(sample.F_cell, terms.rotated.shape)[at])
    return found


def _phi_steps(scene: Scene, terms: Terms) -> list[dict[str, Value]]:
    steps = []
    for layer, turn in np.ndindex(terms.rotated.shape):
        head: dict[str, Value] = {"layer": layer, "phi_tic": turn, "phi_deg": float(scene.phi[turn] * DEG_PER_RAD)}
        head |= {
            "kept": int(terms.source.kept[layer]),
            "rotated": int(terms.rotated[layer, turn]),
            "interpolated": int(terms.interpolated[layer, turn]),
            "k_frac": _vector(terms.sample.hkl, (layer, turn))[1],
        }
        steps.append(head | _stars(terms.reciprocal[layer, turn]) | _step(terms, layer, turn))
    return steps


def _factors_in_sum(scene: Scene) -> tuple[str, ...]:
    settings = scene.settings
    several_layers = not settings.slips.phi0 and settings.layers > 1
    flags = (settings.oversample_thick or several_layers, settings.oversample_polar, settings.oversample_omega)
    return tuple(n for n, flag in zip(("capture_fraction", "polar", "omega_pixel"), flags, strict=True) if flag)


def _values(scene: Scene, terms: Terms, scaled_by: dict[str, float], final: float) -> dict[str, Value]:
    """The names of the whole pixel, in order."""
    frame, settings, lights = scene.frame, scene.settings, scene.sources
    incident, wavelength = lights.incident[0], float(lights.wavelength[0])
    first = terms.first
    capture = terms.capture
    if settings.slips.phi0 or capture.size == 1:
        capture = capture[-1]
    values: dict[str, Value] = {
        "pix0_vector_meters": _numbers(frame.pix0),
        "fdet_vec": _numbers(frame.fast),
        "sdet_vec": _numbers(frame.slow),
        "pixel_pos_meters": _vector(first.position),
        "R_distance_meters": _numbers(first.distance),
        "omega_pixel_sr": _numbers(first.solid_angle),
        "close_distance_meters": _numbers(frame.close_distance),
        "obliquity_factor": _numbers(first.obliquity),
        "diffracted_vec": _vector(first.direction),
        "incident_vec": _numbers(incident),
        "lambda_meters": wavelength * 1e-10,
        "lambda_angstroms": wavelength,
        "scattering_vec_A_inv": tuple(x * 1e10 for x in _vector(terms.source.q, 0)),
    }
    values |= _stars(scene.lattice.reciprocal) | _step(terms, 0, 0)
    values |= {
        "I_before_scaling": _numbers(terms.total),
        "r_e_meters": float(np.sqrt(R_E_SQR_M2)),
        "r_e_sqr": R_E_SQR_M2,
        **scaled_by,
        "steps": float(scene.num_steps),
        "oversample_thick": float(settings.oversample_thick),
        "oversample_polar": float(settings.oversample_polar),
        "oversample_omega": float(settings.oversample_omega),
        "capture_fraction": _numbers(capture),
        "polar": _numbers(terms.polar),
        "omega_pixel": _numbers(first.solid_angle),
        "cos_2theta": float(terms.cos_2theta[-1]),
    }
    if terms.background is not None:
        values["background_photons"] = _numbers(terms.background)
    return values | {"I_pixel_final": final, "floatimage_accumulated": float(np.float32(final))}


def _carried(before: History, terms: Terms) -> Carried:
    assert terms.left is not None
    kept = terms.source.kept[0]
    return Carried(
        used=bool(kept and not terms.rotated[0, 0]),
        source=before.source,
        inherits=tuple(float(x) for x in np.ravel(before.state.vectors)),
        leaves=tuple(float(x) for x in np.ravel(terms.left.vectors)),
        interpolates_before=bool(before.state.interpolating),
        interpolates_after=bool(terms.left.interpolating),
        interpolation_ended_at=before.ended_at,
    )
