"""Diffuse scattering against its formulas, written down once more in plain numpy."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.constants import R_E_SQR_M2
from nanobrag_jax.crystal import real_basis
from nanobrag_jax.detector import detector_frame
from nanobrag_jax.laue_groups import rotations_of

AMPLITUDES = 5.0 + np.random.default_rng(3).uniform(size=(9, 9, 9)) * 20
GAMMA, SIGMA = (60.0, 90.0, 40.0), (0.4, 0.7, 0.5)
FLUENCE = 1e24
ORIENTATION = np.array([[0.8, -0.6, 0], [0.48, 0.64, -0.6], [0.36, 0.48, 0.8]])


def experiment(diffuse, cell=(40.0, 50.0, 60.0), angles=(85.0, 95.0, 103.0), n_cells=(5, 6, 7), **crystal):
    return nb.Experiment(
        crystal=nb.Crystal(
            cell, angles, n_cells=n_cells, misset_deg=(20, -30, 40), diffuse=diffuse, orientation=ORIENTATION, **crystal
        ),
        beam=nb.Beam(
            1.1, kahn_factor=0.0, fluence_per_m2=FLUENCE, dispersion_percent=2.0, dispersion_fractions=(-0.5, 0.5)
        ),
        detector=nb.Detector(14, 12, pixel_size_mm=2.0, distance_mm=40.0, rotations_deg=(5.0, -8.0, 12.0)),
        structure_factors=nb.StructureFactors(AMPLITUDES, hkl_min=(-4, -4, -4), default_F=7),
        sampling=nb.Sampling(oversample=1, interpolate=False),
    )


def cell_matrix(cell, angles):
    """Columns a along x, b in the xy plane, c."""
    (a, b, c), (al, be, ga) = cell, np.radians(angles)
    y = (math.cos(al) - math.cos(be) * math.cos(ga)) / math.sin(ga)
    z = math.sqrt(1 - math.cos(be) ** 2 - y * y)
    return np.array([[a, b * math.cos(ga), c * math.cos(be)], [0, b * math.sin(ga), c * y], [0, 0, c * z]])


def closed(generators):
    """The group that matrices generate."""
    found = [np.eye(3)]
    for one in found:
        for g in generators:
            if not any(np.array_equal(g @ one, other) for other in found):
                found.append(g @ one)
    return found


def from_words(words):
    """(h,k,l) → the sums that words say: "k,-h-k,l"."""
    rows = []
    for word in words.split(","):
        rows.append([(1 if f"+{x}" in f"+{word}".replace("+-", "-") else 0) - (f"-{x}" in word) for x in "hkl"])
    return np.array(rows, float)


GROUPS = {
    1: (1, []), 2: (2, ["-h,-k,l"]), 3: (2, ["-h,k,-l"]), 4: (2, ["h,-k,-l"]), 5: (4, ["-h,-k,l", "-h,k,-l"]),
    6: (4, ["-k,h,l"]), 7: (8, ["-k,h,l", "h,-k,-l"]), 8: (3, ["k,-h-k,l"]), 9: (6, ["k,-h-k,l", "k,h,-l"]),
    10: (6, ["k,-h-k,l", "-k,-h,-l"]), 11: (6, ["-k,h+k,l"]), 12: (12, ["-k,h+k,l", "k,h,-l"]),
    13: (12, ["-h,-k,l", "-h,k,-l", "k,l,h"]), 14: (24, ["-k,h,l", "h,-k,-l", "k,l,h"]),
}  # fmt: skip


@pytest.mark.parametrize("number", GROUPS)
def test_the_rotations_are_those_of_the_group(number):
    order, words = GROUPS[number]
    expected = closed([from_words(word) for word in words])
    found = rotations_of(number)
    assert len(found) == len(expected) == order
    assert {tuple(one.reshape(-1)) for one in found} == {tuple(one.astype(int).reshape(-1)) for one in expected}
    assert all(round(np.linalg.det(one)) == 1 for one in found)


def plain_image(e):
    """Pixel by pixel, term by term."""
    whole, d = nb.completed(e), e.crystal.diffuse
    frame = jax.tree.map(np.asarray, detector_frame(whole.panel, whole.beam))
    k, real = np.asarray(whole.beam.direction, float), np.asarray(real_basis(whole.crystal))
    cell, angles = np.asarray(whole.crystal.cell_lengths_A), np.asarray(whole.crystal.cell_angles_deg)
    B = cell_matrix(cell, angles)
    star = np.linalg.inv(B).T
    if d.frame == "lab":
        still = eqx.tree_at(lambda c: c.misset_deg, whole.crystal, jnp.zeros(3))
        star = np.linalg.inv(np.asarray(real_basis(still)))
    if d.gamma_A is not None:
        G = np.diag(d.gamma_A)
    else:
        G = np.diag(d.gamma_cells) @ (B.T if d.frame == "crystal" else B)
    W = np.diag(np.asarray(d.sigma_A) ** 2)
    turn = np.eye(3)
    if d.principal_axes == "diagonal":
        turn[:2, :2] = np.array([[1, -1], [1, 1]]) / math.sqrt(2)
    rotations = [one @ turn for one in closed([from_words(word) for word in GROUPS[d.laue_group][1]])]
    m, N = d.stencil, np.asarray(whole.crystal.n_cells)
    stencil = list(itertools.product(range(-m, m + 1), repeat=3))
    reference = d.normalization == "reference"
    divisor = len(rotations) * (len(stencil) if reference else 1)

    def F(n):
        i = (np.asarray(n) + 4).astype(int)
        return AMPLITUDES[tuple(i)] if ((i >= 0) & (i < 9)).all() else 7.0

    panel = whole.panel
    image, pixel = np.zeros((panel.pixels_slow, panel.pixels_fast)), float(panel.pixel_size_mm) * 1e-3
    for s, f in itertools.product(range(panel.pixels_slow), range(panel.pixels_fast)):
        P = frame.pix0 + (f + 0.5) * pixel * frame.fast + (s + 0.5) * pixel * frame.slow
        r = np.linalg.norm(P)
        u, total = P / r, 0.0
        for lam in (1.1 * 0.99, 1.1 * 1.01):
            H = real @ ((u - k) / lam)
            n = np.ceil(H - 0.5)
            spots = F(n) ** 2 * np.prod((np.sin(np.pi * N * (H - n)) / np.sin(np.pi * (H - n))) ** 2)
            around = 0.0
            for step in stencil:
                for L in rotations:
                    place = star @ L @ n
                    exponent = 4 * math.pi**2 * place @ W @ place
                    x = G @ star @ L @ (H - n - step)
                    lorentz = 8 * math.pi * np.linalg.det(G) / (1 + 4 * math.pi**2 * x @ x) ** 2
                    around += F(n + step) ** 2 * exponent * math.exp(-exponent) * lorentz / divisor
            if reference and (F(n) == 0 or (np.abs(n) + m > 4).any()):
                around = 0.0
            total += (0.0 if d.only else spots) + around
        omega = pixel**2 * abs(frame.close_distance) / r**3
        polar = 0.5 * (1 + (k @ u) ** 2)
        image[s, f] = R_E_SQR_M2 * FLUENCE * omega * polar * total / 2
    return image


CASES = {
    "mmm": ({"laue_group": 5}, {"angles": (90, 90, 90)}),
    "triclinic": ({"laue_group": 1, "stencil": 2, "only": True}, {}),
    "triclinic, lab": ({"laue_group": 1, "frame": "lab"}, {}),
    "6/mmm": ({"laue_group": 12}, {"cell": (50, 50, 60), "angles": (90, 90, 120)}),
    "-3": ({"laue_group": 8, "normalization": "reference"}, {"cell": (50, 50, 60), "angles": (90, 90, 120)}),
    "m-3m": ({"laue_group": 14, "stencil": 0, "only": True}, {"cell": (50, 50, 50), "angles": (90, 90, 90)}),
    "2/m, cells": ({"laue_group": 3, "gamma_A": None, "gamma_cells": (2, 3, 1)}, {"angles": (90, 100, 90)}),
    "cells, lab": ({"gamma_A": None, "gamma_cells": (2, 3, 1), "frame": "lab"}, {}),
    "4/m": ({"laue_group": 6, "principal_axes": "diagonal"}, {"cell": (50, 50, 60), "angles": (90, 90, 90)}),
}


def diffuse_of(case):
    given, crystal = CASES[case]
    return experiment(nb.Diffuse(**{"gamma_A": GAMMA, "sigma_A": SIGMA} | given), **crystal)


@pytest.mark.parametrize("case", CASES)
def test_the_image_is_that_of_the_formulas(case):
    e = diffuse_of(case)
    image, expected = np.asarray(nb.simulate(e)), plain_image(e)
    np.testing.assert_allclose(image, expected, rtol=1e-10, atol=1e-12 * expected.max())
    without = np.asarray(nb.simulate(eqx.tree_at(lambda e: e.crystal.diffuse, e, None)))
    assert np.abs(image - without).max() > 1e-3 * without.max()
    slow, fast = np.unravel_index(np.argmax(image), image.shape)
    assert nb.trace_pixel(e, slow, fast)["floatimage_accumulated"] == pytest.approx(image[slow, fast], rel=1e-6)
    np.testing.assert_allclose(nb.simulate(e, precision="mixed"), image, rtol=1e-4, atol=1e-4 * image.max())


def test_the_level_does_not_depend_on_the_stencil():
    def image(stencil, normalization="level"):
        diffuse = nb.Diffuse((250.0,) * 3, SIGMA, 5, stencil, normalization=normalization, only=True)
        return np.asarray(nb.simulate(experiment(diffuse, angles=(90, 90, 90))))

    small, usual, large = image(0), image(1), image(2)
    assert usual.sum() == pytest.approx(large.sum(), rel=0.02) and small.sum() == pytest.approx(large.sum(), rel=0.1)
    brightest = np.argmax(large)
    assert small.reshape(-1)[brightest] == pytest.approx(large.reshape(-1)[brightest], rel=0.02)
    reference = image(1, "reference")
    inside = reference > 0
    np.testing.assert_allclose(27 * reference[inside], usual[inside], rtol=1e-12)
    assert inside.any() and not inside.all()


LEAVES = ("crystal.diffuse.gamma_A", "crystal.diffuse.sigma_A", "crystal.cell_lengths_A", "crystal.cell_angles_deg",
          "crystal.misset_deg", "crystal.n_cells", "beam.wavelength_A", "structure_factors.default_F")  # fmt: skip
AT = {
    "a general one": {"laue_group": 8},
    "equal": {"laue_group": 13, "gamma_A": (70.0,) * 3, "sigma_A": (0.5,) * 3},
    "lab": {"laue_group": 2, "frame": "lab", "only": True},
}


@pytest.mark.parametrize("point", AT)
def test_derivatives(point):
    """Forward and reverse against central differences."""
    e = experiment(nb.Diffuse(**{"gamma_A": GAMMA, "sigma_A": SIGMA} | AT[point]))
    names = [name for name in LEAVES if not (e.crystal.diffuse.only and name == "crystal.n_cells")]
    weights = np.random.default_rng(1).normal(size=(12, 14))
    start = [refine.value_of(e, name) for name in names]

    def moved(values):
        changed, place = refine.parameters.paths.ScaledExperiment(e, jnp.ones(())), 0
        for name, old in zip(names, start, strict=True):
            size = max(1, old.size)
            changed = refine.parameters.paths.replace_leaf(
                changed, name, values[place : place + size].reshape(old.shape)
            )
            place += size
        return jnp.sum(weights * nb.simulate(changed.experiment)) * 1e-6

    at = jnp.concatenate([x.reshape(-1) for x in start])
    reverse, forward, run = jax.jit(jax.grad(moved))(at), jax.jit(jax.jacfwd(moved))(at), jax.jit(moved)
    steps = 1e-6 * np.maximum(1.0, np.abs(at))
    differences = np.array([float(run(at.at[i].add(h)) - run(at.at[i].add(-h))) / (2 * h) for i, h in enumerate(steps)])
    assert (np.abs(differences) > 0).all()
    place = 0
    for name, old in zip(names, start, strict=True):
        part = slice(place, place + max(1, old.size))
        place = part.stop
        largest = np.abs(differences[part]).max()
        np.testing.assert_allclose(reverse[part], differences[part], rtol=1e-6, atol=1e-6 * largest, err_msg=name)
        np.testing.assert_allclose(forward[part], reverse[part], rtol=1e-9, atol=1e-9 * largest, err_msg=name)


def test_the_derivative_by_amplitudes():
    e = diffuse_of("mmm")
    direction = np.random.default_rng(5).normal(size=AMPLITUDES.shape)

    def total(step):
        factors = nb.StructureFactors(AMPLITUDES + step * direction, hkl_min=(-4, -4, -4), default_F=7)
        return jnp.sum(nb.simulate(eqx.tree_at(lambda e: e.structure_factors, e, factors)))

    difference = (total(1e-4) - total(-1e-4)) / 2e-4
    assert jax.grad(total)(0.0) == pytest.approx(float(difference), rel=1e-7) and difference != 0
    assert jax.jvp(total, (0.0,), (1.0,))[1] == pytest.approx(float(difference), rel=1e-7)


@pytest.mark.parametrize("gamma, sigma", [((0.0, 60.0, 60.0), SIGMA), (GAMMA, (0.0,) * 3)])
def test_zero_is_no_diffuse_scattering(gamma, sigma):
    e = experiment(nb.Diffuse(gamma, sigma, 5, only=True))
    assert np.asarray(nb.simulate(e)).max() == 0
    slope = jax.grad(lambda c: jnp.sum(nb.simulate(eqx.tree_at(lambda e: e.crystal, e, c))), allow_int=True)(e.crystal)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slope))


@pytest.mark.parametrize("case", ["mmm", "2/m, cells"])
def test_saved_and_loaded(case, tmp_path):
    e = diffuse_of(case)
    nb.save_config(tmp_path / "run.json", e)
    assert eqx.tree_equal(nb.load_config(tmp_path / "run.json").experiment, e)


ARGS = "-cell 40 50 60 90 90 90 -N 8 -default_F 1 -oversample 1".split()


def test_flags():
    given = "-diffuse_gamma 60 90 40 -diffuse_sigma 0.4 0.7 0.5 -diffuse_laue_group mmm -diffuse_stencil 0".split()
    diffuse = nb.experiment_from_args([*ARGS, *given]).crystal.diffuse
    assert eqx.tree_equal(diffuse, nb.Diffuse(GAMMA, SIGMA, 5, 0))
    assert nb.experiment_from_args(ARGS).crystal.diffuse is None
    pytest.importorskip("gemmi")
    assert nb.Diffuse(GAMMA, SIGMA, "P 61 2 2").laue_group == 12


BAD = [
    (lambda: nb.Diffuse(), "needs gamma_A or gamma_cells"),
    (lambda: nb.Diffuse(GAMMA, (-1, 0, 0)), "sigma_A must be"),
    (
        lambda: nb.Diffuse(GAMMA, SIGMA, 15),
        "laue_group must be 1 to 14, or the symbol of a Laue or space group, got 15",
    ),
    (lambda: nb.Diffuse(GAMMA, SIGMA, stencil=-1), "stencil must be a whole number"),
    (lambda: nb.Diffuse(GAMMA, SIGMA, frame="mine"), "frame must be one of crystal, lab, got 'mine'|parameter 'frame'"),
    (lambda: nb.simulate(diffuse_of("mmm"), "c-parity"), "c-parity knows no diffuse scattering"),
    (lambda: nb.experiment_from_args([*ARGS, "-diffuse_only"]), "-diffuse_only needs -diffuse_gamma"),
    (lambda: nb.experiment_from_args([*ARGS, "-diffuse_gamma", "1", "2", "3"]), "needs -diffuse_sigma"),
]


@pytest.mark.parametrize("make, sentence", BAD, ids=[sentence[:30] for _, sentence in BAD])
def test_what_is_refused(make, sentence):
    with pytest.raises((nb.InputError, TypeCheckError), match=sentence):
        make()
