import numpy as np
import pytest

from nanobrag_jax.beam import Beam, spectrum_beam
from nanobrag_jax.crystal import Crystal
from nanobrag_jax.detector import Detector
from nanobrag_jax.errors import InputError
from nanobrag_jax.experiment import Experiment, Sampling
from nanobrag_jax.io.spectrum import make_spectrum, read_spectrum
from nanobrag_jax.render.simulate import simulate
from nanobrag_jax.structure_factors import StructureFactors

GOOD = [
    ("energies", "# eV weight\n12398.42 1\n6199.21, 3\n\n", [1.0, 2.0], [1.0, 3.0], 0),
    ("wavelengths", "2.0 3\n1.0 1\n", [1.0, 2.0], [1.0, 3.0], 0),
    ("zeros", "1.0 1\n1.5 0\n2.0 3\n", [1.0, 2.0], [1.0, 3.0], 1),
    ("third column", "1.0 1 x\n2.0 3\n", [1.0, 2.0], [1.0, 3.0], 1),
]


@pytest.mark.parametrize("text, wavelengths, weights, notes", [g[1:] for g in GOOD], ids=[g[0] for g in GOOD])
def test_reads_both_kinds(tmp_path, text, wavelengths, weights, notes):
    path = tmp_path / "spectrum.txt"
    path.write_text(text)
    spectrum = read_spectrum(path)
    np.testing.assert_allclose(spectrum.wavelengths_A, wavelengths)
    np.testing.assert_allclose(spectrum.weights, weights)
    assert len(spectrum.notes) == notes and spectrum.mean_wavelength_A == pytest.approx(1.75)


BAD = [
    ("", r"holds no lines$"),
    ("1.0\n", r"line 1: '1.0' has 1 of the 2 columns"),
    ("1.0 1\n1.1 x\n", r"line 2: 'x' is not a number"),
    ("1.0 1\n1.1 -2\n", r"line 2: the weight must be zero or positive, got -2$"),
    ("1.0 1\n0 2\n", r"line 2: the energy or wavelength must be positive, got 0$"),
    ("1.0 1\n12000 2\n", r"line 2: the first column must be all energies in eV .* got 12000$"),
    ("100 1\n", r"line 1: the first column must be all energies in eV .* got 100$"),
    ("12000 1\n1.0 2\n", r"line 2: the first column must be all energies in eV .* got 1$"),
    ("1.0 0\n", r"all weights are zero$"),
]


@pytest.mark.parametrize("text, message", BAD)
def test_unusable_files(tmp_path, text, message):
    path = tmp_path / "spectrum.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_spectrum(path)


@pytest.mark.parametrize(
    "wavelengths, weights, message",
    [
        ([1.0, 2.0], [1.0], "as many weights as wavelengths"),
        ([1.0, -2.0], [1.0, 1.0], "must be positive"),
        ([1.0, 2.0], [1.0, np.nan], "weights of a spectrum must be zero or positive"),
        ([1.0, 2.0], [0.0, 0.0], "all zero"),
    ],
)
def test_unusable_arrays(wavelengths, weights, message):
    with pytest.raises(InputError, match=message):
        make_spectrum(wavelengths, weights)


def test_rebinning_keeps_photons_and_mean():
    rng = np.random.default_rng(0)
    spectrum = make_spectrum(1.0 + 0.01 * np.sort(rng.random(101)), rng.random(101) + 0.1)
    few = spectrum.rebinned(10)
    assert len(few.weights) == 10 and few.weights.sum() == pytest.approx(spectrum.weights.sum())
    assert few.mean_wavelength_A == pytest.approx(spectrum.mean_wavelength_A)
    assert spectrum.rebinned(200) is spectrum
    with pytest.raises(InputError, match="at least one wavelength, got 0"):
        spectrum.rebinned(0)


def experiment(beam: Beam) -> Experiment:
    return Experiment(
        crystal=Crystal((40.0, 50.0, 60.0), n_cells=(5, 5, 5), misset_deg=(10.0, 20.0, 30.0)),
        beam=beam,
        detector=Detector(20, 16, pixel_size_mm=0.8, distance_mm=50.0),
        structure_factors=StructureFactors(default_F=100.0),
        sampling=Sampling(1),
    )


def test_image_is_the_weighted_sum_of_monochromatic_ones():
    wavelengths, weights = np.array([0.98, 1.0, 1.03]), np.array([1.0, 4.0, 2.0])
    beam = spectrum_beam(make_spectrum(wavelengths, weights), kahn_factor=0.5)
    image = simulate(experiment(beam))
    single = [simulate(experiment(Beam(wavelength, kahn_factor=0.5))) for wavelength in wavelengths]
    expected = np.tensordot(weights / weights.sum(), np.stack(single), 1)
    np.testing.assert_allclose(image, expected, rtol=1e-9, atol=1e-11 * expected.max())
    assert beam.num_sources == 3


def test_a_divergence_multiplies_the_sources():
    spectrum = make_spectrum([0.98, 1.0], [1.0, 3.0])
    fractions = ((-0.5, 0.0), (0.0, 0.0), (0.5, 0.0))
    beam = spectrum_beam(spectrum, divergence_mrad=(2.0, 0.0), divergence_fractions=fractions)
    assert beam.num_sources == 6 and beam.source_weights.tolist() == [1.0, 3.0] * 3


def test_energies_in_kev_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("9.01 1\n9.02 2\n")
    with pytest.raises(InputError, match="9.01 in the first column may be keV, or a wavelength"):
        read_spectrum(tmp_path / "a.txt")
