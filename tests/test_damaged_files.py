"""Damaged files and what is no file at all: one short sentence with the name, at once."""

import io
import os
import zipfile

import h5py
import numpy as np
import pytest

from nanobrag_jax.config.arrays import ArrayFiles
from nanobrag_jax.errors import InputError
from nanobrag_jax.formats.read import read_image
from nanobrag_jax.io.text import read_bytes
from nanobrag_jax.models.density import sphere_from_model

CBF = (
    b"###CBF: VERSION 1.5\r\n\r\ndata_x\r\n_array_data.data\r\n;\r\n--CIF-BINARY-FORMAT-SECTION--\r\n"
    b'Content-Type: application/octet-stream;\r\n     conversions="x-CBF_BYTE_OFFSET"\r\n'
    b"X-Binary-Size-Fastest-Dimension: 90000\r\nX-Binary-Size-Second-Dimension: 90000\r\n\r\n"
)
STARTER = b"\x0c\x1a\x04\xd5"
ATOM = "ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00 10.00           C\nEND\n"


def npy(header):
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def npz(content=b"", method=None):
    """An archive of one array; `method`: the number of a compression that it claims."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("a.npy", content)
    data = bytearray(made.getvalue())
    if method is not None:
        at = data.index(b"PK\x01\x02")
        data[8], data[at + 10] = method, method
    return bytes(data)


IMAGES = {
    "cut.cbf": CBF[:100],
    "header.cbf": CBF,
    "lies.cbf": CBF + STARTER + bytes(10),
    "lies.npy": npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (9999999, 999999)}\n"),
    "negative.npy": npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-5, 2)}\n"),
    "words.npy": npy(b"{'descr': ((\n"),
    "list.npy": npy(b"[1, 2]\n"),
    "lies.npz": npz(npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (9999999, 999999)}\n")),
    "method.npz": npz(method=99),
    "cut.npz": npz()[:30],
}


def refused(call, *said):
    with pytest.raises(InputError) as found:
        call()
    message = str(found.value)
    assert all(word in message for word in said)
    assert len(message.replace(os.getcwd(), "")) < 300 and message.isprintable()


@pytest.mark.parametrize("name", IMAGES)
def test_a_damaged_image(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name.endswith("cbf"):
        pytest.importorskip("fabio")
    (tmp_path / name).write_bytes(IMAGES[name])
    refused(lambda: read_image(name), name)


@pytest.mark.parametrize("name", [name for name in IMAGES if name.endswith("npz")])
def test_a_damaged_file_of_arrays(name, tmp_path):
    (tmp_path / name).write_bytes(IMAGES[name])
    refused(lambda: ArrayFiles(tmp_path).array("x", {"file": name, "array": "a"}), name, "x")


def test_only_the_named_array_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        good = io.BytesIO()
        np.save(good, np.arange(3))
        file.writestr("good.npy", good.getvalue())
        file.writestr("bad.npy", b"no array")
    np.testing.assert_array_equal(ArrayFiles(tmp_path).array("x", {"file": "a.npz", "array": "good"}), [0, 1, 2])


@pytest.mark.parametrize("cell", ["0.000   25.000   30.000  90.00", "10.000   25.000   30.000 190.00"])
def test_an_impossible_cell(cell, tmp_path):
    pytest.importorskip("gemmi")
    (tmp_path / "x.pdb").write_text(f"CRYST1 {cell:>33}  90.00  90.00 P 1           1\n{ATOM}")
    refused(lambda: sphere_from_model(tmp_path / "x.pdb", 3.0, wavelength_A=1.0), "x.pdb", "cell")


def test_devices_and_pipes(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/zero", tmp_path / "fifo"):
        refused(lambda path=path: read_bytes(path, "image"), str(path), "not a regular file")


def test_a_damaged_packed_file(tmp_path):
    (tmp_path / "x.hkl.gz").write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 20)
    refused(lambda: read_bytes(tmp_path / "x.hkl.gz", "file"), "x.hkl.gz")


def test_a_virtual_dataset_does_not_lead_outside_by_way_of_another_file(tmp_path):
    """Its source beside it has its pixels elsewhere: in a raw file, in a virtual dataset, behind a link."""
    (tmp_path / "secret.raw").write_bytes(bytes(range(16)))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("raw", (4, 4), np.uint8, external=[(str(tmp_path / "secret.raw"), 0, 16)])
        file["link"] = h5py.ExternalLink("elsewhere.h5", "/x")
        file["plain"] = np.arange(16, dtype=np.uint8).reshape(4, 4)
    for name in ("raw", "link", "plain"):
        layout = h5py.VirtualLayout((4, 4), np.uint8)
        layout[:] = h5py.VirtualSource("b.h5", name, (4, 4))
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_virtual_dataset("entry/data/data", layout)
    assert read_image(str(tmp_path / "plain.h5"))[3, 3] == 15
    for name in ("raw", "link"):
        with pytest.raises(InputError, match="whose pixels are not in its file"):
            read_image(str(tmp_path / f"{name}.h5"))
