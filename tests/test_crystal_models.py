"""Spots of the size matrix and kinds of mosaicity against their formulas, written down once more in plain numpy."""

import math
import random
from statistics import NormalDist

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.constants import R_E_SQR_M2
from nanobrag_jax.crystal import real_basis
from nanobrag_jax.detector import detector_frame
from nanobrag_jax.numerics.vectors import Vec3
from nanobrag_jax.reference.slips import NO_SLIPS
from nanobrag_jax.spot_shapes import Lattice

CELL, ANGLES, N, OFF = (40.0, 50.0, 60.0), (85.0, 95.0, 103.0), (5.0, 6.0, 7.5), (1.1, -1.7, 0.6)
SWEEP = {"phi_deg": 10.0, "osc_deg": 4.0, "phi_steps": 2}
ETA = (0.8, 0.4, 1.3)
AMPLITUDES = np.arange(1.0, 1 + 9**3).reshape(9, 9, 9)
MATRICES = np.stack(
    [np.eye(3), [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]], [[1, 0, 0], [0, 0.96, -0.28], [0, 0.28, 0.96]]]
)


def experiment(shape="gauss", off=OFF, mosaicity=None, cell=CELL, angles=ANGLES, **crystal) -> nb.Experiment:
    """A polarised spectrum of three on a tilted panel."""
    return nb.Experiment(
        crystal=nb.Crystal(
            cell, angles, n_cells=N, shape=shape, n_cells_off_diagonal=off, misset_deg=(20, -30, 40), fudge=1.2,
            mosaicity=mosaicity, scale=3.0, **crystal,
        ),
        beam=nb.Beam(
            1.1, kahn_factor=0.7, dispersion_percent=2.0, dispersion_fractions=(-0.5, 0.1, 0.5),
            source_weights=(1, 2, 3), fluence_per_m2=1e24,
        ),
        detector=nb.Detector(18, 16, pixel_size_mm=1.5, distance_mm=40.0, rotations_deg=(5.0, -8.0, 12.0)),
        goniometer=nb.Goniometer(**SWEEP),
        structure_factors=nb.StructureFactors(AMPLITUDES, hkl_min=(-4, -4, -4), default_F=7),
        sampling=nb.Sampling(oversample=1, interpolate=False),
    )  # fmt: skip


def quantile_set(domains):
    """Axes and quantiles, from the description in docs/reference.md section 7."""
    half = domains // 2
    shares = [i / half for i in range(half)]
    random.Random(8675309).shuffle(shares)
    axes = []
    for i in range(half):
        t = (i + 0.5) / half
        theta, phi = math.acos(t), math.sqrt(math.pi * half) * math.asin(t)
        axes.append([math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)])
    return np.array(axes), [NormalDist().inv_cdf((1 + u) / 2) for u in shares]


def turn(axis, angle):
    x, y, z = axis
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * K + (1 - math.cos(angle)) * K @ K


def domains_of(mosaicity, real):
    """(matrix, weight) of each domain."""
    if mosaicity is None:
        return [(np.eye(3), 1.0)]
    if isinstance(mosaicity, nb.MosaicRotations):
        weights = np.ones(len(MATRICES)) if mosaicity.weights is None else np.asarray(mosaicity.weights)
        return list(zip(MATRICES, weights / weights.mean(), strict=True))
    if isinstance(mosaicity, nb.ThreefoldMosaicity):
        c = real[2] / np.linalg.norm(real[2])
        thirds = [turn(c, 2 * math.pi * k / 3) for k in range(3)]
        return [(m @ t, w) for m, w in domains_of(mosaicity.mosaicity, real) for t in thirds]
    axes, quantiles = quantile_set(mosaicity.domains)
    S = (real / np.linalg.norm(real, axis=1)[:, None]).T
    found = []
    for v, quantile in zip(axes, quantiles, strict=True):
        eta = np.asarray(mosaicity.eta_deg)
        if eta.ndim:
            T = S @ np.diag(1 / eta**2) @ np.linalg.inv(S)
            eta = 1 / math.sqrt(abs(v @ T @ v))
        angle = math.radians(eta * quantile)
        found += [(turn(v, angle), 1.0), (turn(v, -angle), 1.0)]
    return found


