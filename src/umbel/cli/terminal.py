"""Tables and live displays, drawn with `rich`. Imported only where something is drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import click
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from umbel.cli.output import Rows, numeric
from umbel.progress import Progress


def console() -> Console:
    """Return the terminal, without colours when nobody wants them."""
    context = click.get_current_context(silent=True)
    return Console(no_color=context is not None and context.color is False, highlight=False)


def table(columns: Sequence[str], rows: Rows) -> Table:
    """Return rows under headings; long cells are folded to fit the width.

    The first column is what a row is called, and people copy it: it stays whole while it takes no
    more than half of the width.
    """
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    right = numeric(rows) if rows else [False] * len(columns)
    longest = max((len(str(row[0])) for row in rows), default=0)
    for index, (column, number) in enumerate(zip(columns, right, strict=True)):
        whole = index == 0 and longest <= console().width // 2
        justify: Literal["left", "right"] = "right" if number else "left"
        drawn.add_column(column, justify=justify, overflow="fold", no_wrap=whole)
    for row in rows:
        drawn.add_row(*[Text(str(cell)) for cell in row])  # text, since names may hold brackets
    return drawn


def live(draw: Callable[[], Table], pause: Callable[[], None]) -> None:
    """Draw again and again in one place, until Ctrl+C."""
    with (
        contextlib.suppress(KeyboardInterrupt),
        Live(draw(), console=console(), auto_refresh=False) as shown,
    ):
        while True:
            pause()
            shown.update(draw(), refresh=True)


@contextlib.contextmanager
def bar() -> Iterator[Callable[[str, Progress | None], None]]:
    """Draw one bar in one place; give what shows a state there, and how far a task is. Then it is erased."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[count]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}", markup=False),
    )
    with Bars(*columns, console=console(), transient=True) as bars:
        line = bars.add_task("", total=None, state="", count="", message="")

        def show(state: str, told: Progress | None) -> None:
            done, total, count = (0.0, None, "") if told is None else (told.done, told.total, "")
            if told is not None:
                count = f"{told.done:g}" if told.total is None else f"{told.done:g}/{told.total:g}"
            message = "" if told is None else told.message
            bars.update(
                line, completed=done, total=total, state=state, count=count, message=message
            )

        yield show
