"""Traces: the golden ones, the carried state, the identity with the image, text and JSON, the command."""

import json
from dataclasses import replace

import equinox as eqx
import numpy as np
import pytest
from golden import CASES, GOLDEN, INPUTS, SUPERVISOR, absent, case_of, images_of

import nanobrag_jax as nb
from nanobrag_jax.command.trace import main
from nanobrag_jax.compare import compare_traces
from nanobrag_jax.errors import InputError
from nanobrag_jax.trace import trace_pixel
from nanobrag_jax.trace.record import GEOMETRY, NAMES, read_traces, trace_of

GOLDEN_TOLERANCE = 1e-9
"""Relative, for every name. The worst of the cases is 2e-11."""
AFTER_CANCELLATION = 1e-6
"""For lattice factors below `SMALL_FACTOR`: there the sine of πNh is what is left of a large angle."""
SMALL_FACTOR = 0.01

FAST = ("basic", "conv_xds_beam", "custom_vectors", "cell_triclinic", "dispersion", "phi_zero_osc", "thick_5")
TRACED = [
    pytest.param(case["name"], marks=[pytest.mark.slow] * (case["name"] not in FAST))
    for case in CASES
    if "traces" in case
]


def experiment_of(name, mode, *more):
    return nb.experiment_from_args([*case_of(name)["args"], "-mode", mode, *more], INPUTS)


def with_final(golden, experiment):
    """An image for `trace_pixel` that spares the render: compiling one for each case is what takes long."""
    return np.full((experiment.detector.pixels_slow, experiment.detector.pixels_fast), golden["I_pixel_final"])


def golden_traces(name):
    """(pixel, golden trace) of each trace of a case."""
    return [((record["slow"], record["fast"]), trace_of(record)) for record in case_of(name)["traces"]]


def strict(found):
    """The rows that differ by more than the tolerance, or more than the wider one where that applies."""
    small = [row for row in found.rows if row.name.startswith("F_latt") and abs(row.a) < SMALL_FACTOR]
    return [
        (row.name, row.step, row.a, row.b)
        for row in found.rows
        if not row.relative <= (AFTER_CANCELLATION if row in small else GOLDEN_TOLERANCE)
    ]


def product(trace):
    """The final value from the sum and the factors that are not in it already."""
    factors = [n for n in ("capture_fraction", "polar", "omega_pixel") if n not in trace.factors_in_sum]
    scale = trace["r_e_sqr"] * trace["fluence_photons_per_m2"] / trace["steps"]
    return scale * trace["I_before_scaling"] * np.prod([trace[n] for n in factors]) + trace.values.get(
        "background_photons", 0.0
    )


@pytest.mark.parametrize("name", TRACED)
def test_c_parity_is_the_references_trace(name):
    experiment = experiment_of(name, "c-parity")
    for pixel, golden in golden_traces(name):
        trace = trace_pixel(experiment, *pixel, "c-parity", image=with_final(golden, experiment))
        found = compare_traces(golden, trace, GOLDEN_TOLERANCE)
        assert found.sentence() == "first difference: none"
        assert not found.only_in_a
        assert len(found.rows) == len(golden.values) + sum(len(step) for step in golden.phi_steps)
        assert product(trace) == pytest.approx(golden["I_pixel_final"], rel=GOLDEN_TOLERANCE)


