import os
import time

import numpy as np
import pytest

from nanobrag_jax.errors import InputError
from nanobrag_jax.io.fdump import read_fdump, write_fdump
from nanobrag_jax.io.hkl import read_hkl
from nanobrag_jax.io.number_columns import parse_table


def table_of(tmp_path, text):
    path = tmp_path / "f.hkl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_hkl(path)


def records(table):
    """What is given, as {(h, k, l): F}."""
    return {
        tuple(int(i) for i in place + np.array(table.hkl_min)): table.values[tuple(place)]
        for place in np.argwhere(table.given)
    }


def test_grid_spans_the_indices(tmp_path):
    table = table_of(tmp_path, "-1 2 0 5.5\n2 3 0 7\n")
    assert table.hkl_min == (-1, 2, 0)
    assert table.values.shape == table.given.shape == (4, 2, 1)
    assert table.values.dtype == np.float64 and table.given.dtype == bool
    assert records(table) == {(-1, 2, 0): 5.5, (2, 3, 0): 7.0}
    assert np.count_nonzero(table.values) == 2 and table.notes == []


def test_the_last_of_repeated_records_counts(tmp_path):
    table = table_of(tmp_path, "1 1 1 5\n0 0 0 1\n1 1 1 6\n1 1 1 7\n")
    assert records(table) == {(0, 0, 0): 1.0, (1, 1, 1): 7.0}


@pytest.mark.parametrize(
    "text",
    [
        "1 2 3 4\n-1 0 0 2.5",
        "\n\n1 2 3 4\n\n-1 0 0 2.5\n\n",
        "# h k l F\n1 2 3 4 # the first\n  #\n-1 0 0 2.5\n",
        "1\t2   3 4\r\n-1 0 0 2.5\r\n",
        "1 2 3 4\r-1 0 0 2.5\r",
        "  +1 2.0 3. 4e0\n-1 -0 0 .25E+1\n",
        b"\xef\xbb\xbf1 2 3 4\n-1 0 0 2.5\n",
        "1 2 3 4.0000000000000000000\n-1 0 0 0000000000000000002.5\n",
    ],
)
def test_spellings(tmp_path, text):
    table = table_of(tmp_path, text)
    assert records(table) == {(1, 2, 3): 4.0, (-1, 0, 0): 2.5} and table.notes == []


@pytest.mark.parametrize("text", ["1 2 3 4 0.5\n-1 0 0 2.5\n", "1 2 3 4 - x,y\n-1 0 0 2.5 nan 17 18\n"])
def test_further_columns_are_ignored_with_a_note(tmp_path, text):
    table = table_of(tmp_path, text)
    assert records(table) == {(1, 2, 3): 4.0, (-1, 0, 0): 2.5}
    assert len(table.notes) == 1 and "more than four columns" in table.notes[0]


def test_fractional_indices_are_truncated_with_a_note(tmp_path):
    table = table_of(tmp_path, "# c\n1 2 3 4\n1.9 -1.9 0 5\n0 0.5 0 6\n")
    assert records(table) == {(1, 2, 3): 4.0, (1, -1, 0): 5.0, (0, 0, 0): 6.0}
    (note,) = table.notes
    assert "2 records" in note and "1.9 -1.9 0 in line 3" in note


@pytest.mark.parametrize("text", ["", "\n \n", "# nothing\n"])
def test_no_records(tmp_path, text):
    table = table_of(tmp_path, text)
    assert table.values.shape == table.given.shape == (0, 0, 0) and table.hkl_min == (0, 0, 0)
    assert "holds no records" in table.notes[0]


BAD_HKL = {
    "three columns": ("1 2 3 4\n\n1 2 3\n", "line 3: '1 2 3' has 3 of the 4 columns h k l F"),
    "three and five columns": ("1 2 3\n1 2 3 4 5\n", "line 1: '1 2 3' has 3 of"),
    "letters": ("1 2 3 4\n1 2 x 4\n", "line 2: 'x' is not a number in '1 2 x 4'"),
    "heading": ("H K L F\n1 2 3 4\n", "line 1: 'H' is not a number"),
    "commas": ("1,2,3,4\n", "line 1: '1,2,3,4' has 1 of"),
    "underscore": ("1 2 3 1_000\n", "line 1: '1_000' is not"),
    "lone sign": ("1 2 - 4\n", "line 1: '-' is not"),
    "lone point": ("1 2 3 .\n", "line 1: '.' is not"),
    "two points": ("1 2 3 1.2.3\n", "line 1: '1.2.3' is not"),
    "run together": ("1 2 3 4\n1 2 3-4 5\n", "line 2: '3-4' is not"),
    "hexadecimal": ("1 2 3 0x10\n", "line 1: '0x10' is not"),
    "nan F": ("1 2 3 4\n# c\n1 2 3 nan\n", "line 3: F is not a finite number in '1 2 3 nan'"),
    "infinite F": ("1 2 3 -inf\n", "line 1: F is not a finite number"),
    "too large F": ("1 2 3 1e999\n", "line 1: F is not a finite number"),
    "nan index": ("1 nan 3 4\n", "line 1: an index is not a finite number in '1 nan 3 4'"),
    "far index": ("1 1e300 3 4\n", "line 1: an index lies beyond 2147483647"),
    "NUL": (b"1 2 3 4\n1 2 3 4\0\n", r"line 2: '4\\x00' is not"),
    "control characters": (b"\1\2\3 \4 5 6\n", "line 1: "),
    "not ASCII": ("1 2 3 ４\n", "line 1: "),
    "MTZ": (b"MTZ \x15\0\0\0", "is an MTZ file"),
    "grid too large": (
        "0 0 0 1\n9999 9999 9 2\n",
        r"spans h 0\.\.9999, k 0\.\.9999, l 0\.\.9: a grid of 1000000000 points and 9000000000 bytes",
    ),
    "grid far too large": ("-2e9 0 0 1\n2e9 2e9 2e9 2\n", "a grid of 16000000020000000008000000001 points"),
}


