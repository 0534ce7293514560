"""JSON as people read it."""

import json

_LINE = 100


def json_text(value: object, indent: int = 0) -> str:
    """JSON with one key a line, and arrays in one line or one line for each of their rows."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or (len(line) <= _LINE and not _has_tables(value)):
        return line
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        inner = [f"{pad}{json.dumps(key)}: {json_text(each, indent + 2)}" for key, each in value.items()]
        return "{\n" + ",\n".join(inner) + "\n" + " " * indent + "}"
    rows = [json_text(each, indent + 2) for each in value]
    if any(isinstance(each, list | dict) for each in value):
        return "[\n" + ",\n".join(pad + row for row in rows) + "\n" + " " * indent + "]"
    lines, current = [], ""
    for row in rows:
        if current and len(current) + len(row) > _LINE:
            lines.append(current)
            current = ""
        current += f"{', ' if current else ''}{row}"
    return "[\n" + ",\n".join(pad + each for each in [*lines, current]) + "\n" + " " * indent + "]"


def _has_tables(value: object) -> bool:
    return isinstance(value, dict) and "file" not in value
