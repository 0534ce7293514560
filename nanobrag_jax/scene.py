"""What a render needs, derived once from an experiment: frame, sources, crystal vectors, grid and scales."""

from copy import copy
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from .amorphous import Scatterer, scatterer
from .beam import Sources, polarization_factor, sources
from .constants import R_E_SQR_M2, WATER_F, WATER_MOLECULES_PER_M3
from .crystal import domain_rotations, orientations, phi_angles, phi_rotated, real_basis, reciprocal_of
from .experiment import Experiment
from .geometry import DetectorFrame, Ray, capture_fraction, detector_frame, pixel_ray
from .host import on_host
from .kernel import sample, scattering_vector
from .lattice import Lattice
from .loops import fold
from .pairs import Pair, quanta, split, split_vector
from .structure_factors import Grid, lookup_grid
from .typing import Mode, Precision, Scalar
from .vectors import Vec3, as_vec3, dot


class Settings(eqx.Module):
    """Everything that decides the shape of the computation."""

    mode: Mode = eqx.field(static=True)
    oversample: int = eqx.field(static=True)
    layers: int = eqx.field(static=True)
    oversample_thick: bool = eqx.field(static=True)
    oversample_polar: bool = eqx.field(static=True)
    oversample_omega: bool = eqx.field(static=True)
    interpolate: bool = eqx.field(static=True)
    curved: bool = eqx.field(static=True)
    point_pixel: bool = eqx.field(static=True)
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
    orientations: Array | None
    """Rows a, b, c at each φ step of each domain, domain innermost; None in c-parity, where pixels pass them on."""
    lattice: Lattice
    grid: Grid
    photons: Scalar
    """r_e²·fluence: photons per steradian for one electron."""
    background: Scalar | None
    """Photons per steradian from the water, None for none."""
    amorphous: Scatterer | None
    """In spec mode, None for none."""
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

    Called outside a traced function it is a program of its own, the same for every number of pixels: deriving a
    scene takes the compiler longer than the loop over pixels does.
    """
    return _built(_of_any_extent(experiment), mode, precision)


def _of_any_extent(experiment: Experiment) -> Experiment:
    """The experiment without what only says which pixels there are: for programs that serve every number of pixels.

    It holds the size in mm that the counts stood for; its mask and region of interest are gone.
    """
    detector, sampling = copy(experiment.detector), copy(experiment.sampling)
    changes = (
        (detector, "size_mm", detector.size_mm_or_default),
        (detector, "pixels_fast", 1),
        (detector, "pixels_slow", 1),
        (sampling, "roi", None),
        (sampling, "mask", None),
    )
    for part, name, value in changes:
        object.__setattr__(part, name, value)
    return eqx.tree_at(lambda e: (e.detector, e.sampling), experiment, (detector, sampling))


@partial(jax.jit, static_argnames=("mode", "precision"))
def _built(experiment: Experiment, mode: Mode, precision: Precision | None) -> Scene:
    if precision == "mixed":
        experiment = in_precision(experiment, jnp.float64)
    scene = _derived(experiment, mode, precision == "mixed")
    if precision == "float32":
        return in_precision(scene, jnp.float32)
    if precision == "mixed":
        kernel = scene.lattice, scene.grid
        return eqx.tree_at(lambda s: (s.lattice, s.grid), scene, in_precision(kernel, jnp.float32))
    return scene


_traced = jax.jit(build_scene, static_argnames=("mode", "precision"))


def scene_on_host(experiment: Experiment, mode: Mode, precision: Precision | None = None) -> Scene:
    """The scene in numpy numbers; nothing is compiled."""
    return on_host(_traced, experiment, mode=mode, precision=precision)


def in_precision(tree, dtype):
    """A pytree with its floating numbers converted."""
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def _derived(experiment: Experiment, mode: Mode, mixed: bool) -> Scene:
    crystal, beam, detector, sampling = experiment.crystal, experiment.beam, experiment.detector, experiment.sampling
    real = real_basis(crystal, mode)
    photons = R_E_SQR_M2 * beam.fluence_per_m2
    background = None
    if sampling.water_um is not None:
        per_um3 = WATER_F**2 * WATER_MOLECULES_PER_M3 * 1e-18  # in cubic metres the volume leaves the range of float32
        background = photons * per_um3 * sampling.water_um**3
    sample = experiment.amorphous
    thickness = None if detector.thickness_um is None else detector.thickness_um * 1e-6
    if mode == "spec" and detector.attenuation_depth_um is None:
        thickness = None
    grid = lookup_grid(experiment.structure_factors)
    steps, domains = phi_rotated(real, experiment.goniometer), domain_rotations(crystal)
    return Scene(
        frame=detector_frame(detector, beam, mode),
        sources=sources(beam),
        kahn_factor=beam.kahn_factor,
        unrotated=real,
        phi=phi_angles(experiment.goniometer),
        phi_steps=steps,
        domains=domains,
        orientations=orientations(steps, domains) if mode == "spec" else None,
        lattice=Lattice(
            as_vec3(crystal.n_cells),
            as_vec3(crystal.n_cells),
            crystal.fudge,
            reciprocal_of(crystal, real, mode),
            crystal.shape,
        ),
        grid=grid,
        photons=photons,
        background=background,
        amorphous=None if sample is None or mode != "spec" else scatterer(sample, photons),
        dmin=sampling.dmin_A,
        layer_thickness=None if thickness is None else thickness * detector.layer_fraction,
        attenuation_depth=optional_metres(detector.attenuation_depth_um),
        settings=Settings(
            mode=mode,
            oversample=sampling.oversample,
            layers=1 if thickness is None else detector.thickness_steps,
            oversample_thick=sampling.oversample_thick,
            oversample_polar=sampling.oversample_polar,
            oversample_omega=sampling.oversample_omega,
            interpolate=sampling.interpolate and experiment.structure_factors.amplitudes is not None,
            curved=detector.curved,
            point_pixel=detector.point_pixel,
            polarized=beam.polarized,
            mixed=mixed,
        ),
    )


def optional_metres(micrometres):
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
    settings = scene.settings
    return pixel_ray(
        scene.frame, along_fast, along_slow, depth, curved=settings.curved, point_pixel=settings.point_pixel
    )


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
    """Polarisation factor at each pixel's first sample that dmin keeps, or 0; and whether there is such a sample.

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
    start = (jnp.zeros_like(pixels, scene.frame.pix0.dtype), jnp.zeros_like(pixels, bool))
    return lax.scan(jax.checkpoint(visit), start, points_and_sources(scene))[0]


