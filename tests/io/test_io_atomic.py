import errno
import os
import stat

import pytest

from nanobrag_jax.errors import InputError
from nanobrag_jax.io.atomic import check_writable, whole_file, write_whole


def test_writes_bytes_and_pieces(tmp_path):
    write_whole(tmp_path / "one", b"abc")
    write_whole(str(tmp_path / "two"), (piece for piece in [b"ab", memoryview(b"c")]))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == b"abc"
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


def test_a_plain_name_goes_to_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_writable("image.img")
    write_whole("image.img", b"x")
    assert (tmp_path / "image.img").read_bytes() == b"x"


def test_new_files_follow_the_umask_and_old_ones_keep_their_mode(tmp_path):
    old_umask = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", b"")
    finally:
        os.umask(old_umask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    write_whole(tmp_path / "new", b"again")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


def test_links_are_followed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    write_whole(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "file").read_bytes() == b"x"


def test_nothing_is_seen_before_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with whole_file(path) as handle:
        handle.write(b"new")
        handle.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, RuntimeError, InputError])
@pytest.mark.parametrize("existing", [True, False])
def test_an_exception_leaves_nothing_behind(tmp_path, stop, existing):
    path = tmp_path / "file"
    if existing:
        path.write_bytes(b"old")
    with pytest.raises(stop), whole_file(path) as handle:
        handle.write(b"half")
        raise stop("stop")
    assert os.listdir(tmp_path) == (["file"] if existing else [])
    assert not existing or path.read_bytes() == b"old"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, step):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(InputError, match="cannot write '.*file': No space left on device") as raised:
        write_whole(tmp_path / "file", b"x" * 100_000)
    assert "\n" not in str(raised.value)
    assert os.listdir(tmp_path) == []


def test_devices_are_written_directly():
    check_writable("/dev/null")
    write_whole("/dev/null", b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    if os.path.exists("/dev/full"):
        with pytest.raises(InputError, match="cannot write '/dev/full': No space left"):
            write_whole("/dev/full", b"x")


def test_a_pipe_is_written_directly(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", b"through")
    assert os.read(reader, 20) == b"through"
    os.close(reader)


def _loop(folder):
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


def _below_a_file(folder):
    (folder / "plain").write_bytes(b"")
    return folder / "plain" / "x"


UNWRITABLE = {
    "missing folder": (lambda folder: folder / "no" / "x", "the folder '.*no' does not exist"),
    "directory": (lambda folder: folder, "it is a directory"),
    "below a file": (_below_a_file, "Not a directory"),
    "empty name": (lambda folder: "", "the file name is empty"),
    "NUL": (lambda folder: "a\0b", "null (byte|character)"),
    "long name": (lambda folder: folder / ("x" * 300), "File name too long"),
    "loop": (_loop, "symbolic links"),
}


@pytest.mark.parametrize("name", UNWRITABLE)
@pytest.mark.parametrize("action", [check_writable, lambda path: write_whole(path, b"x")])
def test_unwritable_paths(tmp_path, name, action):
    make, message = UNWRITABLE[name]
    with pytest.raises(InputError, match=f"cannot write '.*': .*{message}"):
        action(make(tmp_path))


@pytest.mark.parametrize("what", ["folder", "file"])
def test_permissions_are_checked(tmp_path, monkeypatch, what):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    locked = str(tmp_path if what == "folder" else path)
    monkeypatch.setattr(os, "access", lambda name, mode: os.fspath(name) != locked)  # root may do anything
    with pytest.raises(InputError, match="permission denied"):
        check_writable(path)
    with pytest.raises(InputError, match="permission denied"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"


def test_checking_creates_nothing(tmp_path):
    check_writable(tmp_path / "file")
    assert os.listdir(tmp_path) == []
