"""Statistics, integer and grey-scale images, headers and the report, against the golden data and by hand."""

from functools import cache

import jax
import numpy as np
import pytest
from golden import CASES, INPUTS, SIX_DIGITS, absent, case_of, images_of

from nanobrag_jax.command import flags, report
from nanobrag_jax.command.assemble import assemble
from nanobrag_jax.command.report import solid_angle
from nanobrag_jax.crystal import real_basis
from nanobrag_jax.detector import frame_on_host
from nanobrag_jax.errors import InputError
from nanobrag_jax.experiment import completed
from nanobrag_jax.formats.from_experiment import header_items
from nanobrag_jax.formats.smv import format_header
from nanobrag_jax.formats.whole_numbers import (
    as_float_image,
    default_int_scale,
    default_pgm_scale,
    int_image,
    pgm_image,
    statistics,
)
from nanobrag_jax.io.outputs import Output, write_outputs
from nanobrag_jax.numerics.host import on_host
from nanobrag_jax.reference.noise import reference_noise
from nanobrag_jax.reference.slips import slips_of
from nanobrag_jax.window import window_of

REAL_BASIS = jax.jit(real_basis, static_argnames="slips")
HEADERS = {tuple(case["args"]): case["header"] for case in CASES if "header" in case}
RUNS = [(case["name"], mode) for case in CASES for mode in case["modes"] if tuple(case["args"]) in HEADERS]


def mask_of(experiment):
    """The mask of an experiment for numpy."""
    return None if experiment.sampling.mask is None else np.asarray(experiment.sampling.mask)


@cache
def run_of(name, mode):
    """Settings, experiment and detector frame of a golden case."""
    settings = flags.parse([*case_of(name)["args"], "-mode", mode])
    experiment = completed(assemble(settings, INPUTS).experiment)
    return settings, experiment, frame_on_host(experiment.detector, experiment.beam, mode)


def test_most_cases_are_here():
    if not CASES:
        absent(INPUTS)
    assert len(RUNS) >= 290


@pytest.mark.parametrize("name, mode", RUNS, ids=[f"{name}-{mode}" for name, mode in RUNS])
def test_header_and_report_are_the_references(name, mode):
    settings, experiment, frame = run_of(name, mode)
    case = case_of(name)
    lines = format_header(header_items(experiment, frame)).decode().rstrip(" ").splitlines()
    assert lines == ["{", *HEADERS[tuple(case["args"])], "}", ""] or lines == ["{", *HEADERS[tuple(case["args"])], "}"]
    if "printed" not in case:
        return
    printed = case["printed"]
    rows = dict(
        [
            *report.crystal_rows(experiment, on_host(REAL_BASIS, experiment.crystal, slips=slips_of(mode))),
            *report.beam_rows(experiment),
            *report.sampling_rows([experiment], [frame], 1),
        ]
    )
    same = {
        "unit_cell": "unit cell (A, deg)",
        "misset": "misset (deg)",
        "ncells": "unit cells",
        "mosaic_domains": "mosaic domains",
        "sources": "sources",
        "fluence": "fluence (photons/m^2)",
        "phi_steps": "phi steps",
        "oversample": "oversample",
    }
    for key, label in same.items():
        if key in printed:
            assert rows[label] == printed[key], label
    check_statistics(images_of(name)["float"], settings, experiment, frame, printed)


def check_statistics(image, settings, experiment, frame, printed):
    """Assert that an image has the statistics and the scales that the reference printed."""
    found = statistics(image, experiment.sampling.roi, mask_of(experiment))
    rows = dict(report.statistics_rows(found, experiment, frame))
    wanted = {"max_I": "max_I (photons)", "mean": "mean", "rms": "rms", "rmsd": "rmsd"}
    for key, label in wanted.items():
        np.testing.assert_allclose(float(rows[label]), float(printed[key]), rtol=2 * SIX_DIGITS, err_msg=key)
    assert rows["max_I at (fast, slow m)"] == printed["max_at"]
    int_scale = settings.get("int_scale") or default_int_scale(found.brightest)
    pgm_scale = settings.get("pgm_scale") or default_pgm_scale(found.rmsd)
    np.testing.assert_allclose(int_scale, float(printed["intfile_scale"]), rtol=SIX_DIGITS)
    if settings.get("write_pgm"):
        np.testing.assert_allclose(pgm_scale, float(printed["pgm_scale"]), rtol=2 * SIX_DIGITS)


