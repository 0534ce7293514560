"""Vectors whose three components are separate arrays of pixels.

The hot loop works component by component: stacking components into one array breaks the fusion of the loop on a CPU.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax


class Vec3(NamedTuple):
    """Three components, each a scalar or an array of pixels; all broadcast against each other."""

    x: Array
    y: Array
    z: Array


def as_vec3(v) -> Vec3:
    """The components of an array whose first axis has length 3.

    By one split, whose derivative is one concatenation: that of an index each is a padding and an addition each, and
    XLA takes a kernel for most of them.
    """
    return Vec3(*(x.reshape(v.shape[1:]) for x in lax.split(v, (1, 1, 1))))


def dot(a, b) -> Array:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def scaled(a, factor) -> Vec3:
    """`factor`·a."""
    return Vec3(a[0] * factor, a[1] * factor, a[2] * factor)


def added(a, b) -> Vec3:
    """a + b."""
    return Vec3(a[0] + b[0], a[1] + b[1], a[2] + b[2])


def rotated(v, axis, angle) -> Vec3:
    """v turned by `angle` (radians, right-handed) about `axis`, which is used as it is, of unit length or not."""
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    along = dot(axis, v) * (1.0 - cosine)
    return Vec3(
        v[0] * cosine + (axis[1] * v[2] - axis[2] * v[1]) * sine + axis[0] * along,
        v[1] * cosine + (axis[2] * v[0] - axis[0] * v[2]) * sine + axis[1] * along,
        v[2] * cosine + (axis[0] * v[1] - axis[1] * v[0]) * sine + axis[2] * along,
    )


def cross(a: Array, b: Array) -> Array:
    """Vector product of two arrays (3,)."""
    (u, v, w), (x, y, z) = as_vec3(a), as_vec3(b)
    return jnp.stack([v * z - w * y, w * x - u * z, u * y - v * x])


def unit(v: Array) -> Array:
    """A (3,) array scaled to unit length."""
    return v / jnp.sqrt(jnp.sum(v * v))


def turned(matrix: Array, v: Array) -> Array:
    """matrix·v for a vector (3,), or for each in the last axis of an array.

    As a sum of products, which XLA joins to what is around it: a matrix product would be a kernel of its own, and one
    more for each of its derivatives.
    """
    return jnp.sum(matrix * v[None], axis=1) if v.ndim == 1 else jax.vmap(turned, (None, 0))(matrix, v)


def dual_basis(rows: Array) -> Array:
    """Rows of the dual basis: real vectors from reciprocal ones, and back."""
    a, b, c = as_vec3(rows)
    first = cross(b, c)
    return jnp.stack([first, cross(c, a), cross(a, b)]) / jnp.sum(a * first)


def axis_rotation(axis: Array, angle: Array) -> Array:
    """Rotation matrix (3, 3), right-handed, by `angle` (radians) about `axis`, which is not normalised (Rodrigues)."""
    x, y, z = as_vec3(axis)
    zero = jnp.zeros_like(x)
    crossed = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    cosine = jnp.cos(angle)
    return cosine * jnp.eye(3) + jnp.sin(angle) * crossed + (1.0 - cosine) * jnp.outer(axis, axis)


def xyz_rotation(angles: Array) -> Array:
    """Rotation matrix (3, 3) about the lab's x, then y, then z axis by three angles (3,) in radians."""
    (a, b, c), (u, v, w) = as_vec3(jnp.cos(angles)), as_vec3(jnp.sin(angles))
    x, y, z = jnp.stack([b, v * u, v * a]), jnp.stack([jnp.zeros_like(a), a, -u]), jnp.stack([-v, b * u, b * a])
    return jnp.stack([c * x - w * y, w * x + c * y, z])
