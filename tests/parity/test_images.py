"""Every golden image in every mode that lists it, value for value.

The scene of each comes from the host, as in a run of the command; those of `JITTED` are rendered under jit, too, where
the scene is compiled. Most of the time goes into compiling: cases that share their static structure share a program.
`SLOW` names the cases that need a program of their own for what other cases show too, `SLOW_IN_C_PARITY` those whose
features do not depend on the mode; they run with -m "slow or not slow", and in CI.
"""

import os
import subprocess
import sys
from pathlib import Path

import compiler_options
import jax
import numpy as np
import pytest
from golden import CASES, GOLDEN, INPUTS, TOPHAT_EDGE, absent, case_of, check_image, images_of

import nanobrag_jax as nb

SLOW = set(
    """
    basic_cubic auto_oversample detsize_not_pixels fine_oversample_pixel_split conv_xds_phi conv_adxv_phi
    conv_denzo_phi conv_dials_phi xds_close xds_close_tilted mosflm_close_distance twotheta_axis_custom
    custom_vectors_sample_pivot custom_pivot_sample polar_vector_custom spindle_custom point_pixel roi_phi
    mask_hdr img_hdr mask_then_flags img_and_mask cell_hexagonal cell_short_form misset_zero
    shape_round_xtal_hkl_fudge shape_gauss_xtal shape_gauss_xtal_hkl_fudge shape_tophat_spots_hkl_fudge
    shape_binary_spots_hkl_fudge gauss_small_fudge hkl_sparse hkl_interpolate_mosaic_phi hkl_interpolate_latch
    hkl_interpolate_latch_roi hkl_interpolate_latch_late nopolar divergence_round divergence_square
    divergence_h_only divergence_range_step divergence_step_only divergence_range_only divsteps dispersion
    dispersion_only sources_equal sources_short_lines phi_zero_hkl phi_zero_hkl_spec phi_zero_mosaic_spec
    phi_zero_oversample phi_zero_sources phi_zero_mosaic phi_zero_thick osc_only phistep_only mosaic_auto
    mosaic_large mosaic_gauss_hkl dmin thick_one_flag thick_auto_mu thick_one_layer oversample_polar
    oversample_omega oversample_polar_1x1 oversample_omega_1x1 oversample_all_tophat water_steps noise_water_roi
    nopolar_oversample_polar_1x1 nopolar_oversample_polar_sources hkl_interpolate_latch_late_2x2
    """.split()
)

SLOW_IN_C_PARITY = SLOW | set(
    """
    conv_adxv conv_adxv_beam conv_adxv_tilted conv_denzo conv_denzo_beam conv_denzo_tilted
    conv_dials conv_dials_beam conv_dials_tilted cell_orthorhombic cell_monoclinic curved_detector
    shape_tophat_spots shape_binary_spots tophat_small_fudge shape_round_xtal mosaic_7 mosaic_seed
    hkl_interpolate hkl_interpolate_auto hkl_N1_saxs_like dispersion_divergence oversample_3 kitchen_sink
    """.split()
)


def marks(name, mode):
    """Slow, or not; modes share no programs, so each may have a process."""
    slow = name in (SLOW_IN_C_PARITY if mode == "c-parity" else SLOW)
    return [pytest.mark.xdist_group(f"golden images, {mode}"), *[pytest.mark.slow] * slow]


RUNS = [
    pytest.param(case["name"], mode, id=f"{case['name']}-{mode}", marks=marks(case["name"], mode))
    for case in CASES
    for mode in case["modes"]
]


def test_golden_data_is_complete():
    if not CASES:
        absent(GOLDEN / "cases.json")
    assert len(CASES) == len({case["name"] for case in CASES}) == 176
    assert {case["name"] for case in CASES} >= SLOW_IN_C_PARITY
    assert len(CASES) - len(SLOW) >= 60
    assert {mode for case in CASES for mode in case["modes"]} == {"spec", "c-parity"}


@pytest.mark.parametrize("name, mode", RUNS)
def test_image_is_the_references(name, mode, parity_ratios):
    case = case_of(name)
    reference = images_of(name)["float"]
    experiment = nb.experiment_from_args([*case["args"], "-mode", mode], INPUTS)
    image = np.asarray(nb.simulate(experiment, mode)).astype(np.float32)
    assert list(reference.shape) == case["shape"]
    tophat = experiment.crystal.shape.name == "tophat"
    parity_ratios[f"{name} ({mode})"] = check_image(image, reference, edges=tophat)


