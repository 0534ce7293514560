"""The documentation says what the package has: flags, public names, pages, version. The site itself is built by CI."""

import json
import re
import shlex
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml

import nanobrag_jax as nb
from nanobrag_jax import compare, dataset, refine
from nanobrag_jax.command import flags
from nanobrag_jax.conventions import CONVENTIONS
from nanobrag_jax.refine.losses import Poisson
from nanobrag_jax.refine.model import build_problem, restraint_residuals, start

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture
def pages(monkeypatch):
    """Pages that are made when the site is built, by path."""
    monkeypatch.syspath_prepend(str(DOCS))
    import site_pages

    return site_pages.pages()


def nav_paths(entries):
    """All paths of mkdocs.yml's navigation."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for value in entry.values():
                yield from nav_paths(value if isinstance(value, list) else [value])


def test_every_page_is_in_the_navigation_once(pages):
    listed = sorted(nav_paths(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    written = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*") if path.suffix in (".md", ".ipynb")]
    assert listed == sorted([*written, *pages])


def test_the_page_of_flags_has_every_flag_in_one_table(pages):
    rows = [line for line in pages["flags.md"].splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(flags.FLAGS)
    for flag in flags.FLAGS:
        assert sum(f"`{flag.spellings[0]}`" in row.split(" | ")[1].split() for row in rows) == 1, flag.names
    assert f"({len(flags.FLAGS)} flags)" in pages["flags.md"]


def test_made_pages_link_to_pages_of_the_site(pages):
    for path, text in pages.items():
        for target in re.findall(r"\]\(([^)#]+)", text):
            known = target in pages or (DOCS / target).exists() or target.startswith("https://")
            assert known, f"{path}: {target}"


def test_every_public_name_is_on_an_api_page():
    text = "\n".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    documented = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    assert len(documented) == len(set(documented))
    for name in documented:
        module, _, attribute = name.rpartition(".")
        __import__(module)
        assert getattr(sys.modules[module], attribute).__doc__, name
    last = {name.rpartition(".")[2] for name in documented}
    modules = {name for name in nb.__all__ if isinstance(getattr(nb, name), types.ModuleType)}
    public = {*nb.__all__} - modules | {"main"}
    for module in (refine, compare, dataset):
        public |= {n for n, v in vars(module).items() if n[0] != "_" and not isinstance(v, types.ModuleType)}
    assert public <= last, f"not documented: {sorted(public - last)}"


def test_the_citation_file():
    """What version 1.2.0 of the format asks for, and the version of the package."""
    record = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= record.keys()
    assert record["cff-version"] == "1.2.0" and record["type"] == "software"
    assert str(record["version"]) == nb.__version__
    for entry in [record, *record["references"]]:
        assert isinstance(entry["title"], str) and entry["type"] == "software"
        for author in entry["authors"]:
            assert author.keys() in ({"name"}, {"family-names", "given-names"})
    assert record["license"] in (ROOT / "pyproject.toml").read_text()


def page(name):
    """Text of a page."""
    return (DOCS / name).read_text()


def blocks(name, language):
    """Code of a page's blocks in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_quick_start_runs(tmp_path, monkeypatch, capsys):
    """Its commands write the files that it lists, and its Python prints what it says."""
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("quickstart.md", "sh") for line in block.splitlines()]
    (simulation,) = [line for line in commands if line.startswith("python -m nanobrag_jax ")]
    assert nb.cli.main(shlex.split(simulation)[3:]) == 0
    assert {path.name for path in tmp_path.iterdir()} == set(
        re.findall(r"^\| `(\S+)` \|.*`-", page("quickstart.md"), re.M)
    )
    report = capsys.readouterr().out
    scope = {}
    with jax.numpy_rank_promotion("allow"):
        for code in blocks("quickstart.md", "python"):
            exec(code, scope)
    printed = capsys.readouterr().out
    assert printed.startswith(re.search(r"prints `(.*?)…`", page("quickstart.md"))[1])
    assert f"max_I (photons)                      {float(scope['image'].max()):.6g}" in report
    assert scope["spots"].shape == (2,) and float(jax.numpy.abs(scope["slope"]).min()) > 0


