"""Shots from DIALS' files: counts are those of the images, starts come from the spots, and fits find the truth."""

import gzip
import json
import shutil
from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from shot_cases import I23, counts_of, polarised_still, stills, table_of

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.dials.from_experiment import expt_record
from nanobrag_jax.dials.reflections import read_refl, write_refl
from nanobrag_jax.dials.write import write_expt
from nanobrag_jax.errors import InputError

TRUTH = polarised_still()


def counts_in(shot: refine.Shot, counts: np.ndarray) -> None:
    boxes = shot.boxes
    used = np.asarray(boxes.used)
    there = counts[np.asarray(boxes.slow)[used], np.asarray(boxes.fast)[used]]
    np.testing.assert_array_equal(np.asarray(boxes.counts)[used], there)


@pytest.mark.parametrize("image", ["still_{:04d}.cbf", "still_{:04d}.img", "still_{:04d}.h5", "still_{:04d}.cbf.gz"])
def test_boxes_hold_the_counts_of_the_images(tmp_path, image):
    truths = stills(tmp_path, 2, image.removesuffix(".gz"))
    if image.endswith(".gz"):
        for path in tmp_path.glob("*.cbf"):
            with gzip.open(f"{path}.gz", "wb") as packed:
                packed.write(path.read_bytes())
        text = (tmp_path / "stills.expt").read_text().replace(".cbf", ".cbf.gz")
        (tmp_path / "stills.expt").write_text(text.replace(str(tmp_path) + "/", ""))
    shots = refine.from_dials(tmp_path / "stills.expt", tmp_path / "stills.refl", truths[0].structure_factors)
    assert [shot.number for shot in shots] == [0, 1]
    for number, shot in enumerate(shots):
        counts_in(shot, counts_of(truths[number], seed=number))
        assert shot.left_out == (0, 0, 0, 0) and len(shot.hkl) == len(shot.boxes.slow) == len(shot.row) > 5
    assert "boxes on 1 panels" in repr(shots[0])


def test_a_fit_finds_the_truth_from_the_starts_of_the_spots(tmp_path):
    (truth,) = stills(tmp_path, 1, "still_{:04d}.img", n_cells=[10.0, 9.0, 8.0])
    factors = truth.structure_factors
    options = {"mosaic_domains": 1, "half_size": 5, "sampling": nb.Sampling(1)}
    (shot,) = refine.from_dials(tmp_path / "stills.expt", tmp_path / "stills.refl", factors, **options)
    cells = np.asarray(shot.experiment.crystal.n_cells)
    assert np.all(cells >= 2) and np.all(cells < 16), cells
    experiments, data = shot.by_panel
    parameters = [
        refine.Parameter("crystal.misset_deg", scale=0.1),
        refine.Parameter("crystal.n_cells", "positive"),
        refine.Parameter("beam.fluence_per_m2", "positive"),
    ]
    result = refine.fit(experiments, data, parameters, progress=False)
    assert result.converged and result.describes_the_data, result.verdict
    assert np.all(np.abs(result.values["crystal.misset_deg"]) < 4 * result.uncertainties["crystal.misset_deg"])
    np.testing.assert_allclose(result.values["crystal.n_cells"], [10.0, 9.0, 8.0], rtol=0.05)


def test_mosaic_spread_starts_from_the_widths_of_spots(tmp_path):
    wide = polarised_still(n_cells=[30.0, 26.0, 24.0])
    fine = nb.Detector(600, 640, pixel_size_mm=0.04, distance_mm=120.0, beam_center_mm=(12.4, 12.9))
    wide = eqx.tree_at(lambda e: e.detector, wide, fine)
    for spread in (0.3, 0.9):  # largest angle, degrees
        crystal = nb.Crystal(
            (55.0, 65.0, 75.0),
            (90.0, 95.0, 90.0),
            misset_deg=(11.0, 17.0, 23.0),
            n_cells=(30, 26, 24),
            mosaic_spread_deg=spread,
            mosaic_domains=60,
        )
        turned = eqx.tree_at(lambda e: (e.crystal, e.beam.fluence_per_m2), wide, (crystal, jnp.asarray(4e30)))
        nb.write_image(tmp_path / "a.cbf", counts_of(turned, background=1.0).astype(int), turned)
        write_expt(tmp_path / "a.expt", [expt_record(turned, tmp_path / "a.cbf")])
        write_refl(tmp_path / "a.refl", table_of([refine.predict(turned, min_photons=10.0)]))
        (shot,) = refine.from_dials(tmp_path / "a.expt", tmp_path / "a.refl", turned.structure_factors, half_size=10)
        found = float(shot.experiment.crystal.mosaic_spread_deg)
        assert 0.5 * spread < found < 1.6 * spread, found
        length = np.asarray(shot.experiment.crystal.n_cells) * [55.0, 65.0, 75.0]
        assert np.all(length > 600) and np.all(length < 3500), length


