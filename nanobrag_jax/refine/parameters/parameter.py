"""Parameters chosen by name, and sets of them that keep a crystal system's constraints."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from ...checks import leaf, optional_leaf
from ...errors import InputError
from ...typing import Numbers
from .paths import ScaledExperiment, read_leaf, replace_leaf
from .transforms import AbstractTransform, transform_of


class Parameter(eqx.Module):
    """Something to refine.

    **Arguments:**

    - `name`: a leaf of the experiment, `crystal.misset_deg`, or one element of it, `crystal.cell_lengths_A[0]`, or
      `scale`, a factor on the Bragg photons of an image;
    - `transform`: "free", "positive", a (lower, upper) pair, or a transform;
    - `start`: where to start, None for the value in the experiment;
    - `scale`: a typical change of the value, which sets the steps of a first-order driver (None: from the restraint or
      the transform);
    - `restraint`: (target, sigma), adds ((value − target)/sigma)²/2 to the objective for each element, as
      `TargetRestraint` does;
    - `per_image`: a value for each image instead of a common one;
    - `ties`: more names that take the same value;
    - `groups`: whole numbers in the shape of the leaf: elements with the same number share one value, those below zero
      stay.

    **Raises** `InputError` for a sigma or scale that is not positive, and for groups that are no whole numbers.
    """

    name: str = eqx.field(static=True)
    transform: AbstractTransform
    start: Array | None
    scale: Array | None
    restraint: tuple[Array, Array] | None
    groups: Array | None
    num_groups: int = eqx.field(static=True)
    per_image: bool = eqx.field(static=True)
    ties: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        name: str,
        transform: AbstractTransform | str | tuple = "free",
        *,
        start: Numbers | None = None,
        scale: Numbers | None = None,
        restraint: tuple[Numbers, Numbers] | None = None,
        per_image: bool = False,
        ties: Sequence[str] = (),
        groups: Numbers | None = None,
    ):
        self.name, self.transform = name, transform_of(transform)
        self.start, self.scale = optional_leaf(start), optional_leaf(scale)
        self.per_image, self.ties = per_image, tuple(ties)
        self.restraint = None
        if restraint is not None:
            self.restraint = leaf(restraint[0]), leaf(restraint[1])
            if not np.all(np.asarray(restraint[1]) > 0):
                raise InputError(f"the restraint of {name} must have a positive sigma, got {restraint[1]}")
        if scale is not None and not np.all(np.asarray(scale) > 0):
            raise InputError(f"the scale of {name} must be positive, got {scale}")
        self.groups, self.num_groups = None, 0
        if groups is not None:
            numbers = np.asarray(groups)
            if not np.issubdtype(numbers.dtype, np.integer) or numbers.max(initial=-1) < 0:
                raise InputError(f"the groups of {name} must be whole numbers, at least one of them not negative")
            self.groups, self.num_groups = jnp.asarray(numbers, jnp.int32), int(numbers.max()) + 1

    def starting_at(self, values: Numbers) -> "Parameter":
        """The same parameter with another start."""
        return eqx.tree_at(lambda p: p.start, self, leaf(values), is_leaf=lambda x: x is None)

    def without_numbers(self) -> "Parameter":
        """The same parameter without start, scale and restraint."""
        fields = lambda p: (p.start, p.scale, p.restraint)  # noqa: E731
        return eqx.tree_at(fields, self, (None, None, None), is_leaf=lambda x: x is None)


def initial_values(parameter: Parameter, scaled: ScaledExperiment) -> np.ndarray:
    """The parameter's values in an experiment, one for each group or in the shape of the leaf.

    **Raises** `InputError` for groups that do not fit the leaf.
    """
    values = np.asarray(read_leaf(scaled, parameter.name), float)
    if parameter.groups is None:
        return values
    groups = np.asarray(parameter.groups)
    if groups.shape != values.shape:
        raise InputError(f"the groups of {parameter.name} must have its shape {values.shape}, got {groups.shape}")
    chosen = groups >= 0
    counts = np.bincount(groups[chosen], minlength=parameter.num_groups)
    if np.any(counts == 0):
        raise InputError(f"the groups of {parameter.name} leave out number {int(np.argmin(counts))}")
    return np.bincount(groups[chosen], values[chosen], minlength=parameter.num_groups) / counts


def insert(parameter: Parameter, scaled: ScaledExperiment, values: Array) -> ScaledExperiment:
    """The experiment with other values of the parameter."""
    if parameter.groups is not None:
        old = read_leaf(scaled, parameter.name)
        values = jnp.where(parameter.groups >= 0, values[jnp.maximum(parameter.groups, 0)], old)
    for name in (parameter.name, *parameter.ties):
        scaled = replace_leaf(scaled, name, values)
    return scaled


_LENGTH, _ANGLE = "crystal.cell_lengths_A[{}]", "crystal.cell_angles_deg[{}]"
_SYSTEMS: dict[str, tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]] = {
    "triclinic": (((0,), (1,), (2,)), ((0,), (1,), (2,))),
    "monoclinic": (((0,), (1,), (2,)), ((1,),)),
    "orthorhombic": (((0,), (1,), (2,)), ()),
    "tetragonal": (((0, 1), (2,)), ()),
    "hexagonal": (((0, 1), (2,)), ()),
    "rhombohedral": (((0, 1, 2),), ((0, 1, 2),)),
    "cubic": (((0, 1, 2),), ()),
}


def cell_parameters(
    system: str, *, scale_A: float | None = None, scale_deg: float | None = None, **options
) -> list[Parameter]:
    """Parameters for the cell edges and angles that a crystal system leaves free, the others tied or fixed.

    **Arguments:** `system`: triclinic, monoclinic (β), orthorhombic, tetragonal, hexagonal, rhombohedral or cubic;
    `scale_A`, `scale_deg`: typical changes of edges and angles; other options as for `Parameter`.

    **Raises** `InputError` for a system that there is not.
    """
    if system not in _SYSTEMS:
        raise InputError(f"the crystal system must be one of {', '.join(_SYSTEMS)}, got {system!r}")
    parameters = []
    for patterns, form, scale in zip(_SYSTEMS[system], (_LENGTH, _ANGLE), (scale_A, scale_deg), strict=True):
        for first, *rest in patterns:
            ties = tuple(form.format(i) for i in rest)
            parameters.append(Parameter(form.format(first), scale=scale, ties=ties, **options))
    return parameters
