"""The documentation says what the package has: flags, public names, pages, version. The site itself is built by CI."""

import re
import sys
import types
from pathlib import Path

import pytest
import yaml

import nanobrag_jax as nb
from nanobrag_jax import compare, flags, refine

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
    for module in (refine, compare):
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
