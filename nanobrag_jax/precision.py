"""Double precision by default: imported first, so that every array of the package has it.

Set the environment variable JAX_ENABLE_X64 (0 or 1) before the import to decide yourself.
"""

import os

import jax

if "JAX_ENABLE_X64" not in os.environ:
    jax.config.update("jax_enable_x64", True)
