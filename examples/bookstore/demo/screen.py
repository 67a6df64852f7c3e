"""What the demo shows: a live picture on a terminal, else a plain line each second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

WIDEST = 100
EVENTS = 6
BARS = " ▁▂▃▄▅▆▇█"


@dataclass(slots=True)
class View:
    """All numbers of one moment. `supervisor` and `children` are process ids."""

    readers: int
    total: int
    welcome_after: float
    sent: int = 0
    queued: int = 0
    in_work: int = 0
    scheduled: int = 0
    done: int = 0
    retried: int = 0
    failed: int = 0
    raced: int = 0  # those of the failed that found no conversation
    race: str = ""  # what came of the race
    rate: float = 0.0
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=60))
    supervisor: int = 0
    children: Sequence[int] = ()
    payments: dict[str, int] = field(default_factory=dict)
    mails: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold at the end, and what was found."""

    what: str
    holds: bool
    found: str


class Screen:
    """Shows a `View` and events. `update` may be called as often as one likes."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.console = Console(highlight=False)
        self.console.width = min(self.console.width, WIDEST)
        self._begun = time.monotonic()
        self._events: deque[tuple[float, str, str]] = deque(maxlen=EVENTS)
        self._last_line = 0.0
        self._live = (
            Live(console=self.console, auto_refresh=False, get_renderable=self._picture)
            if self.console.is_terminal and not self.console.is_dumb_terminal
            else None
        )

    def __enter__(self) -> Screen:
        if self._live is None:
            self.console.print(f"The book store: {_intention(self.view)}")
        else:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    def event(self, text: str, style: str = "") -> None:
        """Tell of something that happened."""
        self._events.append((self.seconds, text, style))
        if self._live is None:
            self.console.print(f"{self.seconds:5.1f} s  {text}", soft_wrap=True)
        else:
            self._live.refresh()

    def update(self) -> None:
        """Show the view as it is now."""
        if self._live is not None:
            self._live.refresh()
        elif self.seconds - self._last_line >= 1:
            self._last_line = self.seconds
            self.console.print(f"{self.seconds:5.1f} s  {_line(self.view)}", soft_wrap=True)

    def verdict(self, checks: Sequence[Check], last_words: str) -> None:
        """Show the checks and the end."""
        table = Table.grid(padding=(0, 2))
        for check in checks:
            mark = ("✓ ", "bold green") if check.holds else ("✗ ", "bold red")
            table.add_row(Text.assemble(mark, check.what), Text(check.found))
        good = all(check.holds for check in checks)
        self.console.print()
        self.console.print(Padding(table, (0, 1), expand=False))
        self.console.print()
        style = "bold green" if good else "bold red"
        self.console.print(Padding(Text(last_words, style), (0, 1), expand=False))

    def complain(self, text: str) -> None:
        """Show what went wrong."""
        self.console.print(Text(text, "red"), soft_wrap=True)

    # The live picture

    def _picture(self) -> RenderableType:
        view = self.view
        head = Table.grid(expand=True)
        head.add_column(ratio=1)
        head.add_column(justify="right")
        head.add_row(Text(_intention(view)), Text(f"{self.seconds:.0f} s", "bold"))
        parts: list[RenderableType] = [head, "", self._progress(), "", _numbers(view), ""]
        parts += [_parties(view), "", *self._event_lines()]
        return Panel(
            Group(*parts),
            title=Text("umbel: the book store", "bold"),
            title_align="left",
            border_style="cyan",
            box=box.ROUNDED,
            padding=(0, 1),
        )

    def _progress(self) -> RenderableType:
        view = self.view
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(ratio=1)
        line.add_column(justify="right", width=5)
        line.add_column(justify="right", width=14)
        share = view.done / view.total
        bar = ProgressBar(
            view.total,
            view.done,
            complete_style="cyan",
            finished_style="green",
            style="bright_black",
        )
        # 100 % is said only of what is complete.
        line.add_row(bar, Text(f"{int(100 * share)} %", "bold"), f"{view.done:,} / {view.total:,}")
        return line

    def _event_lines(self) -> list[RenderableType]:
        lines: list[RenderableType] = [
            Text.assemble((f"{when:5.1f} s  ", "bright_black"), (text, style))
            for when, text, style in self._events
        ]
        for line in lines:
            if isinstance(line, Text):
                line.no_wrap, line.overflow = True, "ellipsis"
        return lines + [""] * (EVENTS - len(lines))


def _intention(view: View) -> str:
    return f"{view.readers:,} readers open a book at $1, charged in the background."


def _line(view: View) -> str:
    return (
        f"{view.done:,} of {view.total:,} done, {view.rate:.0f}/s; queued {view.queued:,},"
        f" in work {view.in_work}, scheduled {view.scheduled}, retried {view.retried},"
        f" failed {view.failed}"
    )


def _numbers(view: View) -> RenderableType:
    """The row of counters: a name above each number."""
    table = Table.grid(expand=True)
    cells = (
        ("queued", view.queued, ""),
        ("in work", view.in_work, "cyan"),
        ("scheduled", view.scheduled, "magenta"),
        ("done", view.done, "green"),
        ("retried", view.retried, "blue"),
        ("failed", view.failed, "bold red" if view.failed else ""),
    )
    for _ in cells:
        table.add_column(justify="right", ratio=1)
    table.add_row(*[Text(name, "bright_black") for name, _, _ in cells])
    table.add_row(*[Text(f"{number:,}", f"bold {style}".strip()) for _, number, style in cells])
    return table


def _parties(view: View) -> RenderableType:
    """Who takes part, and how each is doing."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bright_black")
    table.add_column(no_wrap=True, overflow="ellipsis")
    counts = view.payments
    children = "  ".join(map(str, view.children)) or "starting"
    table.add_row("speed", Text.assemble(f"{view.rate:4.0f} tasks/s  ", (_spark(view), "cyan")))
    table.add_row("site", f"{view.requests:,} requests answered")
    table.add_row("worker", f"pid {view.supervisor}, children {children}")
    table.add_row(
        "payments",
        f"{counts.get('taken', 0):,} charged; {counts.get('refused', 0)} × 503,"
        f" {counts.get('slow', 0)} slow; {counts.get('repeated', 0)} repeats not charged again",
    )
    table.add_row("mail", f"{view.mails:,} of {view.readers + 1:,} mails delivered")
    table.add_row("race", view.race or "not yet")
    return table


def _spark(view: View) -> str:
    """Tasks per second over time, as a row of small bars."""
    top = max([*view.rates, 1.0])
    return "".join(BARS[min(round(rate / top * 8), 8)] for rate in list(view.rates)[-44:])
