"""Images for training, without files: batches on the device, or one by one for a loader."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding
from numpy.typing import NDArray

from ..errors import InputError
from ..numerics.precision import precision_context
from ..numerics.sharding import in_shares, laid_out_by_xla
from .batch import Batch, rendered
from .recipe import Recipe, draw
from .shards import rows_of
from .truth import truth


class Labelled(NamedTuple):
    """A batch: counts (image, slow, fast) and what is known of each image, by name, with an axis of images in front."""

    images: Array
    labels: dict[str, Array]


def batches(recipe: Recipe, batch_size: int, start: int = 0, mesh: Mesh | None = None) -> Iterator[Labelled]:
    """The images of a recipe from `start` on, in batches, as arrays on the device; the next is made ahead.

    **Arguments:** `batch_size`: images in each; a rest at the end is left out; `mesh`: devices to share each batch out
    to, whose number must divide `batch_size`.

    Labels are the columns of a data set's table, in single precision. Go on at any image with `start`. **Raises**
    `InputError` for a recipe of several base experiments, whose images are of several programs, and for sizes that do
    not fit.
    """
    if len(recipe.bases) > 1:
        raise InputError(f"a stream is made from one base experiment, this recipe has {len(recipe.bases)}")
    if batch_size < 1 or (mesh is not None and batch_size % mesh.size):
        raise InputError(f"batch_size must be positive and a multiple of the number of devices, got {batch_size}")
    if not 0 <= start <= recipe.images:
        raise InputError(f"start must lie in 0 to {recipe.images}, got {start}")

    def made(first: int):
        drawn = draw(recipe, range(first, first + batch_size))
        with precision_context(recipe.precision):
            return drawn, rendered(recipe, drawn, mesh)

    ends = range(start, recipe.images - batch_size + 1, batch_size)
    ahead = made(ends[0]) if len(ends) else None
    for first in ends:
        assert ahead is not None
        drawn, batch = ahead
        ahead = made(first + batch_size) if first + batch_size in ends else None
        columns = truth(recipe, drawn, np.asarray(batch.real_space_A))
        place = None if mesh is None else NamedSharding(m := laid_out_by_xla(mesh), in_shares(m))  # type: ignore[arg-type]
        labels = {name: jax.device_put(_single(values), place) for name, values in columns.items()}
        yield Labelled(batch.counts, labels)


def _single(values: NDArray) -> NDArray:
    return values.astype(np.int32 if values.dtype.kind == "i" else np.float32)


class Source:
    """The images of a recipe by their numbers, as loaders want them (`grain.MapDataset.source`, a torch Dataset).

    `source[i]` is a dictionary of numpy arrays: `counts` (slow, fast) and the labels. One image costs as much as a
    batch of the recipe's size: `storage.batch` 1 is the one to take.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe

    def __len__(self) -> int:
        return self.recipe.images

    def __getitem__(self, number: int) -> dict[str, NDArray]:
        number = int(number)
        if not 0 <= number < len(self):
            raise IndexError(f"images are numbered from 0 to {len(self) - 1}, got {number}")
        size = self.recipe.storage.batch
        drawn = rows_of(draw(self.recipe, [number]), np.zeros(size, int))
        with precision_context(self.recipe.precision):
            batch: Batch = rendered(self.recipe, drawn)
        columns = truth(self.recipe, drawn, np.asarray(batch.real_space_A))
        return {"counts": np.asarray(batch.counts[0])} | {name: values[0] for name, values in columns.items()}
