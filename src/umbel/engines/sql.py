"""Named statements: SQL lives in .sql files, one commented statement under each ``-- name.

<name>`` line.
"""

from __future__ import annotations

from importlib.resources import files


def statements(package: str, filename: str) -> dict[str, str]:
    """Return the statements of a file of a package by name, without their comments."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in files(package).joinpath(filename).read_text("utf-8").splitlines():
        if line.startswith("-- name:"):
            lines = found.setdefault(line.removeprefix("-- name:").strip(), [])
        elif line.strip() and not line.lstrip().startswith("--"):
            lines.append(line)
    return {name: "\n".join(text) for name, text in found.items()}


def script(package: str, filename: str) -> list[str]:
    """Return the statements of a file that is run as a whole, each ended by a semicolon at a line's end."""
    text = files(package).joinpath(filename).read_text("utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [statement.strip() for statement in code.split(";\n") if statement.strip()]
