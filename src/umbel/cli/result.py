"""``umbel result``: show what became of a call."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from umbel import states
from umbel.app import Umbel
from umbel.cli import following
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.members import Members
from umbel.cli.output import json_option, show_json
from umbel.exceptions import ImproperlyConfigured, OperationalError
from umbel.ports import StoredMessage
from umbel.progress import Progress
from umbel.result import AsyncResult, GroupResult

#: The exit code that says: it has not ended yet.
NOT_YET = 3


def require_name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Return what was given; of an empty text, such as a variable that is not set, say so."""
    if not value.strip():
        raise click.BadParameter("it is empty: give the id of a call.", context, parameter)
    return value


@click.command(
    "result",
    epilog=examples(
        "umbel -A tasks result 019f2f6e-6a4b-7d07-b0a2-3d1f0e6f1c2a --wait 10",
        "umbel -A tasks result 019f2f6e-6a4b-7d07-b0a2-3d1f0e6f1c2a --follow",
        codes="Exit codes: 0 it succeeded, 1 it failed or was revoked, 3 it has not ended yet. Of a saved"
        " group: 0 all succeeded, 1 one failed or was revoked, 3 one has not ended yet.",
    ),
)
@click.argument("task_id", callback=require_name)
@click.option("-t", "--task", help="Name of the task; accepted as in Celery, and not needed.")
@click.option("--traceback", is_flag=True, help="Show the traceback of a failure, too.")
@click.option("--wait", type=float, help="Wait so many seconds for it to end.")
@click.option(
    "--follow",
    is_flag=True,
    help="Wait until it ends, or for --wait seconds, and show how far it is: of a group, how many ended.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    task_id: str,
    task: str | None,
    traceback: bool,
    wait: float | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Show what became of a call, or of a group's.

    Its state and its result, or the exception that it raised. Of a group that was saved: the values of all
    its calls, or the first exception, and how many calls are in which state.
    """
    given: Global = context.obj
    app = given.load()
    if task is not None:
        app.tasks[task]  # a wrong name is told
    found = app.AsyncResult(task_id)
    group = saved_group(app, task_id) if found.state == states.PENDING else None
    if follow:
        following.follow(found if group is None else group, wait, as_json)
    else:
        wait_for(found if group is None else group, wait)
    if group is not None:
        context.exit(show_group(Members.of(group), traceback, as_json))
    data = as_data(found)
    if as_json:
        show_json(data)
    elif data["state"] == states.PENDING:
        click.echo(f"{states.PENDING}: {whereabouts(app, task_id)}")
    else:
        value = found.result if data["state"] in states.READY_STATES else data["result"]
        told = None if data["state"] in states.ALL_STATES else Progress.of(value)
        click.echo(f"{data['state']}: {value!r}" if told is None else f"{data['state']}: {told}")
        if traceback and data["traceback"]:
            click.echo(data["traceback"])
    context.exit(exit_code(data["state"]))


def saved_group(app: Umbel, group_id: str) -> GroupResult | None:
    """Return the group that was saved under an id; None where none was, or the store keeps none."""
    with contextlib.suppress(NotImplementedError):  # some stores keep no groups
        return app.GroupResult.restore(group_id)
    return None


def show_group(found: Members, traceback: bool, as_json: bool) -> int:
    """Show what became of a group's calls; return the exit code."""
    if as_json:
        show_json(found.as_data())
    else:
        click.echo(found.as_text())
        if traceback and found.traceback:
            click.echo(found.traceback)
    return exit_code(found.state)


def wait_for(found: AsyncResult[Any] | GroupResult, seconds: float | None) -> None:
    """Give a call or a group that many seconds to end; its state says whether it did."""
    if seconds is not None:
        with contextlib.suppress(TimeoutError):
            found.get(timeout=seconds, propagate=False)


#: What is said of a message without a result, by where it is.
_PLACES = {
    "ready": "it waits in the queue {queue}.",
    "scheduled": "it waits in the queue {queue} until it is due.",
    "leased": "a worker that serves the queue {queue} has it.",
    "dead": "its message is a dead letter: see `umbel dead list`.",
}
_UNKNOWN = (
    "nothing is known of this id. Either it was never sent to this broker, or its task keeps no result, or"
    " the result has expired (result_expires)."
)


def whereabouts(app: Umbel, task_id: str) -> str:
    """Return what can be said of a call of which no result is stored, for people to read."""
    try:
        if not app.broker.features.find:
            return "no result is stored of this id."
        messages = app.queues.find(task_id)
    except (OperationalError, ImproperlyConfigured) as error:
        return f"no result is stored of this id, and the broker could not be asked. {error}"
    # Of a call that was sent several times: the one that is furthest.
    by_place: dict[str, StoredMessage] = {message.where: message for message in messages}
    for place in ("leased", "ready", "scheduled", "dead"):
        if place in by_place:
            return _PLACES[place].format(queue=by_place[place].queue)
    return _UNKNOWN


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
