import json

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from expt_files import IDENTITY, REAL, SQUARE, crystal, experiment_list, panel, turn, write
from jaxtyping import TypeCheckError

from nanobrag_jax.beam import Beam, polarization_factor, polarization_frame
from nanobrag_jax.command.assemble import experiment_from_args
from nanobrag_jax.crystal import Crystal, real_basis
from nanobrag_jax.detector import Detector, detector_frame
from nanobrag_jax.dials.from_experiment import to_expt
from nanobrag_jax.dials.read import read_expt, read_one_expt
from nanobrag_jax.dials.to_experiment import beam_from_expt, detector_from_expt, experiment_from_expt
from nanobrag_jax.dials.write import write_expt
from nanobrag_jax.errors import InputError
from nanobrag_jax.experiment import Experiment, Sampling, completed
from nanobrag_jax.goniometer import Goniometer, phi_rotated
from nanobrag_jax.io.spectrum import make_spectrum
from nanobrag_jax.numerics.vectors import Vec3, unit
from nanobrag_jax.panels import split_panels
from nanobrag_jax.reference.slips import slips_of
from nanobrag_jax.render.simulate import simulate
from nanobrag_jax.structure_factors import StructureFactors

EXACT = 1e-12
"""Geometry is a handful of products in double precision."""
IMAGE = 1e-9
"""Of an image's maximum, between two descriptions of one geometry: rounding times the steepness of a spot."""

FACTORS = StructureFactors(default_F=100.0)


def load(tmp_path, document, **options) -> Experiment:
    options = {"phi_sampling": "start"} | options
    return experiment_from_expt(write(tmp_path / "a.expt", document), FACTORS, **options)


def real_vectors(experiment: Experiment):
    """Rows a, b, c (Å) at the start of the image."""
    return np.asarray(phi_rotated(real_basis(experiment.crystal), completed(experiment).goniometer))[0]


def corner(experiment: Experiment, index: int = 0):
    """Corner (mm), fast, slow and normal of a panel."""
    frame = detector_frame(split_panels(experiment.detector)[index], experiment.beam)
    return [np.asarray(v) for v in (frame.pix0 * 1e3, frame.fast, frame.slow, frame.normal)]


def test_an_early_file(tmp_path):
    experiment = load(tmp_path, experiment_list(), image=4, phi_steps=3)
    origin, fast, slow, normal = corner(experiment)
    np.testing.assert_allclose(origin, SQUARE["origin"], atol=EXACT)
    np.testing.assert_allclose([fast, slow, normal], [[1, 0, 0], [0, -1, 0], [0, 0, -1]], atol=EXACT)
    detector, beam, goniometer = experiment.detector, experiment.beam, experiment.goniometer
    assert (detector.pixels_fast, detector.pixels_slow, float(detector.pixel_size_mm)) == (32, 24, 0.2)
    assert detector.thickness_um is None and detector.convention == "custom"
    np.testing.assert_allclose(beam.direction, [0, 0, -1])
    assert float(beam.wavelength_A) == 0.9 and float(beam.kahn_factor) == pytest.approx(0.998)
    assert abs(float(beam.polarization_vector[0])) == pytest.approx(1.0)
    assert (float(goniometer.phi_deg), float(goniometer.osc_deg), goniometer.phi_steps) == (10.5, 0.5, 3)
    np.testing.assert_allclose(real_vectors(experiment), REAL @ turn([1, 0, 0], 10.5).T, atol=1e-11)


def test_a_still_and_its_cell(tmp_path):
    experiment = load(tmp_path, experiment_list(still=True))
    assert (float(experiment.goniometer.osc_deg), experiment.goniometer.phi_steps) == (0.0, 1)
    np.testing.assert_allclose(real_vectors(experiment), REAL, atol=1e-11)
    np.testing.assert_allclose(experiment.crystal.cell_lengths_A, np.linalg.norm(REAL, axis=1), rtol=EXACT)


