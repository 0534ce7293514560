"""`replace`: other numbers in an experiment, by their names."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from small import experiment, factors_grid

import nanobrag_jax as nb
from nanobrag_jax.checks import leaf
from nanobrag_jax.scatterers import AbstractScatterer


class Glow(AbstractScatterer):
    """A scatterer whose constructor takes another argument than its field."""

    photons_each: jax.Array
    rings: int = eqx.field(static=True)

    def __init__(self, total):
        self.photons_each, self.rings = leaf(total) / 4, 4

    def photons(self, view):
        return self.photons_each * jnp.ones_like(view.solid_angle)


WATER = nb.amorphous_sample("water", 0.1)

FOUND = [
    # (name, value, where it is)
    ("distance_mm", 200.0, lambda e: e.detector.distance_mm),
    ("detector.distance_mm", 200.0, lambda e: e.detector.distance_mm),
    ("cell_lengths_A", (31.0, 38.0, 45.0), lambda e: e.crystal.cell_lengths_A),
    ("mosaic_spread_deg", 0.3, lambda e: e.crystal.mosaicity.spread_deg),
    ("crystal.mosaic_spread_deg", 0.3, lambda e: e.crystal.mosaicity.spread_deg),
    ("mosaicity.spread_deg", 0.3, lambda e: e.crystal.mosaicity.spread_deg),
    ("wavelength_A", 1.1, lambda e: e.beam.wavelength_A),
    ("oversample", 3, lambda e: e.sampling.oversample),
    ("pixels_fast", 14, lambda e: e.detector.pixels_fast),
    ("dmin_A", 2.0, lambda e: e.sampling.dmin_A),
    ("thickness_mm", 0.2, lambda e: e.scatterers[0].thickness_mm),
    ("scatterers.0.thickness_mm", 0.2, lambda e: e.scatterers[0].thickness_mm),
]


@pytest.mark.parametrize("name, value, where", FOUND, ids=[name for name, *_ in FOUND])
def test_a_field_is_found_by_its_name(name, value, where):
    before = experiment(scatterers=[WATER], crystal={"mosaic_spread_deg": 0.2, "mosaic_domains": 3})
    after = nb.replace(before, {name: value})
    np.testing.assert_allclose(where(after), value)
    others = [part for part in vars(before) if getattr(after, part) is getattr(before, part)]
    assert len(others) == len(vars(before)) - 1, "a part was touched that holds no such name"


REFUSED = [
    ({"distanse_mm": 200}, "there is no distanse_mm: did you mean distance_mm (detector.distance_mm)?"),
    ({"beam.distance_mm": 200}, "there is no beam.distance_mm: did you mean distance_mm (detector.distance_mm)?"),
    ({"quark": 1}, "there is no quark: known are crystal, beam, detector, goniometer"),
    (
        {"thickness_mm": 1},
        "thickness_mm is ambiguous: give one of scatterers.0.thickness_mm, scatterers.1.thickness_mm",
    ),
    ({"distance_mm": -3}, "distance_mm must be positive, got -3"),
    ({"n_cells": 5}, "n_cells must be an array of shape (3,), got shape ()"),
    ({"detector": nb.Detector(), "distance_mm": 3}, "give detector or distance_mm, not both"),
    ({"distance_mm": 3, "detector.distance_mm": 3}, "give detector.distance_mm or detector.distance_mm, not both"),
    ({"detector": 3}, "detector must be a Detector or a list of them"),
    ({"roi": (0, 1, 0, 99)}, "roi 0 1 0 99 does not lie on the detector"),
]


@pytest.mark.parametrize("changes, message", REFUSED, ids=[" ".join(changes) for changes, _ in REFUSED])
def test_what_cannot_be_replaced(changes, message):
    two = experiment(scatterers=[WATER, nb.amorphous_sample("air", 1.0)])
    with pytest.raises((nb.InputError, TypeCheckError), match=f"{re.escape(message)}|parameter 'detector'"):
        nb.replace(two, changes)


OVERRULED = [
    ({"pix0_mm": (-90, 15, -18)}, {"distance_mm": 50.0}, "distance_mm has no effect beside pix0_mm, which is set"),
    ({"close_distance_mm": 50}, {"distance_mm": 50.0}, "distance_mm has no effect beside close_distance_mm"),
    ({"convention": "xds"}, {"beam_center_mm": (5, 6)}, "beam_center_mm has no effect with pivot sample"),
]


@pytest.mark.parametrize("detector, changes, message", OVERRULED)
def test_a_number_without_effect_is_refused(detector, changes, message):
    with pytest.raises(nb.InputError, match=message):
        nb.replace(experiment(detector=detector), changes)


def test_the_winner_may_go():
    """What is None lets the number beside it count."""
    moved = nb.replace(experiment(detector={"close_distance_mm": 50}), distance_mm=70, close_distance_mm=None)
    np.testing.assert_array_equal(nb.simulate(moved), nb.simulate(experiment(detector={"distance_mm": 70})))


SAME = [
    # (parts, changes, parts that say the same)
    ({"detector": {}}, {"pixels_fast": 20}, {"detector": {"pixels_fast": 20}}),
    ({"detector": {"convention": "xds"}}, {"pixels_slow": 9}, {"detector": {"convention": "xds", "pixels_slow": 9}}),
    ({"beam": {}}, {"divergence_mrad": (2, 0)}, {"beam": {"divergence_mrad": (2, 0)}}),
    ({"beam": {}}, {"dispersion_percent": 3}, {"beam": {"dispersion_percent": 3}}),
    ({"goniometer": {}}, {"osc_deg": 1.0}, {"goniometer": {"osc_deg": 1.0}}),
    ({"goniometer": {"osc_deg": 2, "phi_steps": 3}}, {"osc_deg": 1}, {"goniometer": {"osc_deg": 1, "phi_steps": 3}}),
    ({"crystal": {}}, {"mosaic_spread_deg": 0.4}, {"crystal": {"mosaic_spread_deg": 0.4}}),
    ({"crystal": {}}, {"shape": "round"}, {"crystal": {"shape": "round"}}),
    (
        {"detector": {"beam_center_mm": (4, 5)}},
        {"pixels_fast": 20},
        {"detector": {"beam_center_mm": (4, 5), "pixels_fast": 20}},
    ),
]


@pytest.mark.parametrize("parts, changes, wanted", SAME)
def test_what_follows_from_other_numbers_follows_again(parts, changes, wanted):
    assert eqx.tree_equal(nb.replace(experiment(**parts), changes), experiment(**wanted))


def test_panels():
    """One value for all, or each its own; panels that do not stack."""
    one = experiment().panel
    stacked = nb.replace(experiment(), detector=[one, one])
    assert nb.replace(stacked, distance_mm=70).detector.panels.distance_mm.tolist() == [70, 70]
    assert nb.replace(stacked, distance_mm=[70, 80]).detector.panels.distance_mm.tolist() == [70, 80]
    assert nb.replace(stacked, beam_center_mm=(1, 2)).detector.panels.beam_center_mm.tolist() == [[1, 2], [1, 2]]
    unequal = nb.replace(stacked, detector=[one, nb.replace(one, pixels_fast=8)])
    assert [p.distance_mm for p in nb.replace(unequal, distance_mm=[70, 80]).detector] == [70, 80]


def test_a_part_alone():
    assert float(nb.replace(nb.Beam(), kahn_factor=0.9).kahn_factor) == 0.9
    assert nb.replace(nb.Crystal((30, 40, 50)), mosaic_spread_deg=0.3).mosaicity.domains == 10


def test_a_class_of_ones_own():
    """Its leaves can be replaced, what its constructor alone decides cannot."""
    glowing = experiment(scatterers=[Glow(8.0)])
    assert float(nb.replace(glowing, photons_each=5.0).scatterers[0].photons_each) == 5.0
    with pytest.raises(nb.InputError, match="rings of a Glow decides the shape of the computation"):
        nb.replace(glowing, rings=3)


def test_too_few_sub_pixels_are_told():
    with pytest.warns(nb.ExperimentWarning, match="oversample 1 is kept, though the spots need"):
        nb.replace(experiment(), n_cells=(900, 900, 900))


def test_gradients_go_through():
    """Forward and reverse, and nothing is compiled for another number."""
    base = experiment()

    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=3)  # once for images, once for each kind of derivative
    def total(distance):
        return jnp.sum(nb.simulate(nb.replace(base, distance_mm=distance)))

    step = 1e-4
    above, below = (total(jnp.asarray(60 + change)) for change in (step, -step))
    slope = float((above - below) / (2 * step))
    np.testing.assert_allclose(jax.grad(total)(60.0), slope, rtol=1e-5)
    np.testing.assert_allclose(jax.jacfwd(total)(60.0), slope, rtol=1e-5)
    assert abs(slope) > 0


def test_in_a_transformation_of_the_whole_experiment():
    """Masks and grids are traced there, too."""
    mask = np.ones((10, 12), bool)
    mask[:3] = False
    given = np.ones((13, 13, 13), bool)
    given[0] = False
    base = experiment(sampling={"mask": mask}, factors=factors_grid(given=given))
    changes = {"default_F": 3.0, "oversample_polar": True, "distance_mm": 61.0}
    inside = eqx.filter_jit(lambda e: nb.simulate(nb.replace(e, changes)))(base)
    np.testing.assert_allclose(inside, nb.simulate(nb.replace(base, changes)), rtol=1e-9)
