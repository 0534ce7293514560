"""Detectors by name: sizes, gaps, sensors, and where the beam meets them."""

import inspect

import jax
import numpy as np
import pytest
from small import ANGLES, CELL

import nanobrag_jax as nb
from nanobrag_jax.constants import EV_ANGSTROM
from nanobrag_jax.conventions import CONVENTIONS
from nanobrag_jax.detector import frame_on_host
from nanobrag_jax.detectors.catalogue import LAYOUTS, NAMES
from nanobrag_jax.detectors.sensor import attenuation_depth_um
from nanobrag_jax.panels import split_panels

SIZES = {  # as the manufacturers print them on their data sheets: fast, slow
    "pilatus_300k": (487, 619),
    "pilatus_1m": (981, 1043),
    "pilatus_2m": (1475, 1679),
    "pilatus_6m": (2463, 2527),
    "eiger_1m": (1030, 1065),
    "eiger_4m": (2070, 2167),
    "eiger_9m": (3110, 3269),
    "eiger_16m": (4150, 4371),
    "eiger2_1m": (1028, 1062),
    "eiger2_4m": (2068, 2162),
    "eiger2_9m": (3108, 3262),
    "eiger2_16m": (4148, 4362),
    "jungfrau_1m": (1030, 1064),
    "jungfrau_4m": (2068, 2164),
    "rayonix_mx225": (3072, 3072),
    "rayonix_mx340": (3840, 3840),
}
TILES = {"jungfrau_1m": 2, "jungfrau_4m": 8, "cspad": 64}


def corners_of(detector, beam=None):
    """(panels, 4, 3): corners of each panel in the lab, mm, in order around it."""
    found = []
    for panel in split_panels(detector):
        frame = frame_on_host(panel, nb.Beam() if beam is None else beam, mode="spec")
        across = np.asarray(frame.fast) * panel.pixels_fast * float(panel.pixel_size_mm)
        down = np.asarray(frame.slow) * panel.pixels_slow * float(panel.pixel_size_mm)
        first = np.asarray(frame.pix0) * 1e3
        found.append([first, first + across, first + across + down, first + down])
    return np.array(found)


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    assert LAYOUTS[name].size == SIZES[name]


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_has_a_function(name):
    """Of its own name, with the size and the sensor that its docstring tells."""
    made = getattr(nb.detectors, name)(distance_mm=150.0)
    layout, doc = LAYOUTS[name], inspect.getdoc(getattr(nb.detectors, name))
    assert made.layout is layout and made.name == name
    assert nb.detectors.known(name.replace("_", "")).layout is layout
    fast, slow = layout.pixels if layout.tiles else layout.size
    assert f"{fast} × {slow} pixels" in doc and f"{layout.thickness_um:g} µm of" in doc
    panels = split_panels(made.panels(1.0))
    assert len(panels) == TILES.get(name, 1)
    assert {(p.pixels_fast, p.pixels_slow) for p in panels} == {(fast, slow)}
    assert {float(p.distance_mm) for p in panels} == {150.0}
    assert name in repr(made)


def test_the_catalogue_is_whole():
    assert set(LAYOUTS) == set(SIZES) | {"cspad"} == set(NAMES.values())
    with pytest.raises(nb.InputError, match="there is no detector eiger17m: known are pilatus300k, "):
        nb.detectors.known("eiger17m")


MASKED = {  # pixels of gaps in a row and in a column
    "pilatus_6m": (4 * 7, 11 * 17),
    "eiger_16m": (3 * 10, 7 * 37),
    "eiger2_1m": (0, 38),
}


@pytest.mark.parametrize("name", MASKED)
def test_gaps(name):
    """As wide as the data sheets say, and never at the edge."""
    mask = nb.detectors.known(name).mask
    across, down = MASKED[name]
    assert mask.shape == SIZES[name][::-1]
    assert np.sum(~mask[0]) == across and np.sum(~mask[:, 0]) == down
    assert mask[0, 0] and mask[-1, -1] and mask[0, -1]


def test_gaps_of_the_pilatus_6m_are_where_dials_masks_them():
    """The first and the last of them, counted from 1."""
    mask = nb.detectors.pilatus_6m().mask
    assert np.flatnonzero(~mask[0])[[0, 6, 7, -1]].tolist() == [487, 493, 981, 1975]
    assert np.flatnonzero(~mask[:, 0])[[0, 16, -1]].tolist() == [195, 211, 2331]


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("center", [None, (100.0, 333.25)])
def test_where_the_beam_meets_it(convention, center):
    """In the middle, or at the pixel that is asked for, whatever the convention."""
    known = nb.detectors.pilatus_300k(200.0, beam_center_px=center, convention=convention)
    frame = frame_on_host(known.panels(1.0), nb.Beam(), mode="spec")
    at = np.array(frame.beam_point) * 1e3 / 0.172
    np.testing.assert_allclose(at, (487 / 2, 619 / 2) if center is None else center, rtol=1e-9)
    np.testing.assert_allclose(frame.distance, 0.2, rtol=1e-12)