SCANS = [
    ("older", {"oscillation": [10.0, 0.5], "exposure_time": [0.1, 0.1, 0.1], "epochs": [0.0, 0.1, 0.2]}, 5, 11.0, 0.5),
    ("properties", {"properties": {"oscillation": [10.0, 10.5, 11.0], "exposure_time": [0.1] * 3}}, 4, 10.5, 0.5),
    ("last of properties", {"properties": {"oscillation": [10.0, 10.5, 11.2]}}, 5, 11.2, 0.7),
    ("stills", {"properties": {"exposure_time": [0.1] * 3}}, 3, 0.0, 0.0),
    ("nothing", {}, None, 0.0, 0.0),
]


@pytest.mark.parametrize("name, timing, image, start, width", SCANS, ids=[s[0] for s in SCANS])
def test_scans_of_all_years(tmp_path, name, timing, image, start, width):
    scan = {"image_range": [3, 5], "batch_offset": 0, "valid_image_ranges": {}} | timing
    goniometer = load(tmp_path, experiment_list(scan=scan), image=image).goniometer
    assert float(goniometer.phi_deg) == pytest.approx(start) and float(goniometer.osc_deg) == pytest.approx(width)
    assert goniometer.phi_steps == (2 if width else 1)


@pytest.mark.parametrize("properties", [{"oscillation_width": [0.25]}, {}])
def test_a_scan_of_one_image(tmp_path, properties):
    scan = {"image_range": [1, 1], "properties": {"oscillation": [7.0]} | properties}
    goniometer = load(tmp_path, experiment_list(scan=scan)).goniometer
    assert (float(goniometer.phi_deg), float(goniometer.osc_deg)) == (7.0, 0.25 if properties else 0.0)


def test_fixed_and_setting_rotations(tmp_path):
    setting, fixed, axis = turn([0, 1, 1], 30.0), turn([1, 0, 2], -20.0), np.array([0.6, 0.8, 0.0])
    goniometer = {
        "rotation_axis": axis.tolist(),
        "setting_rotation": setting.reshape(-1).tolist(),
        "fixed_rotation": fixed.reshape(-1).tolist(),
    }
    experiment = load(tmp_path, experiment_list(goniometer=goniometer), image=5)
    expected = setting @ turn(axis, 11.0) @ fixed
    np.testing.assert_allclose(real_vectors(experiment), REAL @ expected.T, atol=1e-10)


@pytest.mark.parametrize("scan_axis", [0, 1, 2])
def test_multi_axis_goniometer(tmp_path, scan_axis):
    axes, angles = [[1.0, 0, 0], [0.9, 0.1, -0.3], [2.0, 0, 0]], [12.0, -34.0, 56.0]
    goniometer = {"axes": axes, "angles": angles, "names": ["phi", "kappa", "omega"], "scan_axis": scan_axis}
    experiment = load(tmp_path, experiment_list(goniometer=goniometer))
    angles[scan_axis] = 10.0
    expected = np.eye(3)
    for axis, angle in zip(axes, angles, strict=True):
        expected = turn(axis, angle) @ expected
    np.testing.assert_allclose(real_vectors(experiment), REAL @ expected.T, atol=1e-10)


def test_models_refined_along_the_scan(tmp_path):
    points = [np.linalg.inv(REAL * (1 + 0.001 * i)).reshape(-1).tolist() for i in range(4)]
    moved = [(np.array([0.001 * i, 0.0, -1.0]) / 0.9).tolist() for i in range(4)]
    document = experiment_list(
        crystal=crystal(A_at_scan_points=points),
        beam={"direction": [0.0, 0.0, 1.0], "wavelength": 0.9, "s0_at_scan_points": moved},
    )
    experiment = load(tmp_path, document, image=4)
    expected = REAL * 1.0015 @ turn([1, 0, 0], 10.5).T
    np.testing.assert_allclose(real_vectors(experiment), expected, rtol=1e-6)
    np.testing.assert_allclose(experiment.beam.direction, np.array([0.0015, 0.0, -1.0]), atol=2e-6)


