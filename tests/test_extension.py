"""Kinds that are defined outside the package: a spot shape, a mosaicity, two scatterers in one image.

Losses, drivers and restraints are in `test_refine_extension.py`, a file format in `formats/test_extension.py`.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import experiment

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.mosaicity import AbstractMosaicity, CapMosaicity
from nanobrag_jax.numerics.vectors import Vec3, axis_rotation
from nanobrag_jax.scatterers import AbstractScatterer, View
from nanobrag_jax.spot_shapes import AbstractSpotShape, longest_edge_A
from nanobrag_jax.typing import Scalar


class Lorentzian(AbstractSpotShape):
    """A spot with wide wings: N/(1 + sharpness·|NΔ|²)."""

    name = "lorentzian"
    flags = "-lorentz_xtal"
    help = "spots with wide wings"

    sharpness: Scalar

    def factors(self, lattice, index, rest, slips):
        n = lattice.n_cells
        fringes = sum((x * cells) ** 2 for x, cells in zip(rest, n, strict=True))
        factor = n.x * n.y * n.z / (1.0 + self.sharpness * lattice.fudge * fringes)
        return Vec3(factor, jnp.ones_like(factor), jnp.ones_like(factor))

    def intensity(self, lattice, rest, amplitude, weight, slips):
        return weight * (amplitude * self.factors(lattice, rest, rest, slips).x) ** 2

    def width_per_A(self, lattice, along):
        spans = [n * jnp.abs(edge) for n, edge in zip(lattice.n_cells, along, strict=True)]
        return 3.0 / jnp.maximum(jnp.maximum(spans[0], spans[1]), spans[2])

    def resolved_length_A(self, cell_lengths_A, n_cells):
        return 0.5 * longest_edge_A(cell_lengths_A, n_cells)


def lorentzian(sharpness=2.0, **changes):
    return experiment(crystal={"shape": Lorentzian(jnp.asarray(sharpness))} | changes)


def test_a_shape_of_ones_own_is_rendered():
    whole = lorentzian()
    image = np.asarray(nb.simulate(whole))
    trace = nb.trace_pixel(whole, 3, 4)
    delta = np.array(trace.values["hkl_frac"]) - np.array(trace.values["hkl_rounded"])
    expected = 5 * 6 * 4 / (1.0 + 2.0 * np.sum((delta * (5, 6, 4)) ** 2))
    np.testing.assert_allclose(trace.values["F_latt"], expected, rtol=1e-12)
    np.testing.assert_allclose(trace.values["I_pixel_final"], image[3, 4], rtol=1e-12)
    assert np.all(image > 0) and not np.allclose(image, nb.simulate(experiment()), rtol=0.1)
    assert "c-parity" and np.all(np.isfinite(nb.simulate(whole, "c-parity")))


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
def test_a_shape_of_ones_own_has_gradients(mode):
    """With respect to its own leaf and to the crystal's, both ways, against central differences."""

    def total(sharpness, n_a):
        return jnp.sum(nb.simulate(lorentzian(sharpness, n_cells=jnp.stack([n_a, 6.0, 4.0])), mode))

    at, steps = (jnp.asarray(2.0), jnp.asarray(5.0)), (1e-5, 1e-5)
    reverse = jax.grad(total, (0, 1))(*at)
    forward = jax.jacfwd(total, (0, 1))(*at)
    for i, step in enumerate(steps):
        up, down = ([x + sign * step * (i == j) for j, x in enumerate(at)] for sign in (1, -1))
        slope = (total(*up) - total(*down)) / (2 * step)
        assert abs(slope) > 0
        np.testing.assert_allclose([reverse[i], forward[i]], slope, rtol=1e-6)


class TwoBlocks(AbstractMosaicity):
    """Two blocks turned apart about one axis, of unequal size."""

    angle_deg: Scalar
    axis: jax.Array

    @property
    def domains(self):
        return 2

    turns_with_phi: ClassVar[bool] = False

    def rotations(self, real):
        half = self.angle_deg * jnp.pi / 360.0
        return jnp.stack([axis_rotation(self.axis, half), axis_rotation(self.axis, -half)])

    def domain_weights(self):
        return jnp.array([1.5, 0.5])

    def width_rad(self, axis, real):
        return jnp.abs(jnp.sum(self.axis * axis)) * self.angle_deg * jnp.pi / 360.0


