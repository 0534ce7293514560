"""`nanobrag_jax.cli.main`: what `python -m nanobrag_jax` calls."""

from .command.run import main as main
from .command.run import run as run
