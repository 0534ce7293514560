"""Which reflections fall where: predicted spot positions, without rendering."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import ArrayLike, Float, Int

from ..detector import depth_of_absorption
from ..errors import InputError
from ..experiment import Experiment
from ..mosaicity import AbstractMosaicity
from ..numerics.vectors import as_vec3, dual_basis, unit
from ..render.scene import Scene, build_scene
from ..render.simulate import simulate_pixels


class Spots(NamedTuple):
    """Predicted spots, in order of their excitation: the fullest first.

    Pixel coordinates are whole numbers in the middle of a pixel.
    """

    hkl: Int[np.ndarray, "spots 3"]
    slow: Float[np.ndarray, " spots"]
    fast: Float[np.ndarray, " spots"]
    excitation: Float[np.ndarray, " spots"]
    """Distance of the reflection from the Ewald sphere, in units of the distance at which a spot is taken in."""
    orientation: Int[np.ndarray, " spots"]
    """Number of the φ step that brings it closest (counted through all φ steps for each source)."""
    d_spacing_A: Float[np.ndarray, " spots"]
    photons: Float[np.ndarray, " spots"]
    """Simulated photons in the pixel under the prediction."""

    def chosen(self, keep: np.ndarray) -> "Spots":
        """The spots that `keep` (a mask or a list of numbers) selects."""
        return Spots(*(value[keep] for value in self))


def predict(
    experiment: Experiment, *, widths: float = 1.0, dmin_A: float | None = None, min_photons: float = 0.0
) -> Spots:
    """The reflections that come close enough to the Ewald sphere to leave a spot on the detector.

    **Arguments:** `widths`: how far from the sphere, 1 for the first zero of the spot's shape, or for the edge of a
    top-hat spot, and of a gaussian one as wide (mosaic spread is added); `dmin_A`: resolution limit, None for the
    detector's corner; `min_photons`: leave out spots with fewer photons in their middle pixel. Only reflections with a
    structure factor that is not zero are listed; one that the rotation brings to the sphere twice is listed once.

    **Raises** `InputError` for a curved detector, or if nothing is left.
    """
    if experiment.panel.curved:
        raise InputError("spots on a curved detector cannot be predicted")
    scene = build_scene(experiment, "spec")
    hkl = _candidates(experiment, scene, dmin_A)
    mosaicity = experiment.crystal.mosaicity
    slow, fast, excitation, orientation = map(np.asarray, _closest(scene, jnp.asarray(hkl, float), widths, mosaicity))
    height, width = experiment.panel.pixels_slow, experiment.panel.pixels_fast
    keep = (excitation <= 1.0) & (slow > -0.5) & (slow < height - 0.5) & (fast > -0.5) & (fast < width - 0.5)
    keep = np.flatnonzero(keep)
    if not keep.size:
        raise InputError("no reflection comes close to the Ewald sphere on this detector")
    keep = keep[np.argsort(excitation[keep], kind="stable")]
    photons = _photons(experiment, slow[keep], fast[keep])
    star = np.asarray(dual_basis(scene.unrotated))
    spacing = 1.0 / np.linalg.norm(hkl[keep] @ star, axis=1)
    spots = Spots(hkl[keep], slow[keep], fast[keep], excitation[keep], orientation[keep], spacing, photons)
    spots = spots.chosen(photons >= min_photons)
    if not len(spots.hkl):
        raise InputError(f"no predicted spot has {min_photons:g} photons in its middle pixel")
    return spots


def spot_positions(experiment: Experiment, hkl: ArrayLike, orientation: ArrayLike = 0) -> tuple[Array, Array]:
    """Where reflections fall, (slow, fast) pixel coordinates; differentiable in crystal, beam and detector.

    **Arguments:** `hkl` (n, 3); `orientation`: as `predict` gives it, a number or (n,).
    """
    hkl = jnp.asarray(hkl, float)
    return _positions(experiment, hkl, jnp.broadcast_to(jnp.asarray(orientation), hkl.shape[:1]))


def _candidates(experiment: Experiment, scene: Scene, dmin_A: float | None) -> np.ndarray:
    """Miller indices with a structure factor, within the resolution that the detector sees, 000 left out."""
    frame = scene.frame
    corners = []
    for s in (0, experiment.panel.pixels_slow):
        for f in (0, experiment.panel.pixels_fast):
            corners.append(np.asarray(frame.pix0 + (s * frame.slow + f * frame.fast) * frame.pixel_size))
    directions = np.stack(corners) / np.linalg.norm(corners, axis=1, keepdims=True)
    incident, wavelength = np.asarray(scene.sources.incident), float(jnp.min(scene.sources.wavelength))
    reach = np.max(np.linalg.norm(directions[:, None] - incident[None], axis=-1)) / wavelength
    limits = [1.0 / x for x in (dmin_A, experiment.sampling.dmin_A) if x is not None]
    reach = min([1.02 * reach, *(float(x) for x in limits)])
    factors = experiment.structure_factors
    outside = float(factors.default_F)
    edges = np.linalg.norm(np.asarray(scene.unrotated), axis=1)
    most = np.ceil(edges * reach).astype(int)
    ranges = [np.arange(-n, n + 1) for n in most]
    if factors.amplitudes is not None and outside == 0.0:
        low, counts = factors.hkl_min, factors.amplitudes.shape[-3:]
        ranges = [r[(r >= m) & (r < m + n)] for r, m, n in zip(ranges, low, counts, strict=True)]
    hkl = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    q = np.linalg.norm(hkl @ np.asarray(dual_basis(scene.unrotated)), axis=1)
    hkl = hkl[(q > 0) & (q <= reach)]
    return hkl[_amplitudes(experiment, hkl) != 0.0]


def _amplitudes(experiment: Experiment, hkl: np.ndarray) -> np.ndarray:
    factors = experiment.structure_factors
    if factors.amplitudes is None:
        return np.full(len(hkl), float(factors.default_F))
    table = np.asarray(factors.amplitudes)
    table = table if table.ndim == 3 else np.sqrt(np.mean(table**2, axis=0))
    if factors.given is not None:
        table = np.where(factors.given, table, float(factors.default_F))
    place = hkl - np.array(factors.hkl_min)
    inside = np.all((place >= 0) & (place < table.shape), axis=1)
    place = np.where(inside[:, None], place, 0)
    return np.where(inside, table[tuple(place.T)], float(factors.default_F))


def _reflect(
    scene: Scene, hkl: Array, orientation: Array, widths: float | Array, mosaicity: AbstractMosaicity | None
) -> tuple[Array, Array, Array]:
    """Position (slow, fast) and excitation of each reflection in the given orientation of the crystal.

    The spot stands where the Ewald sphere comes closest to the reciprocal lattice point.
    """
    num_phi = scene.phi_steps.shape[0]
    real = scene.phi_steps[orientation % num_phi]
    incident = scene.sources.incident[orientation // num_phi]
    wavelength = scene.sources.wavelength[orientation // num_phi][:, None]
    q = jnp.einsum("ni,nij->nj", hkl, jax.vmap(dual_basis)(real))
    scattered = incident / wavelength + q
    length = jnp.sqrt(jnp.sum(scattered**2, axis=-1, keepdims=True))
    direction = scattered / length
    along = as_vec3(jnp.einsum("nij,nj->in", real, direction))
    allowed = widths * scene.shape.width_per_A(scene.lattice, along)
    if mosaicity is not None:
        # what takes a lattice point off the sphere is a turn about the axis across beam and q
        across = jax.vmap(unit)(jnp.cross(incident, q))
        allowed = allowed + jnp.sqrt(jnp.sum(q * q, axis=-1)) * jax.vmap(mosaicity.width_rad)(across, real)
    excitation = jnp.abs(length - 1.0 / wavelength)[:, 0] / allowed
    frame = scene.frame
    toward = direction @ frame.normal
    excitation = jnp.where(toward * frame.close_distance > 0, excitation, jnp.inf)
    toward = jnp.where(toward == 0, 1.0, toward)
    distance = frame.close_distance
    if scene.settings.mean_depth:
        distance += depth_of_absorption(frame, jnp.abs(toward), scene.layer_thickness, scene.attenuation_depth)
    hit = direction * (distance / toward)[:, None] - frame.pix0[None]
    return (hit @ frame.slow) / frame.pixel_size - 0.5, (hit @ frame.fast) / frame.pixel_size - 0.5, excitation


@jax.jit
def _positions(experiment: Experiment, hkl: Array, orientation: Array) -> tuple[Array, Array]:
    slow, fast, _ = _reflect(build_scene(experiment, "spec"), hkl, orientation, 1.0, None)
    return slow, fast


@jax.jit
def _closest(scene: Scene, hkl: Array, widths: Array, mosaicity: AbstractMosaicity):
    """Position, excitation and number of the orientation that brings each reflection closest to the sphere."""
    count = scene.phi_steps.shape[0] * scene.sources.weight.shape[0]

    def visit(best, number):
        found = _reflect(scene, hkl, jnp.full(hkl.shape[:1], number), widths, mosaicity)
        closer = found[2] < best[2]
        new = (*found, jnp.full(hkl.shape[:1], number))
        return tuple(jnp.where(closer, a, b) for a, b in zip(new, best, strict=True)), None

    nothing = jnp.zeros(hkl.shape[:1], hkl.dtype)
    start = (nothing, nothing, nothing + jnp.inf, jnp.zeros(hkl.shape[:1], int))
    return lax.scan(visit, start, jnp.arange(count))[0]


def _photons(experiment: Experiment, slow: np.ndarray, fast: np.ndarray) -> np.ndarray:
    """Simulated photons at the nearest pixels; the list is filled up so that its length rarely changes."""
    count = len(slow)
    length = 256 * -(-count // 256)
    pixels = [np.pad(np.round(v).astype(int), (0, length - count)) for v in (slow, fast)]
    return np.asarray(simulate_pixels(experiment, pixels[0], pixels[1]))[:count]
