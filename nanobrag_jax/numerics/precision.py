"""Double precision by default: imported first, so that every array of the package has it.

Set the environment variable JAX_ENABLE_X64 (0 or 1) before the import to decide yourself.
"""

import contextlib
import os

import jax

from ..constants import PRECISIONS
from ..errors import InputError

if "JAX_ENABLE_X64" not in os.environ:
    jax.config.update("jax_enable_x64", True)


def has_double() -> bool:
    """Whether jax makes 64-bit numbers at the moment."""
    return jax.dtypes.canonicalize_dtype(float).itemsize == 8


def check_precision(precision: str | None) -> None:
    """Raise `InputError` for a precision that there is not, or that the session has turned off."""
    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "float64" and not has_double():
        raise InputError("precision float64 needs the 64-bit numbers of jax, which JAX_ENABLE_X64=0 has turned off")


def precision_context(precision: str | None) -> contextlib.AbstractContextManager:
    """Double precision for as long as `mixed` needs it, also in a session that has turned it off."""
    if precision != "mixed" or has_double():
        return contextlib.nullcontext()
    return jax.enable_x64(True)
