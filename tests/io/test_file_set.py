"""Sets of files: the old ones, the new ones, or none, whatever happens in between."""

import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from nanobrag_jax.errors import InputError
from nanobrag_jax.io import locks
from nanobrag_jax.io.atomic import write_whole
from nanobrag_jax.io.file_set import FileSet
from nanobrag_jax.io.outputs import Output, write_outputs
from nanobrag_jax.io.signals import interruptions_held, stop_like_interruptions

NAMES = ("a", "b", "c")


def outputs(folder, content: bytes):
    return [Output(f"-{name}", str(folder / name), [content, content]) for name in NAMES]


def found(folder):
    """What each file holds; nothing else may be there."""
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


@pytest.mark.parametrize("existing", [(), ("a",), NAMES])
@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_error_at_any_step(existing, step, number, tmp_path, monkeypatch):
    """The third rename fails after two: both are taken back."""
    for name in existing:
        (tmp_path / name).write_bytes(b"old")
    before, calls, right = found(tmp_path), [0], getattr(os, step)

    def fails(*args):
        calls[0] += 1
        if calls[0] == number + 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return right(*args)

    monkeypatch.setattr(os, step, fails)
    if step == "chmod" and number >= len(existing):
        write_outputs(outputs(tmp_path, b"new"))
        assert found(tmp_path) == dict.fromkeys(NAMES, b"newnew")
        return
    with pytest.raises(InputError, match=f"-{NAMES[number]}: cannot write '.*{NAMES[number]}': Input/output error"):
        write_outputs(outputs(tmp_path, b"new"))
    monkeypatch.undo()
    assert found(tmp_path) == before


def test_a_device_that_is_full_stops_all(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with pytest.raises(InputError, match="-x: cannot write '/dev/full': No space left"):
        write_outputs([*outputs(tmp_path, b"new"), Output("-x", "/dev/full", [b"x"])])
    assert found(tmp_path) == {}


def test_a_file_by_its_name(tmp_path):
    with FileSet() as files:
        name = files.name(tmp_path / "x")
        with open(name, "wb") as file:
            file.write(b"new")
        files.open(tmp_path / "y").write(b"also")
    assert found(tmp_path) == {"x": b"new", "y": b"also"}
    with pytest.raises(RuntimeError), FileSet() as files:
        open(files.name(tmp_path / "x"), "wb").close()
        raise RuntimeError
    assert found(tmp_path) == {"x": b"new", "y": b"also"}


SCRIPT = """
import os, signal, sys
from nanobrag_jax.io.file_set import FileSet
with FileSet() as files:
    for name in sys.argv[1:]:
        files.open(name).write(b"half")
        open(files.name(name + "_by_name"), "wb").write(b"half")
    print(flush=True)
    sys.stdin.read()
"""


def begun(folder):
    """A process that has begun to write the set."""
    names = [str(folder / name) for name in NAMES]
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *names], stdin=-1, stdout=-1)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_what_a_kill_leaves_goes_with_the_next_run_of_the_same_output(tmp_path):
    process = begun(tmp_path)
    process.kill()
    process.communicate()
    assert len(os.listdir(tmp_path)) == 9
    write_outputs(outputs(tmp_path, b"new"))
    for name in NAMES:
        with FileSet() as files:
            open(files.name(tmp_path / f"{name}_by_name"), "wb").close()
    assert set(os.listdir(tmp_path)) == {*NAMES, *(f"{name}_by_name" for name in NAMES)}


def test_a_process_at_work_keeps_its_files(tmp_path):
    """Another run of the same output takes other temporary names, and both end well; the last one's set stays."""
    process = begun(tmp_path)
    write_outputs(outputs(tmp_path, b"first"))
    assert (tmp_path / "a").read_bytes() == b"firstfirst"
    process.communicate()
    assert process.returncode == 0
    assert {(tmp_path / name).read_bytes() for name in NAMES} == {b"half"}
    assert len(os.listdir(tmp_path)) == 6


def test_names_that_others_have_planted_are_left_alone(tmp_path):
    with FileSet() as files:
        files.open(tmp_path / "a")
        taken = files.entries[0].temporary
    (tmp_path / "a").unlink()
    (tmp_path / "other").write_bytes(b"precious")
    os.symlink("other", taken)
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "other").read_bytes() == b"precious" and (tmp_path / "a").read_bytes() == b"new"


def test_threads_with_the_same_names_do_not_mix_their_sets(tmp_path):
    def write(content):
        for _ in range(30):
            write_outputs(outputs(tmp_path, content))

    threads = [threading.Thread(target=write, args=(content,)) for content in (b"one", b"two", b"three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found(tmp_path).values())) == 1 and set(found(tmp_path)) == set(NAMES)


def test_a_locked_folder_is_waited_for_and_then_said(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_WAIT_S", 0.05)
    with locks.folders_locked([str(tmp_path)]):
        with pytest.raises(InputError, match="another process has it locked"):
            write_whole(tmp_path / "a", b"x")
    write_whole(tmp_path / "a", b"x")
    assert found(tmp_path) == {"a": b"x"}


def test_without_locks_of_folders_a_file_is_locked(tmp_path, monkeypatch):
    right = locks.lock

    def only_files(descriptor):
        return None if os.path.isdir(f"/proc/self/fd/{descriptor}") else right(descriptor)

    monkeypatch.setattr(locks, "lock", only_files)
    write_whole(tmp_path / "a", b"x")
    assert set(os.listdir(tmp_path)) == {"a", locks.LOCK_FILE}


def test_signals_are_held_until_all_have_their_names(tmp_path, monkeypatch):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    right = os.replace

    def with_signal(*args):
        signal.raise_signal(signal.SIGINT)
        right(*args)

    monkeypatch.setattr(os, "replace", with_signal)
    with pytest.raises(KeyboardInterrupt, match="interrupted, all files are written"):
        write_outputs(outputs(tmp_path, b"new"))
    assert found(tmp_path) == dict.fromkeys(NAMES, b"newnew")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_that_python_swallows_comes_again(monkeypatch, number):
    """In a callback of the collector of garbage, of which jax has one, no exception gets further."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def while_collecting(*_):
        gc.callbacks.remove(while_collecting)
        signal.raise_signal(number)

    try:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        stop_like_interruptions()
        gc.callbacks.append(while_collecting)
        with pytest.raises(KeyboardInterrupt):
            gc.collect()
            time.sleep(10)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_ending_signals_are_interruptions_and_ignored_ones_stay_ignored():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stop_like_interruptions()
        with pytest.raises(KeyboardInterrupt), interruptions_held():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            time.sleep(0.01)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
