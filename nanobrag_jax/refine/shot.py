"""A shot: one image with its experiment, and boxes of counts around its spots on all panels."""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..dials.models import ExptExperiment
from ..experiment import Experiment
from ..panels import split_panels
from ..typing import Numbers
from .background import BackgroundKind
from .data import PixelData, shoeboxes
from .predict import Spots


class LeftOut(NamedTuple):
    """What of a shot is not compared."""

    unindexed: int
    """Spots without indices."""
    off_panel: int
    """Spots whose box would be in no panel or that have no pixel to count."""
    masked_pixels: int
    """Of the boxes: marked in the image, below the trusted range, or in a mask."""
    saturated_pixels: int
    """Of the boxes: above the trusted range."""


@dataclass(frozen=True, repr=False)
class Shot:
    """One image with its experiment and its boxes."""

    name: str
    """The experiment's identifier, or its number, and the image where there are several."""
    number: int
    """Of the experiment in its list, from 0."""
    image: int
    record: ExptExperiment | None
    """What the experiment list says of it, None for a shot that is from no list."""
    experiment: Experiment
    """With all panels."""
    boxes: PixelData
    """One group of pixels for each box, all panels one after the other."""
    panel: Int[np.ndarray, " boxes"]
    hkl: Int[np.ndarray, "boxes 3"]
    row: Int[np.ndarray, " boxes"]
    """In the reflection table; −1 for a predicted spot that it does not have."""
    center: Float[np.ndarray, "boxes 2"]
    """Of the spot (slow, fast), the middle of a pixel a whole number."""
    left_out: LeftOut

    @property
    def by_panel(self) -> tuple[list[Experiment], list[PixelData]]:
        """Panels with boxes as images: what `fit` takes."""
        panels = split_panels(self.experiment.detector)
        experiments, data = [], []
        for panel in np.unique(self.panel):
            experiments.append(eqx.tree_at(lambda e: e.detector, self.experiment, panels[panel]))
            data.append(chosen_boxes(self.boxes, self.panel == panel))
        return experiments, data

    def __repr__(self) -> str:
        out = self.left_out
        text = f"{self.name}: {len(self.panel)} boxes on {len(np.unique(self.panel))} panels, "
        text += f"{self.boxes.num_used} pixels; left out: {out.unindexed} spots without indices, "
        text += (
            f"{out.off_panel} off the panels, {out.masked_pixels} masked and {out.saturated_pixels} saturated pixels"
        )
        return text


def chosen_boxes(boxes: PixelData, keep: np.ndarray) -> PixelData:
    """Some of the boxes of data whose boxes have each its own background. **Arguments:** `keep`: mask or numbers."""
    keep = np.flatnonzero(keep) if np.asarray(keep).dtype == bool else np.asarray(keep)
    taken = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[keep]), boxes)
    return eqx.tree_at(lambda d: d.background_index, taken, jnp.arange(len(keep), dtype=jnp.int32))


def shot_of(
    experiment: Experiment,
    counts: Numbers,
    spots: Spots,
    *,
    half_size: int = 8,
    background: BackgroundKind = "constant",
    name: str = "shot",
    number: int = 0,
) -> Shot:
    """A shot of a detector of one panel from an image in memory.

    **Arguments:**

    - `experiment`: where its refinement starts;
    - `counts` (slow, fast): photons, NaN where there are none;
    - `spots`: around which boxes are put, as `predict` gives them;
    - `half_size`, `background`: of the boxes, as for `shoeboxes`;
    - `name`, `number`: what to call it.

    **Raises** `InputError` as `shoeboxes`.
    """
    data = shoeboxes(experiment, counts, spots.slow, spots.fast, half_size=half_size, background=background)
    boxes, rows = len(spots.hkl), np.arange(len(spots.hkl))
    center = np.stack([spots.slow, spots.fast], axis=1)
    nothing = LeftOut(0, 0, 0, 0)
    return Shot(name, number, 1, None, experiment, data, np.zeros(boxes, int), spots.hkl, rows, center, nothing)
