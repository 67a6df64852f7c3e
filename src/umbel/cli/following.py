"""What ``umbel result --follow`` shows until a call has ended: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import click

from umbel import states
from umbel.cli.output import on_terminal, show_json, terminal
from umbel.progress import Progress
from umbel.result import AsyncResult

#: Shows a state, and how far the task is where it has told.
Show = Callable[[str, Progress | None], None]


def follow(result: AsyncResult[Any], timeout: float | None, as_json: bool) -> None:
    """Show what is stored of a call until it has ended, or for `timeout` seconds."""
    with contextlib.suppress(TimeoutError):
        if as_json or not on_terminal():
            _wait(result, timeout, _json if as_json else _line)
        else:
            with terminal().bar() as show:
                show(states.PENDING, None)
                _wait(result, timeout, show)


def _wait(result: AsyncResult[Any], timeout: float | None, show: Show) -> None:
    def hear(meta: Mapping[str, Any]) -> None:
        state = meta["status"]
        if state not in states.READY_STATES:
            own = state not in states.ALL_STATES
            show(state, Progress.of(meta["result"]) if own else None)

    result.get(timeout, propagate=False, on_message=hear)


def _line(state: str, told: Progress | None) -> None:
    click.echo(state if told is None else f"{state}: {told}")


def _json(state: str, told: Progress | None) -> None:
    how_far = None if told is None else told.as_meta()
    show_json({"state": state, "progress": how_far})