def test_hierarchy_is_composed(tmp_path):
    """Two levels of groups: x F + y S + z N + O of the group, the group's likewise in the root's frame."""
    root, group, leaf = turn([1, 2, 3], 20.0), turn([0, 1, 0], -35.0), turn([1, 0, 1], 10.0)
    origins = np.array([1.0, 2.0, -90.0]), np.array([5.0, -4.0, 3.0]), np.array([-2.0, 1.0, 0.5])

    def node(matrix, origin, **more):
        named = zip(("fast_axis", "slow_axis", "origin"), (matrix[:, 0], matrix[:, 1], origin), strict=True)
        return {"name": "", "type": ""} | {key: v.tolist() for key, v in named} | more

    children = [node(group, origins[1], children=[{"panel": 1}]), {"panel": 0}]
    detector = {
        "panels": [panel(), panel(**node(leaf, origins[2]))],
        "hierarchy": node(root, origins[0], children=children),
    }
    experiment = load(tmp_path, experiment_list(detector=detector))
    origin, fast, slow, _ = corner(experiment, 1)
    np.testing.assert_allclose(np.stack([fast, slow]).T, (root @ group @ leaf)[:, :2], atol=EXACT)
    np.testing.assert_allclose(origin, root @ (group @ origins[2] + origins[1]) + origins[0], atol=1e-11)
    origin, fast, _, _ = corner(experiment, 0)
    np.testing.assert_allclose(origin, root @ SQUARE["origin"] + origins[0], atol=1e-11)
    np.testing.assert_allclose(fast, root[:, 0], atol=EXACT)


def test_sensor_gain_and_trusted_range(tmp_path):
    strategy = {"type": "ParallaxCorrectedPxMmStrategy", "mu": 3.9, "t0": 0.45}
    response = {"gain": 1.5, "pedestal": 10.0, "trusted_range": [-1.0, 1e6], "mask": [[0, 0, 2, 3]]}
    sensor = {"thickness": 0.32, "mu": 4.0, "material": "Si", "px_mm_strategy": strategy}
    full = panel(raw_image_offset=[4, 5], identifier="S/N 7", **response, **sensor)
    path = write(tmp_path / "a.expt", experiment_list(detector={"panels": [full]}))
    record, count = read_one_expt(path)
    (read,) = record.detector
    assert count == 1
    assert (read.gain, read.pedestal, read.trusted_range, read.material) == (1.5, 10.0, (-1.0, 1e6), "Si")
    assert (read.raw_image_offset, read.mask, read.identifier, read.parallax) == (
        (4, 5),
        ((0, 0, 2, 3),),
        "S/N 7",
        True,
    )
    detector = experiment_from_expt(path, FACTORS, thickness_steps=4).detector
    assert float(detector.thickness_um) == pytest.approx(450.0) and detector.thickness_steps == 4
    assert float(detector.attenuation_depth_um) == pytest.approx(1e3 / 3.9)


@pytest.mark.parametrize("fraction", [1.0, 0.9, 0.5, 0.0])
def test_polarisation(tmp_path, fraction):
    """A fraction f with E along one direction and 1 - f along the other, each scattering sin² of the angle to E."""
    normal, source = np.array([0.1, 1.0, 0.2]), np.array([0.02, -0.01, 1.0])
    beam = {"direction": source.tolist(), "wavelength": 1.0, "polarization_normal": normal.tolist()}
    made = load(tmp_path, experiment_list(beam=beam | {"polarization_fraction": fraction})).beam
    electric = np.cross(normal, source)
    electric /= np.linalg.norm(electric)
    other = np.cross(electric, source / np.linalg.norm(source))
    d = np.array([0.5, -0.3, -0.8]) / np.linalg.norm([0.5, -0.3, -0.8])
    expected = fraction * (1 - (d @ electric) ** 2) + (1 - fraction) * (1 - (d @ other) ** 2)
    incident = unit(made.direction)
    frame = polarization_frame(incident, unit(made.polarization_vector))
    got = polarization_factor(made.kahn_factor, incident, frame, Vec3(*jnp.asarray(d)))
    assert float(got) == pytest.approx(expected, rel=EXACT)


