"""A format defined outside the package: written and read by name, in Python and by the command."""

import os
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from format_cases import case, panel, photons

import nanobrag_jax as nb
from nanobrag_jax.command import run as cli
from nanobrag_jax.errors import InputError
from nanobrag_jax.formats import FileContent, ImageFormat, Requirement, registry
from nanobrag_jax.formats.whole_numbers import as_whole_numbers


class TextImage(ImageFormat):
    """Counts as decimal numbers, a line for each row, after a line that says the wavelength."""

    name = "text"
    label = "text"
    extensions = (".txtimg",)
    foreign = "decides"
    holds_numbers = True
    has_datasets = False
    needs_to_write = None
    needs_to_read = None

    def unsaid(self, setup):
        return ["a text image does not say where the detector is"] if setup.lab.twotheta_deg else []

    def write(self, images, setup):
        first = f"TEXT {setup.lab.wavelength_A:g}\n"
        rows = [[" ".join(map(str, row)) for row in as_whole_numbers(image, np.int64).tolist()] for image in images]
        return [FileContent([first.encode(), "\n".join(lines).encode()], 2) for lines in rows]

    def begins(self, start):
        return start.startswith(b"TEXT ")

    def read(self, path, dataset, shape):
        try:
            return np.loadtxt(path, dtype=int, skiprows=1, ndmin=2)
        except ValueError as error:
            raise InputError(f"{path} is no text image: {error}") from error


@pytest.fixture(autouse=True)
def no_others(monkeypatch):
    """The registry as it is without what a test registers."""
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def text():
    return nb.formats.register(TextImage())


def test_written_and_read_by_name(text, tmp_path):
    light = photons()
    assert nb.write_image(tmp_path / "x.txtimg", light, case("off centre")) == [str(tmp_path / "x.txtimg")]
    assert (tmp_path / "x.txtimg").read_bytes().startswith(b"TEXT 1.2\n")
    np.testing.assert_array_equal(nb.read_image(tmp_path / "x.txtimg"), np.floor(light.astype(float) + 0.5))
    os.rename(tmp_path / "x.txtimg", tmp_path / "y")  # its content tells too
    assert nb.read_image(tmp_path / "y").shape == (10, 12)
    assert nb.formats.format_named("text") is text
    with pytest.warns(UserWarning, match=r"x\.txtimg: a text image does not say where the detector is"):
        nb.write_image(tmp_path / "x.txtimg", light, case("two theta"))


def test_what_it_refuses_is_refused_in_one_sentence(text, tmp_path):
    with pytest.raises(InputError, match=r"^write_image .*x\.txtimg: the format holds whole numbers from -92"):
        nb.write_image(tmp_path / "x.txtimg", np.full((10, 12), 3e38), case("off centre"))
    (tmp_path / "bad.txtimg").write_text("1\n2 3\nfour\n")
    with pytest.raises(InputError, match=r"bad\.txtimg is no text image"):
        nb.read_image(tmp_path / "bad.txtimg")
    with pytest.raises(InputError, match="only HDF5 and npz files have datasets"):
        nb.read_image(f"{tmp_path}/bad.txtimg::one")
    assert os.listdir(tmp_path) == ["bad.txtimg"]


def test_panels_are_numbered(text, tmp_path):
    experiment = nb.Experiment(
        crystal=nb.Crystal((30.0, 40.0, 50.0)),
        structure_factors=nb.StructureFactors(default_F=1.0),
        beam=nb.Beam(direction=(0, 0, -1), polarization_vector=(1, 0, 0), kahn_factor=0.9),
        detector=[panel(-30.0, 10), panel(3.0, 7)],
    )
    names = nb.write_image(tmp_path / "x.txtimg", [photons(), photons()[:7]], experiment)
    assert [os.path.basename(name) for name in names] == ["x_0.txtimg", "x_1.txtimg"]
    assert [nb.read_image(name).shape for name in names] == [(10, 12), (7, 12)]


