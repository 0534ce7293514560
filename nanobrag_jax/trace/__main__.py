"""`python -m nanobrag_jax.trace`."""

import sys

from ..compilation_cache import use_compilation_cache
from .command import main

use_compilation_cache()
sys.exit(main())
