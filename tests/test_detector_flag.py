"""`-detector NAME`: the command's detector of that name is the one of Python, and other flags keep their say."""

import jax
import numpy as np
import pytest

import nanobrag_jax as nb
from nanobrag_jax.detector import frame_on_host
from nanobrag_jax.detectors.sensor import attenuation_depth_um

PLAIN = "-cell 50 60 70 90 90 90 -N 5 -default_F 10 -oversample 1 -lambda 0.9 -distance 150".split()


def asked(*words):
    return nb.experiment_from_args([*PLAIN, *" ".join(words).split()])


def frames(experiment):
    return frame_on_host(experiment.panel, experiment.beam, mode="spec")


@pytest.mark.parametrize("convention", ["mosflm", "denzo", "adxv", "xds", "dials"])
def test_the_same_as_in_python(convention):
    flagged = asked(f"-detector pilatus300k -{convention}")
    python = nb.Experiment(
        crystal=flagged.crystal,
        beam=flagged.beam,
        structure_factors=flagged.structure_factors,
        sampling=nb.Sampling(1),
        detector=nb.detectors.pilatus_300k(150.0, convention=convention),
    )
    for one, other in zip(jax.tree.leaves(frames(flagged)), jax.tree.leaves(frames(python)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(flagged.sampling.mask, python.sampling.mask)
    np.testing.assert_allclose(nb.simulate(flagged), nb.simulate(python), rtol=1e-9)


def test_tiles_from_a_flag():
    flagged = asked("-detector jungfrau_1M -detector_rotx 3")
    python = nb.detectors.jungfrau_1m(150.0, rotations_deg=(3, 0, 0)).panels(0.9)
    for one, other in zip(jax.tree.leaves(flagged.detector), jax.tree.leaves(python), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_other_flags_count():
    """A beam centre, a sensor, and the wavelength of a photon energy."""
    moved = asked("-detector pilatus300k -Xbeam 30 -Ybeam 40")
    assert moved.panel.beam_center_mm.tolist() == [30, 40]
    thick = asked("-detector pilatus300k -detector_thick 1000 -detector_abs 200").panel
    assert (float(thick.thickness_um), float(thick.attenuation_depth_um), thick.mean_depth) == (1000, 200, False)
    hard = asked("-detector pilatus300k -energy 20000").panel
    np.testing.assert_allclose(hard.attenuation_depth_um, attenuation_depth_um("Si", 12398.42 / 20000), rtol=1e-12)


def test_beside_a_mask(tmp_path):
    """Both count; another size is refused."""
    pixels = np.ones((619, 487))
    pixels[300:310] = 0
    whole = nb.replace(asked("-detector pilatus300k -Xbeam 30 -Ybeam 40"), mask=None)
    nb.write_image(tmp_path / "mask.img", pixels, whole)
    held = nb.experiment_from_args([*PLAIN, "-detector", "pilatus300k", "-mask", str(tmp_path / "mask.img")])
    np.testing.assert_array_equal(held.sampling.mask, nb.detectors.pilatus_300k().mask & (pixels > 0))
    with pytest.raises(nb.InputError, match=r"mask.img has 487 x 619 pixels, -detector eiger1m 1030 x 1065"):
        nb.experiment_from_args([*PLAIN, "-detector", "eiger1m", "-mask", str(tmp_path / "mask.img")])


@pytest.mark.parametrize(
    "words, message",
    [
        ("-detector eiger17m", "-detector eiger17m is unknown: known are pilatus300k, "),
        ("-detector eiger1m -pixel 0.1", "-pixel cannot be given beside -detector eiger1m, which says it"),
        ("-detpixels 100 -detector eiger1m", "-detpixels cannot be given beside -detector eiger1m, which says it"),
        ("-detector jungfrau4m -Xbeam 3", "-Xbeam cannot be given beside -detector jungfrau4m, a detector of many"),
        ("-detector cspad -xds", "-xds cannot be given beside -detector cspad, a detector of many panels"),
        (
            "-detector eiger1m -energy 1500",
            "the attenuation of Si is known from 2000 to 100000 eV, got photons of 1500",
        ),
    ],
)
def test_what_does_not_go_together(words, message):
    with pytest.raises(nb.InputError, match=message):
        asked(words)
