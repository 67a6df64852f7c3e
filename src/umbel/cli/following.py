"""What ``umbel result --follow`` shows until a call or a group has ended: on a terminal a bar, else lines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import click

from umbel import states
from umbel.cli.members import Members, how_far
from umbel.cli.output import on_terminal, show_json, terminal
from umbel.progress import Progress
from umbel.result import AsyncResult, GroupResult

#: Shows a state, and how far the task is where it has told.
Show = Callable[[str, Progress | None], None]


def follow(result: AsyncResult[Any] | GroupResult, timeout: float | None, as_json: bool) -> None:
    """Show what is stored of a call, or of a group's, until it has ended, or for `timeout` seconds."""
    is_group = isinstance(result, GroupResult)
    wait = _wait_for_all if is_group else _wait
    with contextlib.suppress(TimeoutError):
        if as_json or not on_terminal():
            show = _json if as_json else _line
            wait(result, timeout, _each_percent(show) if is_group else show)
        else:
            with terminal().bar() as show:
                show(states.PENDING, None)
                wait(result, timeout, show)


def _wait(result: Any, timeout: float | None, show: Show) -> None:
    def hear(meta: Mapping[str, Any]) -> None:
        state = meta["status"]
        if state not in states.READY_STATES:
            own = state not in states.ALL_STATES
            show(state, Progress.of(meta["result"]) if own else None)

    result.get(timeout, propagate=False, on_message=hear)


def _wait_for_all(group: Any, timeout: float | None, show: Show) -> None:
    found = Members.of(group)
    ended, failed, total = int(found.progress.done), len(found.failed), found.counts.total()
    if ended < total:
        show(found.state, found.progress)

    def hear(meta: Mapping[str, Any]) -> None:
        nonlocal ended, failed
        if meta["status"] in states.READY_STATES:
            ended += 1
            failed += meta["status"] in states.PROPAGATE_STATES
            if ended < total:
                show(states.PROGRESS, how_far(ended, failed, total))

    group.get(timeout, propagate=False, on_message=hear)


def _each_percent(show: Show) -> Show:
    """Return what shows only each percent more, and the first that fails: groups may be large."""
    last: tuple[int, bool] | None = None

    def show_some(state: str, told: Progress | None) -> None:
        nonlocal last
        found = (int(told.percent or 0), bool(told.message)) if told is not None else None
        if found != last or found is None:
            last = found
            show(state, told)

    return show_some


def _line(state: str, told: Progress | None) -> None:
    click.echo(state if told is None else f"{state}: {told}")


def _json(state: str, told: Progress | None) -> None:
    how_far = None if told is None else told.as_meta()
    show_json({"state": state, "progress": how_far})
