"""Which format a file name asks for."""

import pytest

from nanobrag_jax.errors import InputError
from nanobrag_jax.formats.registry import all_formats, format_named, format_of, format_of_output


@pytest.mark.parametrize(
    "path, usual, kind, misleading",
    [
        ("a.cbf", "raw", "cbf", False),
        ("a.H5", "smv", "nexus", False),
        ("a.npy", "smv", "npy", False),
        ("a.bin", "raw", "raw", False),
        ("a.dat", "raw", "raw", False),
        ("/dev/null", "smv", "smv", False),
        ("a.img", "smv", "smv", False),
        ("a.bin", "smv", "smv", False),
        ("a.img", "raw", "raw", True),
        ("a.png", "smv", "smv", True),
        ("a.pgm", "raw", "raw", True),
        ("a.png", "png", "png", False),
        ("a", "png", "png", False),
        ("a.h5", "png", "png", True),
    ],
)
def test_names(path, usual, kind, misleading):
    found, note = format_of_output(path, usual)
    assert (found.name, note is not None) == (kind, misleading)


def test_every_ending_is_a_format():
    for kind in all_formats():
        assert format_named(kind.name) is kind
        for ending in kind.extensions:
            assert format_of(f"x{ending.upper()}") is kind


def test_unknown_names_are_answered_with_those_there_are():
    known = "cbf, nexus, npy, smv, pgm, raw or png"
    with pytest.raises(InputError, match=f"^there is no image format 'tiff': there are {known}$"):
        format_named("tiff")
    endings = r"\.cbf, \.h5, \.hdf5, \.nxs, \.npy, \.img, \.smv, \.pgm, \.bin, \.raw or \.png"
    for name in ("x.tif", "x", ".cbf"):
        with pytest.raises(InputError, match=f"^cannot write '{name}': its name must end in {endings}$"):
            format_of(name)
