"""One molecule in a box: what it scatters is that of its atoms, at every angle."""

import numpy as np
import pytest

import nanobrag_jax as nb
from nanobrag_jax.structure_factors import cell_of_file

gemmi = pytest.importorskip("gemmi")
from atoms import make_structure, write_structure  # noqa: E402

DETECTOR = {"pixels_fast": 40, "pixels_slow": 36, "pixel_size_mm": 2.0, "distance_mm": 90.0}


@pytest.fixture(scope="module")
def blob(tmp_path_factory):
    """A compact molecule of 200 atoms, 20 A across, in a crystal with symmetry."""
    structure = make_structure("P 43 21 2", atoms=200)
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(200, 3))
    radii = 10.0 * rng.random((200, 1)) ** (1 / 3)
    points = radii * directions / np.linalg.norm(directions, axis=1)[:, None]
    for place, point in zip(structure[0].all(), points, strict=True):
        place.atom.pos = gemmi.Position(*(point + 30.0).tolist())
    return write_structure(structure, tmp_path_factory.mktemp("molecule") / "blob.pdb")


def directly(path, q):
    """|F|² (n,) of the file's atoms at scattering vectors q (n, 3), 1/A."""
    stol2 = np.sum(q * q, axis=1) / 4
    total = np.zeros(len(q), complex)
    for place in gemmi.read_structure(path)[0].all():
        table, atom = place.atom.element.it92, place.atom
        form = sum(a * np.exp(-b * stol2) for a, b in zip(table.a, table.b, strict=True)) + table.c
        wave = np.exp(2j * np.pi * (q @ np.array(atom.pos.tolist())))
        total += atom.occ * form * np.exp(-atom.b_iso * stol2) * wave
    return np.abs(total) ** 2


def scattering_vectors(experiment):
    """q (pixels, 3) in the frame of the box, whose axes are those of the lab where it is not turned."""
    slow, fast = np.indices((36, 40)).reshape(2, -1)
    center = np.asarray(experiment.panel.beam_center_mm)[::-1] + 1.0
    across, down = (fast + 0.5) * 2.0 - center[0], (slow + 0.5) * 2.0 - center[1]
    ray = np.stack([np.full(len(slow), 90.0), -down, across], axis=1)
    ray /= np.linalg.norm(ray, axis=1)[:, None]
    return (ray - [1.0, 0.0, 0.0]) / float(experiment.beam.wavelength_A)


def scattered(path, **box):
    """Photons over what a free electron scatters: |F|² (pixels,)."""
    crystal, factors = nb.single_molecule(path, 2.0, **({"k_sol": 0.0} | box))
    molecule = nb.Experiment(
        crystal=crystal,
        structure_factors=factors,
        beam=nb.Beam(1.2, polarized=False),
        detector=nb.Detector(**DETECTOR, point_pixel=True),
        sampling=nb.Sampling(1),
    )
    assert molecule.sampling.interpolate
    electron = nb.replace(molecule, structure_factors=nb.StructureFactors(default_F=1.0), interpolate=False)
    return molecule, (np.asarray(nb.simulate(molecule)) / np.asarray(nb.simulate(electron))).ravel()


@pytest.mark.filterwarnings("ignore:oversample")
@pytest.mark.parametrize("box, of_all, off", [(4.0, 0.004, 0.12), (6.0, 0.001, 0.06)])
def test_the_intensity_is_that_of_the_atoms(blob, box, of_all, off):
    """Everywhere on the detector, its corners and the direct beam included: no pixel falls back to whole indices."""
    molecule, found = scattered(blob, box=box)
    expected = directly(blob, scattering_vectors(molecule))
    assert np.abs(found - expected).sum() < of_all * expected.sum()
    assert np.mean(np.abs(found / expected - 1) > 0.1) < off


@pytest.mark.filterwarnings("ignore:oversample")
def test_a_box_as_small_as_the_molecule_would_not_do(blob):
    """The check above can fail: twice the molecule is not enough."""
    molecule, found = scattered(blob, box=2.0)
    expected = directly(blob, scattering_vectors(molecule))
    assert np.abs(found - expected).sum() > 0.004 * expected.sum()
    assert np.mean(np.abs(found / expected - 1) > 0.1) > 0.2


def test_solvent_lowers_the_contrast(blob):
    """The direct beam has what the molecule has more than the solvent that it replaces, whatever the box."""
    found = []
    for box in (3.0, 5.0):
        _, factors = nb.single_molecule(blob, 4.0, box=box)
        found.append(float(factors.amplitudes[tuple(-low for low in factors.hkl_min)]))
    vacuum = nb.single_molecule(blob, 4.0, k_sol=0.0)[1]
    alone = float(vacuum.amplitudes[tuple(-low for low in vacuum.hkl_min)])
    np.testing.assert_allclose(found[0], found[1], rtol=0.01)
    assert 0.3 * alone < found[0] < 0.9 * alone


@pytest.mark.filterwarnings("ignore:oversample")
def test_the_box_of_the_command(blob):
    """The cell is the box, F(000) the molecule's, and the amplitudes reach beyond the corner."""
    flags = f"-pdb {blob} -box 3 -k_sol 0 -lambda 1.2 -detpixels 40 -pixel 2 -distance 90 -oversample 1".split()
    with pytest.warns(nb.ExperimentWarning, match="structure factors are computed to"):
        made = nb.experiment_from_args(flags)
    factors = made.structure_factors
    assert made.sampling.interpolate
    np.testing.assert_allclose(made.crystal.cell_lengths_A, cell_of_file(nb.single_molecule(blob, 4.0, box=3.0)[1])[:3])
    q = np.abs(scattering_vectors(made)).max(axis=0)
    reach = np.array(factors.amplitudes.shape) // 2
    assert np.all(reach >= q * np.asarray(made.crystal.cell_lengths_A) + 2)
    assert float(factors.amplitudes[tuple(-low for low in factors.hkl_min)]) > 500


@pytest.mark.parametrize(
    "words, message",
    [
        ("-box 1.5", "a box must be at least twice as wide as the molecule, got 1.5"),
        ("-box 3 -cell 50", "-cell cannot be given beside -box, which is the cell"),
    ],
)
def test_what_is_no_box(blob, words, message):
    with pytest.raises(nb.InputError, match=message):
        nb.experiment_from_args(f"-pdb {blob} -detpixels 8 {words}".split())


def test_boxes_that_are_too_small(blob):
    with pytest.raises(nb.InputError, match="a box must be at least twice as wide as the molecule, got 1.5"):
        nb.single_molecule(blob, 4.0, box=1.5)
