"""The compare command: image files of every kind, traces, pictures, bundles, and two programs on the same flags."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden import BY_NAME, INPUTS, absent, case_of, images_of

from nanobrag_jax.compare import compare_traces, read_image
from nanobrag_jax.compare.command import main
from nanobrag_jax.compare.pictures import reduced
from nanobrag_jax.compare.run import run_both
from nanobrag_jax.errors import InputError
from nanobrag_jax.formats.pgm import write_pgm
from nanobrag_jax.formats.raw import write_raw
from nanobrag_jax.formats.smv import write_smv
from nanobrag_jax.trace.record import read_traces, trace_of

IMAGE = np.random.default_rng(3).gamma(0.5, 60.0, (24, 31)).astype(np.float32)


def smv(path, image):
    items = [("DIM", 2), ("BYTE_ORDER", "little_endian"), ("TYPE", "unsigned_short")]
    items += [("SIZE1", image.shape[1]), ("SIZE2", image.shape[0])]
    write_smv(path, image.astype(np.uint16), items)


def hdf5(path, image, place="entry/data/data", frames=1):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        stack = np.stack([image * (n + 1) for n in range(frames)]) if frames > 1 else image
        file.create_dataset(place, data=stack)


def cbf(path, image):
    fabio = pytest.importorskip("fabio")
    fabio.cbfimage.CbfImage(data=image.astype(np.int32)).write(str(path))


WRITERS = {
    "raw.bin": (write_raw, np.float32),
    "image.img": (smv, np.uint16),
    "image.npy": (np.save, np.float32),
    "image.npz": (lambda path, image: np.savez(path, one=image), np.float32),
    "image.h5": (hdf5, np.float32),
    "elsewhere.h5": (lambda path, image: hdf5(path, image, "some/thing"), np.float32),
    "image.cbf": (cbf, np.int32),
    "image.pgm": (lambda path, image: write_pgm(path, image.astype(np.uint8), 1.0), np.uint8),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_format_reads_back(name, tmp_path):
    write, kind = WRITERS[name]
    image = np.clip(IMAGE, 0, 255)
    write(tmp_path / name, image)
    found = read_image(tmp_path / name, image.shape)
    assert found.dtype == kind
    np.testing.assert_array_equal(found, image.astype(kind))


def test_frames_and_datasets(tmp_path):
    hdf5(tmp_path / "stack.h5", IMAGE, frames=3)
    np.testing.assert_array_equal(read_image(f"{tmp_path}/stack.h5", frame=2), 3 * IMAGE)
    np.savez(tmp_path / "two.npz", a=IMAGE, b=2 * IMAGE)
    np.testing.assert_array_equal(read_image(f"{tmp_path}/two.npz::b"), 2 * IMAGE)


def test_the_smv_beside_a_float_image_tells_its_shape(tmp_path):
    write_raw(tmp_path / "floatimage.bin", IMAGE)
    smv(tmp_path / "intimage.img", IMAGE)
    assert read_image(tmp_path / "floatimage.bin").shape == IMAGE.shape
    smv(tmp_path / "floatimage.img", IMAGE.T)
    assert read_image(tmp_path / "floatimage.bin").shape == IMAGE.T.shape


def file_of(content):
    return lambda path: Path(path).write_bytes(content)


UNREADABLE = {
    "missing": ("no.bin", lambda path: None, "cannot read image"),
    "shapeless": ("a.bin", lambda path: write_raw(path, IMAGE), "give --shape SLOW FAST"),
    "damaged cbf": ("a.cbf", file_of(b"###CBF: VERSION 1.5\nnothing"), "is not a CBF file that can be read"),
    "damaged npy": ("a.npy", file_of(b"\x93NUMPY\x01\x00junk"), "is not a numpy file that can be read"),
    "damaged npz": ("a.npz", file_of(b"PK\x03\x04junk"), "is not a npz file that can be read"),
    "damaged HDF5": ("a.h5", file_of(b"\x89HDF\r\n\x1a\njunk"), "is not an HDF5 file that can be read"),
    "several": ("a.npz", lambda path: np.savez(path, a=IMAGE, b=IMAGE), "holds 'a, b': say which"),
    "no such name": ("a.npz::c", lambda path: np.savez(path[:-3], a=IMAGE), "the file holds 'a'"),
    "named npy": ("a.npy::c", lambda path: np.save(path[:-3], IMAGE), "one array without a name"),
    "line": ("a.npy", lambda path: np.save(path, IMAGE[0]), "has 1 axes"),
    "frame": ("a.npy", lambda path: np.save(path, IMAGE), "there is no frame 4"),
    "objects": ("a.npy", lambda path: np.save(path, np.array([{}]), allow_pickle=True), "numpy file that can be read"),
    "dataset of raw": ("a.bin::x", lambda path: write_raw(path[:-3], IMAGE), "only HDF5 and npz"),
    "no dataset": ("a.h5::x", lambda path: hdf5(path[:-3], IMAGE), "has no dataset x"),
    "no image": ("a.h5", lambda path: hdf5(path, IMAGE[0], "one"), "it holds no image"),
}


@pytest.mark.parametrize("name, write, message", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_no_image(name, write, message, tmp_path, capsys):
    np.save(tmp_path / "good.npy", IMAGE)
    write(f"{tmp_path}/{name}")
    frame = ["--frame", "4"] if "frame" in message else []
    assert main(["images", f"{tmp_path}/{name}", f"{tmp_path}/good.npy", *frame]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


@pytest.fixture
def pair(tmp_path):
    """Two image files, the second 2 % brighter with one pixel changed."""
    other = IMAGE * 1.02
    other[12, 20] += 50
    write_raw(tmp_path / "a.bin", IMAGE)
    np.save(tmp_path / "b.npy", other)
    return [f"{tmp_path}/a.bin", f"{tmp_path}/b.npy", "--shape", "24", "31"]


def test_images_as_table_and_json(pair, tmp_path, capsys):
    target = tmp_path / "found.json"
    assert main(["images", *pair, "--json", str(target)]) == 0
    table = capsys.readouterr().out
    found = json.loads(target.read_text())
    assert found["pixels"] == IMAGE.size and found["limits_not_kept"] == []
    assert (found["largest_differences"][0]["slow"], found["largest_differences"][0]["fast"]) == (12, 20)
    for words in (f"{found['correlation']:.12g}", f"{found['sum_ratio']:.12g}", "    12     20"):
        assert words in table
    assert main(["images", *pair, "--json", "-", "--roi", "0", "30", "0", "9"]) == 0
    region = json.loads(capsys.readouterr().out)
    assert region["sum_ratio"] == pytest.approx(1.02, rel=1e-6) and region["pixels"] == 310


LIMITS = {
    "--min-correlation 0.9 --sum-ratio 0.99 1.05 --max-peak-distance 1 --min-peaks 5": 0,
    "--min-correlation 0.9999999": 1,
    "--sum-ratio 0.999999 1.000001": 1,
    "--max-rms 0.001": 1,
    "--max-difference 1": 1,
    "--min-peaks 1000": 1,
}


@pytest.mark.parametrize("limits, status", LIMITS.items())
def test_limits_set_the_exit_status(limits, status, pair, capsys):
    assert main(["images", *pair, *limits.split()]) == status
    assert ("limit not kept: " in capsys.readouterr().out) == bool(status)


def test_mask_file(pair, tmp_path, capsys):
    keep = np.ones(IMAGE.shape)
    keep[12, 20] = 0
    smv(tmp_path / "mask.img", keep)
    assert main(["images", *pair, "--mask", f"{tmp_path}/mask.img", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pixels"] == IMAGE.size - 1 and found["sum_ratio"] == pytest.approx(1.02, rel=1e-6)


@pytest.mark.slow
def test_picture(pair, tmp_path):
    pytest.importorskip("matplotlib")
    target = tmp_path / "pictures.png"
    assert main(["images", *pair, "--png", str(target), "--roi", "2", "29", "3", "20"]) == 0
    data = target.read_bytes()
    assert data.startswith(b"\x89PNG") and 10_000 < len(data) < 300_000


def test_a_reduced_picture_keeps_the_peaks():
    image = np.zeros((1000, 1500))
    image[501, 777], image[3, 1499] = 5.0, -7.0
    small = reduced(image, 300)
    assert small.shape == (200, 300) and small.max() == 5.0 and small.min() == -7.0
    assert reduced(image, 1500) is image


@pytest.mark.parametrize("option", ["--png", "--json"])
def test_a_result_that_cannot_be_written(option, pair, capsys):
    assert main(["images", *pair, option, "/nowhere/at/all"]) == 2
    assert "does not exist" in capsys.readouterr().err


def sums_of(folder):
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def test_bundle_of_images(pair, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "bundle"
    words = ["images", *pair, "--bundle", str(folder), "--sum-ratio", "0.9", "1.1"]
    assert main(words) == 0
    table = capsys.readouterr().out
    names = {"commands.txt", "environment.json", "metrics.json", "inputs.json", "report.txt", "comparison.png"}
    assert {entry.name for entry in folder.iterdir()} == {*names, "SHA256SUMS"}
    assert sums_of(folder) == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    assert (folder / "report.txt").read_text() == table
    assert "--sum-ratio 0.9 1.1" in (folder / "commands.txt").read_text()
    inputs = json.loads((folder / "inputs.json").read_text())
    assert [item["sha256"] for item in inputs] == [hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in pair[:2]]
    machine = json.loads((folder / "environment.json").read_text())
    assert machine["packages"]["numpy"] == np.__version__ and machine["processors"] >= 1
    assert json.loads((folder / "metrics.json").read_text())["pixels"] == IMAGE.size
    assert main(words) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.fixture
def traces(tmp_path):
    """A golden trace as JSON, as the log of a reference program, and with one number changed."""
    if not BY_NAME:
        absent(INPUTS)
    record = case_of("phi_zero_osc")["traces"][1]
    lines = [
        "nanoBragg simulator",
        "distance 60",
        f"TRACE_C: pix0_vector_meters {words(record['pix0_vector_meters'])} [m]",
    ]
    for name, value in record.items():
        if name not in ("slow", "fast", "phi_steps", "pix0_vector_meters"):
            lines.append(f"TRACE_C: {name} {words(value)}")
        if name == "F_cell":
            lines += [f"TRACE_C_PHI {' '.join(f'{k}={v!r}' for k, v in step.items())}" for step in record["phi_steps"]]
    lines.append("TRACE_C: hkl_frac 1 2 3")  # of a later sample, which is not the trace's
    (tmp_path / "c.log").write_text("\n".join(lines) + "\n")
    (tmp_path / "golden.json").write_text(json.dumps(record))
    changed = record | {"F_latt_b": record["F_latt_b"] * 1.01, "polar": record["polar"] * 1.5}
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    return tmp_path, record


def words(value):
    return " ".join(map(repr, value)) if isinstance(value, list) else repr(value)


def test_the_log_of_a_reference_program(traces):
    folder, record = traces
    (found,) = read_traces(folder / "c.log")
    golden = trace_of(record)
    assert dict(found.values) == dict(golden.values)
    assert [dict(step) for step in found.phi_steps] == [dict(step) for step in golden.phi_steps]
    assert compare_traces(golden, found, 0.0).first is None


def test_traces_command(traces, capsys):
    folder, _ = traces
    a, log, changed = (str(folder / name) for name in ("golden.json", "c.log", "changed.json"))
    assert main(["traces", a, log]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "first difference: none"
    target = folder / "found.json"
    assert main(["traces", a, changed, "--json", str(target), "--bundle", str(folder / "bundle")]) == 1
    output = capsys.readouterr().out
    assert output.splitlines()[-1].startswith("first difference: F_latt_b at phi step 0 (phi = 0 deg): ")
    marked = [line for line in output.splitlines() if line.endswith("<--")]
    assert len(marked) == 2 and marked[1].startswith("polar ")
    found = json.loads(target.read_text())
    assert found["first_difference"]["name"] == "F_latt_b"
    assert found["first_difference"]["relative"] == pytest.approx(0.01 / 1.01)
    assert {"A_golden.json", "B_changed.json", "report.txt"} <= set(sums_of(folder / "bundle"))
    assert main(["traces", a, changed, "--tolerance", "0.5"]) == 0


WRONG_TRACES = {
    "empty": ("", "holds no trace"),
    "chatter": ("nothing here\nof interest 3\n", "holds no trace"),
    "bad JSON": ("{", "is not valid JSON"),
    "no names": ('{"a": 1}', "holds no trace"),
    "list of numbers": ("[1, 2]", "is no trace"),
    "another pixel": ('{"slow": 1, "fast": 1, "polar": 1.0}', "different pixels"),
    "nothing in common": ('{"background_photons": 1.0}', "no name in common"),
    "several": ('[{"polar": 1.0}, {"polar": 1.0}]', "say which with --pixel"),
}


@pytest.mark.parametrize("content, message", WRONG_TRACES.values(), ids=WRONG_TRACES)
def test_what_is_no_trace(content, message, traces, capsys):
    folder, _ = traces
    (folder / "wrong").write_text(content)
    assert main(["traces", str(folder / "golden.json"), str(folder / "wrong")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_values_that_are_not_comparable_differ():
    base = {"polar": 1.0, "steps": 10.0, "hkl_frac": [0.0, 0.0, 0.0]}
    for change in ({"polar": float("nan")}, {"steps": [10.0, 1.0]}, {"hkl_frac": [0.0, 1e-300, 0.0]}):
        assert compare_traces(trace_of(base), trace_of(base | change)).first.name == next(iter(change))
    assert compare_traces(trace_of(base), trace_of(base)).first is None
    short, long = ({"polar": 1.0, "phi_steps": [{"phi_deg": 0.0}] * n} for n in (1, 2))
    assert compare_traces(trace_of(short), trace_of(long)).first.name == "number of phi steps"
    with pytest.raises(InputError, match="tolerance must be zero or positive"):
        compare_traces(trace_of(base), trace_of(base), -1.0)


STAND_IN = """#!{python}
import sys
import numpy as np
flags = sys.argv[1:]
def after(name):
    return flags[len(flags) - 1 - flags[::-1].index(name) + 1]
