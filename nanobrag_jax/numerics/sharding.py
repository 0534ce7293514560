"""Work shared out over the devices of a mesh: each renders its share of the pixels from the same scene."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AxisNames = tuple[str, ...]

EVERYWHERE = PartitionSpec()
"""What all devices hold."""


def num_devices(mesh: Mesh | None) -> int:
    """Over how many devices pixels are shared out."""
    return 1 if mesh is None else mesh.size


def laid_out_by_xla(mesh: Mesh | None) -> Mesh | None:
    """The same devices without explicit layouts in the types of arrays, which `jax.make_mesh` has by default."""
    return None if mesh is None else Mesh(mesh.devices, mesh.axis_names)


def axes_of(mesh: Mesh) -> AxisNames:
    """All axes of a mesh: pixels go over all its devices, however they are arranged."""
    return tuple(mesh.axis_names)


def in_shares(mesh: Mesh) -> PartitionSpec:
    """How an array is laid out whose first axis is split over all devices of a mesh."""
    return PartitionSpec(axes_of(mesh))


def shared_out(function: Callable, mesh: Mesh, in_specs, out_specs) -> Callable:
    """`function` called by every device with its share of what is split."""
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs)


def any_before(here: Array, devices: AxisNames) -> Array:
    """Whether `here` is true on a device before this one."""
    everywhere = lax.all_gather(here, devices)
    return jnp.any(everywhere & (jnp.arange(everywhere.shape[0]) < lax.axis_index(devices)))


def never(devices: AxisNames) -> Array:
    """False, as a value of each device: what a loop may start from that ends differently on each."""
    return lax.axis_index(devices) < 0


def sum_over_devices(add_up: Callable, start, mesh: Mesh | None):
    """add_up(start) of all devices together, where each starts from `start`, which is zero."""
    if mesh is None:
        return add_up(start)
    own = jax.tree.map(lambda x: x + jnp.where(never(axes_of(mesh)), 1.0, 0.0), start)
    return lax.psum(add_up(own), axes_of(mesh))


def rows_in_shares(image, mesh: Mesh):
    """An image laid out by rows over the devices where their number divides the rows, else whole on each."""
    spec = in_shares(mesh) if image.shape[0] % mesh.size == 0 else EVERYWHERE
    return lax.with_sharding_constraint(image, NamedSharding(mesh, spec))
