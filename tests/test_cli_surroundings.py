"""The command where the world around it fails: a full disk, a folder that is gone, Ctrl-C while it is importing."""

import os
import signal
import subprocess
import sys

import pytest
from test_cli import QUIET, SMALL, environment

from nanobrag_jax.quiet_start import is_own_command


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_report_that_cannot_be_written_keeps_no_image_back(folder):
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "nanobrag_jax", *SMALL, *QUIET],
            cwd=folder, env=environment(folder), stdout=full, stderr=-1, text=True, timeout=300,
        )  # fmt: skip
    assert ran.returncode == 0 and "note: the report cannot be written: No space left on device" in ran.stderr
    assert (folder / "floatimage.bin").exists() and "Traceback" not in ran.stderr


def test_a_folder_that_is_gone(folder):
    gone = folder / "gone"
    gone.mkdir()
    script = f"import os; from nanobrag_jax.cli import main; os.rmdir({str(gone)!r}); raise SystemExit(main({SMALL!r}))"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=gone, env=environment(folder), capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("nanobrag_jax: error: ") and "folder is gone" in ran.stderr


@pytest.mark.parametrize(
    "words, own",
    [
        (["python", "-m", "nanobrag_jax", "-cell"], True),
        (["python", "-X", "dev", "-m", "nanobrag_jax.dataset", "make"], True),
        (["/usr/bin/python", "/home/me/bin/nanobrag_jax", "-cell"], True),
        (["python", "-m", "mine.training"], False),
        (["python", "training.py", "nanobrag_jax"], False),
        (["python"], False),
        (["python", "-m"], False),
    ],
)
def test_only_its_own_commands_start_quietly(words, own):
    assert is_own_command(words) == own


def test_an_interruption_while_importing_ends_without_a_traceback(folder):
    script = (
        "import os, signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import nanobrag_jax.quiet_start; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, "-m", "nanobrag_jax"],
        cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == -signal.SIGINT and ran.stderr == ""
