"""Several lattices in one image: the sum of the images of each."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import experiment, factors_grid

import nanobrag_jax as nb
from nanobrag_jax import cli

SCATTERED = {"sampling": {"water_um": 20.0, "oversample": 1}, "factors": factors_grid()}


def crystals(**more):
    first = experiment(**SCATTERED).crystal
    return [
        nb.replace(first, misset_deg=(10.0, 20.0, 30.0), n_cells=(6.0, 5.0, 4.0), mosaic_spread_deg=0.3),
        nb.replace(first, misset_deg=(-40.0, 5.0, 70.0), scale=0.4, mosaic_spread_deg=0.1),
        nb.replace(first, cell_lengths_A=first.cell_lengths_A * 1.1, mosaic_spread_deg=0.2, **more),
    ]


def summed(whole, listed):
    """Crystal by crystal, the water once."""
    images = [np.asarray(nb.simulate(eqx.tree_at(lambda e: e.crystal, whole, crystal))) for crystal in listed]
    dark = nb.StructureFactors(default_F=0.0)
    water = np.asarray(nb.simulate(eqx.tree_at(lambda e: e.structure_factors, whole, dark)))
    assert water.max() > 0
    return np.sum(images, axis=0) - (len(images) - 1) * water


@pytest.mark.parametrize("other", [{}, {"shape": "gauss"}], ids=["of one kind", "of two kinds"])
def test_the_sum_of_separate_images(other):
    whole, listed = experiment(**SCATTERED), crystals(**other)
    image, expected = np.asarray(nb.simulate_lattices(whole, listed)), summed(whole, listed)
    np.testing.assert_allclose(image, expected, rtol=1e-10, atol=1e-12 * expected.max())
    if not other:
        stacked = nb.stack_crystals(listed)
        np.testing.assert_allclose(nb.simulate_lattices(whole, stacked), image, rtol=1e-12)
        np.testing.assert_allclose(jax.jit(nb.simulate_lattices)(whole, stacked), image, rtol=1e-11)


def test_derivatives_of_each():
    whole = experiment(sampling={"oversample": 1}, factors=factors_grid())
    stacked = nb.stack_crystals(crystals())

    def total(misset):
        image = nb.simulate_lattices(whole, eqx.tree_at(lambda c: c.misset_deg, stacked, misset))
        return jnp.sum(image * jnp.cos(jnp.arange(image.size, dtype=float)).reshape(image.shape))

    at, step = stacked.misset_deg, 1e-5
    direction = jnp.asarray(np.random.default_rng(0).normal(size=at.shape))
    difference = (total(at + step * direction) - total(at - step * direction)) / (2 * step)
    slope = jax.grad(total)(at)
    assert (np.abs(slope) > 0).all()
    assert float(jnp.sum(slope * direction)) == pytest.approx(float(difference), rel=1e-6)


ARGS = "-cell 60 70 80 90 95 90 -default_F 100 -N 5 -detpixels 24 -pixel 3 -distance 100 -lambda 1 -mosaic 0.2".split()


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ["-misset 10 20 30 -crystal_scale 2", "-misset 40 1 2 -N 7 -mosaic_dom 4  # smaller", "", "-cell 50 50 50"]
    (tmp_path / "crystals.txt").write_text("\n".join(lines))
    args = [*ARGS, "-oversample", "1", "-water", "0.1"]

    def image(name, *more):
        assert cli.main([*args, *more, "-floatfile", str(tmp_path / name), "-force"]) == 0, capsys.readouterr().err
        return np.fromfile(tmp_path / name, np.float32)

    found = image("all.bin", "-crystals", str(tmp_path / "crystals.txt"))
    separate = [image(f"{i}.bin", *line.partition("#")[0].split()) for i, line in enumerate(lines) if line]
    water = image("water.bin", "-default_F", "1e-9")
    np.testing.assert_allclose(found, sum(separate) - 2 * water, rtol=2e-6)
    assert found.max() > 2 * water.max()


BAD = [
    ("-misset 1 2 3 -distance 5", [], "line 1: -distance is no flag of a crystal"),
    ("# none", [], "has no crystal"),
    ("-N x", [], "line 1"),
    ("-N 5", ["-mode", "c-parity"], "-crystals is unknown to c-parity"),
    ("-N 5", ["-images", "3"], "-images cannot be given beside -crystals"),
]


@pytest.mark.parametrize("text, more, sentence", BAD, ids=[sentence[:20] for _, _, sentence in BAD])
def test_what_is_refused(text, more, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crystals.txt").write_text(text)
    out = str(tmp_path / "image.bin")
    assert cli.main([*ARGS, "-crystals", str(tmp_path / "crystals.txt"), "-floatfile", out, *more]) == 1
    assert sentence in capsys.readouterr().err
    with pytest.raises(nb.InputError, match="at least one crystal"):
        nb.simulate_lattices(experiment(), [])
