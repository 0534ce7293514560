"""Bare float32 files."""

import numpy as np
import pytest

from nanobrag_jax.errors import InputError
from nanobrag_jax.formats.raw import read_raw, write_raw


def test_raw_round_trip_and_layout(tmp_path):
    image = np.arange(12, dtype=np.float64).reshape(3, 4) / 7
    write_raw(tmp_path / "f.bin", image)
    assert (tmp_path / "f.bin").read_bytes() == image.astype("<f4").tobytes()
    read = read_raw(tmp_path / "f.bin", (3, 4))
    assert read.dtype == np.float32 and read.flags.writeable
    np.testing.assert_array_equal(read, image.astype(np.float32))


def test_raw_writes_the_fast_axis_fastest_whatever_the_memory_order(tmp_path):
    image = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    write_raw(tmp_path / "f.bin", image)
    assert np.fromfile(tmp_path / "f.bin", "<f4").tolist() == [0, 1, 2, 3, 4, 5]


def test_raw_of_the_wrong_size(tmp_path):
    write_raw(tmp_path / "f.bin", np.zeros((3, 4)))
    with pytest.raises(InputError, match=r"f\.bin' has 48 bytes, but 4 x 4 \(slow x fast\) .* take 64"):
        read_raw(tmp_path / "f.bin", (4, 4))
    with pytest.raises(InputError, match="cannot read float image '.*none': No such file"):
        read_raw(tmp_path / "none", (4, 4))