@pytest.mark.parametrize("name", [case["name"] for case in CASES if "solid_angle" in case.get("printed", {})])
def test_solid_angle(name):
    _, experiment, frame = run_of(name, case_of(name)["modes"][-1])
    if experiment.detector.point_pixel:
        pytest.skip("the reference sums 1/R^2 for point pixels, which is no solid angle")
    layers = experiment.detector.thickness_steps if experiment.detector.thickness_um is not None else 1
    domains = experiment.crystal.mosaicity.domains
    shared = experiment.beam.num_sources * experiment.goniometer.phi_steps * domains
    # The reference takes the middle of each pixel's first sub-pixel for the whole pixel.
    tolerance = 4e-5 if experiment.sampling.oversample == 1 else 2e-3
    ours = solid_angle(experiment, frame) * layers / shared
    np.testing.assert_allclose(ours, float(case_of(name)["printed"]["solid_angle"]), rtol=tolerance)


@pytest.mark.parametrize(
    "name",
    "basic basic_cubic basic_hkl scale_adc adc_zero int_roi pgmscale noise_low noise_mid noise_high noise_water_roi "
    "kitchen_sink".split(),
)
def test_images_are_identical(name):
    settings, experiment, _ = run_of(name, "c-parity")
    images = images_of(name)
    image, roi, adc = images["float"], experiment.sampling.roi, settings.get("adc_offset")
    found = statistics(image, roi, mask_of(experiment))
    counts = int_image(image, settings.get("int_scale") or default_int_scale(found.brightest), adc, roi)
    assert counts.dtype == images["int"].dtype
    np.testing.assert_array_equal(counts, images["int"])
    if "pgm" in images:
        grey = pgm_image(image, settings.get("pgm_scale") or default_pgm_scale(found.rmsd))
        assert grey.dtype == images["pgm"].dtype
        np.testing.assert_array_equal(grey, images["pgm"])
    if "noise" in images:
        noise = reference_noise(image, settings.get("noise_seed"), adc, roi)
        np.testing.assert_array_equal(noise.image, images["noise"])
        printed = case_of(name)["printed"]
        assert (f"{noise.photons:.0f}", f"{noise.overloads}") == (printed["photons"], printed["overloads"])


@pytest.mark.parametrize(
    "photons, scale, adc, count",
    [
        (0.0, 1.0, 0.0, 0),
        (0.0, 1.0, 40.0, 40),
        (0.49, 1.0, 0.0, 0),
        (0.5, 1.0, 0.0, 1),
        (2.5, 1.0, 0.0, 3),
        (10.0, 0.25, 0.3, 3),
        (65534.4, 1.0, 0.0, 65534),
        (65534.5, 1.0, 0.0, 65535),
        (65535.0, 1.0, 40.0, 65535),
        (1e30, 1e30, 0.0, 65535),
        (5.0, 1.0, -40.0, 0),
    ],
)
def test_counts(photons, scale, adc, count):
    image = np.full((2, 3), photons, np.float32)
    assert (int_image(image, scale, adc) == count).all()


def test_counts_outside_the_roi_are_zero():
    counts = int_image(np.ones((4, 5), np.float32), 2.0, 40.0, (1, 3, 2, 2))
    np.testing.assert_array_equal(counts, [[0] * 5, [0] * 5, [0, 42, 42, 42, 0], [0] * 5])


@pytest.mark.parametrize("photons, grey", [(0.0, 0), (1.999, 1), (254.9, 254), (255.0, 255), (1e30, 255)])
def test_grey(photons, grey):
    assert (pgm_image(np.full((1, 1), photons, np.float32), 1.0) == grey).all()