@pytest.mark.parametrize("name", TILES)
def test_tiles_do_not_overlap(name):
    """They lie in one plane, apart from each other, all within the extent, the beam in its middle."""
    made = nb.detectors.known(name, 120.0)
    corners = corners_of(made.panels(1.3))
    np.testing.assert_allclose(corners[..., 0], 120.0, rtol=1e-12)
    low, high = corners[..., 1:].min(axis=1), corners[..., 1:].max(axis=1)
    for i in range(len(corners)):
        others = np.arange(len(corners)) != i
        apart = np.any((high[i] <= low[others] + 1e-9) | (low[i] >= high[others] - 1e-9), axis=1)
        assert apart.all()
    extent = np.array(made.layout.size) * made.layout.pixel_size_mm
    np.testing.assert_allclose([high.max(0), -low.min(0)], [extent[::-1] / 2] * 2, atol=1.0)


def test_the_tiles_of_a_jungfrau_make_its_image():
    """Module 1 of the second row begins where the assembled image has it."""
    corners = corners_of(nb.detectors.jungfrau_4m(100.0).panels(1.0))
    first = corners[3, 0] - corners[0, 0]
    np.testing.assert_allclose(first / 0.075, [0, -(514 + 36), 1030 + 8], atol=1e-9)


def test_the_cspad_has_a_hole_and_the_symmetry_of_a_windmill():
    corners = corners_of(nb.detectors.cspad(100.0).panels(1.3))
    middles = corners[..., 1:].mean(axis=1)
    assert np.hypot(*middles.T).min() > 5
    nearest = np.abs(corners[..., 1:]).max(axis=-1).min()
    assert 3.0 < nearest < 8.0
    turned = np.stack([-middles[:, 1], middles[:, 0]], axis=1)
    distance = np.linalg.norm(turned[:, None] - middles[None], axis=-1).min(axis=1)
    np.testing.assert_allclose(distance, 0, atol=1e-9)


def test_tiles_tilt_as_one():
    """A detector that turns about the beam spot stays flat."""
    tilted = nb.detectors.jungfrau_4m(100.0, rotations_deg=(0, 7, 11)).panels(1.0)
    corners = corners_of(tilted).reshape(-1, 3)
    flat = corners - corners.mean(axis=0)
    assert np.linalg.svd(flat)[1][-1] < 1e-9
    plain = corners_of(nb.detectors.jungfrau_4m(100.0).panels(1.0)).reshape(-1, 3)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(corners, axis=0), axis=1), np.linalg.norm(np.diff(plain, axis=0), axis=1)
    )


@pytest.mark.parametrize(
    "material, energy_eV, depth_um",
    [  # NIST, X-ray mass attenuation coefficients (Hubbell & Seltzer), at 2.33 and 5.85 g/cm3
        ("Si", 8000, 66.35),
        ("Si", 10000, 126.6),
        ("Si", 15000, 415.1),
        ("Si", 20000, 961.4),
    ],
)
def test_attenuation(material, energy_eV, depth_um):
    np.testing.assert_allclose(attenuation_depth_um(material, EV_ANGSTROM / energy_eV), depth_um, rtol=0.01)


@pytest.mark.parametrize("material, edge_eV", [("CdTe", 26711), ("CdTe", 31814), ("Gd2O2S", 7243), ("Gd2O2S", 50239)])
def test_absorption_edges(material, edge_eV):
    below, above = (attenuation_depth_um(material, EV_ANGSTROM / (edge_eV + step)) for step in (-20, 20))
    assert above < 0.7 * below


def test_attenuation_in_a_transformation():
    plain = attenuation_depth_um("Si", 1.1)
    traced, slope = jax.value_and_grad(lambda x: attenuation_depth_um("Si", x))(1.1)
    np.testing.assert_allclose(traced, plain, rtol=1e-12)
    np.testing.assert_allclose(slope, -2.75 * plain / 1.1, rtol=0.1)  # about the wavelength to the power of -3
    with pytest.raises(nb.InputError, match="the attenuation of Si is known from 2000 to 100000 eV, got photons of 1"):
        attenuation_depth_um("Si", 10.0)
    with pytest.raises(nb.InputError, match="material must be one of Si, CdTe, Gd2O2S, got 'Ge'"):
        attenuation_depth_um("Ge", 1.0)


