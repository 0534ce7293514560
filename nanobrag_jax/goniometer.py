"""The rotation during the exposure (docs/reference.md section 6)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from . import checks
from .checks import filled_in, leaf, named_arguments, optional_leaf
from .constants import DEG_PER_RAD, PHI_SAMPLINGS
from .described import described
from .numerics.vectors import (
    axis_rotation,
    turned,
    unit,
)
from .steps import complete_phi
from .typing import Auto, Matrix, PhiSampling, Scalar, Vector


class Goniometer(eqx.Module):
    """The rotation during the exposure.

    **Arguments:** `phi_deg`: start; `osc_deg`: range; `phi_steps`: count, "auto" for 2 with a range and 1 without;
    `spindle_axis` (3,): None for the convention's; `step_ratio`: step × count / range, 1 unless steps overlap or leave
    gaps; `phi_sampling`: whether the angle of a step is the start of its slice of the range, as in the reference, or
    its middle, as an exposure has it on average. Source: docs/reference.md section 6.
    """

    phi_deg: Scalar
    osc_deg: Scalar
    step_ratio: Scalar
    spindle_axis: Vector | None
    phi_steps: int = eqx.field(static=True)
    phi_sampling: PhiSampling = eqx.field(static=True)

    @named_arguments
    def __init__(
        self,
        phi_deg=0.0,
        osc_deg=0.0,
        *,
        phi_steps: int | Auto = "auto",
        spindle_axis=None,
        step_ratio=1.0,
        phi_sampling: PhiSampling = "start",
    ):
        self.phi_deg, self.osc_deg = leaf(phi_deg, "phi_deg"), leaf(osc_deg, "osc_deg")
        self.step_ratio = leaf(step_ratio, "step_ratio")
        turned_by = checks.known(self.osc_deg) or 0.0
        if phi_steps == "auto":
            phi_steps = 1 if turned_by == 0 else complete_phi(None, turned_by, None)[0]
        checks.count("phi_steps", phi_steps)
        checks.one_of("phi_sampling", phi_sampling, PHI_SAMPLINGS)
        if phi_steps == 1 and turned_by != 0 and phi_sampling == "start":
            checks.warn(f"osc_deg {turned_by:g} has no effect with 1 of phi_steps")
        self.spindle_axis = optional_leaf(spindle_axis, "spindle_axis")
        self.phi_steps = int(phi_steps)
        self.phi_sampling = phi_sampling

    def __check_init__(self):
        checks.finite("phi_deg", self.phi_deg)
        checks.finite("osc_deg", self.osc_deg)
        checks.finite("step_ratio", self.step_ratio)
        if self.spindle_axis is not None:
            checks.axis("spindle_axis", self.spindle_axis)

    def __repr__(self) -> str:
        return described(self)


def phi_angles(goniometer: Goniometer) -> Float[Array, " phi"]:
    """Angle of each φ step, radians: where its slice starts, or its middle.

    The product and the sum are rounded one by one, as the reference does: whether an angle is exactly zero matters
    in c-parity.
    """
    step = goniometer.osc_deg / DEG_PER_RAD / goniometer.phi_steps * goniometer.step_ratio
    number = jnp.arange(goniometer.phi_steps, dtype=step.dtype)
    advance = lax.optimization_barrier(step * (number + 0.5 if goniometer.phi_sampling == "middle" else number))
    return goniometer.phi_deg / DEG_PER_RAD + advance


def phi_rotated(real: Matrix, goniometer: Goniometer) -> Float[Array, "phi 3 3"]:
    """Rows a, b, c at each φ step."""
    axis = unit(filled_in(goniometer.spindle_axis))
    rotations = jax.vmap(axis_rotation, (None, 0))(axis, phi_angles(goniometer))
    return jax.vmap(turned, (0, None))(rotations, real)
