"""The worked examples in a small form: fewer and larger pixels, few images, one start."""

from pathlib import Path

import jax
import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
REAL = Path(__file__).parents[2] / "shared" / "reference" / "i23_thaumatin"


@pytest.fixture
def examples(monkeypatch):
    """The examples' folder to import from, as if run there: users have not set strict rank promotion."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.slow
def test_one_still_converges_within_the_limits(examples, capsys):
    import one_still
    import twenty_starts

    found = one_still.main(["--unknown", "cell", "--binning", "2"])
    assert found.result.converged and found.result.describes_the_data
    assert found.result.history[0].distance > 100
    assert twenty_starts.within_limits(found)
    assert max(np.abs(p).max() for p in found.pulls().values()) < 4
    printed = capsys.readouterr()
    assert "strongest correlations" in printed.out and "step" in printed.err


@pytest.mark.slow
def test_draws_of_noise_have_honest_uncertainties(examples, capsys):
    import forty_draws

    pulls = forty_draws.main(["--draws", "12", "--binning", "2"])
    assert "12 of 12 converged and are described" in capsys.readouterr().out
    every = np.concatenate([p.ravel() for p in pulls.values()])
    assert 0.8 < np.std(every) < 1.2 and np.abs(every).max() < 4.5


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="the public thaumatin data are not here")
def test_a_real_image_is_described_better_with_its_panels_refined(examples, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    import real_image

    crystal, panels = real_image.main([str(REAL), "--steps", "40", "--plot", str(tmp_path / "boxes.png")])
    assert panels.reduced_chi_square < min(10.0, crystal.reduced_chi_square / 3)
    assert np.all(real_image.offsets(panels) < 1.1)
    assert "does NOT describe the data" in capsys.readouterr().out and (tmp_path / "boxes.png").exists()


@pytest.mark.slow
def test_amplitudes_from_three_stills(examples, capsys):
    import structure_factors

    found = structure_factors.main(["--images", "3", "--binning", "2"])
    assert found.result.converged
    assert found.significant.sum() > 80
    assert found.r1(found.started) > 0.13 and found.r1(found.refined) < 0.04
    assert "R1" in capsys.readouterr().out


@pytest.mark.slow
def test_the_study_of_starts_and_its_figures(examples, tmp_path):
    pytest.importorskip("matplotlib")
    import one_still
    import structure_factors
    import twenty_starts

    options = ["--starts", "2", "--binning", "3", "--json", str(tmp_path / "a.json"), "--plots", str(tmp_path)]
    found = twenty_starts.main(options)
    assert [one["converged"] for one in found] == [2, 2]
    assert [one["within_limits"] for one in found] == [2, 2]
    both = one_still.main(["--unknown", "both", "--binning", "2", "--plots", str(tmp_path)])
    assert both.result.correlation("detector.distance_mm", "crystal.cell_lengths_A[0]") > 0.99
    structure_factors.main(["--images", "2", "--binning", "2", "--per-image", "--plots", str(tmp_path)])
    assert {p.name for p in tmp_path.iterdir()} == {
        "a.json",
        "twenty_starts.png",
        "one_still_both.png",
        "correlations_both.png",
        "structure_factors.png",
    }


@pytest.mark.slow
def test_a_network_learns_from_a_stream(examples, capsys):
    pytest.importorskip("optax")
    import train_from_stream

    errors = train_from_stream.main(["--steps", "100"])
    assert np.mean(errors[-20:]) < 0.5 * np.mean(errors[:10])
    assert "step 100" in capsys.readouterr().out