@pytest.mark.parametrize("name", BAD_HKL)
def test_bad_hkl(tmp_path, name):
    text, message = BAD_HKL[name]
    with pytest.raises(InputError, match=f"structure-factor file '.*f.hkl'.*{message}"):
        table_of(tmp_path, text)


def test_messages_stay_short(tmp_path):
    with pytest.raises(InputError) as raised:
        table_of(tmp_path, "x" * 10_000)
    assert len(str(raised.value)) < len(str(tmp_path)) + 200


@pytest.mark.parametrize("read", [read_hkl, read_fdump])
def test_files_that_cannot_be_read(tmp_path, read):
    null = "null (byte|character)"  # Python's words for opening such a file, and for asking what it is
    for path, why in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), ("a\0b", null)):
        with pytest.raises(InputError, match=f"cannot read .* file '.*': .*{why}"):
            read(path)


def test_fast_reading_is_exact():
    generator = np.random.default_rng(3)
    words = []
    for _ in range(3000):
        digits = "".join(generator.choice(list("0123456789"), generator.integers(1, 15)))
        place = generator.integers(0, len(digits) + 1)
        sign = generator.choice(["", "-", "+"])
        words.append(sign + (digits if place % 3 == 0 else digits[:place] + "." + digits[place:]))
    values = parse_table(" ".join(words).replace(" ", "\n").encode(), 1, "x").values[:, 0]
    np.testing.assert_array_equal(values, [float(word) for word in words])


def test_big_files_are_read_quickly(tmp_path):
    generator = np.random.default_rng(4)
    indices = generator.integers(-30, 31, (64_000, 3))
    factors = generator.integers(1, 100_000, 64_000) / 100
    text = "".join(f"{h[0]} {h[1]} {h[2]} {f:.2f}\n" for h, f in zip(indices.tolist(), factors.tolist(), strict=True))
    path = tmp_path / "big.hkl"
    path.write_text(text)
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        table = read_hkl(path)
        best = min(best, time.perf_counter() - start)
    assert table.values.shape == (61, 61, 61)
    # About 20 ms; a line-by-line reader takes ten times as long, and so would a slow machine have to be.
    assert best < 0.25


@pytest.mark.parametrize("name", ["p1", "wide", "sparse", "pilatus"])
def test_golden_inputs(golden, name):
    path = golden / "inputs" / f"{name}.hkl"
    table = read_hkl(path)
    expected = {}
    for line in path.read_text().splitlines():
        *hkl, factor = line.split()
        expected[tuple(int(i) for i in hkl)] = float(factor)
    assert records(table) == expected and table.notes == []


def test_dump_bytes_and_round_trip(tmp_path):
    values = np.arange(1.0, 25.0).reshape(2, 3, 4)
    path = tmp_path / "Fdump.bin"
    write_fdump(path, (-1, 0, 5), values)
    header = b"-1 0 0 2 5 8\n\f"
    data = path.read_bytes()
    assert data.startswith(header) and len(data) == len(header) + 8 * 3 * 4 * 5
    stored = np.frombuffer(data[len(header) :], float).reshape(3, 4, 5)
    assert np.all(stored[:2, :3, :4] == values) and np.count_nonzero(stored) == 24
    table = read_fdump(path)
    assert table.hkl_min == (-1, 0, 5) and np.all(table.given)
    np.testing.assert_array_equal(table.values, values)


def test_a_dump_whose_first_number_looks_like_white_space(tmp_path):
    value = np.frombuffer(b"\n\f\t \r\n @", float).reshape(1, 1, 1)
    assert np.isfinite(value)
    write_fdump(tmp_path / "d", (0, 0, 0), value)
    np.testing.assert_array_equal(read_fdump(tmp_path / "d").values, value)


def test_a_dump_needs_points(tmp_path):
    with pytest.raises(ValueError, match="at least one point"):
        write_fdump(tmp_path / "d", (0, 0, 0), np.zeros((0, 0, 0)))
    assert os.listdir(tmp_path) == []


ONE_POINT = b"0 0 0 0 0 0\n\f"
BAD_DUMPS = {
    "empty": (b"", "does not start with"),
    "text": (b"0 0 0 5\n1 1 1 6\n", "does not start with"),
    "no form feed": (b"0 0 0 0 0 0\n" + bytes(64), "does not start with"),
    "backwards": (b"1 0 0 0 0 0\n\f" + bytes(64), r"empty range: h 1\.\.0"),
    "truncated": (ONE_POINT + bytes(63), "should have 64 bytes of numbers, but has 63"),
    "too long": (ONE_POINT + bytes(72), "should have 64 bytes of numbers, but has 72"),
    "enormous": (b"0 9999 0 9999 0 9999\n\f", "1000000000000 points"),
    "nan": (b"3 3 0 0 0 0\n\f" + np.array([np.nan, *[0] * 7]).tobytes(), "no finite number .nan. at 3 0 0"),
}


@pytest.mark.parametrize("name", BAD_DUMPS)
def test_bad_dumps(tmp_path, name):
    content, message = BAD_DUMPS[name]
    (tmp_path / "Fdump.bin").write_bytes(content)
    with pytest.raises(InputError, match=f"dump file '.*Fdump.bin' .*{message}"):
        read_fdump(tmp_path / "Fdump.bin")
