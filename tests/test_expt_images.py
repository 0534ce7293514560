"""Images of a scan, lists without a crystal, and angles in the middle of their slices."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from expt_files import IDENTITY, REAL, crystal, experiment_list, panel, turn, write

import nanobrag_jax as nb
from nanobrag_jax.command import run as cli
from nanobrag_jax.crystal import real_basis
from nanobrag_jax.goniometer import phi_angles, phi_rotated
from nanobrag_jax.refine.predict import spot_positions
from nanobrag_jax.render.scene import point_ray, points, scene_on_host

FACTORS = nb.StructureFactors(default_F=100.0)
POINTS = [np.linalg.inv(REAL * (1 + 0.001 * i)).reshape(-1).tolist() for i in range(4)]
S0 = [(np.array([0.001 * i, 0.0, -1.0]) / 0.9).tolist() for i in range(4)]
SETTING = [turn([0, 0, 1], 0.1 * i).reshape(-1).tolist() for i in range(4)]


def scan_varying(tmp_path):
    return write(
        tmp_path / "scan.expt",
        experiment_list(
            crystal=crystal(A_at_scan_points=POINTS),
            beam={"direction": [0.0, 0.0, 1.0], "wavelength": 0.9, "s0_at_scan_points": S0},
            goniometer={
                "rotation_axis": [1, 0, 0],
                "fixed_rotation": IDENTITY,
                "setting_rotation_at_scan_points": SETTING,
            },
        ),
    )


def real_vectors(experiment):
    return np.asarray(phi_rotated(real_basis(experiment.crystal), nb.completed(experiment).goniometer))[0]


def test_each_image_of_a_scan_is_as_if_read_alone(tmp_path):
    path = scan_varying(tmp_path)
    options = {"crystal": {"n_cells": (5, 6, 7)}, "phi_steps": 3}
    found = dict(nb.scan_from_expt(path, FACTORS, **options))
    assert list(found) == [3, 4, 5]
    for number, each in found.items():
        alone = nb.experiment_from_expt(path, FACTORS, image=number, **options)
        assert jax.tree.structure(each) == jax.tree.structure(alone)
        for ours, theirs in zip(jax.tree.leaves(each), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert [number for number, _ in nb.scan_from_expt(path, FACTORS, [5, 3])] == [5, 3]
    with pytest.raises(nb.InputError, match="images 3 to 5, there is no 6"):
        list(nb.scan_from_expt(path, FACTORS, [6]))


def test_the_command_takes_an_image(tmp_path, monkeypatch):
    path = scan_varying(tmp_path)
    flags = ["-expt", path, "-default_F", "100", "-N", "5", "-oversample", "1"]
    for number in (3, 5):
        ours = nb.experiment_from_args([*flags, "-expt_image", str(number)])
        alone = nb.experiment_from_expt(path, FACTORS, image=number)
        np.testing.assert_allclose(real_vectors(ours), real_vectors(alone), atol=1e-10)
        np.testing.assert_allclose(ours.beam.direction, alone.beam.direction, atol=1e-12)
        assert ours.goniometer.phi_sampling == "middle"
    assert nb.experiment_from_args([*flags, "-phi_sampling", "start"]).goniometer.phi_sampling == "start"
    assert nb.experiment_from_args([*flags, "-mode", "c-parity"]).goniometer.phi_sampling == "start"
    with pytest.raises(nb.InputError, match="-expt_image all stands for many experiments"):
        nb.experiment_from_args([*flags, "-expt_image", "all"])
    with pytest.raises(nb.InputError, match="there is no 2"):
        nb.experiment_from_args([*flags, "-expt_image", "2"])


def test_the_command_takes_all_images(tmp_path, monkeypatch, capsys):
    """Scan-varying crystal, beam and setting; what flags say of the crystal holds for all."""
    monkeypatch.chdir(tmp_path)
    flags = [
        "-expt",
        scan_varying(tmp_path),
        "-default_F",
        "100",
        "-N",
        "5",
        "-oversample",
        "1",
        "-misset",
        "1",
        "2",
        "3",
    ]
    named = ["-floatfile", "all.npy", "-noisefile", "n_###.cbf", "-exptfile", "out.expt"]
    assert cli.main([*flags, "-expt_image", "all", *named]) == 0
    notes = capsys.readouterr().err
    assert notes.count("perpendicular") <= 1
    assert "-exptfile has crystal, beam and setting as they are at the first image" in notes
    photons = np.load("all.npy")
    assert photons.shape[0] == 3 and (photons[0] != photons[2]).any()
    for number in (3, 5):
        assert cli.main([*flags, "-expt_image", str(number), "-floatfile", "one.npy", "-noisefile", "one.cbf"]) == 0
        np.testing.assert_allclose(np.load("one.npy"), photons[number - 3], rtol=1e-6, atol=1e-6 * photons.max())
        assert (nb.read_image("one.cbf") == nb.read_image(f"n_{number:03d}.cbf")).mean() > 0.999
    scan = json.loads((tmp_path / "out.expt").read_text())
    assert scan["scan"][0]["image_range"] == [3, 5]
    for words, message in (
        (["-images", "2"], "-images cannot be given beside -expt_image all: the scan says it"),
        (["-phi", "2"], "-phi cannot be given beside -expt_image all"),
    ):
        assert cli.main([*flags, "-expt_image", "all", *words, *named]) == 1
        assert message in capsys.readouterr().err
    assert cli.main(["-cell", "50", "-default_F", "1", "-expt_image", "all", *named]) == 1
    assert "-expt_image all needs -expt" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [1, 4])
def test_angles_are_starts_or_middles(steps):
    start, middle = (
        np.degrees(phi_angles(nb.Goniometer(10.0, 0.5, phi_steps=steps, phi_sampling=kind)))
        for kind in ("start", "middle")
    )
    np.testing.assert_allclose(start, 10.0 + 0.5 * np.arange(steps) / steps, rtol=1e-12)
    np.testing.assert_allclose(middle, 10.0 + 0.5 * (np.arange(steps) + 0.5) / steps, rtol=1e-12)
    assert np.mean(middle) == pytest.approx(10.25)


def test_a_list_without_a_crystal(tmp_path):
    path = write(tmp_path / "imported.expt", experiment_list(crystal=None))
    with pytest.raises(nb.InputError, match="has no crystal: give one"):
        nb.experiment_from_expt(path, FACTORS)
    cell = {"cell_lengths_A": (31.0, 42.0, 53.0), "cell_angles_deg": (90, 95, 90), "misset_deg": (10, 20, 30)}
    made = nb.experiment_from_expt(path, FACTORS, crystal=cell)
    np.testing.assert_allclose(made.crystal.cell_lengths_A, (31, 42, 53))
    flags = ["-expt", path, "-default_F", "100", "-N", "5", "-oversample", "1"]
    ours = nb.experiment_from_args([*flags, "-cell", "31", "42", "53", "90", "95", "90", "-misset", "10", "20", "30"])
    np.testing.assert_allclose(real_vectors(ours), real_vectors(made), atol=1e-9)
    with pytest.raises(nb.InputError, match="give a crystal: -mat FILE"):
        nb.experiment_from_args(flags)


def test_a_matrix_beside_a_list_without_a_crystal_is_in_mosflm_s_frame(tmp_path):
    """The same matrix, detector and beam, once by flags and once by a list: the same spots."""
    star = np.linalg.inv(REAL)
    (tmp_path / "a.mat").write_text("\n".join(" ".join(f"{x * 0.9:.12f}" for x in row) for row in star))
    place = panel(origin=[-3.2, 2.4, -80.0])
    still = experiment_list(crystal=None, detector={"panels": [place]})
    path = write(tmp_path / "imported.expt", still)
    flags = ["-mat", str(tmp_path / "a.mat"), "-default_F", "100", "-N", "5", "-oversample", "1", "-lambda", "0.9"]
    listed = nb.experiment_from_args(["-expt", path, *flags])
    plain = nb.experiment_from_args(
        [*flags, "-distance", "80", "-pixel", "0.2", "-detpixels_f", "32", "-detpixels_s", "24", "-phi", "10", "-osc",
         "0.5", "-phi_sampling", "middle", "-mosflm", "-Xbeam", "2.3", "-Ybeam", "3.1"]
    )  # fmt: skip
    hkl = np.array([(1, 2, 3), (-2, 1, 1), (0, 3, -1)])
    for ours, theirs in zip(spot_positions(listed, hkl), spot_positions(plain, hkl), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def thick(tmp_path, kind="ParallaxCorrected"):
    strategy = {"type": f"{kind}PxMmStrategy", "mu": 3.2, "t0": 0.45}
    place = panel(origin=[-3.2, 45.0, -80.0], image_size=[60, 80], thickness=0.45, mu=3.2, px_mm_strategy=strategy)
    return write(tmp_path / "thick.expt", experiment_list(detector={"panels": [place]}, still=True))


def test_one_layer_lies_where_photons_stop(tmp_path):
    """The ray of a pixel is that through the pixel shifted by DIALS' formula; where nothing is corrected, the plain."""
    made = nb.experiment_from_expt(thick(tmp_path), FACTORS)
    assert made.panel.mean_depth and made.panel.has_parallax
    scene = scene_on_host(made, "spec")
    slow, fast = np.meshgrid(np.arange(80), np.arange(60), indexing="ij")
    point, at = jax.tree.map(lambda x: x[0], points(scene)), (jnp.asarray(slow.ravel()), jnp.asarray(fast.ravel()))
    scene = jax.tree.map(jnp.asarray, scene)
    ray = point_ray(scene, *at, point)
    pixel = np.stack([(fast.ravel() + 0.5) * 0.2 - 3.2, 45.0 - (slow.ravel() + 0.5) * 0.2, np.full(4800, -80.0)], 1)
    toward = pixel / np.linalg.norm(pixel, axis=1, keepdims=True)
    cosine = -toward[:, 2]
    way = 1 / 3.2 - (0.45 / cosine + 1 / 3.2) * np.exp(-3.2 * 0.45 / cosine)
    shifted = pixel - way[:, None] * toward * (1, 1, 0)
    shifted /= np.linalg.norm(shifted, axis=1, keepdims=True)
    np.testing.assert_allclose(np.stack(ray.direction, 1), shifted, atol=1e-12)
    # the pixels cover what they covered: the change is the depth over the distance, not more
    plain = scene_on_host(nb.experiment_from_expt(thick(tmp_path), FACTORS, thickness_steps=2), "spec")
    front = point_ray(jax.tree.map(jnp.asarray, plain), *at, point).solid_angle
    np.testing.assert_allclose(ray.solid_angle, front, rtol=0.01)
    assert not scene_on_host(made, "c-parity").settings.mean_depth
    simple = nb.experiment_from_expt(thick(tmp_path, "Simple"), FACTORS)
    assert simple.panel.thickness_um is not None and not simple.panel.has_parallax


def test_predicted_spots_know_the_depth(tmp_path):
    """They stand where DIALS puts them: at the front's point, shifted along the ray's part in the plane."""
    hkl = np.array([(4, 17, 2), (8, 20, 6), (3, 15, 1)])
    deep, front = (
        np.array(spot_positions(nb.experiment_from_expt(thick(tmp_path, kind), FACTORS), hkl)).T
        for kind in ("ParallaxCorrected", "Simple")
    )
    pixel = np.stack([(front[:, 1] + 0.5) * 0.2 - 3.2, 45.0 - (front[:, 0] + 0.5) * 0.2, np.full(3, -80.0)], 1)
    toward = pixel / np.linalg.norm(pixel, axis=1, keepdims=True)
    cosine = -toward[:, 2]
    way = 1 / 3.2 - (0.45 / cosine + 1 / 3.2) * np.exp(-3.2 * 0.45 / cosine)
    shift = way[:, None] * toward / 0.2
    assert np.abs(shift[:, :2]).max() > 0.2, "pixels"
    np.testing.assert_allclose(deep - front, np.stack([-shift[:, 1], shift[:, 0]], 1), atol=2e-3)
