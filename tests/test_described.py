"""How objects print: a part of an experiment, a trace, the result of a fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import experiment, factors_grid

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.described import WIDTH

ROTATIONS = nb.MosaicRotations(np.stack([np.eye(3)] * 2))

SHORT = [
    (nb.Beam(0.9795, kahn_factor=0.9), "Beam(wavelength_A=0.9795, fluence_per_m2=1.25932e+29, kahn_factor=0.9)"),
    (nb.Goniometer(30.0, 0.1, phi_steps=4), "Goniometer(phi_deg=30, osc_deg=0.1, phi_steps=4)"),
    (nb.StructureFactors(default_F=100.0), "StructureFactors(default_F=100)"),
    (factors_grid(), "StructureFactors(amplitudes=<13 x 13 x 13: 5.01805 to 99.9526>, "),
    (nb.Crystal((30, 40, 50), shape="round"), "misset_deg=[0, 0, 0],\n  n_cells=[1, 1, 1],"),
    (nb.Crystal((30, 40, 50), shape="round"), "shape=Round()"),
    (nb.Sampling(3, mask=np.eye(10)), "Sampling(oversample=3, mask=<10 x 10: 10 of 100 true>)"),
    (
        nb.Detector(512, 400, distance_mm=150),
        "distance_mm=150,\n  beam_center_mm=[20.05, 25.65], convention='mosflm',\n)",
    ),
    (nb.Detector(fast_axis=(1, 0, 0), slow_axis=(0, 1, 0)), "fast_axis=[1, 0, 0], slow_axis=[0, 1, 0]"),
    (nb.DetectorEffects(gain_adu_per_photon=2), "DetectorEffects(gain_adu_per_photon=2)"),
    (nb.IsotropicMosaicity(0.1), "IsotropicMosaicity(eta_deg=0.1)"),
    (ROTATIONS, "MosaicRotations(matrices=<2 x 3 x 3: 0 to 1>)"),
    (nb.amorphous_sample("water", 0.1), "thickness_mm=0.1"),
]


@pytest.mark.parametrize("model, text", SHORT, ids=[f"{type(m).__name__}-{i}" for i, (m, _) in enumerate(SHORT)])
def test_what_is_shown(model, text):
    assert text in repr(model)
    assert max(map(len, repr(model).splitlines())) <= WIDTH


def test_an_experiment_fits_on_a_screen():
    """Each part by name, in lines that are not too long; what is at its default is left out."""
    everything = experiment(
        crystal={"mosaic_spread_deg": 0.2, "orientation": np.eye(3)},
        beam={"dispersion_percent": 1.0, "divergence_mrad": (1, 2)},
        detector={"thickness_um": 450, "thickness_steps": 3},
        scatterers=[nb.amorphous_sample("water", 0.1)] * 5,
    )
    lines = repr(everything).splitlines()
    assert len(lines) < 45 and max(map(len, lines)) <= WIDTH
    assert [line.split("=")[0].strip() for line in lines if line[:3].strip() and line[:2] == "  "][0] == "crystal"
    assert "… 2 more" in repr(everything)
    assert "curved" not in repr(everything) and "goniometer" in repr(everything)


def test_panels():
    """How many, and the range of what differs."""
    panels = [nb.Detector(30, 20, pix0_mm=(i, 0, 100)) for i in range(4)]
    text = repr(nb.replace(experiment(), detector=panels).detector)
    assert text.startswith("4 x Detector(") and "pix0_mm=[0, 0, 100] to [3, 0, 100]" in text
    assert "distance_mm=100" in text


STRANGE = {
    "traced": lambda e: jax.make_jaxpr(lambda x: (repr(x), x.beam.wavelength_A)[1])(e),
    "batched": lambda e: jax.vmap(lambda x: (repr(nb.replace(e, distance_mm=x)), x)[1])(jnp.arange(3.0) + 50),
    "differentiated": lambda e: jax.grad(lambda x: (repr(nb.replace(e, distance_mm=x)), x)[1])(60.0),
    "shapes": lambda e: repr(jax.eval_shape(lambda: e)),
    "stand-ins": lambda e: repr(jax.tree.map(lambda _: object(), e)),
    "nothing": lambda e: repr(jax.tree.map(lambda _: None, e)),
    "words": lambda e: repr(jax.tree.map(str, e)),
    "not finite": lambda e: repr(jax.tree.map(lambda x: x * jnp.nan if x.dtype != bool else x, e)),
    "axes of vmap": lambda e: repr(jax.tree.map(lambda _: 0, e)),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_experiment_prints_too(name):
    """Transformations and tree functions put all kinds of things into the places of numbers."""
    given = np.ones((13, 13, 13), bool)
    given[0] = False
    whole = experiment(factors=factors_grid(given=given), crystal={"mosaic_spread_deg": 0.2})
    STRANGE[name](whole)
    STRANGE[name](experiment(sampling={"mask": np.ones((10, 12))}, scatterers=[nb.amorphous_sample("ice", 1)]))


def test_traced_numbers_show_their_shape():
    texts = []
    jax.make_jaxpr(lambda e: (texts.append(repr(e)), e.beam.wavelength_A)[1])(experiment())
    assert "cell_lengths_A=f64[3]" in texts[0] and "pixels_fast=12" in texts[0]


def test_given_away_arrays():
    beam = nb.Beam()
    beam.wavelength_A.delete()
    assert "wavelength_A=f64[]" in repr(beam)


def test_a_trace_is_a_table():
    trace = nb.trace_pixel(experiment(goniometer={"osc_deg": 1, "phi_steps": 15}), 5, 6, mode="c-parity")
    lines = repr(trace).splitlines()
    assert lines[0] == "pixel slow 5, fast 6, mode c-parity" and "taken over" in lines[1]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["R_distance_meters"] == [f"{trace['R_distance_meters']:.6g}", "m"]
    assert rows["hkl_rounded"] == ["0", "0", "-1"]
    assert rows["layer"] == ["phi_tic", "phi_deg", "hkl_frac", "F_latt", "F_cell"]
    assert lines[-1] == "  … 3 more phi steps" and len(lines) < 65


def test_a_result_is_its_summary():
    truth = experiment()
    data = refine.whole_image(truth, np.random.default_rng(0).poisson(np.asarray(nb.simulate(truth))))
    parameter = refine.Parameter("crystal.misset_deg")
    found = refine.fit(truth, data, [parameter], driver=refine.LevenbergMarquardt(max_steps=2))
    assert repr(found) == str(found) == found.summary()
    assert "crystal.misset_deg[0]" in repr(found) and "±" in repr(found)
