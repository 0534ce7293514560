"""`python -m nanobrag_jax.compare`."""

import sys

from ..io.signals import stop_like_interruptions
from .command import main

stop_like_interruptions()
sys.exit(main())
