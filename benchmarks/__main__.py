"""`python -m benchmarks [--quick] [--json FILE]`: every figure of docs/performance.md, as ratios to the probe."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import jax
import jax.numpy as jnp

import nanobrag_jax as nb
from nanobrag_jax.typing import Mode

from . import experiments, gradients, timing
from .probe import SAMPLES, Probe

Row = dict[str, object]


def image(name: str, experiment: nb.Experiment, mode: Mode, probe: Probe, limit: float | None) -> Row:
    """One rendering, warm, per sample against the probe."""
    simulate, compiling, temporary = timing.compiled(lambda e: nb.simulate(e, mode=mode), experiment)
    seconds = timing.best(lambda: simulate(experiment))
    samples = experiments.samples_of(experiment)
    return {
        "case": name,
        "seconds": seconds,
        "samples": samples,
        "ns_per_sample": seconds / samples * 1e9,
        "ratio": (seconds / samples) / (probe.seconds() / SAMPLES),
        "limit": limit,
        "compile_seconds": compiling,
        "temporary_MB": temporary,
    }


def derivative(name: str, probe: Probe, with_amplitudes: bool, limit: float) -> Row:
    """value_and_grad of a sum of squares against its forward pass, 1024² pixels × 10 φ steps."""
    loss, start = gradients.sum_of_squares(experiments.headline(1024), with_amplitudes)
    forward, _, _ = timing.compiled(loss, start)
    both, compiling, temporary = timing.compiled(jax.value_and_grad(loss), start)
    once, twice = timing.best(lambda: forward(start)), timing.best(lambda: both(start))
    return {
        "case": name,
        "seconds": twice,
        "times_forward": twice / once,
        "ratio": twice / (1024**2 * 10) / (probe.seconds() / SAMPLES),
        "limit_times_forward": limit,
        "compile_seconds": compiling,
        "temporary_MB": temporary,
    }


def process(name: str, probe: Probe, cached: bool, limit: float, **changes) -> Row:
    """The whole command, all three files written."""
    figures = timing.command(cached, **changes)
    return {"case": name, **figures, "ratio": figures["seconds"] / probe.seconds(), "limit": limit}


def cases(probe: Probe) -> dict[str, Callable[[], Row]]:
    """Every case by name, not yet run."""
    full = experiments.headline
    return {
        "headline spec": lambda: image("headline spec", full(), "spec", probe, 2.5),
        "headline c-parity": lambda: image("headline c-parity", full(), "c-parity", probe, 2.3),
        "phi sweep 100": lambda: image("phi sweep 100", full(1024, phisteps=100), "spec", probe, None),
        "still 50 domains": lambda: image("still 50 domains", experiments.still(), "spec", probe, 2.0),
        "pink 40 x 5": lambda: image("pink 40 x 5", experiments.pink(), "spec", probe, 2.0),
        "value and grad": lambda: derivative("value and grad", probe, False, 6.0),
        "value and grad with F": lambda: derivative("value and grad with F", probe, True, 10.0),
        "command, cold": lambda: process("command, cold", probe, False, 18.0),
        "command, warm cache": lambda: process("command, warm cache", probe, True, 14.0),
        "command, 1000 steps": lambda: process("command, 1000 steps", probe, True, 1000.0, phisteps=1000),
    }


QUICK = ("headline spec", "headline c-parity", "value and grad", "command, cold")


def machine() -> Row:
    """What the figures were measured on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "processor": platform.processor(),
        "cores": os.cpu_count(),
        "devices": [str(device) for device in jax.devices()],
        "python": platform.python_version(),
        "jax": jax.__version__,
        "nanobrag_jax": nb.__version__,
        "x64": bool(jnp.zeros(0, float).dtype == jnp.float64),
    }


def main() -> int:
    """Run the cases; with --quick the exit status says whether one is more than twice its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few cases; fail when one is at twice its limit")
    parser.add_argument("--only", nargs="+", default=None, help="cases to run, by name")
    parser.add_argument("--json", default=None, help="file for the figures")
    options = parser.parse_args()
    probe = Probe()
    wanted = options.only or (QUICK if options.quick else None)
    rows: list[Row] = []
    failed = False
    for name, run in cases(probe).items():
        if wanted is not None and name not in wanted:
            continue
        row = run()
        rows.append(row)
        shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items() if v is not None}
        print("  ".join(f"{k}={v}" for k, v in shown.items()), flush=True)
        for value, limit in (("ratio", "limit"), ("times_forward", "limit_times_forward")):
            if isinstance(row.get(limit), float):
                failed |= float(str(row[value])) > 2 * float(str(row[limit]))
    report = {"machine": machine(), "probe_seconds": probe.seconds(), "cases": rows}
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
    return int(failed and options.quick)


if __name__ == "__main__":
    sys.exit(main())
