"""Step counts against what the reference printed, and the corners that no printed value shows."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

import nanobrag_jax as nb
from nanobrag_jax import steps
from nanobrag_jax.command.flags import parse
from nanobrag_jax.constants import DEG_PER_RAD
from nanobrag_jax.errors import InputError

GOLDEN = Path(os.environ.get("NANOBRAG_GOLDEN", Path(__file__).parents[1] / "golden_data"))
CASES = json.loads((GOLDEN / "cases.json").read_text()) if (GOLDEN / "cases.json").exists() else []
PRINTED = [case for case in CASES if case.get("printed")]
needs_golden = pytest.mark.skipif(not CASES, reason=f"no golden data in {GOLDEN}")


def scaled(value, factor):
    return None if value is None else value / factor


def header(path):
    text = path.read_bytes()[:512].decode("ascii").split("}")[0]
    return dict(line.rstrip(";").split("=") for line in text.splitlines() if "=" in line)


def derived(args):
    """The printed numbers of a command, from the flags alone (and the headers and files that they name)."""
    settings = parse(args)
    get = settings.get
    osc, wavelength = get("osc_deg"), get("wavelength_A")
    for name in ("mask_path", "img_path"):
        keys = header(GOLDEN / "inputs" / get(name)) if get(name) else {}
        osc = float(keys["OSC_RANGE"]) if osc is None and "OSC_RANGE" in keys else osc
        if "wavelength_A" not in settings and "WAVELENGTH" in keys:
            wavelength = float(keys["WAVELENGTH"])
    phi = steps.complete_phi(
        get("phisteps"), scaled(osc, DEG_PER_RAD), scaled(get("phistep_deg"), DEG_PER_RAD)
    )  # fmt: skip
    if get("source_path"):
        n_sources = len((GOLDEN / "inputs" / get("source_path")).read_text().split("\n")) - 1
    else:
        axes = [
            (get(f"{axis}steps"), scaled(get(f"{axis}range_mrad"), 1e3), scaled(get(f"{axis}step_mrad"), 1e3))
            for axis in ("hdiv", "vdiv")
        ]
        axes = [steps.complete_steps(*axis, "divergence") for axis in axes]
        dispersion = steps.complete_steps(get("dispsteps"), scaled(get("dispersion_percent"), 100), None, "dispersion")
        n_sources = len(steps.divergence_grid(*axes, round_div=get("round_div"))) * dispersion[0]
    edges = np.array(get("cell")[:3]) if get("cell") else None
    if get("mat_path"):
        numbers = (GOLDEN / "inputs" / get("mat_path")).read_text().split()[:9]
        matrix = np.array(numbers, dtype=float).reshape(3, 3)
        edges = np.linalg.norm(np.linalg.inv(matrix / wavelength), axis=1)
    n_cells = (get("Na"), get("Nb"), get("Nc"))
    sample = [scaled(get(f"sample_{axis}_mm"), 1e3) for axis in "xyz"]
    cells, _ = steps.cells_from_sample_size(sample, edges * 1e-10, n_cells, get("beamsize_mm") / 1e3)
    auto = steps.auto_oversample(
        max(edges * cells) * 1e-10, wavelength * 1e-10, get("distance_mm") / 1e3, get("pixel_mm") / 1e3
    )  # fmt: skip
    photons = steps.fluence(get("flux_per_s"), get("exposure_s"), get("beamsize_mm") / 1e3, get("fluence_per_m2"))
    return {
        "oversample": f"{steps.choose_oversample(get('oversample'), auto)[0]}",
        "sources": f"{n_sources}",
        "mosaic_domains": f"{steps.mosaic_domain_count(get('mosaic_domains'), get('mosaic_deg'))[0]}",
        "phi_steps": f"{phi[0]}",
        "fluence": f"{photons:g}",
        "ncells": "x".join(f"{n}" for n in cells),
    }


@needs_golden
def test_what_the_reference_printed():
    differences, compared = [], 0
    for case in PRINTED:
        for name, ours in derived(case["args"]).items():
            compared += 1
            if ours != case["printed"][name]:
                differences.append((case["name"], name, ours, case["printed"][name]))
    assert differences == []
    assert compared == 6 * len(PRINTED) > 900


@needs_golden
def test_detector_sizes():
    compared = 0
    for case in CASES:
        get = parse(case["args"]).get
        if get("mask_path") or get("img_path"):
            continue
        pixel = get("pixel_mm") / 1e3
        axes = [steps.pixel_count(get(f"detpixels_{axis}"), get(f"detsize_{axis}_mm") / 1e3, pixel)[0] for axis in "sf"]
        assert axes == case["shape"], case["name"]
        compared += 1
    assert compared > 150


@needs_golden
def test_layers_of_the_sensor():
    """Capture fraction of the last layer as traced: it needs the step, the count and the attenuation."""
    case = next(case for case in CASES if case["name"] == "thick_5")
    get = parse(case["args"]).get
    thickness = get("detector_thick_um") * 1e-6
    count, _, step = steps.complete_steps(get("detector_thicksteps"), thickness, None, "thickness")
    mu, note = steps.layer_attenuation(get("detector_abs_um"), thickness)
    assert note is None
    trace, tilt = case["traces"][0], steps.radians(get("detector_roty_deg"))
    normal = np.array([math.cos(tilt), 0.0, -math.sin(tilt)])
    place = np.array(trace["pixel_pos_meters"]) + (count - 1) * step * normal  # the trace has the first layer
    depth = step * mu / (place @ normal / np.linalg.norm(place))
    last = math.exp(-(count - 1) * depth) - math.exp(-count * depth)
    assert last == pytest.approx(trace["capture_fraction"], rel=1e-9)


# count, range, step -> count, range, step
COMPLETED = [
    ("divergence", (None, None, None), (1, 0, 0)),
    ("divergence", (None, None, 0.25), (2, 0.25, 0.25)),
    ("divergence", (None, 0.5, None), (2, 0.5, 0.5)),
    ("divergence", (None, 0.5, 0.2), (3, 0.5, 0.2)),
    ("divergence", (4, None, None), (4, 1.0, 0.25)),
    ("divergence", (4, None, 0.25), (2, 0.25, 0.25)),
    ("divergence", (5, 0.5, None), (5, 0.5, 0.125)),
    ("divergence", (1, 0.5, None), (2, 0.5, 0.5)),
    ("divergence", (3, 0.5, 0.1), (3, 0.5, 0.1)),
    ("divergence", (3, 0.0, None), (1, 0, 0)),
    ("divergence", (3, 0.0, 0.1), (1, 0, 0)),
    ("divergence", (0, 0.5, None), (2, 0.5, 0.5)),
    ("divergence", (None, 0.5, 0.0), (2, 0.5, 0.5)),
    ("dispersion", (None, None, None), (1, 0, 0)),
    ("dispersion", (None, 0.02, None), (2, 0.02, 0.02)),
    ("dispersion", (5, 0.02, None), (5, 0.02, 0.005)),
    ("dispersion", (4, None, None), (4, 1.0, 0.25)),
    ("dispersion", (4, 0.0, None), (4, 1.0, 0.25)),
    ("dispersion", (1, 0.02, None), (2, 0.02, 0.02)),
    ("thickness", (None, None, None), (1, 0, 0)),
    ("thickness", (None, 4e-4, None), (2, 4e-4, 2e-4)),
    ("thickness", (5, 4e-4, None), (5, 4e-4, 1e-4)),
    ("thickness", (1, 4e-4, None), (2, 4e-4, 4e-4)),
    ("thickness", (2, None, None), (2, 0.5e-6, 0.25e-6)),
    ("thickness", (2, 0.0, None), (2, 0.5e-6, 0.25e-6)),
    ("phi", (None, None, None), (1, 0, 0)),
    ("phi", (None, None, 0.3), (2, 0.3, 0.3)),
    ("phi", (None, 1.0, None), (2, 1.0, 0.5)),
    ("phi", (None, 1.0, 0.3), (4, 1.0, 0.3)),
    ("phi", (None, 0.0, None), (2, 0.0, 0.0)),
    ("phi", (3, None, None), (3, 1 / DEG_PER_RAD, 1 / DEG_PER_RAD / 3)),
    ("phi", (0, None, None), (1, 1 / DEG_PER_RAD, 1 / DEG_PER_RAD)),
    ("phi", (3, None, 0.3), (2, 0.3, 0.3)),
    ("phi", (4, 1.0, None), (4, 1.0, 0.25)),
    ("phi", (3, 0.0, None), (3, 0.0, 0.0)),
    ("phi", (4, 1.0, 0.1), (4, 1.0, 0.1)),
]


@pytest.mark.parametrize("kind, given, expected", COMPLETED)
def test_completed_steps(kind, given, expected):
    result = steps.complete_phi(*given) if kind == "phi" else steps.complete_steps(*given, kind)
    assert result == expected
    assert isinstance(result[0], int)


@pytest.mark.parametrize(
    "count, spread, expected, noted",
    [
        (None, None, (1, 0.0), False), (None, 0.0, (1, 0.0), False), (None, 0.8, (10, 0.8), True),
        (5, None, (1, 0.0), True), (5, 0.0, (1, 0.0), True), (1, None, (1, 0.0), False), (7, 0.8, (7, 0.8), False),
        (0, 0.8, (10, 0.8), True), (1, 0.8, (1, 0.8), False),
    ],
)  # fmt: skip
def test_mosaic_domains(count, spread, expected, noted):
    domains, width, note = steps.mosaic_domain_count(count, spread)
    assert (domains, width) == expected
    assert bool(note) == noted


def test_round_divergence_cuts_the_corners_and_only_them():
    axis = steps.complete_steps(3, 4e-3, None, "divergence")
    grid = steps.divergence_grid(axis, axis)
    assert grid == [(-2e-3, 0.0), (0.0, -2e-3), (0.0, 0.0), (0.0, 2e-3), (2e-3, 0.0)]
    assert len(steps.divergence_grid(axis, axis, round_div=False)) == 9


def test_one_direction_of_divergence_is_never_cut():
    wide, none = (9, 1e-2, 5e-3), (1, 0.0, 0.0)
    assert len(steps.divergence_grid(wide, none)) == 9
    assert steps.divergence_grid(none, none) == [(0.0, 0.0)]


def test_wavelengths_surround_the_middle():
    assert steps.dispersed_wavelengths(1.5, (1, 0.0, 0.0)) == [1.5]
    spread = steps.dispersed_wavelengths(1.0, (3, 0.02, 0.01))
    assert spread == pytest.approx([0.99, 1.0, 1.01], rel=1e-15)


def test_attenuation():
    assert steps.layer_attenuation(None, 0.0) == (0.0, None)
    assert steps.layer_attenuation(300.0, 0.0) == (1 / 300e-6, None)
    assert steps.layer_attenuation(math.inf, 4e-4) == (0.0, None)
    mu, note = steps.layer_attenuation(None, 4e-4)
    assert mu == 1 / 4e-4
    assert "thickness" in note


def test_fluence_needs_a_flux_to_be_computed():
    assert steps.fluence(0.0, 1.0, 1e-4, 5e24) == 5e24
    assert steps.fluence(1e12, 0.1, 5e-5, 5e24) == pytest.approx(4e19, rel=1e-14)
    with pytest.raises(InputError, match="-beamsize of 0 mm: the fluence is infinite"):
        steps.fluence(1e12, 1.0, 0.0, 5e24)


def test_cells_from_sample_size():
    edges = (50e-10, 60e-10, 70e-10)
    assert steps.cells_from_sample_size((None, None, None), edges, (3, 4, 5), 1e-4) == ((3, 4, 5), [])
    assert steps.cells_from_sample_size((0.0, 1.21e-8, None), edges, (3, 4, 0), 1e-4) == ((3, 3, 1), [])
    cells, notes = steps.cells_from_sample_size((1e-7, 1e-7, 1e-7), edges, (1, 1, 1), 3e-8)
    assert cells == (20, 5, 5)
    assert len(notes) == 2 and notes[0].startswith("sample_y is clipped")


def test_oversampling():
    crystal = nb.Crystal((62.0, 71.0, 83.0), n_cells=(6, 6, 6))
    size = crystal.shape.resolved_length_A((62.0, 71.0, 83.0), (6.0, 6.0, 6.0)) * 1e-10
    assert size == pytest.approx(6 * 83e-10)
    assert steps.auto_oversample(size, 1.2e-10, 0.06, 0.4e-3) == 9
    assert steps.auto_oversample(size / 6, 1.2e-10, 60.0, 0.1e-3) == 1
    assert steps.auto_oversample(size, 1.2e-10, -0.06, 0.4e-3) == 1
    assert steps.choose_oversample(None, 9) == (9, None)
    assert steps.choose_oversample(9, 9) == (9, None)
    assert steps.choose_oversample(2, 9) == (2, "-oversample 2 is kept, though the spots need 9")


@pytest.mark.parametrize(
    "given, cells, expected",
    [(None, (2, 9, 9), True), (None, (3, 3, 3), False), (True, (9, 9, 9), True), (False, (1, 1, 1), False)],
)
def test_interpolation_is_for_small_crystals(given, cells, expected):
    assert steps.use_interpolation(given, cells) is expected


@pytest.mark.parametrize(
    "call",
    [
        lambda: steps.complete_steps(None, 1.0, 1e-300, "divergence"),
        lambda: steps.complete_phi(None, 1.0, 1e-300),
        lambda: steps.auto_oversample(1e-8, 1e-300, 1e-300, 1e-4),
        lambda: steps.cells_from_sample_size((1e30,) * 3, (1e-8,) * 3, (1, 1, 1), 1e30),
        lambda: steps.layer_attenuation(1e-322, 1e-4),
        lambda: steps.pixel_count(None, 1e-4, 1e-3),
        lambda: steps.pixel_count(None, 1.0, 1e-300),
        lambda: steps.pixel_count(None, 1.0, 0.0),
    ],
)
def test_absurd_numbers_are_refused(call):
    with pytest.raises(InputError):
        call()