def test_images_of_a_sweep_are_shots(tmp_path):
    turning = eqx.tree_at(lambda e: e.goniometer, TRUTH, nb.Goniometer(0.0, 0.5, phi_steps=2))
    steps = [nb.image_experiment(turning, k + 1) for k in range(3)]
    frames = [counts_of(step, seed=k).astype(np.int32) for k, step in enumerate(steps)]
    for name in ("sweep_####.img", "sweep.h5"):
        nb.write_sweep(tmp_path / name, frames, turning, 3)
        write_expt(tmp_path / "sweep.expt", [expt_record(turning, tmp_path / name, num_images=3)])
        write_refl(tmp_path / "sweep.refl", table_of([refine.predict(s, min_photons=20.0) for s in steps]))
        shots = refine.from_dials(tmp_path / "sweep.expt", tmp_path / "sweep.refl", turning.structure_factors)
        assert [shot.image for shot in shots] == [1, 2, 3]
        for shot, counts in zip(shots, frames, strict=True):
            counts_in(shot, counts)
        assert float(shots[2].experiment.goniometer.phi_deg) == pytest.approx(1.0)
        (second,) = refine.from_dials(
            tmp_path / "sweep.expt", tmp_path / "sweep.refl", turning.structure_factors, images=[2]
        )
        counts_in(second, frames[1])


def test_what_does_not_count_is_left_out(tmp_path):
    (truth,) = stills(tmp_path, 1, "still_{:04d}.npy")
    document = json.loads((tmp_path / "stills.expt").read_text())
    place = read_refl(tmp_path / "stills.refl").columns["xyzobs.px.value"][:, :2]
    fast, slow = (int(v) for v in place[0])
    gain, pedestal = 2.0, 10.0
    raw = 10.0 + gain * counts_of(truth, seed=0)
    raw[slow, fast] = 5000.0
    raw[slow + 1, fast] = -2.0
    raw[slow, fast + 1] = 2.0**32 - 1
    np.save(tmp_path / "still_0000.npy", raw)
    corner = [fast - 1, slow - 1, fast, slow]
    document["detector"][0]["panels"][0] |= {
        "gain": gain,
        "pedestal": pedestal,
        "trusted_range": [0.0, 4000.0],
        "mask": [corner],
    }
    (tmp_path / "stills.expt").write_text(json.dumps(document))
    factors = truth.structure_factors
    (shot,) = refine.from_dials(tmp_path / "stills.expt", tmp_path / "stills.refl", factors, half_size=4)
    assert 1 <= shot.left_out.saturated_pixels < 30 and shot.left_out.masked_pixels == 3
    used = np.asarray(shot.boxes.used)
    left = {tuple(x) for x in np.argwhere(~used_image(shot, (64, 60))).tolist()} & around(slow, fast)
    assert {(slow, fast), (slow + 1, fast), (slow, fast + 1), (slow - 1, fast - 1)} == left
    counts = (raw - pedestal) / gain
    there = counts[np.asarray(shot.boxes.slow)[used], np.asarray(shot.boxes.fast)[used]]
    np.testing.assert_allclose(np.asarray(shot.boxes.counts)[used], there)
    no_mask = [np.zeros((64, 60), bool)]
    with pytest.raises(InputError, match="no indexed spot"):
        refine.from_dials(tmp_path / "stills.expt", tmp_path / "stills.refl", factors, mask=no_mask)


def used_image(shot, shape):
    image = np.zeros(shape, bool)
    used = np.asarray(shot.boxes.used)
    image[np.asarray(shot.boxes.slow)[used], np.asarray(shot.boxes.fast)[used]] = True
    return image


def around(slow, fast):
    return {(s, f) for s in range(slow - 2, slow + 3) for f in range(fast - 2, fast + 3)}


def test_panels_are_cut_from_one_image(tmp_path):
    panels = [nb.Detector(60, 30, pixel_size_mm=0.4, distance_mm=120.0, beam_center_mm=c) for c in ((12, 13), (12, 0))]
    two = nb.Experiment(
        crystal=TRUTH.crystal, beam=TRUTH.beam, detector=panels, structure_factors=TRUTH.structure_factors
    )
    both = np.asarray(nb.simulate(two)).round()
    whole = np.full((64, 60), -1.0)
    whole[:30], whole[34:] = both[0], both[1]
    np.save(tmp_path / "a.npy", whole)
    record = expt_record(two, tmp_path / "a.npy")
    assert record.detector is not None
    moved = tuple(replace(p, raw_image_offset=(0, y)) for p, y in zip(record.detector, (0, 34), strict=True))
    write_expt(tmp_path / "a.expt", [replace(record, detector=moved)])
    spots = [refine.predict(nb.panel_experiment(two, n), min_photons=20.0) for n in (0, 1)]
    columns = table_of(spots, frames=[0, 0], ids=[0, 0])
    columns["panel"] = np.repeat(np.arange(2, dtype=np.uint64), [len(s.hkl) for s in spots])
    write_refl(tmp_path / "a.refl", columns)
    for where in ("observed", "calculated", "predicted"):
        (shot,) = refine.from_dials(tmp_path / "a.expt", tmp_path / "a.refl", two.structure_factors, around=where)
        assert set(shot.panel) == {0, 1}
        used = np.asarray(shot.boxes.used)
        for panel in (0, 1):
            here = used & (shot.panel == panel)[:, None]
            there = both[panel][np.asarray(shot.boxes.slow)[here], np.asarray(shot.boxes.fast)[here]]
            np.testing.assert_array_equal(np.asarray(shot.boxes.counts)[here], there)
        experiments, data = shot.by_panel
        assert [len(d.slow) for d in data] == [int(np.sum(shot.panel == n)) for n in (0, 1)]
        assert [e.detector.pixels_slow for e in experiments] == [30, 30]
        assert np.any(shot.row == -1) == (where == "predicted" and len(shot.row) > len(columns["id"]))


