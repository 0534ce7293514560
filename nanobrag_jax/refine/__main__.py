"""`python -m nanobrag_jax.refine`."""

import sys

from .command import main

if __name__ == "__main__":  # processes that it starts import it again
    sys.exit(main(sys.argv[1:]))