def test_the_command_writes_it(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    args = "-cell 50 60 70 -default_F 100 -N 5 -detpixels_x 12 -detpixels_y 9 -pixel 1 -oversample 2 -nopgm -nonoise"
    flags = [*args.split(), "-fluence", "1e27", "-twotheta", "5"]
    assert cli.main([*flags, "-floatfile", "x.txtimg", "-intfile", "x.img"]) == 0
    assert "note: x.txtimg: a text image does not say where the detector is" in capsys.readouterr().err
    assert cli.main([*flags, "-floatfile", "x.bin", "-intfile", "y.txtimg", "-png", "z.txtimg"]) == 0
    assert "z.txtimg will hold PNG, though its name looks like text" in capsys.readouterr().err
    found = nb.read_image("x.bin", (9, 12)).astype(float)
    np.testing.assert_array_equal(nb.read_image("x.txtimg"), np.floor(found + 0.5))
    np.testing.assert_array_equal(nb.read_image("y.txtimg"), nb.read_image("x.img"))


def test_before_it_is_registered_nothing_knows_it(tmp_path):
    for _ in range(2):
        with pytest.raises(InputError, match=r"its name must end in \.cbf, .* or \.png$"):
            nb.write_image(tmp_path / "x.txtimg", photons(), case("off centre"))
    nb.formats.register(TextImage())
    with pytest.raises(InputError, match=r"its name must end in \.cbf, .* \.png or \.txtimg$"):
        nb.write_image(tmp_path / "x.tif", photons(), case("off centre"))


def changed(**facts):
    """The format with some of what it says changed, or with ... taken away."""
    kept = {name: value for name, value in vars(TextImage).items() if not name.startswith("__")}
    made = {name: value for name, value in (kept | facts).items() if value is not ...}
    return type("Changed", (ImageFormat,), made)()


@pytest.mark.parametrize(
    "facts, message",
    [
        ({"name": "cbf"}, "a format of the package is called 'cbf': give another name"),
        ({"name": "other"}, ".txtimg stands for text files already: give text another ending"),
        ({"extensions": (".png",)}, ".png stands for PNG files already: give text another ending"),
        ({"extensions": ("txt",)}, "an ending must be small letters after a point, as in '.cbf', got 'txt'"),
        ({"extensions": (".TXT",)}, "an ending must be small letters after a point, as in '.cbf', got '.TXT'"),
        ({"label": ..., "foreign": ...}, "the format Changed does not say label, foreign"),
    ],
)
def test_what_cannot_be_registered(text, facts, message):
    with pytest.raises(InputError) as raised:
        nb.formats.register(changed(**facts))
    assert str(raised.value) == message
    assert registry.all_formats() == (*registry.OWN, text)


def test_a_method_that_is_missing_is_pythons_error():
    with pytest.raises(TypeError, match="abstract"):
        changed(read=...)


def test_registering_again_replaces(text):
    """A notebook's cell may run twice."""
    again = nb.formats.register(TextImage())
    assert registry.all_formats() == (*registry.OWN, again)


@pytest.mark.parametrize("what", ["written", "read"])
def test_what_it_needs_is_asked_for_first(what, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    need = {"needs_to_write" if what == "written" else "needs_to_read": Requirement("no_such_module", "such[all]")}
    nb.formats.register(changed(**need))
    if what == "written":
        assert cli.main(["-cell", "50", "-default_F", "1", "-floatfile", "x.txtimg"]) == 1
        sentence = "-floatfile: text files need no_such_module: pip install such[all]\n"
        assert capsys.readouterr().err == f"nanobrag_jax: error: {sentence}"
        assert os.listdir() == []
    else:
        (tmp_path / "x").write_text("TEXT 1\n1 2\n")
        with pytest.raises(
            InputError, match=r"^image 'x' is text, which needs no_such_module: pip install such\[all\]$"
        ):
            nb.read_image("x")


def test_a_wrong_number_of_files_is_the_formats_mistake(tmp_path):
    nb.formats.register(changed(write=lambda self, images, setup: []))
    with pytest.raises(ValueError, match="Changed.write made 0 files of 1 panels"):
        nb.write_image(tmp_path / "x.txtimg", photons(), case("off centre"))


@pytest.mark.filterwarnings("ignore:image.txtimg. a text image says nothing of the detector")
def test_the_example_of_the_documentation(tmp_path, monkeypatch, capsys):
    """docs/formats.md: the class, and what is done with it."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/formats.md").read_text()
    (code,) = re.findall(r"^```python\n(import numpy.*?)^```$", page, re.MULTILINE | re.DOTALL)
    scope = {}
    with jax.numpy_rank_promotion("allow"):
        exec(code, scope)
    np.testing.assert_array_equal(scope["again"], np.asarray(scope["photons"], np.float32))
    np.testing.assert_allclose(nb.read_image("command.txtimg"), scope["again"], rtol=1e-6)
    assert "note: command.txtimg: a text image says nothing of the detector" in capsys.readouterr().err
