"""Commands that cannot be run: one sentence that names flag or file and value, a status, and no file."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nanobrag_jax.command.run import main
from nanobrag_jax.formats.smv import format_header
from nanobrag_jax.io.fdump import write_fdump

GOOD = "-cell 50 60 70 80 90 100 -default_F 100 -N 5 -detpixels 8 -pixel 1 -distance 100 -oversample 1".split()
MATRIX = "0.01 0.002 0.001\n-0.003 0.012 0.002\n0.001 -0.001 0.015\n"
HKL = "1 0 0 10\n0 1 0 20\n0 0 1 30\n"


def smv(fast=8, slow=8, *, cut=0, **changes):
    """An SMV file of ones; `changes` to its header."""
    items = {"DIM": 2, "BYTE_ORDER": "little_endian", "TYPE": "unsigned_short", "SIZE1": fast, "SIZE2": slow}
    content = format_header(list((items | changes).items())) + np.ones(fast * slow, "<u2").tobytes()
    return content[: len(content) - cut]


FILES = {
    "good.mat": MATRIX,
    "short.mat": "0.01 0.002 0.001\n-0.003 0.012\n",
    "letters.mat": MATRIX.replace("0.012", "eleven"),
    "nan.mat": MATRIX.replace("0.012", "nan"),
    "singular.mat": "1 2 3\n1 2 3\n1 2 3\n",
    "empty.mat": "",
    "good.hkl": HKL,
    "three.hkl": "1 0 0 10\n0 1 20\n",
    "letters.hkl": "1 0 0 10\n\n# comment\n0 one 0 20\n",
    "nan.hkl": "1 0 0 10\n0 1 0 nan\n",
    "inf.hkl": "1 0 0 inf\n",
    "wide.hkl": "-5000 0 0 1\n5000 5000 5000 1\n",
    "huge.hkl": "1 0 0 10\n99999999999 0 0 1\n",
    "data.hkl": b"MTZ \x00\x01\x02",
    "letters.src": "0 0 10 1 1e-10\na b c d\n",
    "zero.src": "0 0 0 1 1e-10\n",
    "negative.src": "0 0 10 -1 1e-10\n",
    "wave.src": "0 0 10 1 -1e-10\n",
    "weightless.src": "0 0 10 0 1e-10\n",
    "empty.src": "# nothing\n\n",
    "good.img": smv(),
    "small.img": smv(7, 8),
    "cut.img": smv(cut=1),
    "header.img": smv()[:100],
    "sizeless.img": smv(SIZE1=0),
    "float.img": smv(TYPE="float"),
    "text.img": "not an image\n",
    "order.img": smv(BYTE_ORDER="middle_endian"),
    "pixel.img": smv(PIXEL_SIZE=-0.1),
    "text.bin": "1 2 3\n",
    "range.bin": b"5 1 0 0 0 0\n\f" + bytes(8),
}

# Name: flags after the good ones, what the sentence has to say.
CASES = {
    "unknown flag": ("-distanse 5", ["-distanse", "-distance"]),
    "unknown flag, nothing near": ("-zzqqxx", ["-zzqqxx", "--help"]),
    "stray word": ("5", ["'5'", "-oversample"]),
    "stray word after a switch": ("-nopgm 3", ["'3'", "-nopgm"]),
    "too many numbers": ("-distance 5 6", ["'6'", "-distance"]),
    "no value": ("-distance", ["-distance", "number"]),
    "no value before a flag": ("-distance -nopgm", ["-distance", "number"]),
    "letters for a number": ("-distance far", ["-distance", "'far'"]),
    "letters for an integer": ("-detpixels many", ["-detpixels", "'many'"]),
    "fraction for an integer": ("-detpixels 8.5", ["-detpixels", "8.5"]),
    "two of three numbers": ("-misset 1 2", ["-misset", "3 numbers"]),
    "an unknown word": ("-pivot middle", ["-pivot", "'middle'", "beam"]),
    "an unknown mode": ("-mode exact", ["-mode", "'exact'", "c-parity"]),
    "distance NaN": ("-distance nan", ["-distance", "nan"]),
    "distance infinite": ("-distance inf", ["-distance", "inf"]),
    "distance beyond double": ("-distance 1e999", ["-distance", "1e999"]),
    "distance zero": ("-distance 0", ["-distance", "> 0", "0"]),
    "distance negative": ("-distance -5", ["-distance", "-5"]),
    "close distance zero": ("-close_distance 0", ["-close_distance", "0"]),
    "pixel zero": ("-pixel 0", ["-pixel", "0"]),
    "pixel negative": ("-pixel -0.1", ["-pixel", "-0.1"]),
    "pixels zero": ("-detpixels_x 0", ["-detpixels_x", "0"]),
    "pixels negative": ("-detpixels_y -8", ["-detpixels_y", "-8"]),
    "pixels beyond an integer": ("-detpixels 99999999999", ["-detpixels", "99999999999"]),
    "too many pixels": ("-detpixels 100000 -pixel 0.001 -force", ["100000 x 100000", "too many"]),
    "wavelength zero": ("-lambda 0", ["-lambda", "0"]),
    "wavelength NaN": ("-wave nan", ["-wave", "nan"]),
    "energy zero": ("-energy 0", ["-energy", "0"]),
    "energy tiny": ("-energy 1e-320", ["-energy", "1e-320"]),
    "cell edge zero": ("-cell 50 0 70", ["-cell", "50 0 70"]),
    "cell edge negative": ("-cell -50 60 70", ["-cell", "-50"]),
    "cell edge infinite": ("-cell 50 inf 70", ["-cell", "inf"]),
    "cell without numbers": ("-cell", ["-cell", "1 to 6 numbers"]),
    "cell angles that do not close": ("-cell 50 60 70 30 40 100", ["-cell", "30 40 100"]),
    "cell angle of zero": ("-cell 50 60 70 0 90 90", ["-cell", "50 60 70 0 90 90"]),
    "cell angles beyond a turn": ("-cell 50 60 70 120 120 120", ["-cell", "120 120 120"]),
    "matrix missing": ("-mat nowhere.mat", ["-mat", "nowhere.mat", "No such file"]),
    "matrix a folder": ("-mat folder", ["-mat", "folder", "directory"]),
    "matrix short": ("-mat short.mat", ["-mat", "short.mat", "5 numbers"]),
    "matrix of letters": ("-mat letters.mat", ["-mat", "letters.mat", "line 2", "'eleven'"]),
    "matrix with NaN": ("-mat nan.mat", ["-mat", "nan.mat", "line 2", "'nan'"]),
    "matrix singular": ("-mat singular.mat", ["-mat", "singular.mat", "singular"]),
    "matrix empty": ("-mat empty.mat", ["-mat", "empty.mat", "0 numbers"]),
    "matrix and another cell": ("-mat good.mat", ["-cell", "50 60 70 80 90 100", "-mat"]),
    "structure factors missing": ("-hkl nowhere.hkl", ["-hkl", "nowhere.hkl", "No such file"]),
    "structure factors in three columns": ("-hkl three.hkl", ["-hkl", "three.hkl", "line 2", "'0 1 20'"]),
    "structure factors of letters": ("-hkl letters.hkl", ["-hkl", "letters.hkl", "line 4", "'one'"]),
    "structure factor NaN": ("-hkl nan.hkl", ["-hkl", "nan.hkl", "line 2", "nan"]),
    "structure factor infinite": ("-hkl inf.hkl", ["-hkl", "inf.hkl", "line 1", "inf"]),
    "index range too large": ("-hkl wide.hkl", ["-hkl", "wide.hkl", "-5000..5000", "points"]),
    "index too large": ("-hkl huge.hkl", ["-hkl", "huge.hkl", "line 2", "99999999999"]),
    "structure factors in MTZ": ("-hkl data.hkl", ["-hkl", "data.hkl", "MTZ"]),
    "default F infinite": ("-default_F inf", ["-default_F", "inf"]),
    "dump file missing": ("-dump nowhere.bin", ["-dump", "nowhere.bin", "No such file"]),
    "dump file of text": ("-dump text.bin", ["-dump", "text.bin", "form feed"]),
    "dump file cut short": ("-dump cut.bin", ["-dump", "cut.bin", "bytes"]),
    "dump file with an empty range": ("-dump range.bin", ["-dump", "range.bin", "h 5..1"]),
    "sources missing": ("-sourcefile nowhere.src", ["-sourcefile", "nowhere.src", "No such file"]),
    "sources of letters": ("-sourcefile letters.src", ["-sourcefile", "letters.src", "line 2", "'a'"]),
    "source without direction": ("-sourcefile zero.src", ["-sourcefile", "zero.src", "line 1", "0 0 0"]),
    "source of negative weight": ("-sourcefile negative.src", ["-sourcefile", "negative.src", "line 1", "-1"]),
    "source of negative wavelength": ("-sourcefile wave.src", ["-sourcefile", "wave.src", "line 1", "-1e-10"]),
    "sources without weight": ("-sourcefile weightless.src", ["-sourcefile", "weightless.src", "zero"]),
    "no sources": ("-sourcefile empty.src", ["-sourcefile", "empty.src", "no sources"]),
    "mask missing": ("-mask nowhere.img", ["-mask", "nowhere.img", "No such file"]),
    "mask of another size": ("-mask small.img", ["-mask", "small.img", "7 x 8", "8 x 8"]),
    "mask cut short": ("-mask cut.img", ["-mask", "cut.img", "63 of 8 x 8"]),
    "mask with half a header": ("-mask header.img", ["-mask", "header.img", "100 bytes"]),
    "mask without width": ("-mask sizeless.img", ["-mask", "sizeless.img", "SIZE1=0"]),
    "mask of floats": ("-mask float.img", ["-mask", "float.img", "TYPE=float"]),
    "image of text": ("-img text.img", ["-img", "text.img", "not an SMV"]),
    "image of unknown byte order": ("-mask order.img", ["-mask", "order.img", "middle_endian"]),
    "image with a negative pixel": ("-img pixel.img", ["-img", "pixel.img", "-0.1"]),
    "region off the detector": ("-roi 0 8 0 7", ["-roi", "0 8 0 7", "8 x 8"]),
    "region reversed": ("-roi 5 2 0 7", ["-roi", "5 2 0 7"]),
    "region negative": ("-roi -1 2 0 7", ["-roi", "-1"]),
    "region of three numbers": ("-roi 0 2 0", ["-roi", "4 integers", "3"]),
    "vector without direction": ("-beam_vector 0 0 0", ["-beam_vector", "0 0 0"]),
    "vector of two numbers": ("-fdet_vector 1 0", ["-fdet_vector", "2"]),
    "vectors along one line": ("-fdet_vector 1 0 0 -sdet_vector 2 0 0", ["-fdet_vector", "-sdet_vector", "1 0 0"]),
    "fluence negative": ("-fluence -1", ["-fluence", "-1"]),
    "flux through a point": ("-flux 1e10 -beamsize 0", ["-flux", "1e+10", "-beamsize"]),
    "exposure zero": ("-exposure 0", ["-exposure", "0"]),
    "polarisation beyond one": ("-polar 1.5", ["-polar", "1.5", "-1 to 1"]),
    "dispersion negative": ("-dispersion -1", ["-dispersion", "-1"]),
    "divergence step too small": ("-hdivrange 1 -hdivstep 1e-300", ["-hdivstep", "too many"]),
    "divergence steps negative": ("-divsteps -2", ["-divsteps", "-2"]),
    "oscillation step too small": ("-osc 1 -phistep 1e-300", ["-phistep", "too many"]),
    "phi steps negative": ("-phisteps -1", ["-phisteps", "-1"]),
    "thickness negative": ("-detector_thick -5", ["-detector_thick", "-5"]),
    "thickness steps negative": ("-thicksteps -1", ["-thicksteps", "-1"]),
    "absorption negative": ("-detector_abs -5", ["-detector_abs", "-5"]),
    "mosaic spread negative": ("-mosaic -1", ["-mosaic", "-1"]),
    "mosaic domains negative": ("-mosaic_domains -1", ["-mosaic_domains", "-1"]),
    "misset of a word": ("-misset somehow", ["-misset", "'somehow'"]),
    "seed too large": ("-seed 2147483647", ["-seed", "2147483647"]),
    "fudge negative": ("-fudge -1", ["-fudge", "-1"]),
    "fudge zero": ("-fudge 0", ["-fudge", "0"]),
    "sample size negative": ("-samplesize -1", ["-samplesize", "-1"]),
    "sample of too many cells": ("-sample_x 1e9", ["-sample_x", "too many"]),
    "dmin negative": ("-dmin -2", ["-dmin", "-2"]),
    "oversample zero": ("-oversample 0", ["-oversample", "0"]),
    "oversample negative": ("-oversample -1", ["-oversample", "-1"]),
    "oversample of letters": ("-oversample fine", ["-oversample", "'fine'"]),
    "water negative": ("-water -1", ["-water", "-1"]),
    "scale zero": ("-scale 0", ["-scale", "0"]),
    "adc NaN": ("-adc nan", ["-adc", "nan"]),
    "printed pixel off the detector": ("-printout_pixel 8 0", ["-printout_pixel", "8 0", "8 x 8"]),
    "output in a missing folder": ("-floatfile no/where.bin", ["-floatfile", "no/where.bin", "does not exist"]),
    "output a folder": ("-intfile folder", ["-intfile", "folder", "directory"]),
    "output behind a file": ("-pgmfile good.hkl/x.pgm", ["-pgmfile", "good.hkl/x.pgm"]),
    "output without a name": (["-noisefile", ""], ["-noisefile", "file name"]),
    "two outputs of one name": ("-floatfile a.img -intfile ./a.img", ["-intfile", "'./a.img'", "-floatfile"]),
    "default name twice": ("-pgmfile intimage.img", ["-pgmfile", "intimage.img", "-intfile"]),
    "output over an input": ("-hkl good.hkl -floatfile good.hkl", ["-floatfile", "good.hkl", "-hkl"]),
    "dump over the input": ("-hkl good.hkl -dump good.hkl", ["-dump", "good.hkl", "-hkl"]),
    "output on a full disk": ("-floatfile /dev/full", ["-floatfile", "/dev/full", "No space left"]),
    "image beyond single precision": ("-default_F 1e30", ["single precision", "-fluence"]),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with good and bad input files."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    write_fdump(tmp_path / "cut.bin", (0, 0, 0), np.ones((3, 3, 3)))
    (tmp_path / "cut.bin").write_bytes((tmp_path / "cut.bin").read_bytes()[:-1])
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_refused(err, out_files, before, words, quiet=True):
    """One sentence on stderr with all `words`, and no new file."""
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith("nanobrag_jax: error: ")]
    assert len(errors) == 1 and err.endswith("\n")
    assert not quiet or len(lines) == 1, lines
    for word in words:
        assert word in errors[0], errors[0]
    assert out_files == before


def listing(folder):
    return sorted((path.name, path.stat().st_size) for path in folder.rglob("*"))


def test_there_are_enough():
    assert len(CASES) > 60


@pytest.mark.parametrize("name", CASES)
def test_refused(name, folder, capsys):
    arguments, words = CASES[name]
    before = listing(folder)
    status = main(GOOD + (arguments.split() if isinstance(arguments, str) else arguments))
    captured = capsys.readouterr()
    assert status == 1
    late = name in ("output on a full disk", "image beyond single precision")
    check_refused(captured.err, listing(folder), before, words, quiet=not late)
    assert late or captured.out == ""


def test_a_detector_smaller_than_a_pixel(folder, capsys):
    before = listing(folder)
    assert main("-cell 50 -default_F 1 -pixel 1 -detsize_f 0.1".split()) == 1
    check_refused(capsys.readouterr().err, listing(folder), before, ["0.1 mm", "1 mm"])


USAGE = {
    "nothing": ("", ["-mat", "-cell", "--help"]),
    "no crystal": ("-default_F 1", ["-mat", "-cell", "--help"]),
    "no structure factors": ("-cell 50", ["-hkl", "-default_F", "--help"]),
    "no structure factors in c-parity": ("-cell 50 -mode c-parity", ["-hkl", "-default_F", "--help"]),
    "a default F of zero": ("-cell 50 -default_F 0", ["-hkl", "-default_F", "--help"]),
}


@pytest.mark.parametrize("name", USAGE)
def test_nothing_to_compute_with(name, folder, capsys):
    arguments, words = USAGE[name]
    before = listing(folder)
    assert main(arguments.split()) == 9
    check_refused(capsys.readouterr().err, listing(folder), before, words)


@pytest.mark.parametrize("name", ["no permission for the file", "no permission for the folder"])
@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_no_permission(name, folder, capsys):
    locked = folder / "locked"
    locked.mkdir()
    target = locked / "image.bin"
    target.write_bytes(b"old")
    target.chmod(0o400)
    if "folder" in name:
        locked.chmod(0o500)
    assert main([*GOOD, "-floatfile", "locked/image.bin"]) == 1
    error = capsys.readouterr().err
    locked.chmod(0o700)
    assert "-floatfile" in error and "permission denied" in error.lower() and target.read_bytes() == b"old"


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (["-distanse", "5"], 1, ["-distanse", "-distance"]),
        (["-mat", "short.mat"], 1, ["short.mat", "5 numbers"]),
        ([], 9, ["-mat", "--help"]),
    ],
    ids=["unknown flag", "short matrix", "nothing"],
)
def test_a_process(arguments, status, words, folder):
    before = listing(folder)
    root = str(Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-m", "nanobrag_jax", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "XDG_CACHE_HOME": str(folder / "folder")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == status
    files = [item for item in listing(folder) if "nanobrag_jax" not in item[0] and "x86_64" not in item[0]]
    check_refused(result.stderr, files, before, words)
