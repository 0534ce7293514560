"""Array aliases: what a shape means."""

from collections.abc import Sequence
from typing import Literal, TypeVar

from jaxtyping import Array, ArrayLike, Bool, Float, Int

Mode = Literal["spec", "c-parity"]
"""`spec`: correct physics; `c-parity`: the reference's results, slips included (docs/reference.md section 10)."""

Auto = Literal["auto"]
"""In place of a count: the one that follows from the other numbers by the command's rules (`steps`)."""

Precision = Literal["float64", "mixed", "float32"]
"""`mixed`: geometry and Miller indices as in double precision, the rest in single (docs/precision.md)."""

PsfShape = Literal["gauss", "fiber"]
"""Shape of a detector's point-spread function (docs/detector.md)."""

PhiSampling = Literal["start", "middle"]
ExptPolarization = Literal["dials", "diffbragg"]
"""Which angle of its slice of a rotation stands for it."""

Scalar = Float[Array, ""]
Vector = Float[Array, "3"]
Matrix = Float[Array, "3 3"]
Image = Float[Array, "slow fast"]
Mask = Bool[Array, "slow fast"]
PanelMasks = Bool[Array, "panel slow fast"]
Pixels = Float[Array, "pixels"]
PixelIndices = Int[Array, "pixels"]
Leaves = TypeVar("Leaves")
"""Any pytree of numbers and arrays."""
Numbers = ArrayLike | Sequence
"""A number, an array, or a (nested) list of numbers."""

Images = Image | Float[Array, "panel slow fast"] | list[Image]
"""What `simulate` returns: one image, one a panel stacked, or a list for unequal panels."""
