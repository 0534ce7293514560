"""`python -m nanobrag_jax`: see `nanobrag_jax.cli`."""

from nanobrag_jax.cli import run

run()
