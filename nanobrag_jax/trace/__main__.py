"""`python -m nanobrag_jax.trace`."""

import sys

from ..command.compilation_cache import use_compilation_cache
from ..command.trace import main

use_compilation_cache()
sys.exit(main())
