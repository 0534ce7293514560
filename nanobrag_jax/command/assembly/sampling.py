"""The sampling of a command line: sub-pixels, interpolation, and which pixels."""

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ... import steps
from ...experiment import Experiment, Sampling, check_mask, check_window
from ...panels import Panels, panel_kinds
from ...sub_pixels import resolving_oversample
from .asked import Asked
from .crystal import cells_of_flags
from .fields import fields_of


def check_pixels(asked: Asked, detector: Panels, mask: NDArray[np.bool_] | None) -> None:
    """Raise `InputError` for a mask or a region of interest that does not fit a panel, with its flag."""
    for panel in panel_kinds(detector):
        check_mask(None if mask is None else jnp.asarray(mask), panel, named=f"-mask {asked('mask_path')}")
        check_window(asked("roi"), panel, named=asked.flag_of("roi") or "roi")


def sampling_from_flags(asked: Asked, parts: Experiment, has_table: bool, mask: NDArray[np.bool_] | None) -> Sampling:
    """The sampling that flags describe.

    **Arguments:** `parts`: the experiment without it; `has_table`: whether there are structure factors to interpolate.
    """
    interpolate = steps.use_interpolation(asked("interpolate"), cells_of_flags(asked)) and has_table
    if asked("interpolate") and not has_table:
        asked.note("-interpolate has no effect without structure factors")
    counted = {"oversample": _oversample(asked, parts), "interpolate": interpolate, "mask": mask}
    return Sampling(**(fields_of("sampling", asked) | counted))


def _oversample(asked: Asked, parts: Experiment) -> int:
    """The number of sub-pixels along an edge, for which the finished geometry is needed."""
    auto = resolving_oversample(parts.crystal, parts.beam, parts.detector, asked("mode"))
    assert auto is not None  # nothing is traced here
    oversample, note = steps.choose_oversample(asked("oversample"), auto)
    asked.note(note)
    return oversample
