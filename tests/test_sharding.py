"""Work shared out over four virtual devices, and over two processes: the same numbers, a share of the memory."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import compiler_options
import pytest

HERE = Path(__file__).parent
SAME = 1e-12
SHARE = 0.3
"""Of the memory that one device of four needs: a quarter, and the little that does not belong to pixels."""


def started(*parts, **environment):
    """A process that runs parts of `on_devices.py`."""
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu", **environment}
    environment["XLA_FLAGS"] = compiler_options.flags()
    command = [sys.executable, str(HERE / "on_devices.py"), *parts]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def figures_of(process):
    """What it prints, one record a part."""
    printed, complaints = process.communicate(timeout=900)
    assert process.returncode == 0, complaints[-3000:]
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def four_devices():
    """Figures of all parts that run on four devices, by one process."""
    parts = ("images", "gradients", "batch", "fits", "stream")
    return dict(zip(parts, figures_of(started(*parts)), strict=True))


@pytest.mark.slow
def test_images_are_the_same_on_four_devices(four_devices):
    figures = dict(four_devices["images"])
    assert figures.pop("interpolation matters") > 1e-3
    assert len(figures) == 16
    assert max(figures.values()) < SAME, figures


@pytest.mark.slow
def test_a_loss_has_the_same_gradient_and_a_quarter_of_the_memory(four_devices):
    figures = four_devices["gradients"]
    assert figures["value"] < SAME and figures["gradient"] < 1e-9
    assert figures["temporary share"] < SHARE and figures["image share"] == 0.25


@pytest.mark.slow
def test_a_batch_of_images_needs_no_word_between_devices(four_devices):
    figures = four_devices["batch"]
    assert figures["deviation"] < SAME and figures["temporary share"] < SHARE
    assert figures["collectives"] == []


@pytest.mark.slow
def test_a_refinement_on_four_devices(four_devices):
    figures = four_devices["fits"]
    assert figures["converged"] and figures["value"] < 1e-9 and figures["uncertainty"] < 1e-6


@pytest.mark.slow
def test_a_stream_over_four_devices(four_devices):
    assert four_devices["stream"]["differ"] == 0 and four_devices["stream"]["photons"] > 5
    assert four_devices["stream"]["images a device"] == four_devices["stream"]["labels a device"] == 2


@pytest.mark.slow
def test_two_processes():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    both = [started("processes", DEVICES="2", COORDINATOR=address, PROCESS=str(i)) for i in range(2)]
    for (figures,) in [figures_of(process) for process in both]:
        assert (figures["processes"], figures["devices"], figures["shards"]) == (2, 4, 2)
        assert figures["image"] < SAME and figures["value"] < SAME and figures["gradient"] < 1e-9