@pytest.mark.parametrize("shape", [(7, 11), (300, 401), (3, 70001)])
def test_statistics_of_random_pixels(shape):
    rng = np.random.default_rng(3)
    image = rng.gamma(2.0, 100.0, shape).astype(np.float32)
    roi = (1, shape[1] - 2, 1, shape[0] - 1)
    mask = rng.random(shape) < 0.7
    inside = np.zeros(shape, bool)
    inside[window_of(shape, roi).slices] = True
    image[~(mask & inside)] = 0.0
    found = statistics(image, roi, mask)
    rendered = image[mask & inside].astype(float)
    window = image[window_of(shape, roi).slices].astype(float)
    assert found.pixels == rendered.size
    assert found.brightest == image.max() == image[found.brightest_at]
    np.testing.assert_allclose(found.mean, rendered.mean(), rtol=1e-13)
    np.testing.assert_allclose(found.rms, np.sqrt((rendered**2).sum() / (rendered.size - 1)), rtol=1e-13)
    scatter = ((window - rendered.mean()) ** 2).sum()
    np.testing.assert_allclose(found.rmsd, np.sqrt(scatter / (window.size - 1)), rtol=1e-13)


@pytest.mark.parametrize(
    "image, expected",
    [
        (np.zeros((3, 4)), (12, 0.0, (0, 0), 0.0, 0.0, 0.0)),
        (np.full((1, 1), 5.0), (1, 5.0, (0, 0), 5.0, 5.0, 0.0)),
        (np.full((700, 200), 1e6), (140000, 1e6, (0, 0), 1e6, 1e6 * np.sqrt(140000 / 139999), 0.0)),
    ],
    ids=["dark", "one pixel", "even"],
)
def test_statistics_of_simple_images(image, expected):
    found = statistics(image.astype(np.float32))
    assert found[:4] == expected[:4]
    np.testing.assert_allclose(found[4:], expected[4:], rtol=1e-14)


def test_statistics_with_nothing_rendered():
    found = statistics(np.zeros((3, 4), np.float32), None, np.zeros((3, 4), bool))
    assert (found.pixels, found.mean, found.rmsd) == (0, 0.0, 0.0)
    assert default_int_scale(found.brightest) == default_pgm_scale(found.rmsd) == 1.0


def test_the_first_of_equal_maxima_counts():
    image = np.zeros((600, 300), np.float32)
    image[[5, 5, 550], [7, 200, 3]] = 9.0
    assert statistics(image).brightest_at == (5, 7)
    assert statistics(image, (100, 299, 0, 599)).brightest_at == (5, 200)


def test_an_image_beyond_single_precision_is_refused():
    image = np.ones((3, 4))
    assert as_float_image(image).dtype == np.float32
    image[1, 2] = 1e39
    with pytest.raises(InputError, match=r"1 pixels beyond single precision, the first 1e\+39 photons at slow 1, "):
        as_float_image(image)
    large = np.full((300, 300), 3e38)
    assert np.isfinite(as_float_image(large)).all()


def test_outputs_are_written_all_or_none(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    write_outputs([Output("-a", str(one), [b"12", memoryview(b"34")]), Output("-b", str(two), [b"5"])])
    assert (one.read_bytes(), two.read_bytes()) == (b"1234", b"5")

    def fails():
        yield b"half of it"
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"^-b: cannot write '.*three': No space left on device$"):
        write_outputs([Output("-a", str(one), [b"new"]), Output("-b", str(tmp_path / "three"), fails())])
    assert one.read_bytes() == b"1234"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    with pytest.raises(InputError, match=r"^-b: cannot write '.*no/where': the folder .* does not exist$"):
        write_outputs([Output("-a", str(one), [b"new"]), Output("-b", str(tmp_path / "no/where"), [b"new"])])
    assert one.read_bytes() == b"1234"
