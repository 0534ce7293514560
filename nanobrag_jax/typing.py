"""Array aliases: what a shape means."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from jaxtyping import Array, ArrayLike, Bool, Float, Int

Mode = Literal["spec", "c-parity"]
"""`spec`: correct physics; `c-parity`: the reference's results, slips included (docs/reference.md section 10)."""

Precision = Literal["float64", "mixed", "float32"]
"""`mixed`: geometry and Miller indices as in double precision, the rest in single (docs/precision.md)."""

Scalar = Float[Array, ""]
Vector = Float[Array, "3"]
Matrix = Float[Array, "3 3"]
Image = Float[Array, "slow fast"]
Mask = Bool[Array, "slow fast"]
Pixels = Float[Array, "pixels"]
PixelIndices = Int[Array, "pixels"]
Numbers = ArrayLike | Sequence
"""A number, an array, or a (nested) list of numbers."""

if TYPE_CHECKING:
    Images = Image
else:
    Images = Image | Float[Array, "panel slow fast"] | list[Image]
"""What `simulate` returns: type checkers are told the usual case, one image; the others are for many panels."""
