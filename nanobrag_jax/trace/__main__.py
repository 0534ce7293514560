"""`python -m nanobrag_jax.trace`."""

import sys

from ..command.compilation_cache import use_compilation_cache
from ..command.trace import main
from ..io.signals import stop_like_interruptions

use_compilation_cache()
stop_like_interruptions()
sys.exit(main())
