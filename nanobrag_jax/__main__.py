"""`python -m nanobrag_jax`: see `nanobrag_jax.cli`."""

from .command.run import run

run()
