"""``umbel call``: send one call."""

from __future__ import annotations

import json
from typing import Any

import click

from umbel.cli.completing import task_names
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.output import json_option, show_json
from umbel.cli.result import NOT_YET, as_data, exit_code, wait_for
from umbel.exceptions import NotRegistered


def read_json(text: str, kind: type, option: str) -> Any:
    """Return what an option says as JSON. Raises BadParameter for what is not of that kind."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not JSON: {error}", param_hint=option) from None
    if not isinstance(value, kind):
        raise click.BadParameter(f"{text!r} is no JSON {kind.__name__}", param_hint=option)
    return value


def _chosen(*, expires: str | None, **options: Any) -> dict[str, Any]:
    """Return the options that were given; `expires` may be a number of seconds."""
    if expires is not None:
        try:
            options["expires"] = float(expires)
        except ValueError:
            options["expires"] = expires
    return {name: value for name, value in options.items() if value is not None}


@click.command(
    "call",
    epilog=examples(
        "umbel -A tasks call tasks.add -a '[2, 3]' --wait 10",
        codes="Exit codes with --wait: 0 it succeeded, 1 it failed, 3 it has not ended yet.",
    ),
)
@click.argument("task", shell_complete=task_names)
@click.option(
    "-a", "--args", "args_text", default="[]", help="Positional arguments as JSON: '[1, 2]'."
)
@click.option("-k", "--kwargs", "kwargs_text", default="{}", help="Keyword arguments as JSON.")
@click.option("--eta", help="When it may start, as an ISO 8601 time.")
@click.option("--countdown", type=float, help="Seconds to wait before it may start.")
@click.option("--expires", help="Seconds, or an ISO 8601 time, after which it is not run any more.")
@click.option("--serializer", help="How its arguments are written.")
@click.option("--queue", help="Queue to put it on.")
@click.option("--exchange", help="Exchange to send it to, with --routing-key.")
@click.option("--routing-key", help="Key by which an exchange finds queues.")
@click.option("--priority", type=click.IntRange(0, 255), help="0 to 255; higher is more urgent.")
@click.option("--by-name", is_flag=True, help="Send it although this app has no such task.")
@click.option("--wait", type=float, help="Wait so many seconds for the result and print it.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    task: str,
    args_text: str,
    kwargs_text: str,
    wait: float | None,
    expires: str | None,
    by_name: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Send a call of a task.

    It prints the id of the call, by which umbel result finds what became of it.
    """
    given: Global = context.obj
    app = given.load()
    args, kwargs = read_json(args_text, list, "--args"), read_json(kwargs_text, dict, "--kwargs")
    chosen = _chosen(**options, expires=expires)
    try:
        if by_name and task not in app.tasks:
            sent = app.send_task(task, args, kwargs, **chosen)
        else:
            sent = app.tasks[task].apply_async(args, kwargs, **chosen)
    except (TypeError, ValueError) as error:  # what does not fit the task, or is no such time
        raise click.UsageError(f"{task}: {error}", context) from error
    except NotRegistered as error:
        elsewhere = " If workers elsewhere have it, give --by-name."
        raise click.ClickException(f"{error}{elsewhere}") from error
    if not as_json:
        click.echo(sent.id)
    if wait is None:
        if as_json:
            show_json({"id": sent.id})
        return
    wait_for(sent, wait)
    data = as_data(sent)
    code = exit_code(data["state"])
    if as_json:
        show_json(data)
    elif code == NOT_YET:
        click.echo(
            f"The result did not arrive within {wait:g} s. Is a worker running that consumes the queue?",
            err=True,
        )
    else:
        click.echo(repr(sent.result), err=code != 0)
    context.exit(code)
