"""What the compiler frees goes back to the system (nanobrag_jax/numerics/compiler_memory.py)."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

GRADIENT = """
import re
from pathlib import Path
import equinox as eqx, jax, jax.numpy as jnp
import nanobrag_jax as nb
from nanobrag_jax.numerics.compiler_memory import returning_compiler_memory
from small import experiment

def megabytes(name):
    return int(re.search(rf"{name}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000

start = megabytes("VmRSS")
with returning_compiler_memory():
    eqx.filter_jit(eqx.filter_grad(lambda e: jnp.sum(nb.simulate(e)))).lower(experiment()).compile()
print(start, megabytes("VmRSS"), megabytes("VmHWM"))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="GNU's C library frees memory so"
)
def test_memory_of_the_compiler_is_returned():
    """Of what the process took on while it compiled a gradient: 60 % with jax 0.10, 15 % with 0.6; without it 1 %."""
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}
    command = [sys.executable, "-c", GRADIENT]
    run = subprocess.run(
        command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True, check=True
    )
    start, now, most = map(float, run.stdout.split())
    assert most - now > 0.1 * (most - start)