def test_amplitudes_come_from_the_spots_where_none_are_given(tmp_path):
    stills(tmp_path, 3)
    shots = refine.from_dials(tmp_path / "stills.expt", tmp_path / "stills.refl")
    factors = shots[0].experiment.structure_factors
    assert factors.amplitudes is not None
    assert shots[2].experiment.structure_factors.amplitudes is factors.amplitudes
    for shot in shots:
        place = tuple((shot.hkl - np.array(factors.hkl_min)).T)
        assert np.all(np.asarray(factors.amplitudes)[place] > 0)


REFUSED = [
    ({"around": "seen"}, "around must be observed, calculated or predicted"),
    ({"around": "predicted"}, "needs structure_factors"),
    ({"shots": [3]}, "has experiments 0 to 0: there is no 3"),
    ({"folder": "elsewhere"}, "elsewhere"),
]


@pytest.mark.parametrize("options, message", REFUSED)
def test_what_does_not_fit_is_refused(tmp_path, options, message):
    stills(tmp_path, 1)
    text = (tmp_path / "stills.expt").read_text().replace(str(tmp_path) + "/", "")
    (tmp_path / "stills.expt").write_text(text)
    with pytest.raises((InputError, TypeCheckError), match=f"{message}|parameter 'around'"):
        refine.from_dials(tmp_path / "stills.expt", tmp_path / "stills.refl", **options)


def test_tables_and_lists_without_what_is_needed_are_refused(tmp_path):
    stills(tmp_path, 1)
    expt, refl = tmp_path / "stills.expt", tmp_path / "stills.refl"
    columns = read_refl(refl).columns
    write_refl(tmp_path / "no.refl", {k: v for k, v in columns.items() if k != "xyzobs.px.value"})
    with pytest.raises(InputError, match=r"no column xyzobs\.px\.value"):
        refine.from_dials(expt, tmp_path / "no.refl")
    document = json.loads(expt.read_text())
    document["imageset"][0] = {"__id__": "ImageSet", "images": []}
    (tmp_path / "no.expt").write_text(json.dumps(document))
    with pytest.raises(InputError, match="names no images"):
        refine.from_dials(tmp_path / "no.expt", refl)
    np.save(tmp_path / "still_0000.npy", np.zeros((10, 11)))
    with pytest.raises(InputError, match="has 11 x 10 pixels, but its panels reach to 60 x 64"):
        refine.from_dials(expt, refl)


@pytest.mark.skipif(not I23.exists(), reason="the public thaumatin data are not here")
def test_a_real_image_as_it_lies():
    (shot,) = refine.from_dials(I23 / "indexed.expt", I23 / "indexed.refl", half_size=7)
    assert len(shot.hkl) == 205 and len(np.unique(shot.panel)) == 24
    assert shot.left_out.saturated_pixels == 0 and shot.left_out.masked_pixels > 0
    assert np.asarray(shot.boxes.counts).min() >= 0
    peaks = np.asarray(shot.boxes.counts).max(axis=1)
    assert np.all(peaks > 3)
    slow, fast = refine.spot_positions(shot.by_panel[0][0], shot.hkl[shot.panel == 0])
    off = np.stack([slow, fast], axis=1) - shot.center[shot.panel == 0]
    assert np.sqrt(np.mean(np.square(off))) < 10.0


def test_relative_templates_are_found_from_a_copy_of_the_list(tmp_path):
    stills(tmp_path, 1, "still_{:04d}.img")
    text = (tmp_path / "stills.expt").read_text().replace(str(tmp_path) + "/", "")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "stills.expt").write_text(text)
    shutil.copy(tmp_path / "stills.refl", tmp_path / "lists")
    (shot,) = refine.from_dials(tmp_path / "lists" / "stills.expt", tmp_path / "stills.refl", folder=tmp_path)
    counts_in(shot, counts_of(TRUTH, seed=0))
    assert jnp.asarray(shot.boxes.used).any()
