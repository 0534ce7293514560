"""Panels moved as rigid bodies: motions, and geometry from many shots."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refine_cases import small_still
from shot_cases import stills, write_hkl

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.dials.read import read_expt
from nanobrag_jax.dials.to_experiment import detector_from_expt
from nanobrag_jax.dials.write import write_expt
from nanobrag_jax.errors import InputError
from nanobrag_jax.refine.command import main
from nanobrag_jax.refine.shots.panel_groups import moved_panels, panel_groups, rotation_of

CORNERS = ((-20.0, -20.0), (0.8, -20.0), (-20.0, 0.8), (0.8, 0.8))
PARAMETERS = (refine.Parameter("crystal.misset_deg", scale=0.1), refine.Parameter("scale", "positive"))


def four_panels() -> nb.Experiment:
    """48 × 48 pixels of 0.4 mm each, around the beam, at 80 mm."""
    still = small_still()
    common = {"pixel_size_mm": 0.4, "convention": "custom", "fast_axis": (1, 0, 0), "slow_axis": (0, 1, 0)}
    panels = [nb.Detector(48, 48, pix0_mm=(x, y, 80.0), **common) for x, y in CORNERS]
    return nb.Experiment(
        crystal=still.crystal,
        beam=nb.Beam(1.8, fluence_per_m2=1e30, direction=(0, 0, 1.0), polarization_vector=(1.0, 0, 0)),
        detector=panels,
        structure_factors=still.structure_factors,
        sampling=nb.Sampling(1),
    )


def displaced(count: int):
    """Shots whose detector is displaced by up to 200 µm and 0.2°, and the motions of its panels."""
    expected = four_panels()
    groups = panel_groups(expected.detector)
    rng = np.random.default_rng(3)
    turns, shifts = np.radians(rng.uniform(-0.2, 0.2, (4, 3))), rng.uniform(-0.2, 0.2, (4, 3))
    motions = np.concatenate([turns, shifts], axis=1)
    true = eqx.tree_at(lambda e: e.detector, expected, groups.moved(expected.detector, jnp.asarray(motions)))
    shots = []
    for k in range(count):
        crystal = expected.crystal.random_orientation(k)
        here = eqx.tree_at(lambda e: e.crystal, true, crystal)
        images = np.random.default_rng(k).poisson(np.asarray(nb.simulate(here)) + 2.0).astype(float)
        off = crystal.misset_deg + 0.03 * rng.normal(size=3)
        start = eqx.tree_at(lambda e: e.crystal, expected, eqx.tree_at(lambda c: c.misset_deg, crystal, off))
        alone = [nb.panel_experiment(here, panel) for panel in range(4)]
        spots = [refine.predict(each, min_photons=20.0) for each in alone]
        data = [
            refine.shoeboxes(each, image, s.slow, s.fast, half_size=4)
            for each, image, s in zip(alone, images, spots, strict=True)
        ]
        panel = np.repeat(np.arange(4), [len(s.hkl) for s in spots])
        boxes = jax.tree.map(lambda *v: jnp.asarray(np.concatenate(v)), *data)
        boxes = eqx.tree_at(lambda d: d.background_index, boxes, jnp.arange(len(panel)))
        hkl = np.concatenate([s.hkl for s in spots])
        center = np.concatenate([np.stack([s.slow, s.fast], axis=1) for s in spots])
        nothing = refine.LeftOut(0, 0, 0, 0)
        shots.append(refine.Shot(str(k), k, 1, None, start, boxes, panel, hkl, np.arange(len(panel)), center, nothing))
    return shots, groups, motions


def apart(found: refine.Geometry, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Errors in µm and degrees without a turn of all panels about the beam, which the crystals' missets make up for."""
    error = found.motions - truth
    turn = np.zeros((4, 6))
    center = np.asarray(found.groups.center_mm)
    turn[:, 2], turn[:, 3], turn[:, 4] = 1.0, -center[:, 1], center[:, 0]
    weight = np.tile(np.r_[[1e4] * 3, [100.0] * 3], 4)
    along, off = turn.ravel() * weight, error.ravel() * weight
    left = error - (along @ off) / (along @ along) * turn
    return left[:, 3:] * 1e3, np.degrees(left[:, :3])


