"""The rotation of a command line."""

from typing import Any

from ... import steps
from ...constants import DEG_PER_RAD
from ...goniometer import Goniometer
from .asked import Asked
from .fields import fields_of


def goniometer_from_flags(asked: Asked) -> Goniometer:
    """The rotation that flags and headers describe."""
    return Goniometer(**(fields_of("goniometer", asked) | completed_rotation(asked, asked("osc_deg"))))


def completed_rotation(asked: Asked, osc_deg: float | None) -> dict[str, Any]:
    """Arguments of `Goniometer` for a range of which count, range and step are completed from what is given.

    **Arguments:** `osc_deg`: the range, None for none given. **Raises** `InputError` for an absurd number of steps.
    """
    step = asked("phistep_deg")
    with asked.about("phistep_deg"):
        count, osc_rad, step_rad = steps.complete_phi(
            asked("phisteps"),
            None if osc_deg is None else steps.radians(osc_deg),
            None if step is None else steps.radians(step),
        )
    unchanged = osc_deg is not None and osc_rad == steps.radians(osc_deg)
    return {
        "osc_deg": osc_deg if unchanged else osc_rad * DEG_PER_RAD,
        "phi_steps": count,
        "step_ratio": 1.0 if osc_rad == 0 or step_rad == osc_rad / count else step_rad * count / osc_rad,
    }
