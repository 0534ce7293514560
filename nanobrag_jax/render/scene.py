"""What a render needs, derived once from an experiment: frame, sources, crystal vectors, grid and scales."""

import weakref
from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..beam import Sources, polarization_factor, rounded_up, sources, uncorrected
from ..checks import conditions_of
from ..constants import R_E_SQR_M2, WATER_F, WATER_MOLECULES_PER_M3
from ..crystal import diffuse_terms, real_basis, reciprocal_of
from ..detector import DetectorFrame, Ray, capture_fraction, depth_of_absorption, detector_frame, pixel_ray
from ..diffuse import DiffuseTerms
from ..errors import InputError
from ..experiment import Experiment, completed, settled
from ..goniometer import phi_angles, phi_rotated
from ..mosaicity import orientations
from ..numerics.host import on_host
from ..numerics.loops import fold, scan
from ..numerics.pairs import Pair, quanta, split, split_vector
from ..numerics.precision import has_double
from ..numerics.vectors import Vec3, as_vec3, dot, turned
from ..reference.slips import Slips, slips_of
from ..scatterers import AbstractScatterer
from ..spot_shapes import AbstractSpotShape, Gauss, Lattice, radius_scale
from ..structure_factors import Grid, channel_starts, lookup_grid
from ..typing import Leaves, Matrix, Mode, Precision, Scalar
from .kernel import Sample, sample, scattering_vector


class Settings(eqx.Module):
    """Everything that decides the shape of the computation."""

    slips: Slips = eqx.field(static=True)
    oversample: int = eqx.field(static=True)
    layers: int = eqx.field(static=True)
    oversample_thick: bool = eqx.field(static=True)
    oversample_polar: bool = eqx.field(static=True)
    oversample_omega: bool = eqx.field(static=True)
    interpolate: bool = eqx.field(static=True)
    curved: bool = eqx.field(static=True)
    point_pixel: bool = eqx.field(static=True)
    mean_depth: bool = eqx.field(static=True)
    """Whether the one layer of the sensor is where photons are absorbed on average."""
    polarized: bool = eqx.field(static=True)
    mixed: bool = eqx.field(static=True)
    """Whether the kernel works in single precision on pairs, from a geometry in double precision."""


class Scene(eqx.Module):
    """An experiment ready to be rendered, in metres, Å and radians."""

    frame: DetectorFrame
    sources: Sources
    kahn_factor: Scalar
    unrotated: Array
    """Rows a, b, c before any φ rotation."""
    phi: Array
    phi_steps: Array
    """Rows a, b, c at each φ step, (phi, 3, 3)."""
    domains: Array
    """Rotation of each mosaic domain, (domains, 3, 3)."""
    domain_weights: Array | None
    """How much each domain counts, None where all count the same."""
    orientations: Array | None
    """Rows a, b, c at each φ step of each domain, domain innermost; None in c-parity, where pixels pass them on."""
    shape: AbstractSpotShape
    lattice: Lattice
    diffuse: DiffuseTerms | None
    grid: Grid
    start: Scalar | None
    """What the sum over samples starts from: no number where a trace's crystal cannot be used; None for zero."""
    photons: Scalar
    """r_e²·fluence: photons per steradian for one electron."""
    crystal_photons: Scalar
    """The same of all the crystals that there are in the beam."""
    background: Scalar | None
    """Photons per steradian from the water, None for none."""
    scatterers: tuple[AbstractScatterer, ...]
    dmin: Scalar | None
    layer_thickness: Scalar | None
    attenuation_depth: Scalar | None
    settings: Settings

    @property
    def num_steps(self) -> int:
        """Samples that the reference divides by: sources × φ steps × domains × sub-pixels."""
        sub_pixels = self.settings.oversample**2
        return self.sources.weight.shape[0] * self.phi_steps.shape[0] * self.domains.shape[0] * sub_pixels