@pytest.mark.parametrize("name", TRACED)
def test_spec_differs_first_where_the_quirk_is(name):
    """At the φ = 0 step exactly in the cases whose quirk is phi0, and there in all pixels but the first rendered."""
    experiment = experiment_of(name, "spec")
    expected = {None: None, "phi0": 0, "triclinic_cell": "rot_a_star_A_inv", "thick_last_layer": "I_before_scaling"}
    quirk = case_of(name).get("quirk")
    for pixel, golden in golden_traces(name):
        trace = trace_pixel(experiment, *pixel, "spec", image=with_final(golden, experiment))
        found = compare_traces(golden, trace)
        first = found.first
        if quirk is None or (quirk == "phi0" and pixel == (0, 0)):
            assert first is None
        elif quirk == "phi0":
            assert first.step == 0 and golden.phi_steps[0]["phi_deg"] == 0.0
            assert first.name == "rot_a_angstroms"
            beyond = [row for row in found.rows if row.step and row.relative > found.tolerance]
            assert not beyond, "later φ steps agree"
        else:
            assert first.name == expected[quirk] and first.step is None
    assert quirk in expected


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["spec", "c-parity"])
@pytest.mark.parametrize("name", [param.values[0] for param in TRACED])
def test_golden_traces_end_in_the_image(name, mode):
    experiment = experiment_of(name, mode)
    image = np.asarray(nb.simulate(experiment, mode))
    for pixel, golden in golden_traces(name):
        trace = trace_pixel(experiment, *pixel, mode)
        assert trace["I_pixel_final"] == image[pixel]
        assert product(trace) == pytest.approx(image[pixel], rel=1e-12)
        if mode in case_of(name)["modes"]:
            assert trace["I_pixel_final"] == pytest.approx(golden["I_pixel_final"], rel=GOLDEN_TOLERANCE)


def test_a_wrong_trace_is_found():
    """The comparison fails on a golden trace with one number changed by more than the tolerance."""
    for (_, golden), name in zip(golden_traces("phi_zero_osc")[1:], ("F_latt_b", "hkl_frac", "polar"), strict=True):
        value = golden.values[name]
        changed = tuple(x * (1 + 3e-9) for x in value) if isinstance(value, tuple) else value * (1 + 3e-9)
        wrong = replace(golden, values={**golden.values, name: changed})
        assert compare_traces(golden, wrong, GOLDEN_TOLERANCE).first.name == name
        assert compare_traces(golden, wrong).first is None
    step = {**golden.phi_steps[4], "F_latt": 1.001 * golden.phi_steps[4]["F_latt"]}
    wrong = replace(golden, phi_steps=[*golden.phi_steps[:4], step, *golden.phi_steps[5:]])
    assert "F_latt at phi step 4 (phi = 0.4 deg)" in compare_traces(golden, wrong).sentence()


# A small experiment for everything that the golden traces do not show.
SMALL = (
    "-mat A.mat -lambda 1.2 -detpixels_x 14 -detpixels_y 11 -pixel 3 -distance 60 -N 3 -default_F 100 -oversample 1"
).split()


def small(*more):
    return nb.experiment_from_args([*SMALL, *more], INPUTS)


VARIANTS = {
    "sub-pixels, sources, layers, water": (
        "-oversample 2 -oversample_omega -oversample_polar -phi 0 -phisteps 2 -osc 1 -dispersion 1 -dispsteps 2 "
        "-detector_abs 300 -detector_thick 450 -detector_thicksteps 2 -water 20"
    ),
    "dmin, mosaic": "-dmin 2 -mosaic 0.5 -mosaic_dom 3 -phi 0 -phisteps 3 -osc 2 -detector_roty 15",
}
VARIANT_RUNS = [pytest.param(flags, id=n, marks=[pytest.mark.slow] * ("dmin" in n)) for n, flags in VARIANTS.items()]


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
@pytest.mark.parametrize("flags", VARIANT_RUNS)
def test_the_final_value_is_the_pixel_of_the_image(flags, mode):
    experiment = small(*flags.split())
    image = np.asarray(nb.simulate(experiment, mode))
    for pixel in ((0, 0), (5, 6), (8, 13)):
        trace = trace_pixel(experiment, *pixel, mode)
        assert trace["I_pixel_final"] == image[pixel]
        assert product(trace) == pytest.approx(image[pixel], rel=1e-12)
        assert len(trace.phi_steps) == experiment.goniometer.phi_steps * experiment.detector.thickness_steps
    assert np.ptp(image) > 0


