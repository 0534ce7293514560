"""The amorphous sample: against the formula written out in numpy, its derivatives, its tables and its flags."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import experiment, factors_grid

import nanobrag_jax as nb
from nanobrag_jax.command import flags
from nanobrag_jax.command import run as cli
from nanobrag_jax.constants import AVOGADRO, R_E_SQR_M2
from nanobrag_jax.detector import frame_on_host
from nanobrag_jax.formats.raw import read_raw
from nanobrag_jax.io.stol import read_stol
from nanobrag_jax.render import background
from nanobrag_jax.render import simulate as render
from nanobrag_jax.render.scene import build_scene
from nanobrag_jax.scatterers import DATA, SUBSTANCES, amorphous_sample

DARK = nb.StructureFactors(default_F=0.0)
TABLE = (np.array([0.0, 0.1, 0.16, 0.22, 0.4]), np.array([2.5, 2.8, 8.0, 7.0, 4.0]))
SAMPLE = {"thickness_mm": 0.7, "density_g_per_cm3": 1.1, "molecular_weight_Da": 18.5, "beam_size_mm": 0.2}
PINK = {
    "source_positions": [(-10, 0.1, 0.05), (-5, 0.02, 0), (-9, 0, -0.3)],
    "source_wavelengths_A": (1.2, 1.0, 1.4),
    "source_weights": (1, 4, 2),
}
THICK = {"thickness_um": 400.0, "attenuation_depth_um": 250.0, "thickness_steps": 2, "rotations_deg": (4, -9, 3)}


def sample(**changes):
    return nb.Amorphous(*TABLE, **(SAMPLE | changes))


def with_sample(amorphous, factors=DARK, **parts):
    """A small experiment with an amorphous sample."""
    return experiment(factors=factors, scatterers=(amorphous,), **parts)


def by_formula(whole):
    """Photons a pixel, (slow, fast): r_e²·fluence·molecules·<F²·polarisation>·Ω·captured, in numpy."""
    detector, beam, (amorphous,) = whole.detector, nb.completed(whole).beam, whole.scatterers
    frame = frame_on_host(detector, beam, "spec")
    slow, fast = np.meshgrid(np.arange(detector.pixels_slow), np.arange(detector.pixels_fast), indexing="ij")
    middle = (np.stack([fast, slow], -1) + 0.5) * frame.pixel_size
    place = frame.pix0 + middle[..., :1] * frame.fast + middle[..., 1:] * frame.slow
    away = np.linalg.norm(place, axis=-1)
    towards = place / away[..., None]
    grams = amorphous.density_g_per_cm3 * 1e-3 * amorphous.thickness_mm * amorphous.beam_size_mm**2
    molecules = grams / amorphous.molecular_weight_Da * AVOGADRO
    weights = np.asarray(beam.source_weights) / np.sum(beam.source_weights)
    mean = np.zeros(slow.shape)
    positions, wavelengths = np.asarray(beam.source_positions), np.asarray(beam.source_wavelengths_A)
    for position, wavelength, weight in zip(positions, wavelengths, weights, strict=True):
        incident = -position / np.linalg.norm(position)
        cosine = towards @ incident
        stol = np.sqrt((1 - cosine) / 2) / wavelength
        across = np.cross(beam.polarization_vector, incident)
        across /= np.linalg.norm(across)
        psi = -np.arctan2(towards @ across, towards @ np.cross(incident, across))
        polarized = 0.5 * (1 + cosine**2 - beam.kahn_factor * np.cos(2 * psi) * (1 - cosine**2))
        mean += weight * np.interp(stol, amorphous.stol_per_A, amorphous.amplitudes_e) ** 2 * polarized
    photons = R_E_SQR_M2 * beam.fluence_per_m2 * molecules * mean
    photons = photons * frame.pixel_size**2 / away**2 * frame.close_distance / away
    if detector.thickness_um is not None:
        photons = photons * -np.expm1(-detector.thickness_um / detector.attenuation_depth_um / (towards @ frame.normal))
    return np.asarray(photons)


@pytest.mark.parametrize("oversample", [1, 3])
def test_photons_are_those_of_the_formula(oversample):
    whole = with_sample(sample(), beam=PINK, detector=THICK, sampling={"oversample": oversample})
    image = np.asarray(nb.simulate(whole))
    np.testing.assert_allclose(image, by_formula(whole), rtol=1e-12)
    assert image.std() > 0.1 * image.mean()
    pixels = nb.simulate_pixels(whole, np.array([0, 4, 9]), np.array([11, 5, 0]))
    np.testing.assert_allclose(pixels, image[[0, 4, 9], [11, 5, 0]], rtol=1e-12)


def test_photons_are_added_to_those_of_the_crystal():
    alone, crystal = nb.simulate(with_sample(sample())), nb.simulate(experiment())
    together = nb.simulate(with_sample(sample(), factors=experiment().structure_factors), block_pixels=31)
    np.testing.assert_allclose(together, crystal + alone, rtol=1e-12)


@pytest.mark.slow
def test_a_level_table_is_the_water_of_the_reference():
    cube = {"thickness_mm": 0.02, "beam_size_mm": 0.02, "density_g_per_cm3": 1.0, "molecular_weight_Da": 18.0}
    water = experiment(factors=DARK, sampling={"water_um": 20.0, "dmin_A": 4.0})
    level = with_sample(nb.Amorphous([0.3], [2.57], **cube), sampling={"dmin_A": 4.0})
    image = np.asarray(nb.simulate(level))
    assert 0 < (image == 0).sum() < image.size
    np.testing.assert_allclose(image, nb.simulate(water), rtol=1e-12)


def test_only_rendered_pixels_have_photons():
    mask = np.random.default_rng(0).random((10, 12)) > 0.3
    whole = nb.simulate(with_sample(sample()))
    part = np.asarray(nb.simulate(with_sample(sample(), sampling={"roi": (2, 8, 1, 7), "mask": mask})))
    inside = np.zeros((10, 12), bool)
    inside[1:8, 2:9] = True
    np.testing.assert_allclose(part, np.where(mask & inside, whole, 0.0), rtol=1e-12)


def test_c_parity_knows_none():
    plain = experiment()
    image = nb.simulate(with_sample(sample(), factors=plain.structure_factors), "c-parity")
    np.testing.assert_array_equal(image, nb.simulate(plain, "c-parity"))


def test_without_a_sample_nothing_is_computed(monkeypatch):
    def trace(whole):
        jax.clear_caches()
        return str(jax.make_jaxpr(lambda e: nb.simulate(e))(whole))

    plain = trace(experiment())
    assert plain != trace(with_sample(sample()))
    monkeypatch.setattr(render, "scattered_photons", None)
    assert trace(experiment()) == plain
    with pytest.raises(TypeError):
        trace(with_sample(sample()))


LEAVES = [
    "scatterers[0].thickness_mm", "scatterers[0].beam_size_mm", "scatterers[0].density_g_per_cm3",
    "scatterers[0].molecular_weight_Da", "scatterers[0].amplitudes_e", "scatterers[0].stol_per_A",
    "beam.fluence_per_m2", "beam.kahn_factor", "beam.source_weights", "beam.source_wavelengths_A",
    "detector.distance_mm", "detector.beam_center_mm", "detector.thickness_um",
]  # fmt: skip


@pytest.mark.slow
def test_derivatives():
    """All leaves that photons depend on, forward and reverse, against central differences along one direction each."""
    whole = with_sample(sample(), beam=PINK, detector=THICK)
    rng = np.random.default_rng(3)
    weights = jnp.asarray(rng.normal(size=(10, 12)))

    def leaves_of(tree):
        return [eval(f"tree.{path}", {"tree": tree}) for path in LEAVES]

    # moved to either side a table stays one: its first number must not be negative
    whole = eqx.tree_at(lambda e: e.scatterers[0].stol_per_A, whole, replace_fn=lambda x: x.at[0].set(0.001))
    start = leaves_of(whole)

    @jax.jit
    def loss(leaves):
        return jnp.sum(weights * nb.simulate(eqx.tree_at(leaves_of, whole, leaves)))

    gradient = jax.jit(jax.grad(loss))(start)
    for i, path in enumerate(LEAVES):
        way = jnp.asarray(rng.uniform(0.5, 1.0, start[i].shape)) * jnp.where(start[i] == 0, 0.1, start[i])
        moved = [[*start[:i], start[i] + sign * 1e-6 * way, *start[i + 1 :]] for sign in (1, -1)]
        difference = float(loss(moved[0]) - loss(moved[1])) / 2e-6
        expected = pytest.approx(difference, rel=2e-6)
        assert abs(difference) > 1e-6 * float(loss(start)) and float(jnp.sum(gradient[i] * way)) == expected, path
    ways = [jnp.ones_like(x) for x in start]
    slope = jax.jit(lambda x: jax.jvp(loss, (x,), (ways,))[1])(start)
    assert float(slope) == pytest.approx(sum(float(jnp.sum(g)) for g in gradient), rel=1e-10)


@pytest.mark.slow
def test_the_direct_beam_has_a_derivative():
    on_beam = {"convention": "denzo", "beam_center_mm": (13.5, 16.5)}
    scene = build_scene(with_sample(sample(), detector=on_beam), "spec")
    pixels = jnp.array([4, 4]), jnp.array([5, 6])

    def photons(incident):
        tilted = eqx.tree_at(lambda s: s.sources.incident, scene, incident)
        return jnp.sum(background.scattered_photons(tilted, *pixels))

    gradient = jax.jit(jax.grad(photons))(scene.sources.incident)
    assert np.isfinite(gradient).all() and (gradient != 0).any()


def test_numbers_compile_nothing_new():
    simulated = render._image
    nb.simulate(with_sample(sample()))
    before = simulated._cache_size()
    nb.simulate(with_sample(sample(thickness_mm=3.0, density_g_per_cm3=0.4)))
    assert simulated._cache_size() == before


def test_the_trace_tells_the_photons_of_the_sample():
    whole = with_sample(sample(), factors=experiment().structure_factors, sampling={"water_um": 3.0})
    trace = nb.trace_pixel(whole, 3, 4)
    v = trace.values
    crystal = v["I_before_scaling"] * v["r_e_sqr"] * v["fluence_photons_per_m2"] * v["polar"] * v["omega_pixel"]
    assert v["I_pixel_final"] == pytest.approx(crystal + v["background_photons"], rel=1e-12)
    assert v["background_photons"] > float(nb.simulate(with_sample(sample()))[3, 4])


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
def test_a_scale_multiplies_the_crystal_alone(mode):
    """As many crystals as a fluence would stand for, in the water of one; the trace tells of them."""

    def with_crystals(scale, factors):
        thin = sample(thickness_mm=1e-17)
        return with_sample(thin, factors, crystal={"scale": scale}, sampling={"water_um": 3e-6})

    one, three = (np.asarray(nb.simulate(with_crystals(n, factors_grid()), mode)) for n in (1.0, 3.0))
    no_crystal = factors_grid(amplitudes=np.zeros((13, 13, 13)), default_F=0.0)
    dark = np.asarray(nb.simulate(with_crystals(1.0, no_crystal), mode))
    assert (dark > 0).all() and ((one - dark) > 0.1 * dark).any()
    np.testing.assert_allclose(three - dark, 3.0 * (one - dark), rtol=1e-9, atol=1e-9 * one.max())
    if mode == "spec":
        v = nb.trace_pixel(with_crystals(3.0, factors_grid()), 3, 4, image=three).values
        crystal = v["I_before_scaling"] * v["r_e_sqr"] * v["fluence_photons_per_m2"] * v["crystal_scale"]
        photons = crystal * v["polar"] * v["omega_pixel"] + v["background_photons"]
        assert v["I_pixel_final"] == pytest.approx(photons, rel=1e-12)


@pytest.mark.parametrize("precision", ["mixed", "float32"])
def test_single_precision(precision):
    whole = with_sample(sample(), beam=PINK)
    image = nb.simulate(whole, precision=precision)
    assert image.dtype == jnp.float32
    np.testing.assert_allclose(image, nb.simulate(whole), rtol=1e-5)


@pytest.mark.parametrize("name", SUBSTANCES)
def test_tables_that_come_with_the_package(name):
    text = (DATA / f"{name}.stol").read_text()
    assert text.startswith(f"# {name}: ") and "docs/stol_tables.py" in text
    stol, amplitudes = read_stol(DATA / f"{name}.stol")
    assert stol[0] == 0 and stol[-1] >= 0.8 and (amplitudes > 0).all()
    made = amorphous_sample(name, 2.0)
    np.testing.assert_array_equal(made.amplitudes_e, amplitudes)
    assert made.density_g_per_cm3 == SUBSTANCES[name].density_g_per_cm3
    heavier = amorphous_sample(name, 2.0, density_g_per_cm3=3.0, molecular_weight_Da=20.0)
    assert (heavier.density_g_per_cm3, heavier.molecular_weight_Da) == (3.0, 20.0)


def test_tables_say_what_is_known():
    """Water: the limit of its compressibility and its ring at 3.1 Å. Air: all electrons. Ice: its first rings."""
    stol, water = read_stol(DATA / "water.stol")
    molecules_per_m3, compressibility, kT = 3.333e28, 4.525e-10, 1.380649e-23 * 298.15
    assert water[0] ** 2 == pytest.approx(100 * molecules_per_m3 * compressibility * kT, rel=0.02)
    assert stol[np.argmax(water)] == pytest.approx(0.5 / 3.1, abs=0.005)
    _, air = read_stol(DATA / "air.stol")
    assert air[0] ** 2 == pytest.approx(0.7808 * 14**2 + 0.2095 * 16**2 + 0.0093 * 18**2, rel=2e-3)
    stol, ice = read_stol(DATA / "ice.stol")
    peaks = [i for i in range(1, len(ice) - 1) if ice[i] > 8 and ice[i - 1] < ice[i] >= ice[i + 1]]
    rings = [3.895, 3.661, 3.438, 2.667, 2.2485, 2.068, 1.916]  # 100 002 101 102 110 103 112 for 4.497, 7.322 Å
    np.testing.assert_allclose(0.5 / stol[peaks][: len(rings)], rings, atol=0.007)


@pytest.mark.parametrize("text, message", [
    ("", "holds no numbers"),
    ("# only words\n", "holds no numbers"),
    ("0 2.5\n0.1\n", "line 2: '0.1' has 1 of the 2 columns"),
    ("0 2.5\n0.1 two\n", "line 2: 'two' is not a number"),
    ("0 2.5\n0.1 nan\n", "line 2: 0.1 nan are not finite"),
    ("-0.1 2\n", "must be between 0 and 20 1/A, got -0.1"),
    ("25 2\n", "must be between 0 and 20 1/A, got 25"),
    ("0.1 2\n0 3\n0.1 4\n", "gives sin(theta)/lambda = 0.1 twice"),
])  # fmt: skip
def test_tables_that_are_refused(text, message, tmp_path):
    (tmp_path / "bad.stol").write_text(text)
    with pytest.raises(nb.InputError) as caught:
        read_stol(tmp_path / "bad.stol")
    assert message in str(caught.value) and "bad.stol" in str(caught.value)


def test_rows_are_sorted(tmp_path):
    (tmp_path / "any.stol").write_text("# s F more\n0.2 6 9\n0.1\t3\r\n\n0 2 # the beam\n")
    stol, amplitudes = read_stol(tmp_path / "any.stol")
    np.testing.assert_array_equal([stol, amplitudes], [[0, 0.1, 0.2], [2, 3, 6]])


@pytest.mark.parametrize("changes, message", [
    ({"thickness_mm": -1}, "thickness_mm must be zero or positive, got -1"),
    ({"beam_size_mm": 0}, "beam_size_mm must be positive, got 0"),
    ({"density_g_per_cm3": np.nan}, "density_g_per_cm3 must be zero or positive, got nan"),
    ({"molecular_weight_Da": 0}, "molecular_weight_Da must be positive, got 0"),
    ({"stol_per_A": [0, 0.1, 0.1, 0.2, 0.3]}, "stol_per_A must increase"),
    ({"stol_per_A": [-1, 0.1, 0.11, 0.2, 0.3]}, "stol_per_A must be zero or positive"),
    ({"amplitudes_e": [1, 2]}, r"amplitudes_e must be an array of shape \(5,\), got shape \(2,\)"),
    ({"stol_per_A": [], "amplitudes_e": []}, "stol_per_A must hold at least one number"),
])  # fmt: skip
def test_samples_that_are_refused(changes, message, unchecked):
    given = {"stol_per_A": TABLE[0], "amplitudes_e": TABLE[1]} | SAMPLE | changes
    with pytest.raises(nb.InputError, match=message):
        nb.Amorphous(**given)


def test_an_unknown_substance_needs_density_and_weight():
    with pytest.raises(nb.InputError, match="give density and molecular weight of lucite: .* water, air, ice only"):
        amorphous_sample("lucite", 1.0, density_g_per_cm3=1.2)


LINE = "-cell 50 60 70 -default_F 9 -N 5 -detpixels_x 12 -detpixels_y 9 -pixel 6 -oversample 1 -flux 1e10"
QUIET = ["-nonoise", "-nopgm"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a table in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.stol").write_text("0 3\n0.2 7\n0.5 2\n")
    return tmp_path


def run(*words):
    assert cli.main([*LINE.split(), *QUIET, *words]) == 0
    return read_raw("floatimage.bin", (9, 12))


@pytest.mark.slow
def test_the_flags(folder, capsys):
    bare = nb.experiment_from_args(LINE.split())
    crystal = np.asarray(nb.simulate(bare))
    image = run("-stol", "water", "-amorphous_sample_thick", "2", "-beamsize", "0.05")
    assert "amorphous (mm, mm beam, g/cm3, Da)   2 0.05 0.997 18.0153" in capsys.readouterr().out
    brighter = eqx.tree_at(lambda e: e.beam.fluence_per_m2, bare, bare.beam.fluence_per_m2 * 4)
    water = amorphous_sample("water", 2.0, beam_size_mm=0.05)
    whole = eqx.tree_at(lambda e: e.scatterers, brighter, (water,))
    np.testing.assert_allclose(image, nb.simulate(whole), rtol=2e-7)
    given = "-amorphous_thick 1 -amorphous_density 1.2 -amorphous_MW 100".split()
    image = run("-stol", "some.stol", *given)
    some = nb.Amorphous(
        [0, 0.2, 0.5], [3, 7, 2], thickness_mm=1, density_g_per_cm3=1.2, molecular_weight_Da=100, beam_size_mm=0.1
    )
    whole = eqx.tree_at(lambda e: e.scatterers, bare, (some,))
    np.testing.assert_allclose(image, nb.simulate(whole), rtol=2e-7)
    assert (image > 1.01 * crystal).any()


def test_a_saved_run_has_the_sample(tmp_path):
    whole = with_sample(amorphous_sample("ice", 0.3))
    nb.save_config(tmp_path / "run.json", whole)
    loaded = nb.load_config(tmp_path / "run.json").experiment
    assert eqx.tree_equal(loaded, whole)
    nb.save_config(tmp_path / "run.json", experiment())
    assert nb.load_config(tmp_path / "run.json").experiment.scatterers == ()


def test_the_flags_have_no_effect_in_c_parity(folder, capsys):
    plain = run("-mode", "c-parity")
    capsys.readouterr()
    np.testing.assert_array_equal(run("-mode", "c-parity", "-stol", "absent", "-amorphous_thick", "1"), plain)
    notes = capsys.readouterr().err
    assert "-stol has no effect in c-parity\n" in notes and "-amorphous_thick has no effect in c-parity\n" in notes


@pytest.mark.parametrize("line, note", [
    ("-stol absent", "-stol has no effect without -amorphous_sample_thick"),
    ("-amorphous_density 1", "-amorphous_density has no effect without -stol"),
])  # fmt: skip
def test_notes(line, note):
    assert note in flags.parse(line.split()).notes
    assert nb.experiment_from_args([*LINE.split(), *line.split()]).scatterers == ()


@pytest.mark.parametrize("line, words", [
    ("-stol absent.stol -amorphous_thick 1 -amorphous_density 1 -amorphous_MW 18", ["-stol", "absent.stol", "No such"]),
    ("-stol some.stol -amorphous_thick 1 -amorphous_density 1", ["-stol some.stol", "-amorphous_molecular_weight"]),
    ("-stol some.stol -amorphous_thick 1", ["-stol some.stol", "water, air, ice", "-amorphous_density"]),
    ("-stol water -amorphous_thick -1", ["-amorphous_thick must be >= 0 (mm), got -1"]),
])  # fmt: skip
def test_flags_that_are_refused(line, words, folder, capsys):
    assert cli.main([*LINE.split(), *line.split()]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and all(word in captured.err for word in words), captured.err
    assert [path.name for path in folder.iterdir()] == ["some.stol"]