def test_polarisation_as_diffbragg_has_it(tmp_path):
    beam = {"direction": [0.0, 0.0, 1.0], "wavelength": 1.0, "polarization_fraction": 0.9}
    (tmp_path / "one.expt").write_text(json.dumps(experiment_list(beam=beam)))
    for means, kahn in (("dials", 0.8), ("diffbragg", 0.9)):
        made = experiment_from_expt(tmp_path / "one.expt", FACTORS, polarization=means)
        assert float(made.beam.kahn_factor) == pytest.approx(kahn)
        args = ["-expt", "one.expt", "-default_F", "20", "-expt_polarization", means]
        assert float(experiment_from_args(args, tmp_path).beam.kahn_factor) == pytest.approx(kahn)
    refused = "polarization must be one of dials, diffbragg, got 'mine'|parameter 'polarization'"
    with pytest.raises((InputError, TypeCheckError), match=refused):
        experiment_from_expt(tmp_path / "one.expt", FACTORS, polarization="mine")


def test_experiments_of_many_and_models_inline(tmp_path):
    document = experiment_list()
    document["beam"].append(
        {"__id__": "monochromatic", "direction": [0.0, 0.0, 1.0], "wavelength": 1.3, "probe": "x-ray"}
    )
    inline = dict(document["experiment"][0], beam=1, crystal=crystal(mosaicity=0.2), identifier="second")
    document["experiment"].append(inline)
    assert float(load(tmp_path, document, index=1).beam.wavelength_A) == 1.3
    first, second = read_expt(tmp_path / "a.expt")
    assert first.detector is second.detector and first.beam is not second.beam
    assert (second.crystal.mosaicity_deg, second.identifier, first.crystal.mosaicity_deg) == (0.2, "second", None)


def test_arguments_win_over_the_file(tmp_path):
    options = {"n_cells": (5, 6, 7), "misset_deg": (1.0, 2.0, 3.0)}
    experiment = load(tmp_path, experiment_list(), crystal=options, beam={"wavelength_A": 1.1, "fluence_per_m2": 1e20})
    assert float(experiment.beam.wavelength_A) == 1.1 and float(experiment.beam.fluence_per_m2) == 1e20
    assert experiment.crystal.n_cells.tolist() == [5, 6, 7]


def test_laue_beam_with_a_spectrum(tmp_path):
    beam = {"__id__": "polychromatic", "direction": [0.0, 0.0, 1.0], "wavelength_range": [0.9, 1.2]}
    spectrum = make_spectrum([0.9, 1.0, 1.2], [1.0, 2.0, 1.0])
    made = load(tmp_path, experiment_list(beam=beam), spectrum=spectrum).beam
    assert made.num_sources == 3 and float(made.wavelength_A) == pytest.approx(1.025)


FLIPPED = {"fast_axis": [1.0, 0.0, 0.0], "slow_axis": [0.0, 1.0, 0.0], "origin": [-3.2, -2.4, -80.0]}


@pytest.mark.parametrize("places", [[SQUARE], [FLIPPED], [SQUARE, FLIPPED]], ids=["away", "towards", "both"])
def test_normals_point_away_and_both_modes_agree_on_the_place(tmp_path, places):
    experiment = load(tmp_path, experiment_list(detector={"panels": [panel(**place) for place in places]}))
    for place, detector in zip(places, split_panels(experiment.detector), strict=True):
        frames = [detector_frame(detector, experiment.beam, slips_of(mode)) for mode in ("spec", "c-parity")]
        for frame in frames:
            np.testing.assert_allclose(frame.pix0 * 1e3, place["origin"], atol=1e-11)
            np.testing.assert_allclose(frame.normal, [0, 0, -1], atol=EXACT)
            assert float(frame.close_distance) == pytest.approx(0.08) and float(frame.distance) == pytest.approx(0.08)


