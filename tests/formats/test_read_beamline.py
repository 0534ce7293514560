"""Images as they lie at beamlines: Eiger masters with data files, imgCIF of other compressions and many panels."""

import gzip

import h5py
import numpy as np
import pytest

import nanobrag_jax as nb
from nanobrag_jax.formats import imgcif

IMAGES = np.random.default_rng(3).poisson(5.0, (5, 7, 9)).astype(np.uint32)


def eiger(folder, parts=((0, 3), (3, 5))):
    """A master file whose images are in two files beside it."""
    with h5py.File(folder / "x_master.h5", "w") as master:
        for number, (first, last) in enumerate(parts, 1):
            with h5py.File(folder / f"x_data_{number:06d}.h5", "w") as file:
                file["entry/data/data"] = IMAGES[first:last]
            master[f"entry/data/data_{number:06d}"] = h5py.ExternalLink(f"x_data_{number:06d}.h5", "entry/data/data")
    return folder / "x_master.h5"


def test_a_master_has_the_frames_of_its_data_files(tmp_path):
    path = eiger(tmp_path)
    for frame in range(5):
        np.testing.assert_array_equal(nb.read_image(path, frame=frame), IMAGES[frame])
    np.testing.assert_array_equal(nb.read_image(f"{path}::entry/data/data_000002", frame=1), IMAGES[4])
    np.testing.assert_array_equal(nb.formats.format_named("nexus").read(str(path), "", None), IMAGES)
    with pytest.raises(nb.InputError, match="has 5 frames, numbered from 0; there is no frame 5"):
        nb.read_image(path, frame=5)
    (tmp_path / "x_data_000002.h5").unlink()
    with pytest.raises(nb.InputError, match="data_000002 points to 'x_data_000002.h5', which is not there"):
        nb.read_image(path)


def test_links_stay_in_the_folder(tmp_path):
    """A file says what to open: nothing outside of its folder, and nothing that is no HDF5."""
    (tmp_path / "in").mkdir()
    eiger(tmp_path)
    path = tmp_path / "in/x.h5"

    def refused(message):
        with pytest.raises(nb.InputError, match=message):
            nb.read_image(path)

    with h5py.File(path, "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink("../x_data_000001.h5", "entry/data/data")
    refused("data_000001 points to '../x_data_000001.h5', which is not in the file's folder")
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", (1, 2, 2), "u1", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])
    refused("the pixels of entry/data/data are in the raw file '/etc/hostname'")
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")
        file["entry/data/data"] = h5py.SoftLink("/a")
    refused("is a circle of links")
    with h5py.File(path, "w") as file:
        file["pixels"] = IMAGES
        file["entry/data/data"] = h5py.SoftLink("/pixels")
    np.testing.assert_array_equal(nb.read_image(path, frame=2), IMAGES[2])


def cbf(path, images, compression):
    """An imgCIF file of some arrays."""
    pycbf = pytest.importorskip("pycbf")
    handle = pycbf.cbf_handle_struct()
    handle.new_datablock("image")
    handle.new_category("array_data")
    for column in ("array_id", "binary_id", "data"):
        handle.new_column(column)
    for number, image in enumerate(images, 1):
        handle.new_row()
        for column, text in (("array_id", f"A{number}"), ("binary_id", f"{number}")):
            handle.find_column(column)
            handle.set_value(text)
        handle.find_column("data")
        slow, fast = image.shape
        how = getattr(pycbf, f"CBF_{compression}"), number, image.tobytes(), image.itemsize, 1, image.size
        handle.set_integerarray_wdims_fs(*how, b"little_endian", fast, slow, 1, 0)
    handle.write_widefile(str(path), pycbf.CBF, pycbf.MIME_HEADERS | pycbf.MSG_DIGEST, 0)
    return path


@pytest.mark.parametrize("compression", ["PACKED", "CANONICAL", "NONE", "BYTE_OFFSET"])
def test_compressions(compression, tmp_path):
    image = IMAGES[0].astype(np.int32)
    path = cbf(tmp_path / "a.cbf", [image], compression)
    np.testing.assert_array_equal(nb.read_image(path), image)
    (tmp_path / "b.cbf.gz").write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(nb.read_image(tmp_path / "b.cbf.gz"), image)


def test_panels_are_frames(tmp_path, monkeypatch):
    images = IMAGES[:3].astype(np.int32)
    path = cbf(tmp_path / "a.cbf", images, "BYTE_OFFSET")
    for panel in range(3):
        np.testing.assert_array_equal(nb.read_image(path, frame=panel), images[panel])
    with pytest.raises(nb.InputError, match="has panels of different sizes"):
        nb.read_image(cbf(tmp_path / "b.cbf", [images[0], images[1, :5]], "PACKED"))
    (tmp_path / "c.cbf").write_bytes(path.read_bytes()[:700])
    with pytest.raises(nb.InputError, match="is not a"):
        nb.read_image(tmp_path / "c.cbf")
    monkeypatch.setattr("nanobrag_jax.formats.minicbf.IMGCIF_NEEDS", imgcif.Requirement("no_such", "such[imgcif]"))
    with pytest.raises(nb.InputError, match=r"is imgCIF with 3 arrays, which needs pycbf: pip install such\[imgcif\]"):
        nb.read_image(path)
