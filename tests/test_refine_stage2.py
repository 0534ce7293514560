"""Intensities common to all shots: nearer to the truth than summing and merging, with Bijvoet mates, and as an MTZ."""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from refine_cases import counts_of, small_still
from shot_cases import stills, write_hkl

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.errors import InputError
from nanobrag_jax.refine.command import main
from nanobrag_jax.refine.shots.amplitudes import amplitudes_of
from nanobrag_jax.refine.shots.groups import group_boxes
from nanobrag_jax.refine.shots.intensities import Groups, merged_start, restraint_rows
from nanobrag_jax.refine.spot_starts import net_photons

gemmi = pytest.importorskip("gemmi")
HALL = " P 2y"
PARAMETERS = (
    refine.Parameter("crystal.misset_deg", scale=0.1),
    refine.Parameter("crystal.n_cells", "positive"),
    refine.Parameter("scale", "positive"),
)


class Case:
    """Shots of a crystal with known amplitudes, refined with others that are wrong by a quarter."""

    def __init__(self, count: int, brightness: float, *, anomalous: bool = False):
        plain = small_still()
        factors = plain.structure_factors
        shape, low = factors.amplitudes.shape, np.array(factors.hkl_min)
        grid = np.argwhere(np.ones(shape)) + low
        self.reflections = refine.Reflections(HALL, anomalous=anomalous)
        labels = refine.Reflections(HALL, anomalous=True).labels(grid)
        unique, number = np.unique(labels[:, :3], axis=0, return_inverse=True)
        rng = np.random.default_rng(5)
        mean = 100 * np.sqrt(rng.exponential(1.0, len(unique)))[number.reshape(-1)]
        difference = 0.1 * rng.normal(size=len(unique))[number.reshape(-1)] if anomalous else 0.0
        F = mean * (1 + difference * (0.5 - labels[:, 3]))
        wrong = F * np.exp(0.25 * rng.normal(size=len(unique)))[number.reshape(-1)]
        F[np.all(grid == 0, axis=1)] = 0.0
        known = self.reflections.labels(grid).tolist()
        self.truth = {tuple(label): float(f) for label, f in zip(known, F, strict=True)}
        true = jnp.asarray(F.reshape(shape))
        base = eqx.tree_at(lambda e: e.structure_factors.amplitudes, plain, true)
        self.shots = []
        for k in range(count):
            fluence = jnp.asarray(2e29 * brightness * np.exp(0.4 * rng.normal()))
            here = eqx.tree_at(
                lambda e: (e.crystal, e.beam.fluence_per_m2), base, (base.crystal.random_orientation(k), fluence)
            )
            off = here.crystal.misset_deg + 0.05 * rng.normal(size=3)
            start = eqx.tree_at(
                lambda e: (e.crystal.misset_deg, e.crystal.n_cells, e.structure_factors.amplitudes),
                here,
                (off, here.crystal.n_cells * 1.07, jnp.asarray(wrong.reshape(shape))),
            )
            spots = refine.predict(here, min_photons=3.0 * brightness**0.5)
            self.shots.append(refine.shot_of(start, counts_of(here, seed=k), spots, half_size=4, number=k))
        found = refine.fit_shots(self.shots, PARAMETERS)
        self.refined = [replace(each.shot, experiment=each.experiment) for each in found]

    def r1(self, labels: np.ndarray, amplitudes: np.ndarray) -> float:
        """Against the truth, on the best common scale."""
        true = np.array([self.truth[tuple(label)] for label in labels.tolist()])
        scaled = amplitudes * (amplitudes @ true) / (amplitudes @ amplitudes)
        return float(np.abs(scaled - true).sum() / true.sum())

    def summed(self) -> tuple[Groups, np.ndarray]:
        """Intensities by summing boxes above their backgrounds and merging them, scaled."""
        groups, numbers = group_boxes(self.refined, self.reflections)
        net = [net_photons(shot.boxes) for shot in self.refined]
        return groups, merged_start(net, [np.ones(len(n)) for n in net], numbers, groups.count)[1]

    def anomalous_correlation(self, labels: np.ndarray, intensity: np.ndarray) -> float:
        """Of differences between mates with the true ones."""
        found = {tuple(label): value for label, value in zip(labels.tolist(), intensity, strict=True)}
        mates = [(key, (*key[:3], 1)) for key in found if key[3] == 0 and (*key[:3], 1) in found]
        assert len(mates) > 50
        ours = [found[a] - found[b] for a, b in mates]
        return float(np.corrcoef(ours, [self.truth[a] ** 2 - self.truth[b] ** 2 for a, b in mates])[0, 1])