def blocks(angle_deg, axis=(1.0, 0.0, 0.0)):
    return TwoBlocks(jnp.asarray(angle_deg, float), jnp.asarray(axis))


def test_a_mosaicity_of_ones_own_is_rendered_with_its_weights():
    """The image is the weighted mean of those of its blocks, each with a single domain."""
    sweep = {"osc_deg": 1.0, "phi_steps": 2}
    image = nb.simulate(experiment(crystal={"mosaicity": blocks(0.8)}, goniometer=sweep))
    alone = [
        nb.simulate(experiment(crystal={"mosaicity": CapMosaicity(0.4, ((1, 0, 0),), (sign,))}, goniometer=sweep))
        for sign in (1, -1)
    ]
    np.testing.assert_allclose(image, 0.75 * alone[0] + 0.25 * alone[1], rtol=1e-10)
    with pytest.raises(nb.InputError, match="TwoBlocks has weights of domains: c-parity knows none"):
        nb.simulate(experiment(crystal={"mosaicity": blocks(0.8)}), "c-parity")


@pytest.mark.slow
def test_a_mosaicity_of_ones_own_has_gradients():
    def total(angle):
        return jnp.sum(nb.simulate(experiment(crystal={"mosaicity": blocks(angle)})) ** 2) * 1e-9

    at, step = jnp.asarray(0.8), 1e-5
    slope = (total(at + step) - total(at - step)) / (2 * step)
    assert abs(slope) > 0
    np.testing.assert_allclose([jax.grad(total)(at), jax.jacfwd(total)(at)], slope, rtol=1e-6)


@pytest.mark.slow
def test_prediction_of_spots_respects_a_mosaicity_of_ones_own():
    """About the axis that takes lattice points through the sphere more spots are lit than about the beam."""

    def predicted(mosaicity):
        whole = experiment(
            crystal={"mosaicity": mosaicity, "n_cells": (40, 40, 40)},
            detector={"pixels_fast": 200, "pixels_slow": 200, "pixel_size_mm": 0.2},
        )
        return {tuple(hkl) for hkl in refine.predict(whole).hkl.tolist()}

    still, about_beam, about_y = (
        predicted(CapMosaicity()), predicted(blocks(3.0, (1, 0, 0))), predicted(blocks(3.0, (0, 1, 0)))
    )  # fmt: skip
    assert still <= about_y and len(about_y) > 1.5 * len(still)
    assert about_beam == still  # a turn about the beam moves no point towards the sphere


class Fluorescence(AbstractScatterer):
    """The same photons in all directions, whatever the polarisation."""

    electrons: Scalar

    def photons(self, view: View):
        return view.thomson_photons * self.electrons * view.captured * view.solid_angle


@pytest.mark.slow
def test_two_scatterers_in_one_image():
    water = nb.amorphous_sample("water", 1.0)
    glow = Fluorescence(jnp.asarray(1e12))
    dark = experiment(factors=nb.StructureFactors(default_F=0.0))

    def with_scatterers(*scatterers):
        return eqx.tree_at(lambda e: e.scatterers, dark, scatterers)

    first, second, both = (np.asarray(nb.simulate(with_scatterers(*s))) for s in ((water,), (glow,), (water, glow)))
    assert first.min() > 0 and second.min() > 0
    np.testing.assert_allclose(both, first + second, rtol=1e-12)
    slope = jax.grad(lambda n: jnp.sum(nb.simulate(with_scatterers(water, Fluorescence(n)))))(jnp.asarray(1e12))
    np.testing.assert_allclose(slope, second.sum() / 1e12, rtol=1e-10)
    np.testing.assert_array_equal(nb.simulate(with_scatterers(water, glow), "c-parity"), 0.0)


def test_an_unknown_shape_is_refused():
    with pytest.raises(nb.InputError, match="shape must be one of square, round, gauss_star, tophat, gauss, or"):
        nb.Crystal((50, 60, 70), shape="gaus")