def plain_image(e: nb.Experiment) -> np.ndarray:
    """Pixel by pixel, sample by sample."""
    whole = nb.completed(e)
    d = jax.tree.map(np.asarray, detector_frame(whole.panel, whole.beam))
    beam, panel, grid = whole.beam, whole.panel, np.asarray(whole.structure_factors.amplitudes)
    k = np.asarray(beam.direction, float)
    p = np.asarray(beam.polarization_vector, float)
    real = np.asarray(real_basis(whole.crystal))
    wavelengths = 1.1 * (1 + 0.02 * np.asarray(beam.dispersion_fractions))
    shares = np.asarray(beam.source_weights) / np.mean(beam.source_weights)
    kind = whole.crystal.mosaicity
    domains = domains_of(None if isinstance(kind, nb.CapMosaicity) else kind, real)
    spindle, osc, n_phi = np.asarray(whole.goniometer.spindle_axis), SWEEP["osc_deg"], SWEEP["phi_steps"]
    phis = [math.radians(SWEEP["phi_deg"] + osc / n_phi * i) for i in range(n_phi)]
    D, E, F = OFF
    size = np.array([[N[0], D, F], [D, N[1], E], [F, E, N[2]]])
    image = np.zeros((panel.pixels_slow, panel.pixels_fast))
    pixel = float(panel.pixel_size_mm) * 1e-3
    for s in range(panel.pixels_slow):
        for f in range(panel.pixels_fast):
            P = d.pix0 + (f + 0.5) * pixel * d.fast + (s + 0.5) * pixel * d.slow
            r = np.linalg.norm(P)
            u = P / r
            omega = pixel**2 * abs(d.close_distance) / r**3
            c = k @ u
            B = np.cross(p, k)
            psi = -math.atan2(u @ B, u @ np.cross(k, B))
            polar = 0.5 * (1 + c * c - 0.7 * math.cos(2 * psi) * (1 - c * c))
            total = 0.0
            for lam, share in zip(wavelengths, shares, strict=True):
                q = (u - k) / lam
                for phi in phis:
                    R = turn(spindle, phi)
                    for M, w in domains:
                        H = (real @ (R @ M).T) @ q
                        n = np.ceil(H - 0.5)
                        V = size @ (H - n)
                        Fl = np.linalg.det(size) * math.exp(-1.2 * (V @ V) / 0.63)
                        i = (n + 4).astype(int)
                        Fc = grid[tuple(i)] if ((i >= 0) & (i < 9)).all() else 7.0
                        total += share * w * (Fc * Fl) ** 2
            image[s, f] = 3.0 * R_E_SQR_M2 * 1e24 * omega * polar * total / (len(wavelengths) * n_phi * len(domains))
    return image