def build_scene(experiment: Experiment, mode: Mode, precision: Precision | None = None) -> Scene:
    """Derive the scene. Pure and differentiable in every leaf of the experiment.

    **Arguments:** `precision`: of the numbers that pixels are rendered with, None for that of the session. They are
    derived from the experiment in the session's.
    """
    if precision == "mixed":
        experiment = in_precision(experiment, jnp.float64)
    scene = _derived(completed(settled(experiment)), slips_of(mode), precision == "mixed")
    if precision == "float32":
        return in_precision(scene, jnp.float32)
    if precision == "mixed":
        kernel = scene.shape, scene.lattice, scene.diffuse, scene.grid
        return eqx.tree_at(
            lambda s: (s.shape, s.lattice, s.diffuse, s.grid),
            scene,
            in_precision(kernel, jnp.float32),
            is_leaf=lambda x: x is None,
        )
    return scene


scene_in_trace = jax.jit(build_scene, static_argnames=("mode", "precision"))
"""`build_scene` as one operation: in a derivative or a batch without jit, its steps would be compiled one by one."""


class _Latest(NamedTuple):
    """The scene that was derived last, and what from: the same experiment is often rendered again."""

    leaves: tuple[weakref.ref, ...]
    key: tuple
    scene: Scene


_latest: list[_Latest] = []


def scene_on_host(experiment: Experiment, mode: Mode, precision: Precision | None = None) -> Scene:
    """The scene in numpy numbers; nothing is compiled.

    Deriving a scene takes the compiler longer than the loop over pixels does. So an image outside of any
    transformation has its scene from here, in `simulate` and in the command: the same numbers to the last bit.
    """
    leaves, structure = jax.tree.flatten(experiment)
    key = structure, mode, precision, has_double()
    for latest in _latest:
        same = latest.key == key and all(ref() is leaf for ref, leaf in zip(latest.leaves, leaves, strict=True))
        if same:
            return latest.scene
    conditions_of(experiment)
    scene = on_host(scene_in_trace, experiment, mode=mode, precision=precision)
    _latest.clear()
    if all(isinstance(leaf, Array) for leaf in leaves):  # which cannot be changed in place
        _latest.append(_Latest(tuple(map(weakref.ref, leaves)), key, scene))
    return scene


def scene_to_render(experiment: Experiment, mode: Mode, precision: Precision | None = None) -> Scene:
    """`scene_on_host` with a number of sources that many experiments have in common; in c-parity with its own."""
    scene = scene_on_host(experiment, mode, precision)
    even = scene.sources if scene.settings.slips.phi0 else rounded_up(scene.sources)
    return scene if even is scene.sources else eqx.tree_at(lambda s: s.sources, scene, even)