def first_source(scene: Scene) -> Sources:
    """The first source alone."""
    return jax.tree.map(lambda x: x[0], scene.sources)


def points_and_sources(scene: Scene) -> tuple[Point, Sources]:
    """Every point of a pixel with every source, source innermost."""
    listed = points(scene)
    count, num = listed.layer.shape[0], scene.sources.weight.shape[0]
    lights = jax.tree.map(lambda x: jnp.tile(x, (count, *[1] * (x.ndim - 1))), scene.sources)
    return jax.tree.map(lambda x: jnp.repeat(x, num), listed), lights


def sum_orientations(scene: Scene, real: Array, q: Vec3, weight: Array, total: Array) -> Array:
    """`total` plus Σ weight·(F_cell·F_latt)² over orientations of the crystal.

    **Arguments:** `real`: rows a, b, c of each φ step and domain, (orientations, 3, 3); `q`, `weight`, `total`: one
    a pixel.
    """
    q, real = lax.optimization_barrier(kernel_vectors(scene, q, real))
    weight = weight.astype(total.dtype)
    spread = Vec3(*(jnp.broadcast_to(n, weight.shape) for n in scene.lattice.n_cells))
    lattice = eqx.tree_at(lambda lattice: lattice.n_by_pixel, scene.lattice, spread)

    def add(total, vectors):
        return total + sample(q, vectors, lattice, scene.grid, scene.settings.interpolate, weight).intensity

    return fold(add, total, real)


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
    crystal = {"unrotated", "phi", "phi_steps", "domains", "orientations", "lattice", "grid"}
    others = [getattr(batched, name) for name in vars(batched) if name not in crystal]
    return not any(jax.tree.leaves(others))


def sum_dtype(scene: Scene) -> jnp.dtype:
    """The type in which samples are added up, and of the image."""
    return scene.grid.values.dtype
