"""`python -m nanobrag_jax.compare`."""

import sys

from .command import main

sys.exit(main())