def in_precision(tree: Leaves, dtype) -> Leaves:
    """A pytree with its floating numbers converted."""
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def _derived(experiment: Experiment, slips: Slips, mixed: bool) -> Scene:
    crystal, beam, sampling = experiment.crystal, experiment.beam, experiment.sampling
    detector = experiment.panel
    real = real_basis(crystal, slips)
    photons = R_E_SQR_M2 * beam.fluence_per_m2
    around, inside = conditions_of(experiment, ("crystal", "goniometer", "structure_factors"))
    if around is not None:  # what only a trace sees may be out of range: then no pixel is a number
        photons = jnp.where(around, photons, jnp.nan)
    background = None
    if sampling.water_um is not None:
        per_um3 = WATER_F**2 * WATER_MOLECULES_PER_M3 * 1e-18  # in cubic metres the volume leaves the range of float32
        background = photons * per_um3 * sampling.water_um**3
        if slips.water_scale:  # which starts the sum over the crystal's samples, and is not the crystals'
            background = background / crystal.scale
    thickness = optional_metres(detector.thickness_um)
    if detector.attenuation_depth_um is None and not slips.abs_inf_black:
        thickness = None
    layers = 1 if thickness is None else detector.thickness_steps
    absorbs = thickness is not None and detector.attenuation_depth_um is not None
    steps = phi_rotated(real, experiment.goniometer)
    domains, weights = crystal.mosaicity.rotations(real), crystal.mosaicity.domain_weights()
    if slips.phi0 and crystal.mosaicity.turns_with_phi:
        raise InputError(f"c-parity knows no {type(crystal.mosaicity).__name__}, which the reference does not have")
    if slips.phi0 and weights is not None:
        raise InputError(f"{type(crystal.mosaicity).__name__} has weights of domains: c-parity knows none")
    if slips.phi0 and isinstance(crystal.shape, Gauss):
        raise InputError(f"c-parity knows no spots of shape {crystal.shape.name}, which the reference does not have")
    if slips.phi0 and crystal.diffuse is not None:
        raise InputError("c-parity knows no diffuse scattering of crystals, which the reference does not have")
    if slips.phi0 and experiment.structure_factors.channel_wavelengths_A is not None:
        raise InputError("c-parity knows no structure factors by channel, which the reference does not have")
    n_cells, reciprocal = as_vec3(crystal.n_cells), reciprocal_of(crystal, real, slips)
    lights = sources(beam)
    listed = lights if slips.phi0 else sources(uncorrected(beam))  # a source's channel is that of the listed wavelength
    starts = channel_starts(experiment.structure_factors, listed.wavelength)
    return Scene(
        frame=detector_frame(detector, beam, slips),
        sources=lights if starts is None else replace(lights, first=starts),
        kahn_factor=beam.kahn_factor,
        unrotated=real,
        phi=phi_angles(experiment.goniometer),
        phi_steps=steps,
        domains=domains,
        domain_weights=weights,
        orientations=None if slips.phi0 else _orientations(experiment, real, steps, domains),
        shape=crystal.shape,
        lattice=Lattice(n_cells, n_cells, crystal.fudge, reciprocal, radius_scale(n_cells, reciprocal, slips)),
        diffuse=diffuse_terms(crystal),
        grid=lookup_grid(experiment.structure_factors),
        start=None if inside is None else jnp.where(inside, 0.0, jnp.nan),
        photons=photons,
        crystal_photons=photons * crystal.scale,
        background=background,
        scatterers=() if slips.scatterers_unknown else experiment.scatterers,
        dmin=sampling.dmin_A,
        layer_thickness=None if thickness is None else thickness * detector.layer_fraction,
        attenuation_depth=optional_metres(detector.attenuation_depth_um),
        settings=Settings(
            slips=slips,
            oversample=sampling.sub_pixels,
            layers=layers,
            oversample_thick=sampling.oversample_thick,
            oversample_polar=sampling.oversample_polar,
            oversample_omega=sampling.oversample_omega,
            interpolate=sampling.interpolate is True and experiment.structure_factors.amplitudes is not None,
            curved=detector.curved,
            point_pixel=detector.point_pixel,
            mean_depth=detector.mean_depth and absorbs and layers == 1 and not slips.mean_depth_unknown,
            polarized=beam.polarized or (slips.nopolar_oversampled and sampling.oversample_polar),
            mixed=mixed,
        ),
    )


def _orientations(experiment: Experiment, real: Matrix, steps: Array, domains: Array) -> Array:
    """Rows a, b, c of every (φ step, domain), domain innermost."""
    if not experiment.crystal.mosaicity.turns_with_phi:
        return orientations(steps, domains)
    at_rest = jax.vmap(turned, (0, None))(domains, real)
    return jax.vmap(lambda rows: phi_rotated(rows, experiment.goniometer), out_axes=1)(at_rest).reshape(-1, 3, 3)


def optional_metres(micrometres: Scalar | None) -> Scalar | None:
    """Metres, or None."""
    return None if micrometres is None else micrometres * 1e-6


class Point(eqx.Module):
    """Which of a pixel's points: sensor layer and sub-pixel. Arrays of one length, or one number each."""

    layer: Array
    slow: Array
    fast: Array


def points(scene: Scene) -> Point:
    """All points of a pixel in the reference's order: layer, slow sub-pixel, fast sub-pixel."""
    n = scene.settings.oversample
    layer, slow, fast = jnp.meshgrid(jnp.arange(scene.settings.layers), jnp.arange(n), jnp.arange(n), indexing="ij")
    return Point(layer.reshape(-1), slow.reshape(-1), fast.reshape(-1))


