"""What is known of each image: a table with a row for it."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..refine.parameters.paths import ScaledExperiment, check_name, read_leaf
from .recipe import EFFECTS, Drawn, Recipe, is_of_a_lattice

ALWAYS = (
    "beam.wavelength_A",
    "beam.fluence_per_m2",
    "detector.distance_mm",
    "detector.beam_center_mm",
    "sampling.dmin_A",
    "crystal.cell_lengths_A",
    "crystal.cell_angles_deg",
    "crystal.n_cells",
    "crystal.mosaicity.spread_deg",
    "crystal.scale",
)
"""Numbers that the table has whether they are drawn or not, where an experiment has them."""


def truth(recipe: Recipe, drawn: Drawn, real_space_A: NDArray) -> dict[str, NDArray]:
    """Columns, each an array with an axis of images in front; of what lattices have own values, a second of these.

    **Arguments:** `real_space_A` (image, lattice, 3, 3): rows a, b, c. Numbers of lattices that an image has not are
    NaN. Seeds: an image's noise follows from the recipe's `seed` and its number.
    """
    absent = np.arange(recipe.most_lattices) >= drawn.lattices[:, None]
    columns: dict[str, NDArray] = {
        "image": drawn.numbers,
        "seed": np.full(len(drawn.numbers), recipe.seed, np.int64),
        "base": drawn.base,
        "lattices": drawn.lattices,
        "crystal.real_space_A": _without(np.asarray(real_space_A, np.float64), absent),
    }
    for name in dict.fromkeys([*ALWAYS, *recipe.vary]):
        if name in drawn.of_lattice:
            columns[name] = _without(drawn.of_lattice[name], absent)
        elif name in drawn.of_image:
            columns[name] = drawn.of_image[name]
        else:
            values = [_value(recipe, base, name) for base in range(len(recipe.bases))]
            if any(value is None for value in values):
                continue
            column = np.stack(values)[drawn.base]  # type: ignore[arg-type]
            if is_of_a_lattice(name):
                repeated = np.repeat(column[:, None], recipe.most_lattices, axis=1)
                column = _without(repeated, absent)
            columns[name] = column
    return columns


def _value(recipe: Recipe, base: int, name: str) -> NDArray | None:
    if name.startswith(EFFECTS):
        return None
    scaled = ScaledExperiment(recipe.prepared[base], jnp.ones(()))
    try:
        check_name(scaled, name)
    except InputError:
        return None
    return np.asarray(read_leaf(scaled, name), np.float64)


def _without(values: NDArray, absent: NDArray) -> NDArray:
    return np.where(absent.reshape(absent.shape + (1,) * (values.ndim - 2)), np.nan, values)


def joined(parts: Sequence[Mapping[str, NDArray]], order: NDArray) -> dict[str, NDArray]:
    """The rows of several tables, sorted by the number of the image."""
    return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}


def parquet_bytes(columns: Mapping[str, NDArray]) -> bytes:
    """The table as a Parquet file; arrays are lists of fixed length in one another."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: _column(values) for name, values in columns.items()}), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _column(values: NDArray):
    import pyarrow as pa

    column = pa.array(np.ascontiguousarray(values).reshape(-1))
    for size in reversed(values.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column
