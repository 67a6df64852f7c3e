"""``umbel result``: show what became of a call."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from umbel import states
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.output import json_option, show_json
from umbel.result import AsyncResult

#: The exit code that says: it has not ended yet.
NOT_YET = 3


@click.command(
    "result",
    epilog=examples(
        "umbel -A tasks result 019f2f6e-6a4b-7d07-b0a2-3d1f0e6f1c2a --wait 10",
        codes="Exit codes: 0 it succeeded, 1 it failed or was revoked, 3 it has not ended yet.",
    ),
)
@click.argument("task_id")
@click.option("-t", "--task", help="Name of the task; accepted as in Celery, and not needed.")
@click.option("--traceback", is_flag=True, help="Show the traceback of a failure, too.")
@click.option("--wait", type=float, help="Wait so many seconds for it to end.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    task_id: str,
    task: str | None,
    traceback: bool,
    wait: float | None,
    as_json: bool,
) -> None:
    """Show what became of a call.

    Its state and its result, or the exception that it raised.
    """
    given: Global = context.obj
    app = given.load()
    if task is not None:
        app.tasks[task]  # a wrong name is told
    found = app.AsyncResult(task_id)
    wait_for(found, wait)
    data = as_data(found)
    if as_json:
        show_json(data)
    else:
        value = found.result if data["state"] in states.READY_STATES else data["result"]
        click.echo(f"{data['state']}: {value!r}")
        if traceback and data["traceback"]:
            click.echo(data["traceback"])
    context.exit(exit_code(data["state"]))


def wait_for(found: AsyncResult[Any], seconds: float | None) -> None:
    """Give a call that many seconds to end; its state says whether it did."""
    if seconds is not None:
        with contextlib.suppress(TimeoutError):
            found.get(timeout=seconds, propagate=False)


def exit_code(state: str) -> int:
    """Return what a state is as an exit code."""
    if state not in states.READY_STATES:
        return NOT_YET
    return 0 if state == states.SUCCESS else 1


def as_data(found: AsyncResult[Any]) -> dict[str, Any]:
    """Return what became of a call at one moment, for scripts."""
    value, state = found.result, found.state
    if state in states.READY_STATES:  # it may have ended between the two; from here on it stays
        value = found.result
    return {
        "id": found.id,
        "state": state,
        "result": repr(value) if isinstance(value, BaseException) else value,
        "traceback": found.traceback,
        "date_done": found.date_done and found.date_done.isoformat(),
    }