def first_point() -> Point:
    """The first of them."""
    zero = jnp.zeros((), jnp.int32)
    return Point(zero, zero, zero)


def point_ray(scene: Scene, slow: Array, fast: Array, point: Point) -> Ray:
    """The ray to a point of each pixel (slow, fast: pixel numbers, one a pixel)."""
    dtype = scene.frame.pix0.dtype
    edge = scene.frame.pixel_size / scene.settings.oversample
    along_fast = edge * ((fast * scene.settings.oversample + point.fast).astype(dtype) + 0.5)
    along_slow = edge * ((slow * scene.settings.oversample + point.slow).astype(dtype) + 0.5)
    depth = jnp.zeros((), dtype) if scene.layer_thickness is None else point.layer * scene.layer_thickness
    frame, settings = scene.frame, scene.settings
    kind = {"curved": settings.curved, "point_pixel": settings.point_pixel}
    if settings.mean_depth:
        front = pixel_ray(frame, along_fast, along_slow, depth, **kind)
        depth = depth_of_absorption(frame, front.obliquity, scene.layer_thickness, scene.attenuation_depth)
        # the solid angle is that of the pixel where it is met, in a plane so much farther away
        frame = eqx.tree_at(lambda f: f.close_distance, frame, frame.close_distance + depth)
    return pixel_ray(frame, along_fast, along_slow, depth, **kind)


def point_capture(scene: Scene, ray: Ray, layer: Array) -> Array:
    """Fraction that the layer of a point stops; 1 without a sensor thickness."""
    if scene.layer_thickness is None:
        return jnp.ones((), ray.obliquity.dtype)
    if scene.attenuation_depth is None:
        return jnp.zeros((), ray.obliquity.dtype)
    return capture_fraction(ray, layer, scene.layer_thickness, scene.attenuation_depth)


class SourceTerms(eqx.Module):
    """What one source adds to a point: scattering vector (1/Å), polarisation factor, and whether dmin keeps it."""

    q: Vec3
    polarization: Array
    kept: Array


def source_terms(scene: Scene, ray: Ray, source: Sources) -> SourceTerms:
    """The terms of one source at a point of each pixel."""
    q = scattering_vector(ray.direction, source.incident, source.wavelength)
    if scene.settings.polarized:
        frame = source.across, source.electric
        polarization = polarization_factor(scene.kahn_factor, source.incident, frame, ray.direction)
    else:
        polarization = jnp.ones_like(ray.obliquity)
    if scene.dmin is None:
        kept = jnp.ones((), bool)
    else:
        kept = ~(scene.dmin * jnp.sqrt(dot(q, q)) > 1.0)
    return SourceTerms(q, polarization, kept)


def first_polarization(scene: Scene, slow: Array, fast: Array, first: Ray | None = None) -> tuple[Array, Array]:
    """Polarisation factor at each pixel's first sample that dmin keeps; and whether there is such a sample.

    Without one it stays where it starts: at 0, or at 1 where nothing is polarised.

    **Arguments:** `first`: the ray to each pixel's first point, where the caller has it: XLA would not see that a
    second one is the same. With dmin, samples are looked through instead.
    """
    if scene.dmin is None:
        first = point_ray(scene, slow, fast, first_point()) if first is None else first
        terms = source_terms(scene, first, first_source(scene))
        return terms.polarization, jnp.ones_like(terms.polarization, bool)

    def visit(found, item):
        point, source = item
        terms = source_terms(scene, point_ray(scene, slow, fast, point), source)
        polarization, seen = found
        return (jnp.where(terms.kept & ~seen, terms.polarization, polarization), seen | terms.kept), None

    pixels = slow + fast
    unseen = 0.0 if scene.settings.polarized else 1.0
    start = (jnp.full_like(pixels, unseen, scene.frame.pix0.dtype), jnp.zeros_like(pixels, bool))
    return scan(jax.checkpoint(visit), start, points_and_sources(scene))[0]