def changed(**models):
    return experiment_list(**models)


def without(kind):
    document = experiment_list()
    del document["experiment"][0][kind]
    return document


def with_panel(**more):
    return experiment_list(detector={"panels": [panel(), panel(**more)]})


TREE = {"fast_axis": [1.0, 0, 0], "slow_axis": [0, 1.0, 0], "origin": [0.0, 0, 0]}


def wave(**beam):
    return experiment_list(beam={"direction": [0, 0, 1]} | beam)


def tree(*children):
    return experiment_list(detector={"panels": [panel()], "hierarchy": TREE | {"children": list(children)}})


ERRORS = [
    ("not json", "{'a': 1", {}, r"experiment list .* is not JSON"),
    ("a list", "[1, 2]", {}, r"is no DIALS experiment list: its __id__ is None"),
    ("other id", {"__id__": "DataBlock"}, {}, r"its __id__ is 'DataBlock', not 'ExperimentList'"),
    ("empty", {"__id__": "ExperimentList", "experiment": []}, {}, r"holds no experiments"),
    ("index", changed(), {"index": 2}, r"has 1 experiments, numbered from 0: there is no 2"),
    ("image", changed(), {"image": 9}, r"has images 3 to 5, there is no 9"),
    ("no crystal", without("crystal"), {}, r"experiment 0 of .* has no crystal"),
    ("no beam", without("beam"), {}, r"experiment 0 of .* has no beam"),
    ("no detector", without("detector"), {}, r"experiment 0 of .* has no detector"),
    ("missing model", changed() | {"beam": []}, {}, r"experiment 0 names beam 0, but there are 0"),
    ("no wavelength", wave(), {}, r"beam 0 has no wavelength"),
    ("no direction", changed(beam={"wavelength": 1.0}), {}, r"beam 0 has no direction"),
    ("negative wavelength", wave(wavelength=-1.0), {}, r"wavelength must be positive"),
    ("laue", wave(wavelength_range=[0.9, 1.2]), {}, r"polychromatic beam, 0.9 to 1.2 A: give a spectrum"),
    ("electrons", wave(wavelength=0.02, probe="electron"), {}, r"beam of electrons: only X-rays"),
    ("no length", wave(direction=[0, 0, 0], wavelength=1.0), {}, r"direction must have a direction, got 0"),
    ("two numbers", wave(direction=[0, 1], wavelength=1.0), {}, r"direction must be 3 numbers, got '\[0, 1\]'"),
    ("fraction", wave(wavelength=1.0, polarization_fraction=1.5), {}, r"polarization_fraction must be from 0 to 1"),
    ("flat", changed(crystal=crystal(real_space_c=(REAL[0] + REAL[1]).tolist())), {}, r"do not span space"),
    ("short crystal", changed(crystal={"real_space_a": [1, 0, 0]}), {}, r"crystal 0 has no real_space_b"),
    ("no panels", changed(detector={"panels": []}), {}, r"detector 0 has no panels"),
    ("zero panel", with_panel(image_size=[0, 24]), {}, r"panel 1: image_size must be two whole .*, got '\[0, 24\]'"),
    ("zero pixel", with_panel(pixel_size=[0.0, 0.2]), {}, r"panel 1: pixel_size must be two positive numbers"),
    ("oblong", with_panel(pixel_size=[0.1, 0.2]), {}, r"panel 1 has pixels of 0.1 x 0.2 mm: only square"),
    ("skew", with_panel(slow_axis=[0.5, 1.0, 0.0]), {}, r"panel 1: fast_axis and slow_axis must be perpendicular"),
    ("edge-on", with_panel(slow_axis=[0.0, 0.0, 1.0], origin=[1.0, 0, -80]), {}, r"the plane of panel 1"),
    ("negative mu", with_panel(thickness=0.3, mu=-1.0), {}, r"panel 1: thickness and mu must be zero or positive"),
    ("no leaf", tree(), {}, r"does not place panel 0"),
    ("odd leaf", tree({"panel": 4}), {}, r"hierarchy names panel 4, but there are 1"),
    ("scan backwards", changed(scan={"image_range": [5, 3]}), {}, r"image_range must be first and last image"),
    (
        "scan short",
        changed(scan={"image_range": [1, 3], "properties": {"oscillation": [1.0]}}),
        {},
        r"oscillation must be 3 numbers",
    ),
    (
        "scan axis",
        changed(goniometer={"axes": [[1, 0, 0]], "angles": [0.0], "scan_axis": 1}),
        {},
        r"scan_axis 1 must be one of 1 axes",
    ),
]