CRYSTAL = nb.Crystal(CELL, ANGLES, n_cells=(5, 6, 4))
FACTORS = nb.StructureFactors(default_F=10.0)


def with_detector(detector, **parts):
    return nb.Experiment(crystal=CRYSTAL, structure_factors=FACTORS, detector=detector, **parts)


def test_an_experiment_takes_all_of_it():
    """The mask, the sensor at its beam's wavelength, and nothing in gaps."""
    held = with_detector(nb.detectors.pilatus_300k(200.0), beam=nb.Beam(0.9), sampling=nb.Sampling(1))
    assert float(held.panel.thickness_um) == 320
    np.testing.assert_allclose(held.panel.attenuation_depth_um, attenuation_depth_um("Si", 0.9), rtol=1e-12)
    image = nb.simulate(held)
    mask = nb.detectors.pilatus_300k().mask
    assert np.all(np.asarray(image)[~mask] == 0) and np.all(np.asarray(image)[mask] > 0)


def test_a_mask_of_ones_own_counts_too():
    own = np.ones((619, 487), bool)
    own[100:110] = False
    held = with_detector(nb.detectors.pilatus_300k(200.0), sampling=nb.Sampling(1, mask=own))
    np.testing.assert_array_equal(held.sampling.mask, own & nb.detectors.pilatus_300k().mask)
    with pytest.raises(nb.InputError, match="mask has 3 x 3 pixels, the detector 487 x 619"):
        with_detector(nb.detectors.pilatus_300k(200.0), sampling=nb.Sampling(1, mask=np.ones((3, 3), bool)))


def test_tiles_in_an_experiment():
    """A distance moves all of them; derivatives reach them."""
    held = with_detector(nb.detectors.jungfrau_1m(200.0), sampling=nb.Sampling(1))
    assert nb.replace(held, distance_mm=150.0).detector.panels.distance_mm.tolist() == [150, 150]
    shadow = jax.grad(lambda x: nb.replace(held, distance_mm=x).detector.panels.distance_mm.sum())(150.0)
    assert float(shadow) == 2


def test_effects():
    pilatus, rayonix = nb.detectors.pilatus_300k().effects, nb.detectors.rayonix_mx225().effects
    assert pilatus.shot_noise and float(pilatus.saturation_adu) == 2**20 - 1
    np.testing.assert_array_equal(pilatus.dead_mask, ~nb.detectors.pilatus_300k().mask)
    assert rayonix.psf == "fiber" and rayonix.dead_mask is None
    counts = nb.detect(np.full((619, 487), 3.0), pilatus, 1)
    assert np.all(np.asarray(counts)[~nb.detectors.pilatus_300k().mask] == 0)
    assert 2.9 < float(np.mean(np.asarray(counts)[nb.detectors.pilatus_300k().mask])) < 3.1
    np.testing.assert_array_equal(nb.detect(np.full((619, 487), 3), pilatus, 1), counts)


def test_options_of_the_detector():
    thick = nb.detectors.eiger_1m(100.0, thickness_um=750.0, twotheta_deg=10.0)
    panel = thick.panels(1.0)
    assert float(panel.thickness_um) == 750 and float(panel.twotheta_deg) == 10
    with pytest.raises(nb.InputError, match="the tiles of cspad stand in the convention mosflm, got xds"):
        nb.detectors.cspad(100.0, convention="xds")
    with pytest.raises(nb.InputError, match="Detector has no argument tilt"):
        nb.detectors.eiger_1m(100.0, tilt=3).panels(1.0)


def test_another_detector_in_an_experiment():
    """Its mask takes the place of the other's where that is told to go."""
    held = with_detector(nb.detectors.pilatus_300k(200.0), sampling=nb.Sampling(1))
    with pytest.raises(nb.InputError, match="mask has 487 x 619 pixels, the detector 1030 x 1065"):
        nb.replace(held, detector=nb.detectors.eiger_1m(200.0))
    other = nb.replace(held, detector=nb.detectors.eiger_1m(200.0), mask=None)
    np.testing.assert_array_equal(other.sampling.mask, nb.detectors.eiger_1m().mask)


def test_another_wavelength_needs_another_sensor():
    """The depth stays; a detector that is put in again has the one of the new wavelength."""
    held = with_detector(nb.detectors.pilatus_300k(200.0), beam=nb.Beam(1.0), sampling=nb.Sampling(1))
    harder = nb.replace(held, energy_eV=20000.0)
    assert float(harder.panel.attenuation_depth_um) == float(held.panel.attenuation_depth_um)
    again = nb.replace(harder, detector=nb.detectors.pilatus_300k(200.0))
    np.testing.assert_allclose(again.panel.attenuation_depth_um, attenuation_depth_um("Si", EV_ANGSTROM / 20000))