@pytest.fixture
def pictures(monkeypatch):
    """The script that draws the conventions."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(DOCS))
    import pictures_conventions

    return pictures_conventions


def test_the_table_of_beam_centres_is_what_the_geometry_says(pictures):
    rows = re.findall(r"^\| ([A-Z]+) \| (\d+), (\d+) \|$", page("conventions.md"), re.MULTILINE)
    assert [name for name, *_ in rows] == list(pictures.CONVENTIONS)
    for name, fast, slow in rows:
        select, x, y = pictures.CONVENTIONS[name]
        numbers = (2, 3) if x == "-ORGX" else (15, 25)
        spot = pictures.stand(f"{select} {x} {numbers[0]} {y} {numbers[1]}").spot
        np.testing.assert_allclose(spot, (float(fast), float(slow)), atol=1e-9)


def test_the_table_of_axes_is_what_the_geometry_says(pictures):
    found = {}
    for line in page("conventions.md").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 8 and cells[1] in ("+x", "+z"):
            found |= dict.fromkeys(cells[0].split(", "), cells[1:])
    assert found.keys() == {"MOSFLM", "DENZO", "ADXV", "XDS", "DIALS"}
    for name, (*axes, pivot) in found.items():
        named = CONVENTIONS[name.lower()]
        vectors = (named.beam, named.fast, named.slow, named.spindle, named.polarization, named.twotheta_axis)
        assert [pictures.lab_name(np.array(v)) for v in vectors] == axes and named.pivot == pivot


def test_flags_for_a_known_beam_position(pictures):
    """The recipes of docs/conventions.md for a beam at F, S, and the defaults."""
    F, S, pixel, size_s = 22.0, 17.0, pictures.PIXEL, pictures.PIXEL * pictures.SLOW
    recipes = {
        "MOSFLM": (S - pixel / 2, F - pixel / 2),
        "DENZO": (S, F),
        "ADXV": (F, size_s - S),
        "XDS": (F / pixel + 0.5, S / pixel + 0.5),
        "DIALS": (F / pixel + 0.5, S / pixel + 0.5),
        "CUSTOM": (F, S),
    }
    beyond = {"MOSFLM": 1.0, "DENZO": 0.5, "ADXV": 0.5, "XDS": 0.0, "DIALS": 0.0, "CUSTOM": 0.0}
    middle = np.array([pictures.FAST, pictures.SLOW]) * pixel / 2
    for name, (select, x, y) in pictures.CONVENTIONS.items():
        u, v = recipes[name]
        np.testing.assert_allclose(pictures.stand(f"{select} {x} {u} {y} {v}").spot, (F, S), atol=1e-9)
        np.testing.assert_allclose(pictures.stand(select).spot, middle + beyond[name] * pixel, atol=1e-9)


@pytest.mark.slow
def test_the_pictures_are_drawn(pictures, tmp_path):
    pictures.main(str(tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {"conventions.png", "half_pixel.png", "pivots.png"}


def test_notebooks_are_kept_without_outputs():
    """They are run, and shown with what they print, when the site is built."""
    names = sorted(path.name for path in (DOCS / "notebooks").glob("*.ipynb"))
    assert names == ["extending.ipynb", "from_pdb_to_image.ipynb", "refine_a_still.ipynb"]
    for name in names:
        for cell in json.loads(page(f"notebooks/{name}"))["cells"]:
            assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)


@pytest.mark.slow
def test_refinement_of_ones_own_runs():
    """The classes that docs/refinement.md defines, each in a fit that finds the truth."""
    codes = blocks("refinement.md", "python")
    first = next(i for i, code in enumerate(codes) if code.startswith("import equinox"))
    scope = {}
    with jax.numpy_rank_promotion("allow"):
        for code in [*codes[first:], codes[first - 1]]:
            exec(code, scope)
        problem = build_problem([scope["truth"]], [scope["data"]], scope["parameters"], Poisson(), scope["restraints"])
        expected = [(7 - 6) / 0.5, (55 * 65 * 74.95 - 268_125) / 300]
        np.testing.assert_allclose(restraint_residuals(problem, start(problem)), expected, rtol=1e-9)
    for name in ("robust", "restrained", "undamped"):
        found = scope[name]
        assert found.converged, found.verdict
        for parameter, true in ((scope["a"], 55.0), (scope["c"], 75.0)):
            assert abs(found.values[parameter] - true) < 4 * found.uncertainties[parameter], name


@pytest.mark.slow
def test_the_refinement_tutorial_ends_as_it_says(capsys):
    """All but its last part, structure factors, which tests/test_examples.py has in another form."""
    scope = {}
    *codes, last = blocks("refinement_tutorial.md", "python")
    assert "structure_factors.amplitudes" in last
    with jax.numpy_rank_promotion("allow"):
        for code in codes:
            exec(code, scope)
    printed = re.findall(r"[A-Za-z]+|[0-9.]+", capsys.readouterr().out)
    told = re.findall(r"[A-Za-z]+|[0-9.]+", "".join(blocks("refinement_tutorial.md", "text")[1:-1]))
    assert len(printed) == len(told)
    words = [(ours, page) for ours, page in zip(printed, told, strict=True) if page.isalpha()]
    assert [ours for ours, _ in words] == [page for _, page in words]
    verdicts = {name: scope[name].describes_the_data for name in ("rough", "one", "three", "lost", "stuck", "hopped")}
    assert verdicts == {"rough": False, "one": True, "three": True, "lost": False, "stuck": False, "hopped": True}