@pytest.mark.parametrize("document, options, message", [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS])
def test_files_that_cannot_be_used(tmp_path, document, options, message):
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, document, **options)
    assert "\n" not in str(caught.value) and "a.expt" in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read experiment list .*none.expt': No such file"):
        read_expt(tmp_path / "none.expt")


def tilted(convention: str) -> Experiment:
    return Experiment(
        crystal=Crystal((40.0, 50.0, 60.0), (80.0, 95.0, 105.0), misset_deg=(20.0, 30.0, 40.0), n_cells=(6, 5, 4)),
        beam=Beam(1.1, kahn_factor=0.7),
        detector=Detector(
            26, 20, pixel_size_mm=0.5, distance_mm=40.0, convention=convention, rotations_deg=(4.0, -7.0, 3.0),
            twotheta_deg=6.0, thickness_um=300.0, attenuation_depth_um=250.0, thickness_steps=2,
        ),
        goniometer=Goniometer(15.0, 1.0, phi_steps=2),
        structure_factors=FACTORS,
        sampling=Sampling(1, oversample_polar=True, oversample_omega=True),
    )  # fmt: skip


@pytest.mark.parametrize("convention", ["mosflm", "dials"])
def test_written_geometry_gives_the_same_image(tmp_path, convention):
    experiment = tilted(convention)
    path = tmp_path / "b.expt"
    to_expt(experiment, path, tmp_path / "shot_0007.img", gain=2.0, pedestal=40.0, trusted_range=(0.0, 6e4))
    options = {"n_cells": (6, 5, 4)}
    back = experiment_from_expt(
        path,
        FACTORS,
        phi_steps=2,
        phi_sampling="start",
        thickness_steps=2,
        crystal=options,
        sampling=experiment.sampling,
    )
    np.testing.assert_allclose(back.beam.direction, [0, 0, -1], atol=EXACT)
    spindle = [0.0, -1.0, 0.0] if convention == "dials" else [1.0, 0.0, 0.0]
    np.testing.assert_allclose(back.goniometer.spindle_axis, spindle, atol=EXACT)
    first, second = simulate(experiment), simulate(back)
    assert float(first.max()) > 0
    np.testing.assert_allclose(second, first, atol=IMAGE * float(first.max()), rtol=1e-6)
    document = json.loads(path.read_text())
    assert document["imageset"][0]["template"] == str(tmp_path / "shot_####.img")
    assert document["scan"][0]["image_range"] == [7, 7] and document["scan"][0]["oscillation"] == [15.0, 1.0]
    written = document["detector"][0]["panels"][0]
    assert (written["gain"], written["pedestal"], written["trusted_range"]) == (2.0, 40.0, [0.0, 6e4])
    assert written["px_mm_strategy"]["type"] == "ParallaxCorrectedPxMmStrategy"


