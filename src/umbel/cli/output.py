"""What commands print: tables on a terminal, plain text for pipes, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

Rows = Sequence[Sequence[object]]


def show_json(data: object) -> None:
    """Print one line of JSON; what JSON has no word for is shown as Python does."""
    click.echo(json.dumps(data, default=repr))


def terminal() -> Any:
    """Return the module that draws on terminals: `rich` is imported only where it is used."""
    return import_module("umbel.cli.terminal")


def on_terminal() -> bool:
    """Tell whether a person looks at what is printed."""
    return sys.stdout.isatty()


def show_table(columns: Sequence[str], rows: Rows, empty: str = "") -> None:
    """Print rows under headings; numbers to the right. `empty` is printed when there are none.

    A terminal gets a table that fits its width; a pipe gets a line for each row, never broken.
    """
    if not rows:
        if empty:
            click.echo(empty)
    elif on_terminal():
        terminal().console().print(terminal().table(columns, rows))
    else:
        click.echo(plain(columns, rows))


def plain(columns: Sequence[str], rows: Rows) -> str:
    """Return a table as lines of text."""
    right = numeric(rows)
    lines = [list(columns), *([" ".join(str(cell).split("\n")) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def numeric(rows: Rows) -> list[bool]:
    """Tell of each column whether it has only numbers."""
    return [
        all(isinstance(cell, int | float) for cell in column) for column in zip(*rows, strict=True)
    ]
