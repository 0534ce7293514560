"""Compiled programs on disk: what is damaged is compiled anew, what others could have written is not run."""

import os
import shutil
import stat
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import jax
import pytest

from nanobrag_jax.command import kept_programs
from nanobrag_jax.command.compilation_cache import cache_folder, use_compilation_cache

SMALL = "-cell 100 100 100 90 90 90 -default_F 100 -N 5 -lambda 1 -distance 100 -detpixels 64 -pixel 0.1".split()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder that is used, with three programs, and jax left as it is."""
    monkeypatch.setattr(jax.config, "update", lambda *pair: None)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr("atexit.register", lambda *_: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    use_compilation_cache()
    folder = cache_folder()
    for name in "abc":
        (folder / f"jit_{name}-0-cache").write_bytes(zlib.compress(name.encode() * 100))
    kept_programs.account_for(folder)
    return folder


def programs(folder):
    return sorted(path.name[4] for path in folder.glob("*-cache"))


def test_whole_programs_stay(place):
    assert programs(place) == ["a", "b", "c"]
    use_compilation_cache()
    assert programs(place) == ["a", "b", "c"]


def test_the_folder_is_the_users_alone(place):
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (place, place.parent)] == [0o700, 0o700]


@pytest.mark.parametrize("closed", ["place", "parent"])
def test_what_others_could_write_is_not_run(place, closed):
    opened = place if closed == "place" else place.parent
    opened.chmod(0o777)
    use_compilation_cache()
    assert stat.S_IMODE(opened.stat().st_mode) == 0o700
    if closed == "place":
        assert programs(place) == []


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_a_folder_of_another_user_is_not_used(place, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: place.stat().st_uid + 1)
    used = []
    monkeypatch.setattr(jax.config, "update", lambda *pair: used.append(pair))
    use_compilation_cache()
    assert used == [] and "belongs to another user" in capsys.readouterr().err


def test_damaged_programs_go(place):
    whole = (place / "jit_a-0-cache").read_bytes()
    (place / "jit_a-0-cache").write_bytes(whole[:-3])
    (place / "jit_d-0-cache").write_bytes(whole[:10])
    (place / "jit_e-0-cache").write_bytes(b"\x28\xb5\x2f\xfd123")
    (place / "jit_f-0-cache").symlink_to(place / "jit_b-0-cache")
    (place / "jit_g-0-cache").write_bytes(whole)
    use_compilation_cache()
    assert programs(place) == ["b", "c", "g"]


def test_swapped_programs_go(place):
    a, b, other = place / "jit_a-0-cache", place / "jit_b-0-cache", place / "other"
    shutil.move(a, other)
    shutil.move(b, a)
    shutil.move(other, b)
    use_compilation_cache()
    assert programs(place) == ["c"]


@pytest.mark.parametrize("account", [b"", b"[]", b'{"a": 3', b"[" * 10**5, b"\xff"])
def test_a_damaged_account_is_made_anew(place, account):
    (place / kept_programs.ACCOUNT).write_bytes(account)
    use_compilation_cache()
    assert programs(place) == ["a", "b", "c"] and b"jit_a" in (place / kept_programs.ACCOUNT).read_bytes()


def test_the_oldest_programs_go(place):
    for number in range(kept_programs.KEPT_PROGRAMS):
        path = place / f"jit_old-{number}-cache"
        path.write_bytes(zlib.compress(b""))
        os.utime(path, (number, number))
    use_compilation_cache()
    assert len(list(place.glob("*-cache"))) == kept_programs.KEPT_PROGRAMS
    assert not (place / "jit_old-2-cache").exists() and (place / "jit_old-3-cache").exists()


def test_what_jax_cannot_read_is_removed_without_a_word(place, capsys):
    warnings.showwarning(
        UserWarning("Error reading persistent compilation cache entry for 'jit_a': x"), UserWarning, "", 1
    )
    assert programs(place) == ["b", "c"] and capsys.readouterr().err == ""
    with pytest.warns(UserWarning, match="another"):
        warnings.warn("another", stacklevel=1)


@pytest.mark.slow
def test_half_a_program_is_written_anew(tmp_path):
    """By the command, whose files have their final names after a full disk as well."""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])

    def run():
        ran = subprocess.run(
            [sys.executable, "-m", "nanobrag_jax", *SMALL, "-floatfile", "x.bin"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "Error" not in ran.stderr
        return {path: path.stat().st_size for path in tmp_path.rglob("jit*-cache")}

    sizes = run()
    image = (tmp_path / "x.bin").read_bytes()
    longest = max(sizes, key=sizes.__getitem__)
    with longest.open("r+b") as file:
        file.truncate(1000)
    again = run()
    assert again[longest] > 1000 and again.keys() == sizes.keys()
    assert (tmp_path / "x.bin").read_bytes() == image