def check_against_summing(case: Case, most: float) -> None:
    found = refine.refine_intensities(case.refined, PARAMETERS, case.reflections)
    assert found.converged and found.reduced_chi_square == pytest.approx(1.0, abs=0.03), found.verdict
    amplitudes, spread = found.amplitudes
    groups, merged = case.summed()
    ours, theirs = case.r1(found.groups.labels, amplitudes), case.r1(groups.labels, np.sqrt(merged))
    assert ours <= most and ours < theirs / 2, (ours, theirs)
    assert np.all(spread > 0)
    true = np.square([case.truth[tuple(label)] for label in found.groups.labels.tolist()])
    weight = 1.0 / found.sigma**2
    scale = np.sum(weight * found.intensity * true) / np.sum(weight * found.intensity**2)
    pulls = (scale * found.intensity - true) / (scale * found.sigma)
    assert 0.8 < np.std(pulls) < 1.2 and abs(np.mean(pulls)) < 0.3


def test_forty_shots_give_the_true_amplitudes():
    check_against_summing(Case(40, 1.0), 0.01)


@pytest.mark.slow
def test_two_hundred_shots_give_the_true_amplitudes():
    check_against_summing(Case(200, 0.2), 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("brightness, least", [(0.02, 0.9), (0.002, 0.2)])  # about 200 and 20 photons a spot
def test_anomalous_differences_are_better_than_those_of_summed_intensities(brightness, least):
    case = Case(200, brightness, anomalous=True)
    found = refine.refine_intensities(case.refined, PARAMETERS, case.reflections, max_cycles=8)
    groups, merged = case.summed()
    ours = case.anomalous_correlation(found.groups.labels, found.intensity)
    assert ours > max(least, case.anomalous_correlation(groups.labels, merged)), ours


def test_amplitudes_of_weak_intensities_are_positive_and_strong_ones_are_roots():
    rng = np.random.default_rng(1)
    true = rng.exponential(100.0, 4000)
    sigma = np.full(4000, 20.0)
    seen = true + sigma * rng.normal(size=4000)
    amplitudes, spread = amplitudes_of(seen, sigma, np.zeros(4000, int), np.zeros(4000, bool))
    assert np.all(amplitudes > 0) and np.mean(amplitudes - np.sqrt(true)) == pytest.approx(0.0, abs=0.05)
    assert np.std((amplitudes - np.sqrt(true)) / spread) == pytest.approx(1.0, abs=0.08)
    strong = seen > 300
    np.testing.assert_allclose(amplitudes[strong], np.sqrt(seen[strong]), rtol=0.02)


def test_restraints_of_intensities():
    labels = np.array([[k, 0, k, m] for k in range(20) for m in (0, 1)])
    groups = Groups(labels, np.linspace(0.1, 0.3, 40), np.full(40, 4.0), np.zeros(40, bool))
    factors = np.random.default_rng(1).normal(1.0, 0.2, 40)

    def residuals(**asked):
        rows, targets = restraint_rows(groups, refine.IntensityRestraints(**asked))
        return rows @ factors - targets

    np.testing.assert_allclose(residuals(start=0.5), (factors - 1) / 0.5)
    np.testing.assert_allclose(residuals(bijvoet=0.1), (factors[::2] - factors[1::2]) / 0.1)
    shells = groups.shells(4)
    means = [factors[shells == s].mean() - 1 for s in range(4)]
    np.testing.assert_allclose(residuals(shell_mean=0.2, shells=4), np.array(means) / 0.2)
    assert residuals().shape == (0,)
    with pytest.raises(InputError, match="sigma of bijvoet must be positive, got -1"):
        refine.IntensityRestraints(bijvoet=-1.0)


def test_restrained_intensities_stay_where_they_are_held():
    case = Case(8, 0.01)
    held = refine.refine_intensities(
        case.refined, PARAMETERS, case.reflections, restraints=refine.IntensityRestraints(start=1e-3)
    )
    free = refine.refine_intensities(case.refined, PARAMETERS, case.reflections)
    np.testing.assert_allclose(held.intensity, held.groups.start, rtol=0.05, atol=20.0)
    moved = np.abs(free.intensity / free.groups.start - 1)
    assert np.median(moved) > 0.1 and np.median(held.sigma / free.sigma) < 0.2


def test_space_groups_say_what_is_equivalent():
    four = refine.Reflections(" P 4abw 2nw", anomalous=True)
    hkl = np.array([[1, 2, 3], [-1, -2, 3], [2, -1, 3], [-1, -2, -3], [2, 1, -3], [1, 0, 0], [0, 0, 1]])
    labels = four.labels(hkl)
    assert len({tuple(row) for row in labels[:3].tolist()}) == 1 and tuple(labels[3]) != tuple(labels[0])
    assert four.centric(hkl).tolist() == [False] * 5 + [True, True] and four.absent(hkl)[-1]
    assert not four.labels(hkl)[-1][3]
    with pytest.raises(InputError, match="is no Hall symbol"):
        refine.Reflections("nonsense")


def test_from_files_to_an_mtz(tmp_path, capsys):
    truths = stills(tmp_path, 8, "still_{:04d}.cbf")
    write_hkl(tmp_path / "true.hkl", truths[0].structure_factors)
    named = [str(tmp_path / name) for name in ("stills.expt", "stills.refl")]
    options = ["-domains", "1", "-oversample", "1", "-half_size", "5", "-hkl", str(tmp_path / "true.hkl")]
    options += ["-refine", "misset,n_cells,scale"]
    assert main(["stage1", *named, "-out", str(tmp_path / "out"), *options]) == 0
    assert main(["stage2", str(tmp_path / "out"), "-anomalous"]) == 0
    assert "reflections from" in capsys.readouterr().out
    path = tmp_path / "out" / "stage2" / "refined.mtz"
    mtz = gemmi.read_mtz_file(str(path))
    wanted = ["H", "K", "L", "I", "SIGI", "F", "SIGF", "I(+)", "SIGI(+)", "I(-)", "SIGI(-)"]
    assert mtz.column_labels()[:11] == wanted and mtz.spacegroup.hm == "P 1 2 1"
    assert mtz.get_cell().a == pytest.approx(55.0, abs=0.1)
    read = nb.StructureFactors.from_mtz(path, "F")
    table, low = np.asarray(truths[0].structure_factors.amplitudes), np.array(truths[0].structure_factors.hkl_min)
    rows = np.array(mtz)
    hkl, amplitudes = rows[:, :3].astype(int), rows[:, 5]
    true = table[tuple((hkl - low).T)]
    scaled = amplitudes * (amplitudes @ true) / (amplitudes @ amplitudes)
    assert np.abs(scaled - true).sum() / true.sum() < 0.02
    assert read.amplitudes is not None and not list((tmp_path / "out" / "stage2").glob("*.npz"))
    assert main(["stage2", str(tmp_path)]) == 1
    assert "holds no run of stage 1" in capsys.readouterr().err