def test_consecutive_pixels_show_the_hand_over():
    experiment = experiment_of("phi_zero_osc", "c-parity", "-roi", "10", "12", "30", "31")
    image = np.zeros((96, 120))
    first, second, next_row = (
        trace_pixel(experiment, *pixel, "c-parity", image=image) for pixel in ((30, 10), (30, 11), (31, 10))
    )
    assert first.carried.used and first.carried.source is None
    assert second.carried.source == (30, 10) and next_row.carried.source == (30, 12)
    assert second.carried.inherits == first.carried.leaves
    for name in ("rot_a_angstroms", "rot_b_angstroms", "rot_c_angstroms"):
        assert second[name] == first.phi_steps[-1][name] != first[name]
    assert [step["rotated"] for step in second.phi_steps] == [0] + [1] * 9
    assert "pixel slow 30, fast 10 left" in second.text()
    spec = trace_pixel(experiment, 30, 11, "spec", image=image)
    assert spec.carried is None and all(step["rotated"] for step in spec.phi_steps)


@pytest.mark.slow
def test_a_step_of_angle_zero_amid_others_takes_the_step_before_it():
    experiment = small(*"-phi -1 -osc 3 -phisteps 3".split())
    image = np.zeros((11, 14))
    trace = trace_pixel(experiment, 5, 6, "c-parity", image=image)
    assert [step["rotated"] for step in trace.phi_steps] == [1, 0, 1]
    assert trace.phi_steps[1]["rot_a_angstroms"] == trace.phi_steps[0]["rot_a_angstroms"]
    assert not trace.carried.used
    stale = trace_pixel(small(*"-phi 0 -osc 1 -phisteps 3".split()), 5, 6, "c-parity", image=image)
    assert stale.carried.used


@pytest.mark.slow
def test_the_source_is_the_last_pixel_sampled_before():
    """Masked pixels, and pixels of which dmin leaves no sample, hand nothing over."""
    cut = small(*"-dmin 4 -phi 0 -osc 1 -phisteps 3".split())
    image = nb.simulate(cut, "c-parity")
    sampled = np.argwhere(np.asarray(image) > 0)
    assert 40 < len(sampled) < image.size - 40
    assert sampled[0].tolist() != [0, 0], "the first pixel is beyond dmin"
    for before, pixel in zip([None, *sampled[:-1]], sampled, strict=True):
        if before is None or before[0] != pixel[0] or pixel[1] == 6:
            trace = trace_pixel(cut, *map(int, pixel), "c-parity", image=image)
            assert trace.carried.source == (None if before is None else tuple(before))
    dark = trace_pixel(cut, 0, 0, "c-parity", image=image)
    assert dark["polar"] == 0.0 and not dark.carried.used and not dark.phi_steps[0]["kept"]

    mask = np.ones((11, 14), bool)
    mask[5, 3:6] = False
    masked = eqx.tree_at(lambda e: e.sampling.mask, small(), mask, is_leaf=lambda x: x is None)
    trace = trace_pixel(masked, 5, 6, "c-parity", image=image)
    assert trace.carried.source == (5, 2)
    with pytest.raises(InputError, match="mask leaves it out"):
        trace_pixel(masked, 5, 4, "c-parity", image=image)


@pytest.mark.slow
def test_interpolation_that_an_earlier_pixel_turned_off():
    name = "hkl_interpolate_latch"
    experiment = experiment_of(name, "c-parity")
    image = np.asarray(nb.simulate(experiment, "c-parity"))
    shape = image.shape
    last = trace_pixel(experiment, shape[0] - 1, shape[1] - 1, "c-parity", image=image)
    ended_at = last.carried.interpolation_ended_at
    at = trace_pixel(experiment, *ended_at, "c-parity", image=image)
    assert at.carried.interpolates_before and not at.carried.interpolates_after
    assert "turned off by this pixel" in at.text()
    row, column = ended_at
    after = (row, column + 1) if column + 1 < shape[1] else (row + 1, 0)
    later = trace_pixel(experiment, *after, "c-parity", image=image)
    assert later.carried.interpolation_ended_at == ended_at and not later.carried.interpolates_before
    assert not any(step["interpolated"] for step in later.phi_steps)
    for trace in (at, later):
        assert product(trace) == pytest.approx(trace["I_pixel_final"], rel=1e-9)