if "-fail" in flags:
    sys.exit("it went wrong")
if "-silent" not in flags:
    image = np.load({image!r})
    np.asarray(image * {factor}, "<f4").tofile(after("-floatfile"))
    header = "{{\\nHEADER_BYTES=512;\\nTYPE=unsigned_short;\\nSIZE1=%d;\\nSIZE2=%d;\\n}}\\f" % image.shape[::-1]
    with open(after("-intfile"), "wb") as out:
        out.write(header.ljust(512).encode() + np.zeros(image.shape, "<u2").tobytes())
"""


def stand_in(folder, name, image, factor=1.0):
    """An executable that writes an image as the C program does."""
    np.save(folder / f"{name}.npy", image)
    path = folder / name
    path.write_text(STAND_IN.format(python=sys.executable, image=str(folder / f"{name}.npy"), factor=factor))
    path.chmod(0o755)
    return path


@pytest.mark.slow
def test_two_programs_on_the_same_flags(tmp_path):
    theirs, ours = stand_in(tmp_path, "theirs", IMAGE), stand_in(tmp_path, "ours", IMAGE, 2.0)
    results = tmp_path / "results"
    results.mkdir()
    a, b = run_both(theirs, ["-hkl", "x.hkl", "-N", "3"], results, mode="spec", ours=[str(ours)])
    np.testing.assert_array_equal(b.image, 2 * a.image)
    assert a.seconds > 0 and b.seconds > 0
    assert a.command[1:5] == ("-hkl", "x.hkl", "-N", "3") and "-mode" not in a.command
    assert b.command[b.command.index("-mode") + 1] == "spec"
    assert a.command[a.command.index("-dump") + 1].startswith(str(results))
    for flag, message in (("-fail", "the C program ended with status 1: it went wrong"), ("-silent", "wrote no image")):
        with pytest.raises(InputError, match=message):
            run_both(theirs, [flag], results, ours=[str(ours)])
    with pytest.raises(InputError, match="is no program that can be run"):
        run_both(tmp_path / "none", [], results)
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(InputError, match="could not be started"):
        run_both(tmp_path / "text", [], results)


@pytest.mark.slow
def test_run_command_with_a_stand_in_for_the_c_program(tmp_path, monkeypatch, capsys):
    """The stand-in writes the golden image; this program renders it."""
    monkeypatch.chdir(INPUTS)
    binary = stand_in(tmp_path, "nanoBragg", images_of("phi_zero_osc")["float"])
    bundle = tmp_path / "bundle"
    limits = "--min-correlation 0.999999 --sum-ratio 0.999999 1.000001 --max-peak-distance 1e-4".split()
    line = ["run", "--binary", str(binary), *limits, "--bundle", str(bundle), "--", *case_of("phi_zero_osc")["args"]]
    assert main(line) == 0
    assert "wall time, start to end (s)" in capsys.readouterr().out
    found = json.loads((bundle / "metrics.json").read_text())
    assert found["correlation"] > 1 - 1e-12 and set(found["wall_seconds"]) == {"c_program", "nanobrag_jax"}
    assert {"reference.log", "nanobrag_jax.log", "runs.json"} <= set(sums_of(bundle))
    assert main(["run", "--binary", str(binary)]) == 2
    assert "they follow after --" in capsys.readouterr().err


@pytest.mark.slow
def test_the_module_runs(pair):
    line = [sys.executable, "-m", "nanobrag_jax.compare", "images", *pair, "--max-rms", "1e-9"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "limit not kept: relative rms" in done.stdout and done.stderr == ""
