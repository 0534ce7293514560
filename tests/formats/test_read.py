"""Reading images: what tells the format, and that no reader waits for jax."""

import bz2
import gzip
import json
import subprocess
import sys

import numpy as np
import pytest
import small
from format_cases import case, counts_image

import nanobrag_jax as nb
from nanobrag_jax.errors import InputError

WITHOUT_JAX = (
    "formats formats.read formats.registry formats.image_format formats.setup formats.whole_numbers formats.smv "
    "formats.raw formats.pgm formats.npy formats.nexus formats.minicbf formats.png"
).split()


def test_readers_do_not_load_jax():
    """Of the package itself jax is asked for nothing but double precision, before it is loaded or after."""
    code = (
        "import sys, json, importlib, types\n"
        "package = types.ModuleType('nanobrag_jax')\n"
        f"package.__path__ = [{next(iter(nb.__path__))!r}]\n"
        "sys.modules['nanobrag_jax'] = package\n"
        f"for name in {WITHOUT_JAX}: importlib.import_module(f'nanobrag_jax.{{name}}')\n"
        "package.formats.read_image, package.formats.register\n"
        "print(json.dumps(sorted({'jax', 'equinox', 'h5py', 'fabio'} & set(sys.modules))))"
    )
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []


@pytest.mark.parametrize("ending", [".cbf", ".h5", ".npy", ".img", ".pgm"])
def test_the_content_tells_the_format(ending, tmp_path):
    counts = np.abs(counts_image()) % 60000
    nb.write_image(tmp_path / f"x{ending}", counts, case("off centre"))
    named = nb.read_image(tmp_path / f"x{ending}")
    (tmp_path / f"x{ending}").rename(tmp_path / "x.raw")
    found = nb.read_image(tmp_path / "x.raw")
    assert found.shape == (10, 12) and found.dtype == named.dtype
    np.testing.assert_array_equal(found, named)
    if ending != ".pgm":
        np.testing.assert_array_equal(found, counts)


def test_all_frames_of_all_panels(tmp_path):
    np.save(tmp_path / "stack.npy", np.arange(24).reshape(2, 3, 4))
    np.testing.assert_array_equal(nb.read_image(tmp_path / "stack.npy", frame=1), np.arange(12, 24).reshape(3, 4))


@pytest.mark.parametrize(
    "module, name, content, label",
    [("h5py", "x.h5", b"\x89HDF\r\n\x1a\n", "NeXus"), ("fabio", "x.cbf", b"###CBF: VERSION 1.5", "miniCBF")],
)
def test_a_reader_that_is_not_installed(module, name, content, label, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(content)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{name}' is {label}, which needs {module}: pip install nanobrag_jax\[form"):
        nb.read_image(tmp_path / name)


def test_a_file_of_no_known_kind(tmp_path):
    (tmp_path / "x.tif").write_bytes(b"II*\0" + bytes(200))
    with pytest.raises(InputError) as raised:
        nb.read_image(tmp_path / "x.tif")
    assert str(raised.value).endswith(
        "give --shape SLOW FAST; it neither begins nor is called as miniCBF, NeXus, npy, SMV, PGM or PNG files are"
    )


@pytest.mark.parametrize("name", ["x.cbf", "x.img"])
@pytest.mark.parametrize("ending, pack", [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_packed_files(tmp_path, name, ending, pack):
    """As they lie at beamlines; a packed file that is cut off is refused."""
    image = np.random.default_rng(0).poisson(5.0, (10, 12)).astype(np.uint16)
    nb.write_image(tmp_path / name, image, small.experiment())
    packed = pack((tmp_path / name).read_bytes())
    (tmp_path / (name + ending)).write_bytes(packed)
    np.testing.assert_array_equal(nb.read_image(tmp_path / (name + ending)), image)
    (tmp_path / ("cut" + name + ending)).write_bytes(packed[: len(packed) // 2])
    with pytest.raises(nb.InputError):
        nb.read_image(tmp_path / ("cut" + name + ending))