def test_text_and_json_read_back(tmp_path):
    experiment = small(*"-phi 0 -osc 1 -phisteps 3".split())
    image = np.full((11, 14), 1 / 3)
    traces = [trace_pixel(experiment, 5, fast, "c-parity", image=image) for fast in (6, 7)]
    (tmp_path / "one.json").write_text(traces[0].json())
    (tmp_path / "two.json").write_text(json.dumps([trace.as_dict() for trace in traces]))
    (tmp_path / "two.txt").write_text("\n".join(trace.text() for trace in traces))
    for file in ("one.json", "two.json", "two.txt"):
        for trace, found in zip(traces, read_traces(tmp_path / file), strict=False):
            assert (found.slow, found.fast) == (trace.slow, trace.fast)
            assert dict(found.values) == dict(trace.values)
            assert [dict(step) for step in found.phi_steps] == [dict(step) for step in trace.phi_steps]
            assert compare_traces(trace, found, 0.0).first is None
    known = [name for name in traces[0].values if name in NAMES]
    assert known == sorted(known, key=NAMES.index) and set(GEOMETRY) <= set(known)
    assert json.loads(traces[1].json())["carried"]["source"] == [5, 6]


BAD = {
    "off the detector": ((11, 0), {}, "pixel slow 11, fast 0 is not on the detector of 11 x 14 pixels"),
    "negative": ((0, -1), {}, "not on the detector"),
    "outside the roi": ((0, 0), {"roi": (2, 5, 2, 5)}, "outside the region of interest"),
    "mode": ((0, 0), {"mode": "c"}, "mode must be one of spec, c-parity, got 'c'"),
    "image": ((0, 0), {"image": np.zeros((3, 3))}, "detector's shape"),
}


@pytest.mark.parametrize("pixel, change, message", BAD.values(), ids=BAD)
def test_bad_requests(pixel, change, message, unchecked):
    experiment = small("-roi", *map(str, (2, 5, 2, 5))) if "roi" in change else small()
    with pytest.raises(InputError, match=message):
        trace_pixel(experiment, *pixel, change.get("mode", "spec"), image=change.get("image", np.zeros((11, 14))))


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(INPUTS)
    target = tmp_path / "trace.json"
    asked = ["--pixel", "5", "6", "--mode", "c-parity", "--roi", "6", "7", "5", "5", "--json", str(target)]
    assert main([*asked, "--", *SMALL]) == 0
    output = capsys.readouterr()
    assert "note: -oversample 1" in output.err and "\nhkl_frac " in output.out
    (trace,) = read_traces(target)
    assert trace.mode == "c-parity" and (trace.slow, trace.fast) == (5, 6)
    assert json.loads(target.read_text())["carried"]["source"] is None


WRONG_LINES = {
    "no flags": (["--pixel", "0", "0"], "they follow after --"),
    "no crystal": (["--pixel", "0", "0", "--", "-default_F", "1"], "give a crystal"),
    "unknown flag": (["--pixel", "0", "0", "--", "-lamda", "1"], "did you mean"),
    "no such folder": (["--pixel", "0", "0", "--json", "no/where.json", "--", *SMALL], "does not exist"),
    "roi": (["--pixel", "0", "0", "--roi", "1", "99", "1", "2", "--", *SMALL], "-roi 1 99 1 2"),
}


@pytest.mark.parametrize("line, message", WRONG_LINES.values(), ids=WRONG_LINES)
def test_command_with_wrong_lines(line, message, monkeypatch, capsys):
    monkeypatch.chdir(INPUTS)
    assert main(line) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.splitlines()[-1].startswith("error: ") and message in output.err