def first_source(scene: Scene) -> Sources:
    """The first source alone."""
    return jax.tree.map(lambda x: x[0], scene.sources)


def seen_by(scene: Scene, source: Sources) -> Scene:
    """The scene with the structure factors of one source's channel."""
    return scene if source.first is None else replace(scene, grid=replace(scene.grid, first=source.first))


def points_and_sources(scene: Scene) -> tuple[Point, Sources]:
    """Every point of a pixel with every source, source innermost."""
    listed = points(scene)
    count, num = listed.layer.shape[0], scene.sources.weight.shape[0]
    lights = jax.tree.map(lambda x: jnp.tile(x, (count, *[1] * (x.ndim - 1))), scene.sources)
    return jax.tree.map(lambda x: jnp.repeat(x, num), listed), lights


def sample_at(
    scene: Scene,
    q: Vec3 | Pair,
    real: Array | Pair,
    interpolate,
    weight: Array | float = 1.0,
    spread: Vec3 | None = None,
) -> Sample:
    """The kernel's sample with what the scene knows of the crystal.

    **Arguments:** as for `kernel.sample`; `spread`: the number of cells along each axis, one a pixel, where a
    derivative is to be added up pixel by pixel.
    """
    lattice = scene.lattice if spread is None else scene.lattice._replace(n_by_pixel=spread)
    slips, diffuse = scene.settings.slips, scene.diffuse
    return sample(q, real, scene.shape, lattice, scene.grid, interpolate, weight, slips, diffuse)


def sum_orientations(scene: Scene, rows: Array, scattering: Vec3, weight: Array, total: Array) -> Array:
    """`total` plus Σ weight·(F_cell·F_latt)² over orientations of the crystal.

    **Arguments:** `rows`: a, b, c of each φ step and domain, (orientations, 3, 3); `scattering`: 1/Å, with `weight`
    and `total` one a pixel.
    """
    q, real = kernel_vectors(scene, scattering, rows)
    weight = weight.astype(total.dtype)
    spread = Vec3(*(jnp.broadcast_to(n, weight.shape) for n in scene.lattice.n_cells))
    shares = None
    if scene.domain_weights is not None:
        shares = jnp.tile(scene.domain_weights.astype(total.dtype), scene.phi_steps.shape[0])

    def add(total, item):
        vectors, share = item
        own = weight if share is None else weight * share
        return total + sample_at(scene, q, vectors, scene.settings.interpolate, own, spread).intensity

    return fold(add, total, (real, shares))


def kernel_vectors(scene: Scene, q: Vec3, real: Array) -> tuple[Vec3 | Pair, Array | Pair]:
    """Scattering vectors and rows a, b, c in the form that the kernel takes: in mixed precision as pairs."""
    if not scene.settings.mixed:
        return q, real
    by = quanta(scene.sources.wavelength, real)
    return split_vector(q, by.q), split(real, by.real)


def differs_in_crystal_only(batched: Scene) -> bool:
    """Whether the scenes of a batch have scattering vectors and weights in common.

    **Arguments:** `batched`: True in place of each leaf that is another one for each scene.
    """
    crystal = {
        "unrotated",
        "phi",
        "phi_steps",
        "domains",
        "domain_weights",
        "orientations",
        "shape",
        "lattice",
        "diffuse",
        "grid",
        "start",
    }
    others = [getattr(batched, name) for name in vars(batched) if name not in crystal]
    return not any(jax.tree.leaves(others))


def empty_sum(scene: Scene, pixels: Array) -> Array:
    """What samples are added to, one a pixel."""
    zeros = jnp.zeros_like(pixels, sum_dtype(scene))
    return zeros if scene.start is None else zeros + scene.start.astype(zeros.dtype)


def sum_dtype(scene: Scene) -> jnp.dtype:
    """The type in which samples are added up, and of the image."""
    return scene.grid.values.dtype