KINDS = {
    "one domain": None,
    "isotropic": nb.IsotropicMosaicity(0.7, domains=6),
    "anisotropic": nb.AnisotropicMosaicity(ETA, domains=20),
    "given": nb.MosaicRotations(MATRICES, weights=(1, 2, 5)),
    "threefold": nb.ThreefoldMosaicity(nb.AnisotropicMosaicity(ETA, domains=2)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_image_is_that_of_the_formulas(kind):
    e = experiment(mosaicity=KINDS[kind])
    image, expected = np.asarray(nb.simulate(e)), plain_image(e)
    np.testing.assert_allclose(image, expected, rtol=1e-10, atol=1e-12 * expected.max())
    assert image.max() > 30 * np.median(image)
    slow, fast = np.unravel_index(np.argmax(image), image.shape)
    assert nb.trace_pixel(e, slow, fast)["floatimage_accumulated"] == pytest.approx(image[slow, fast], rel=1e-6)


def test_limits():
    """Equal η is the isotropic set; a symmetrised set has the symmetry; zero off the diagonal is three gaussians."""
    same, one = nb.AnisotropicMosaicity((0.7,) * 3, domains=6), nb.IsotropicMosaicity(0.7, domains=6)
    real = real_basis(experiment().crystal)
    np.testing.assert_allclose(same.rotations(real), one.rotations(real), atol=1e-15)
    mean = np.asarray(one.rotations(real)).mean(0)
    np.testing.assert_allclose(mean, mean.T, atol=1e-16)  # zero-mean: no turn is left over
    hexagonal = {"cell": (40.0, 40.0, 60.0), "angles": (90.0, 90.0, 120.0)}
    e = experiment(mosaicity=KINDS["threefold"], **hexagonal)
    e = eqx.tree_at(lambda e: e.structure_factors, e, nb.StructureFactors(default_F=7.0))
    real = np.asarray(real_basis(e.crystal))
    third = turn(real[2] / np.linalg.norm(real[2]), 2 * math.pi / 3)
    turned = eqx.tree_at(
        lambda e: (e.crystal.orientation, e.crystal.misset_deg),
        e,
        (jnp.asarray(third @ _orientation(real, e)), jnp.zeros(3)),
        is_leaf=lambda x: x is None,
    )
    plain = eqx.tree_at(
        lambda e: (e.crystal.orientation, e.crystal.misset_deg),
        e,
        (jnp.asarray(_orientation(real, e)), jnp.zeros(3)),
        is_leaf=lambda x: x is None,
    )
    image = np.asarray(nb.simulate(plain))
    np.testing.assert_allclose(nb.simulate(turned), image, rtol=1e-9, atol=1e-10 * image.max())


def _orientation(real, e):
    """The rotation from the standard setting."""
    still = eqx.tree_at(lambda e: e.crystal.misset_deg, e, jnp.zeros(3))
    return real.T @ np.linalg.inv(np.asarray(real_basis(still.crystal)).T)


AT = {
    "a general one": experiment(mosaicity=nb.AnisotropicMosaicity(ETA, domains=6)),
    "equal and diagonal": experiment(off=(0.0, 0.0, 0.0), mosaicity=nb.AnisotropicMosaicity((0.7,) * 3, domains=6)),
}
LEAVES = ("crystal.n_cells", "crystal.n_cells_off_diagonal", "crystal.mosaicity.eta_deg", "crystal.fudge")


@pytest.mark.parametrize("point", AT)
def test_derivatives(point):
    """Forward and reverse against central differences, of every number of shape and mosaicity."""
    e = AT[point]
    weights = np.random.default_rng(1).normal(size=(16, 18))
    names = [(name, i) for name in LEAVES for i in range(max(1, refine.value_of(e, name).size))]

    def loss(values):
        moved = refine.parameters.paths.ScaledExperiment(e, jnp.ones(()))
        place = 0
        for name in LEAVES:
            shape = refine.value_of(e, name).shape
            size = max(1, math.prod(shape))
            moved = refine.parameters.paths.replace_leaf(moved, name, values[place : place + size].reshape(shape))
            place += size
        return jnp.sum(weights * nb.simulate(moved.experiment)) * 1e-6

    at = jnp.concatenate([refine.value_of(e, name).reshape(-1) for name in LEAVES])
    reverse, forward, run = jax.jit(jax.grad(loss))(at), jax.jit(jax.jacfwd(loss))(at), jax.jit(loss)
    steps = 1e-5 * np.maximum(1.0, np.abs(at))
    differences = [float(run(at.at[i].add(h)) - run(at.at[i].add(-h))) / (2 * h) for i, h in enumerate(steps)]
    assert len(names) == len(differences) and (np.abs(differences) > 0).all()
    largest = np.abs(differences).max()
    np.testing.assert_allclose(reverse, differences, rtol=1e-6, atol=1e-6 * largest)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-12 * largest)


def test_on_a_lattice_point():
    """At Δ = 0 the factor is det N, and its derivative with respect to position is zero."""
    shape, lattice = nb.Crystal(CELL, shape="gauss", n_cells_off_diagonal=OFF, n_cells=N).shape, None
    n = Vec3(*map(jnp.asarray, N))
    lattice = Lattice(n, n, jnp.asarray(1.2), jnp.eye(3), jnp.ones(()))
    at = Vec3(*(jnp.zeros(()),) * 3)
    factor = lambda rest: shape.factors(lattice, rest, rest, NO_SLIPS).x  # noqa: E731
    D, E, F = OFF
    assert factor(at) == pytest.approx(np.linalg.det([[N[0], D, F], [D, N[1], E], [F, E, N[2]]]), rel=1e-14)
    assert [float(x) for x in jax.grad(factor)(at)] == [0.0, 0.0, 0.0]


def test_prediction_finds_the_bright_pixels():
    e = experiment(mosaicity=nb.IsotropicMosaicity(0.3, domains=6))
    spots = refine.predict(e, widths=1.5)
    image = np.asarray(nb.simulate(e))
    bright = np.argwhere(image > 0.2 * image.max())
    found = np.stack([spots.slow, spots.fast], 1)
    far = [np.abs(found - place).max(1).min() for place in bright]
    assert max(far) < 1.5


BAD = [
    (lambda: nb.IsotropicMosaicity(0.5, domains=5), "domains must be an even number, as they come in pairs, got 5"),
    (lambda: nb.AnisotropicMosaicity((0.5, 0, 1)), "eta_deg must be positive, got"),
    (lambda: nb.MosaicRotations(np.ones((2, 3, 3))), r"matrices\[0\] must be a rotation matrix"),
    (lambda: nb.MosaicRotations(MATRICES, weights=(0, 0, 0)), "weights must be not all zero"),
    (
        lambda: nb.Crystal(CELL, shape="square", n_cells_off_diagonal=OFF),
        'n_cells_off_diagonal belongs to shape="gauss"',
    ),
    (lambda: nb.Crystal(CELL, n_cells=(2, 2, 2), shape="gauss", n_cells_off_diagonal=(3, 0, 0)), "positive definite"),
    (lambda: nb.simulate(experiment(), "c-parity"), "c-parity knows no spots of shape gauss"),
    (
        lambda: nb.simulate(experiment("square", None, nb.IsotropicMosaicity(0.5)), "c-parity"),
        "c-parity knows no IsotropicMosaicity",
    ),
]


@pytest.mark.parametrize("make, sentence", BAD, ids=[sentence[:30] for _, sentence in BAD])
def test_what_is_refused(make, sentence):
    with pytest.raises(nb.InputError, match=sentence):
        make()


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(kind, tmp_path):
    e = experiment(mosaicity=KINDS[kind])
    nb.save_config(tmp_path / "run.json", e)
    again = nb.load_config(tmp_path / "run.json").experiment
    assert eqx.tree_equal(again, e)


def test_flags():
    args = "-cell 40 50 60 85 95 103 -N 8 -default_F 1 -oversample 1 -shape gauss -N_off 1 -2 0.5".split()
    assert nb.experiment_from_args(args).crystal.n_cells_off_diagonal.tolist() == [1.0, -2.0, 0.5]
    e = nb.experiment_from_args([*args, "-eta", "0.4", "-mosaic_dom", "6"])
    assert isinstance(e.crystal.mosaicity, nb.IsotropicMosaicity) and e.crystal.mosaicity.domains == 6
    e = nb.experiment_from_args([*args, "-eta_abc", "0.4", "0.5", "0.6"])
    assert isinstance(e.crystal.mosaicity, nb.AnisotropicMosaicity) and e.crystal.mosaicity.domains == 20
    with pytest.raises(nb.InputError, match="-mosaic and -eta are different kinds of mosaicity: give one of them"):
        nb.experiment_from_args([*args, "-eta", "0.4", "-mosaic", "0.3"])
