"""Stage 1 as a command: parts that a stopped run goes on from, and outputs that are read again, by DIALS too."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from shot_cases import stills, write_hkl

from nanobrag_jax import refine
from nanobrag_jax.dials.read import read_expt
from nanobrag_jax.dials.reflections import read_refl
from nanobrag_jax.refine.command import main
from nanobrag_jax.refine.shots.record import read_part

OPTIONS = ["-domains", "1", "-oversample", "1", "-half_size", "5", "-together", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five stills, and a run of stage 1 on them."""
    place = tmp_path_factory.mktemp("stage1")
    truths = stills(place, 5, n_cells=[10.0, 9.0, 8.0], image="still_{:04d}.cbf")
    write_hkl(place / "true.hkl", truths[0].structure_factors)
    assert main(asked(place)) == 0
    return place


def asked(place, *more) -> list[str]:
    named = [str(place / name) for name in ("stills.expt", "stills.refl")]
    return ["stage1", *named, "-out", str(place / "out"), "-hkl", str(place / "true.hkl"), *OPTIONS, *more]


def test_refined_lists_and_tables_are_read_again(folder):
    out = folder / "out"
    refined, table = read_expt(out / "refined.expt"), read_refl(out / "refined.refl")
    begun = read_expt(folder / "stills.expt")
    described = [r["describes_the_data"] for path in sorted((out / "parts").iterdir()) for r in read_part(path)]
    assert len(refined) == 5 and sum(described) >= 4
    for before, after, good in zip(begun, refined, described, strict=True):
        assert before.crystal is not None and after.crystal is not None
        np.testing.assert_allclose(after.crystal.real_space_A, before.crystal.real_space_A, atol=0.3 if good else 3.0)
        assert np.any(after.crystal.real_space_A != before.crystal.real_space_A)
        assert 300 < after.crystal.domain_size_A < 900 and after.imageset == before.imageset
    off = table.columns["xyzcal.px"] - table.columns["xyzobs.px.value"]
    strong = table.columns["model.photons"] > 50
    assert strong.sum() > 20 and np.median(np.abs(off[strong, :2])) < 0.7
    assert set(table.columns["id"]) == {0, 1, 2, 3, 4}
    shots = refine.from_dials(out / "refined.expt", out / "refined.refl", around="calculated")
    assert [len(s.hkl) for s in shots] == [int(np.sum(table.columns["id"] == k)) for k in range(5)]


def test_the_table_of_shots_has_values_and_uncertainties(folder):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(folder / "out" / "shots.parquet").to_pydict()
    assert table["number"] == [0, 1, 2, 3, 4] and sum(table["describes_the_data"]) >= 4
    cells = np.array(table["crystal.n_cells[0]"])[np.array(table["describes_the_data"])]
    sigma = np.array(table["sigma crystal.n_cells[0]"])[np.array(table["describes_the_data"])]
    assert np.all(np.abs(cells - 10.0) < 5 * sigma + 0.05)
    assert {"scale", "sigma scale", "left_out_saturated_pixels", "offset_pixels", "reason"} <= set(table)


def test_a_stopped_run_goes_on(folder, capsys):
    out = folder / "out"
    (out / "parts" / "000001.json").unlink()
    kept = (out / "parts" / "000000.json").stat().st_mtime_ns
    assert main(asked(folder)) == 0
    assert "5 shots in 3 parts, 1 of 3 to make" in capsys.readouterr().out
    assert (out / "parts" / "000000.json").stat().st_mtime_ns == kept
    assert main(asked(folder)) == 0
    assert "0 of 3 to make" in capsys.readouterr().out


def test_another_run_in_the_same_folder_is_refused(folder, capsys):
    assert main(asked(folder, "-half_size", "6")) == 1
    assert "holds a run with half_size 5, not 6: take another -out" in capsys.readouterr().err
    assert main(["stage1-part", str(folder), "0/2"]) == 1
    assert "holds no run of stage 1" in capsys.readouterr().err
    assert main(["stage1-part", str(folder / "out"), "2/2"]) == 1
    assert "the part must be k/n" in capsys.readouterr().err
    assert main(asked(folder, "-refine", "misset,colour")) == 1
    assert "must be of misset, cell" in capsys.readouterr().err
    assert main(asked(folder, "-processes", "0")) == 1
    assert "-processes must be a positive whole number, got 0" in capsys.readouterr().err


def test_without_amplitudes_each_box_has_its_own_intensity(folder):
    out = folder / "free"
    named = [str(folder / name) for name in ("stills.expt", "stills.refl")]
    assert main(["stage1", *named, "-out", str(out), *OPTIONS, "-refine", "misset,n_cells"]) == 0
    records = [r for path in sorted((out / "parts").glob("*.json")) for r in json.loads(path.read_text())]
    assert len(records) == 5
    assert all(np.std(r["boxes"]["factor"]) > 0 for r in records)
    assert sum(r["converged"] for r in records) >= 4
    offsets = [r["offset_pixels"] for r in records]
    assert np.median(offsets) < 1.5


def test_a_report_has_pictures_of_boxes_and_of_all_shots(folder):
    pytest.importorskip("matplotlib")
    assert main(["report", str(folder / "out")]) == 0
    page = (folder / "out" / "report.html").read_text()
    assert page.count("<img src='data:image/png;base64,") == 6
    for text in ("Refinement of 5 shots", "Boxes of the best shot", "Correlations", "reduced chi-square"):
        assert text in page


def test_expected_counts_are_those_that_were_judged(folder):
    shots = refine.from_dials(folder / "stills.expt", folder / "stills.refl", half_size=5, background="plane")
    parameters = [refine.Parameter("crystal.misset_deg", scale=0.1)]
    for found in refine.fit_shots(shots[:2], parameters, free_factors=True, outlier_z=None):
        used = np.asarray(found.shot.boxes.used)
        counts = np.asarray(found.shot.boxes.counts)
        squares = np.where(used, (counts - found.expected) ** 2 / np.maximum(found.expected, 1e-4), 0.0)
        np.testing.assert_allclose(squares.sum(axis=1) / used.sum(axis=1), found.box_chi_square, rtol=1e-3)


@pytest.mark.slow
def test_processes_share_the_parts(folder):
    shutil.copytree(folder / "out", folder / "shared")
    for path in (folder / "shared" / "parts").iterdir():
        path.unlink()
    command = [sys.executable, "-m", "nanobrag_jax.refine", *asked(folder, "-processes", "2")]
    command[command.index(str(folder / "out"))] = str(folder / "shared")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = (read_refl(folder / n / "refined.refl").columns["xyzcal.px"] for n in ("out", "shared"))
    np.testing.assert_allclose(after, before, atol=1e-6)


@pytest.mark.dials
@pytest.mark.skipif(shutil.which("dials.show") is None, reason="DIALS is not installed")
def test_dials_reads_the_outputs(folder):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    show = ["dials.show", "refined.expt", "refined.refl"]
    done = subprocess.run(show, cwd=folder / "out", capture_output=True, text=True, env=clean)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Unit cell:") == 5 and "xyzcal.px" in done.stdout
