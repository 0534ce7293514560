"""DIALS' reflection tables: what is written is read, by DIALS too, and damaged ones are refused."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nanobrag_jax import InputError
from nanobrag_jax.dials.reflections import read_refl, write_refl

REAL = Path(__file__).parents[2] / "shared" / "reference" / "i23_thaumatin" / "indexed.refl"

COLUMNS = {
    "miller_index": np.array([[1, -2, 3], [0, 0, -7]]),
    "id": np.array([0, -1]),
    "flags": np.array([1, 2**40], np.uint64),
    "bbox": np.arange(12).reshape(2, 6),
    "intensity.sum.value": np.array([1.5, -2.25]),
    "xyzobs.px.value": np.array([[1.0, 2.5, 3.0], [4.0, 5.0, 6.5]]),
    "entering": np.array([True, False]),
}


def test_what_is_written_is_read(tmp_path):
    write_refl(tmp_path / "a.refl", COLUMNS, {0: "first"})
    table = read_refl(tmp_path / "a.refl")
    assert (table.identifiers, table.rows, table.left_out) == ({0: "first"}, 2, ())
    assert list(table.columns) == list(COLUMNS)
    for name, values in COLUMNS.items():
        np.testing.assert_array_equal(table.columns[name], values)


@pytest.mark.dials
@pytest.mark.skipif(shutil.which("dials.show") is None, reason="DIALS is not installed")
def test_dials_reads_it(tmp_path):
    write_refl(tmp_path / "a.refl", COLUMNS, {0: "first"})
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    show = ["dials.show", "a.refl", "show_all_reflection_data=True"]
    done = subprocess.run(show, cwd=tmp_path, capture_output=True, text=True, env=clean)
    assert done.returncode == 0, done.stderr
    for wanted in ("2", "xyzobs.px.value", "1, -2,  3", "-2.2", "4.00, 5.00, 6.50"):
        assert wanted in done.stdout, done.stdout


@pytest.mark.skipif(not REAL.exists(), reason="the public thaumatin data are not here")
def test_a_real_table():
    table = read_refl(REAL)
    assert table.rows == 207 and table.columns["miller_index"].shape == (207, 3)
    inside = table.columns["bbox"][:, 0] <= table.columns["xyzobs.px.value"][:, 0]
    assert np.all(inside)


def test_damaged_tables_are_refused(tmp_path):
    whole = tmp_path / "a.refl"
    write_refl(whole, COLUMNS)
    content, cut = whole.read_bytes(), tmp_path / "cut.refl"
    for length in (0, 1, 10, len(content) // 2, len(content) - 1):
        cut.write_bytes(content[:length])
        with pytest.raises(InputError, match="cut.refl"):
            read_refl(cut)
    for old, new in ((b"nrows\x02", b"nrows\x03"), (b"nrows", b"rowsn"), (b"data", b"adat"), (b"dials", b"slaid")):
        cut.write_bytes(content.replace(old, new))
        with pytest.raises(InputError, match="cut.refl"):
            read_refl(cut)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": np.arange(2), "d": np.ones(3)}, "id 2, d 3"),
        ({"d": np.ones((2, 5))}, "column d .* has no type"),
        ({"id": np.array([2**40])}, "column id has numbers that do not fit"),
        ({"name": np.array(["a"])}, "column name .* has no type"),
    ],
)
def test_columns_that_do_not_fit(tmp_path, columns, said):
    with pytest.raises(InputError, match=said):
        write_refl(tmp_path / "a.refl", columns)
    assert not list(tmp_path.iterdir())
