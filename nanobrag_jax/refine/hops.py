"""Out of local minima: refine again from elsewhere for as long as the model does not describe the data."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import InputError
from ..experiment import Experiment
from .data import PixelData
from .fitting import fit
from .losses import Loss
from .parameters import Parameter
from .progress import Report
from .result import Result


def fit_with_hops(
    experiments: Experiment | Sequence[Experiment],
    data: PixelData | Sequence[PixelData],
    parameters: Sequence[Parameter],
    *,
    hops: Mapping[str, float],
    max_fits: int = 20,
    loss: Loss | None = None,
    driver=None,
    progress: bool | Report = True,
) -> Result:
    """`fit`, and where that ends in a minimum that does not describe the data, fits from around it.

    The number of cells along the beam, for one, is seen only in how much of each spot a still has caught, and such
    intensities fit halfway with a number that is a fifth off.

    **Arguments:** `hops`: names of parameters with the factor to try: each of their elements is multiplied and divided
    by it in turn, the other parameters starting from the best fit so far; the first fit that describes the data ends
    the search. `max_fits`: how many fits in all. Others as for `fit`.

    **Returns** the `Result` with the lowest objective. **Raises** `InputError` for a name that is not refined, and as
    `fit`.
    """
    names = [p.name for p in parameters]
    for name, factor in hops.items():
        if name not in names:
            raise InputError(f"{name} cannot be hopped over: it is not among the parameters {', '.join(names)}")
        if not factor > 0 or factor == 1.0:
            raise InputError(f"the hop of {name} must be a positive factor other than 1, got {factor}")
    options = {"loss": loss, "driver": driver, "progress": progress}
    best, fits, better = fit(experiments, data, parameters, **options), 1, True
    while better and not best.describes_the_data:
        better = False
        for starts in _around(best, hops):
            if fits >= max_fits:
                return best
            moved = [p.starting_at(starts[p.name]) for p in parameters]
            found, fits = fit(experiments, data, moved, **options), fits + 1
            if found.objective < best.objective and np.isfinite(found.objective):
                better, best = better or found.objective < best.objective - 1.0, found
            if best.describes_the_data:
                return best
    return best


def _around(result: Result, hops: Mapping[str, float]):
    """Values to start from: each element of the hopping parameters up and down by its factor."""
    for name, factor in hops.items():
        for index in np.ndindex(np.shape(result.values[name])):
            for change in (factor, 1.0 / factor):
                values = np.array(result.values[name], float)
                values[index] *= change
                yield {**result.values, name: values}
