"""Single precision: with x64 off every spec case runs and stays close to the reference (docs/precision.md)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import compiler_options
import jax
import pytest
from golden import BY_NAME, GOLDEN, absent

ROOT = Path(__file__).parents[1]
LIMIT = 2e-3
"""Of the brightest pixel. A phase error of one rounding of the ray's direction across the largest golden crystal (1600
wavelengths) changes a pixel on the flank of a spot by up to 7e-4 of the peak; this leaves a factor of three."""

FEW = "big_tilt tophat_small_fudge kitchen_sink".split()
"""Cases whose code paths differ; the program is the one that measures docs/precision.md."""


def measured(tmp_path, *arguments):
    """The figures that benchmarks.float32_accuracy writes in a process of its own, where x64 is off from the start."""
    if not BY_NAME:
        absent(GOLDEN / "cases.json")
    out = tmp_path / "figures.json"
    command = [sys.executable, "-W", "error", "-m", "benchmarks.float32_accuracy", "--json", str(out), *arguments]
    programs = {"JAX_COMPILATION_CACHE_DIR": folder} if (folder := jax.config.jax_compilation_cache_dir) else {}
    environment = os.environ | programs | {"NANOBRAG_GOLDEN": str(GOLDEN), "XLA_FLAGS": compiler_options.flags()}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())


def check(rows):
    wrong = {row["case"]: row["of_peak"] for row in rows if not row["of_peak"] <= LIMIT}
    assert not wrong
    assert {row["dtype"] for row in rows} == {"float32"}
    assert max(row["of_peak"] for row in rows) > 1e-7, "float64 after all?"


def test_some_cases_in_single_precision(tmp_path):
    rows = measured(tmp_path, "--cases", *FEW)["cases"]
    check(rows)
    assert [row["case"] for row in rows] == FEW


@pytest.mark.slow
def test_every_case_in_single_precision(tmp_path):
    figures = measured(tmp_path)
    check(figures["cases"])
    named = {row["case"] for row in figures["cases"]}
    assert named >= {name for name, case in BY_NAME.items() if "spec" in case["modes"]}
    assert figures["sizes"][0]["of_peak"] < 2e-4 < figures["sizes"][-1]["of_peak"], "the error grows with the crystal"