def check(count: int, most_um: float, most_deg: float) -> None:
    shots, _, motions = displaced(count)
    first = [replace(f.shot, experiment=f.experiment) for f in refine.fit_shots(shots, PARAMETERS, outlier_z=None)]
    shared = shots[0].experiment.detector
    first = [replace(s, experiment=eqx.tree_at(lambda e: e.detector, s.experiment, shared)) for s in first]
    found = refine.refine_geometry(first, PARAMETERS)
    assert found.converged, found.verdict
    shifts, turns = apart(found, motions)
    assert np.abs(shifts).max() < most_um and np.abs(turns).max() < most_deg, (shifts, turns)
    assert np.abs(motions[:, 3:]).max() > 0.15 and "4 groups of panels moved by up to" in found.verdict
    again = list(refine.fit_shots(found.shots[:4], PARAMETERS, outlier_z=None))
    assert np.median([f.reduced_chi_square for f in again]) < 1.1


@pytest.mark.slow
def test_displaced_panels_are_found():
    check(12, 10.0, 0.01)


def test_displaced_panels_are_found_from_a_few_shots():
    check(4, 10.0, 0.03)


def test_motions_are_rigid_and_those_of_lists_and_detectors_agree(tmp_path):
    stills(tmp_path, 1)
    (record,) = read_expt(tmp_path / "stills.expt")
    assert record.detector is not None
    detector = detector_from_expt(record)
    groups = panel_groups(detector)
    motion = np.array([[0.01, -0.02, 0.005, 0.3, -0.1, 0.2]])
    moved = groups.moved(detector, jnp.asarray(motion))
    (listed,) = moved_panels(record.detector, groups, motion)
    np.testing.assert_allclose(moved.pix0_mm, listed.origin_mm, atol=1e-9)
    np.testing.assert_allclose(moved.fast_axis, listed.fast_axis, atol=1e-12)
    rotation = np.asarray(rotation_of(jnp.asarray([0.1, 0.15, -0.05])))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    angle = np.arccos((np.trace(rotation) - 1) / 2)
    assert angle == pytest.approx(np.linalg.norm([0.1, 0.15, -0.05]))
    axis = np.array([0.1, 0.15, -0.05])
    np.testing.assert_allclose(rotation @ axis, axis, atol=1e-12)


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="groups must have a number from 0 on for each of 4 panels"):
        panel_groups(four_panels().detector, [0, 0, 2, 2])
    with pytest.raises(InputError, match="placed by pix0_mm"):
        panel_groups(small_still().detector)
    assert panel_groups(four_panels().detector, [0, 0, 1, 1]).count == 2


def test_the_command_writes_a_list_with_the_panels_where_they_are(tmp_path, capsys):
    (truth, *_) = stills(tmp_path, 4, "still_{:04d}.cbf")
    write_hkl(tmp_path / "true.hkl", truth.structure_factors)
    before = read_expt(tmp_path / "stills.expt")
    assert before[0].detector is not None
    origin = before[0].detector[0].origin_mm
    shifted = tuple(replace(p, origin_mm=p.origin_mm + [0.15, 0.0, 0.0]) for p in before[0].detector)
    write_expt(tmp_path / "off.expt", [replace(each, detector=shifted) for each in before])
    named = [str(tmp_path / name) for name in ("off.expt", "stills.refl")]
    options = ["-domains", "1", "-oversample", "1", "-half_size", "5", "-hkl", str(tmp_path / "true.hkl")]
    assert main(["stage1", *named, "-out", str(tmp_path / "out"), *options, "-refine", "misset,n_cells,scale"]) == 0
    assert main(["geometry", str(tmp_path / "out"), "-sigma_mm", "0.3", "-sigma_deg", "0.05"]) == 0
    assert "1 groups of panels moved" in capsys.readouterr().out
    after = read_expt(tmp_path / "out" / "geometry" / "refined.expt")
    assert after[0].detector is not None and len(after) == 4
    moved = after[0].detector[0].origin_mm
    assert abs(moved[0] - origin[0]) < 0.03 and abs(moved[1] - origin[1]) < 0.05
    assert main(["geometry", str(tmp_path / "out"), "-groups", str(tmp_path / "none.txt")]) == 1
    assert "none.txt" in capsys.readouterr().err
