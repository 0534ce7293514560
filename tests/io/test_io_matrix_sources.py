import re

import numpy as np
import pytest

from nanobrag_jax.errors import InputError
from nanobrag_jax.io.mosflm_matrix import read_matrix
from nanobrag_jax.io.source_list import read_source_list

A_MATRIX = np.array([[-0.0228, 0.0307, -0.0037], [-0.0280, -0.0108, -0.0028], [-0.0194, 0.0062, 0.0300]])


@pytest.mark.parametrize(
    "text",
    [
        "-0.0228 0.0307 -0.0037\n-0.0280 -0.0108 -0.0028\n-0.0194 0.0062 0.0300\n",
        "-0.0228 0.0307 -0.0037\n-0.0280 -0.0108 -0.0028\n-0.0194 0.0062 0.0300\n 0.0 0.0 0.0\n cell of lysozyme\n",
        "-0.0228 0.0307-0.0037\r\n-0.0280-0.0108-0.0028\r\n-0.0194 0.0062 0.0300",
        "# A\n-2.28e-2 3.07E-02-0.37e-2\n\n-0.0280 -0.0108 -0.0028 -0.0194 +.0062 0.03",
    ],
)
def test_matrix(tmp_path, text):
    (tmp_path / "A.mat").write_text(text)
    matrix = read_matrix(tmp_path / "A.mat")
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix, A_MATRIX)


def test_golden_matrix(golden):
    matrix = read_matrix(golden / "inputs" / "A.mat")
    assert matrix.shape == (3, 3) and matrix[0, 0] == -0.006798879273 and matrix[2, 1] == -0.009784788451


BAD_MATRICES = {
    "empty": ("", "holds 0 numbers where nine are needed"),
    "short": ("1 0 0\n0 1 0\n0 0\n", "holds 8 numbers"),
    "letters": ("1 0 0\n0 x 0\n0 0 1\n", "line 2: 'x' is not a number"),
    "number with letters": ("1 0 0\n0 1 0\n0 0 1a\n", "line 3: '1a' is not a number"),
    "commas": ("1,0,0,0,1,0,0,0,1\n", "line 1: '1,0,0,0,1,0,0,0,1' is not a number"),
    "two points": ("1.0.0 0 0\n0 1 0\n0 0 1", "line 1: '1.0.0' is not a number"),
    "nan": ("1 0 0\n0 nan 0\n0 0 1\n", "line 2: 'nan' is not a finite number"),
    "infinite": ("1 0 0\n0 1 0\n0 0 -inf\n", "line 3: '-inf' is not a finite number"),
    "too large": ("1e999 0 0\n0 1 0\n0 0 1\n", "line 1: '1e999' is too large"),
    "zero": ("0 0 0 0 0 0 0 0 0", "singular"),
    "zero column": ("1 0 0 0 1 0 0 0 0", "singular"),
    "dependent": ("1 2 3\n4 5 6\n7 8 9\n", "singular"),
    "dependent and small": ("1e-200 2e-200 3e-200\n4e-200 5e-200 6e-200\n7e-200 8e-200 9e-200\n", "singular"),
}


@pytest.mark.parametrize("name", BAD_MATRICES)
def test_bad_matrix(tmp_path, name):
    text, message = BAD_MATRICES[name]
    (tmp_path / "A.mat").write_text(text)
    with pytest.raises(InputError, match=f"matrix file '.*A.mat'.*{message}"):
        read_matrix(tmp_path / "A.mat")


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_a_matrix_of_any_size_is_regular(tmp_path, scale):
    (tmp_path / "A.mat").write_text(" ".join(f"{x!r}" for x in (np.eye(3) * scale).ravel().tolist()))
    np.testing.assert_array_equal(read_matrix(tmp_path / "A.mat"), np.eye(3) * scale)


def sources_of(tmp_path, text):
    (tmp_path / "s.txt").write_text(text)
    return read_source_list(tmp_path / "s.txt")


def test_sources(tmp_path):
    sources = sources_of(tmp_path, "# X Y Z w l\n-10 0 0.5 0.2 1.2e-10\n\n-10,1;2:3!1.1e-10\n -9\t,\t8 7 # short\n")
    np.testing.assert_array_equal(sources.positions, [[-10, 0, 0.5], [-10, 1, 2], [-9, 8, 7]])
    np.testing.assert_array_equal(sources.weights, [0.2, 3, np.nan])
    np.testing.assert_array_equal(sources.wavelengths_m, [1.2e-10, 1.1e-10, np.nan])
    assert sources.notes == []


def test_missing_coordinates_are_nan(tmp_path):
    sources = sources_of(tmp_path, "0\n0 0\n")
    np.testing.assert_array_equal(sources.positions, [[0, np.nan, np.nan], [0, 0, np.nan]])


def test_a_zero_weight_is_allowed_beside_others(tmp_path):
    np.testing.assert_array_equal(sources_of(tmp_path, "1 0 0 0\n1 0 0\n").weights, [0, np.nan])


@pytest.mark.parametrize(
    ("text", "note"),
    [("1 0 0 1 1e-10 9 x\n", "line 1: columns after the fifth"), ("\n1 0 0 1 1.2\n", "line 2: .* metres")],
)
def test_source_notes(tmp_path, text, note):
    (found,) = sources_of(tmp_path, text).notes
    assert re.search(note, found)


def test_golden_sources(golden):
    sources = read_source_list(golden / "inputs" / "sources_weighted.txt")
    assert sources.positions.shape == (6, 3) and sources.weights.tolist() == [0.2, 0.7, 1.2, 1.7, 2.2, 2.7]
    assert sources.wavelengths_m[5] == 1.218e-10
    assert np.all(np.isnan(read_source_list(golden / "inputs" / "sources_short.txt").weights))


BAD_SOURCES = {
    "empty": ("", "holds no sources"),
    "comments only": ("# 1 2 3\n\n", "holds no sources"),
    "letters": ("1 0 0\nX Y Z\n", "line 2: 'X' is not a number"),
    "nan": ("1 0 0 nan\n", "line 1: 'nan' is not a finite number"),
    "infinite": ("inf 0 0\n", "line 1: 'inf' is not a finite number"),
    "negative weight": ("# c\n1 0 0 -1\n", "line 2: the weight must not be negative, got -1 in '1 0 0 -1'"),
    "zero wavelength": ("1 0 0 1 0\n", "line 1: the wavelength .metres. must be positive, got 0"),
    "negative wavelength": ("1 0 0 1 -1e-10\n", "line 1: the wavelength .metres. must be positive, got -1e-10"),
    "no direction": ("0 0.0 -0\n", "line 1: the direction 0 0 0 has no length"),
    "all weights zero": ("1 0 0 0\n0 1 0 0\n", "all weights are zero"),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_bad_sources(tmp_path, name):
    text, message = BAD_SOURCES[name]
    with pytest.raises(InputError, match=f"source file '.*s.txt'.*{message}"):
        sources_of(tmp_path, text)


@pytest.mark.parametrize(("read", "kind"), [(read_matrix, "matrix file"), (read_source_list, "source file")])
def test_files_that_cannot_be_read(tmp_path, read, kind):
    with pytest.raises(InputError, match=f"cannot read {kind} '.*none': No such file"):
        read(tmp_path / "none")
    with pytest.raises(InputError, match=f"cannot read {kind} '.*': Is a directory"):
        read(tmp_path)