FULL_FRAMES = {"pilatus": (GOLDEN / "pilatus", INPUTS), "supervisor": (SUPERVISOR, SUPERVISOR)}


@pytest.mark.parametrize("name", [pytest.param("pilatus"), pytest.param("supervisor", marks=pytest.mark.slow)])
def test_traces_of_the_full_frames(name):
    """What c-parity hands over, and what spec has in its place, where the slip was found first."""
    place, inputs = FULL_FRAMES[name]
    path = place / f"{name}.json"
    if not path.exists():
        if name == "supervisor":
            pytest.skip(f"the inputs of others, which are not shipped, are not at {place}")
        absent(path)
    for run in json.loads(path.read_text())["runs"]:
        mode = run["mode"]
        experiment = nb.experiment_from_args([*run["args"], "-mode", mode], inputs)
        for record in run["traces"]:
            golden, slow, fast = trace_of(record), record["slow"], record["fast"]
            # The reference was given a start of 1e-12 degrees to make it rotate at φ = 0 too.
            steps = [{**step, "phi_deg": round(step["phi_deg"], 9)} for step in golden.phi_steps]
            trace = trace_pixel(experiment, slow, fast, mode, image=with_final(golden, experiment))
            found = compare_traces(replace(golden, phi_steps=steps), trace)
            assert found.sentence() == "first difference: none"
            assert not strict(found) and not found.only_in_a
            assert product(trace) == pytest.approx(golden["I_pixel_final"], rel=GOLDEN_TOLERANCE)
            if mode == "c-parity":
                before = slow * 2463 + fast - 1
                assert trace.carried.used and trace.carried.source == (divmod(before, 2463) if before >= 0 else None)


def test_golden_traces_are_there():
    if not CASES:
        absent(GOLDEN / "cases.json")
    assert len(TRACED) == 27 and set(FAST) <= {param.values[0] for param in TRACED}
    assert len(images_of("phi_zero_osc")["float"]) == 96


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "polarized"), [("spec", False), ("c-parity", True)])
def test_nopolar_beside_oversample_polar(mode, polarized):
    """The factor that c-parity multiplies with is in the trace; spec has none."""
    name, pixel = "nopolar_oversample_polar_1x1", (40, 60)
    experiment = experiment_of(name, mode, "-nopolar")
    trace = trace_pixel(experiment, *pixel, mode)
    assert trace["polar"] == pytest.approx(kahn_factor_of(trace) if polarized else 1.0, rel=1e-12)
    assert (trace["polar"] != 1.0) == polarized
    assert product(trace) == pytest.approx(trace["I_pixel_final"], rel=1e-9)
    if mode == "c-parity":
        assert np.float32(trace["I_pixel_final"]) == pytest.approx(images_of(name)["float"][pixel], rel=1e-6)


def kahn_factor_of(trace):
    """The polarisation factor of Kahn factor 0.9 with p along z and the beam along x, from the trace's directions."""
    _, y, z = trace["diffracted_vec"]
    cosine = trace["cos_2theta"]
    return 0.5 * (1 + cosine**2 - 0.9 * (z * z - y * y))


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "factor"), [("spec", 216 * 0.723601254558268), ("c-parity", 0.0)])
def test_the_middle_of_a_round_spot(mode, factor):
    """At the direct beam, where the reference's formula cancels to nothing."""
    trace = trace_pixel(experiment_of("round_direct_beam_phi", mode), 21, 23, mode)
    assert max(map(abs, trace["hkl_frac"])) < 1e-12
    assert trace["F_latt"] == pytest.approx(factor, rel=1e-12)
    assert [step["F_latt"] for step in trace.phi_steps] == pytest.approx([factor] * 3, rel=1e-12)
    assert (trace["I_pixel_final"] > 0) == (mode == "spec")
