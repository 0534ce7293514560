"""Pages of the site that are made when it is built: what stands in one place already is not written down twice.

mkdocs calls the functions whose names begin with `on_` (see mkdocs.yml). The overview is the README, the flags come
from the table of the command line; golden data, changes and citation are files in the root of the repository.
"""

import re
from pathlib import Path

from nanobrag_jax.command import flags

ROOT = Path(__file__).resolve().parents[1]

FLAGS_HEAD = """---
hide: [toc]
---

# Every flag

This page is made from the table that the command itself reads ({count} flags), as is `python -m nanobrag_jax --help`.

- One dash or two; a value follows its flag; of several the last one wins.
- A spelling that ends in `…` stands for any continuation.
- Flags that others of the line make useless are named in a note on stderr; a flag that does not exist is an error that
  names the nearest one that does.
- The setting is its name in Python: `nanobrag_jax.command.flags.parse([...]).get("distance_mm")`.
- The field is what it stands for in an `Experiment`, where it stands for one alone; a number is an item of a vector.
- Whatever belongs to the reference program behaves as [its description](reference.md) says.

"""

CITE = """# How to cite

If images or refinements made with this package are part of a publication, cite the package with the version you used
(`python -m nanobrag_jax --version`), and the program whose physics it reproduces: nanoBragg by James Holton.
`CITATION.cff` in the root of the repository has the same in a form that reference managers and GitHub read:

```yaml
{cff}
```
"""


def root_page(name: str) -> str:
    """A Markdown file of the repository's root, with its links as seen from docs/."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return (
        text.replace("](golden_data/README.md)", "](golden_data.md)")
        .replace("](CONTRIBUTING.md)", "](contributing.md)")
        .replace("](docs/", "](")
    )


def pages() -> dict[str, str]:
    """Path in the site → Markdown."""
    return {
        "index.md": root_page("README.md"),
        "changelog.md": root_page("CHANGELOG.md"),
        "contributing.md": root_page("CONTRIBUTING.md"),
        "golden_data.md": root_page("golden_data/README.md"),
        "flags.md": FLAGS_HEAD.format(count=len(flags.FLAGS)) + flags.markdown_table(),
        "cite.md": CITE.format(cff=(ROOT / "CITATION.cff").read_text(encoding="utf-8").strip()),
    }


def on_files(files, config):
    """Add the pages to those of docs/ (a hook of mkdocs)."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """What belongs to a list item, indented by two or three spaces, indented by the four that mkdocs wants (a hook)."""
    if not page.file.src_uri.endswith(".md"):
        return markdown
    pieces = re.split(r"^(```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    pieces[::2] = [re.sub(r"^ {2,3}(?=\S)", "    ", text, flags=re.MULTILINE) for text in pieces[::2]]
    return "".join(pieces)


def on_page_content(html, page, config, files):
    """Make links of the pages that docstrings name as `docs/….md` (a hook of mkdocs)."""
    if not page.url.startswith("api/"):
        return html
    return re.sub(r"docs/([a-z_]+)\.md", r'<a href="../../\1/">\1</a>', html)
