"""The table of flags as text: for --help, and for the documentation."""

import textwrap

from .flag import Flag
from .table import GROUPS


def _default_text(flag: Flag) -> str:
    if flag.default is None or flag.default is False or not flag.settings:
        return ""
    if flag.kind == "switch":
        return "the default" if flag.constant == flag.default else ""
    words = flag.default if isinstance(flag.default, tuple) else (flag.default,)
    return "default " + " ".join(f"{word:g}" if word in (0.0, 1.0, 40.0, 100.0) else str(word) for word in words)


def help_text() -> str:
    """The list of flags for --help: groups, spellings, units and defaults."""
    lines = ["One dash or two; values follow the flag; the last of several wins."]
    for title, flags in GROUPS.items():
        lines += ["", f"{title}:"]
        for flag in flags:
            lines.append(f"  {' | '.join(flag.spellings)} {flag.argument}".rstrip().replace("…", "..."))
            unit = f"in {flag.unit}" if flag.unit and flag.unit not in flag.argument else ""
            text = "; ".join(part for part in (flag.help, unit, _default_text(flag)) if part)
            if text:
                lines.append(textwrap.fill(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(lines) + "\n"


def markdown_table() -> str:
    """The flag table for the documentation, in Markdown."""
    lines = ["| group | flag | value | effect | allowed | default | setting | field |", "|" + "---|" * 8]
    for title, flags in GROUPS.items():
        for flag in flags:
            names = " ".join(f"`{name}`" for name in flag.spellings)
            settings, fields = (" ".join(f"`{name}`" for name in names) for names in (flag.settings, flag.fields))
            default = _default_text(flag).removeprefix("default ")
            effect = flag.help or "read, and of no effect"
            unit = f" ({flag.unit})" if flag.unit and flag.unit not in flag.argument else ""
            cells = (title, names, flag.argument + unit, effect, flag.bounds, default, settings, fields)
            lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