JITTED = {  # case: modes; between them every kind of spot, detector, source, sampling and look-up
    "cell_triclinic": ["c-parity"],
    "conv_xds_tilted": ["spec"],
    "mat_and_cell": ["c-parity"],
    "custom_vectors_sample_pivot": ["spec"],
    "curved_detector": ["c-parity"],
    "shape_round_xtal": ["c-parity"],
    "gauss_small_fudge": ["c-parity"],
    "tophat_small_fudge": ["c-parity"],
    "hkl_interpolate_latch": ["c-parity"],
    "dispersion_divergence": ["spec"],
    "sources_weighted": ["c-parity"],
    "phi_zero_mosaic": ["c-parity"],
    "mosaic_gauss_hkl": ["c-parity"],
    "thick_5": ["c-parity"],
    "dmin": ["c-parity"],
    "water_spec": ["spec"],
    "kitchen_sink": ["spec", "c-parity"],
}
JITTED_RUNS = [
    pytest.param(name, mode, id=f"{name}-{mode}", marks=[pytest.mark.slow] * (name != "cell_triclinic"))
    for name, modes in JITTED.items()
    for mode in modes
]
SAME = 1e-12
"""Of the image's maximum, between a scene of numpy and one of XLA: they may round differently."""


@pytest.mark.parametrize("name, mode", JITTED_RUNS)
def test_a_compiled_scene_gives_the_same_image(name, mode):
    case = case_of(name)
    experiment = nb.experiment_from_args([*case["args"], "-mode", mode], INPUTS)
    image = np.asarray(jax.jit(lambda e: nb.simulate(e, mode))(experiment))
    tophat = experiment.crystal.shape.name == "tophat"
    check_image(image.astype(np.float32), images_of(name)["float"], edges=tophat)
    from_host = np.asarray(nb.simulate(experiment, mode))
    off = np.abs(image - from_host) > SAME * from_host.max()
    assert off.sum() <= (int(TOPHAT_EDGE * image.size) if tophat else 0)


SHIPPED = (
    "curved_detector tophat_small_fudge hkl_interpolate_latch sources_weighted phi_zero_mosaic thick_5 kitchen_sink"
)
"""Of these, those that a process with other options renders: each kind of loop."""


@pytest.mark.slow
@pytest.mark.skipif(compiler_options.OPTIMIZED, reason="every test is such a test")
def test_images_with_the_options_that_users_have():
    """Host and compiled scene, by a process whose compiler optimises."""
    here = f"{__file__}::{test_a_compiled_scene_gives_the_same_image.__name__}"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "slow or not slow", here]
    command += ["-k", " or ".join(SHIPPED.split())]
    root = Path(__file__).parents[2]
    environment = os.environ | {"NANOBRAG_OPTIMIZED": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"{sum(len(JITTED[name]) for name in SHIPPED.split())} passed" in done.stdout


@pytest.mark.parametrize("ci, outcome", [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_missing_data_skips_and_fails_in_ci(ci, outcome, monkeypatch, tmp_path):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no golden data at"):
        absent(tmp_path / "cases.json")


WRONG_IMAGES = {
    "one pixel off by 1e-5": lambda x: np.where(x == x.max(), x * np.float32(1.00001), x),
    "a dark pixel lit": lambda x: np.where(x == x.min(), x.max() * np.float32(1e-6), x),
    "NaN": lambda x: np.where(x == x.max(), np.float32(np.nan), x),
    "another shape": lambda x: x[:-1],
    "transposed": lambda x: x.T,
    "double precision": lambda x: x.astype(float),
    "shifted by a pixel": lambda x: np.roll(x, 1, axis=1),
    "all zero": np.zeros_like,
}


@pytest.mark.parametrize("change", WRONG_IMAGES.values(), ids=WRONG_IMAGES)
@pytest.mark.parametrize("edges", [False, True])
def test_a_wrong_image_fails(change, edges):
    reference = images_of("basic")["float"]
    assert check_image(reference.copy(), reference) == 0.0
    wrong = change(reference)
    few = np.array_equal(wrong.shape, reference.shape) and 0 < np.sum(wrong != reference) <= 1e-4 * reference.size
    if edges and few:
        check_image(wrong, reference, edges=True)
    else:
        with pytest.raises(AssertionError):
            check_image(wrong, reference, edges=edges)