def test_a_still_is_written_as_a_still(tmp_path):
    experiment = eqx.tree_at(lambda e: e.goniometer, tilted("mosflm"), Goniometer(15.0, spindle_axis=(0, 0, 1)))
    path = tmp_path / "still.expt"
    to_expt(experiment, path, "intimage.img", hall_symbol=" P 2ac 2ab")
    document = json.loads(path.read_text())
    assert document["imageset"][0]["__id__"] == "ImageSet" and document["imageset"][0]["images"][0].endswith(
        "intimage.img"
    )
    assert document["scan"] == [] and document["goniometer"] == []
    back = experiment_from_expt(
        path, FACTORS, crystal={"n_cells": (6, 5, 4)}, thickness_steps=2, sampling=experiment.sampling
    )
    first, second = simulate(experiment), simulate(back)
    np.testing.assert_allclose(second, first, atol=IMAGE * float(first.max()), rtol=1e-6)
    assert read_one_expt(path)[0].crystal.hall_symbol == " P 2ac 2ab"


def test_panel_names_and_gains_are_carried_over(tmp_path):
    panels = [panel(name="left", gain=3.0), panel(name="right", origin=[5.0, 2.4, -80.0], mask=[[1, 2, 3, 4]])]
    source = write(tmp_path / "a.expt", experiment_list(detector={"panels": panels}, crystal=crystal(mosaicity=0.1)))
    record, _ = read_one_expt(source)
    to_expt(experiment_from_expt(source, FACTORS), tmp_path / "b.expt", like=record, num_images=3)
    again, _ = read_one_expt(tmp_path / "b.expt")
    for before, after in zip(record.detector, again.detector, strict=True):
        assert (before.name, before.gain, before.mask) == (after.name, after.gain, after.mask)
        np.testing.assert_allclose(before.origin_mm, after.origin_mm, atol=1e-11)
    np.testing.assert_allclose(again.scan.start_deg, [10.0, 10.5, 11.0])
    assert again.imageset is None


def test_unequal_steps_and_all_optional_models_survive_a_round_trip(tmp_path):
    points = [np.linalg.inv(REAL * (1 + 0.001 * i)).reshape(-1).tolist() for i in range(4)]
    document = experiment_list(
        scan={"image_range": [3, 5], "properties": {"oscillation": [10.0, 10.5, 11.2]}},
        crystal=crystal(A_at_scan_points=points, ML_half_mosaicity_deg=0.1, ML_domain_size_ang=2000.0),
        goniometer={
            "rotation_axis": [1, 0, 0],
            "fixed_rotation": IDENTITY,
            "setting_rotation_at_scan_points": [IDENTITY] * 4,
        },
        beam={"direction": [0, 0, 1], "wavelength_range": [0.9, 1.2], "s0_at_scan_points": [[0, 0, -1.0]] * 4},
    )
    first = read_expt(write(tmp_path / "a.expt", document))
    write_expt(tmp_path / "b.expt", first + first)
    one, two = read_expt(tmp_path / "b.expt")
    assert one.crystal is two.crystal
    np.testing.assert_allclose(one.scan.start_deg, [10.0, 10.5, 11.2])
    np.testing.assert_allclose(one.crystal.A_at_scan_points, first[0].crystal.A_at_scan_points)
    assert (one.crystal.half_mosaicity_deg, one.crystal.domain_size_A) == (0.1, 2000.0)
    assert one.beam.wavelength_range_A == (0.9, 1.2) and one.goniometer.setting_at_scan_points.shape == (4, 3, 3)


def test_writing_fails_clearly(tmp_path):
    with pytest.raises(InputError, match=r"needs a number in its name, as in image_0001.img, got 'image.img'"):
        to_expt(tilted("mosflm"), tmp_path / "b.expt", "image.img")
    with pytest.raises(InputError, match="cannot write"):
        to_expt(tilted("mosflm"), tmp_path / "none" / "b.expt")


def test_parts_can_be_taken_alone(tmp_path):
    record, _ = read_one_expt(write(tmp_path / "a.expt", experiment_list(still=True)))
    assert detector_from_expt(record, curved=False).pixels_fast == 32
    assert float(beam_from_expt(record, kahn_factor=0.5).kahn_factor) == 0.5
