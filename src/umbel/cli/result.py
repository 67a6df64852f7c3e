"""``umbel result``: show what became of a call."""

from __future__ import annotations

import contextlib

import click

from umbel import states
from umbel.cli.base import Global


@click.command("result")
@click.argument("task_id")
@click.option("-t", "--traceback", is_flag=True, help="Show the traceback of a failure.")
@click.option("--wait", type=float, help="Wait so many seconds for it to end.")
@click.pass_context
def command(context: click.Context, task_id: str, traceback: bool, wait: float | None) -> None:
    """Show the state and the result of the call TASK_ID.

    Exit code: 0 success, 1 failure or revoked, 2 not ended yet.
    """
    app = context.find_object(Global).load()  # type: ignore[union-attr]  # set by the group
    result = app.AsyncResult(task_id)
    if wait is not None:
        with contextlib.suppress(TimeoutError):  # the state says so, and so does the exit code
            result.get(timeout=wait, propagate=False)
    click.echo(f"{result.state}: {result.result!r}")
    if traceback and result.traceback:
        click.echo(result.traceback)
    if not result.ready():
        context.exit(2)
    context.exit(0 if result.state == states.SUCCESS else 1)
