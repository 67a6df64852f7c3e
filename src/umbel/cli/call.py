"""``umbel call``: send one call."""

from __future__ import annotations

import json
from typing import Any

import click

from umbel.cli.base import Global


def _json(text: str, kind: type, option: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not JSON: {error}", param_hint=option) from None
    if not isinstance(value, kind):
        raise click.BadParameter(f"{text!r} is no JSON {kind.__name__}", param_hint=option)
    return value


@click.command("call")
@click.argument("task")
@click.option(
    "-a", "--args", "args_text", default="[]", help="Positional arguments as JSON: '[1, 2]'."
)
@click.option("-k", "--kwargs", "kwargs_text", default="{}", help="Keyword arguments as JSON.")
@click.option("--countdown", type=float, help="Seconds to wait before it may start.")
@click.option("--eta", help="When it may start, as an ISO 8601 time.")
@click.option("--expires", help="Seconds, or an ISO 8601 time, after which it is not run any more.")
@click.option("--queue", help="Queue to put it on.")
@click.option("--exchange", help="Exchange to send it to, with --routing-key.")
@click.option("--routing-key", help="Key by which an exchange finds queues.")
@click.option("--priority", type=click.IntRange(0, 255), help="0 to 255; higher is more urgent.")
@click.option("--wait", type=float, help="Wait so many seconds for the result and print it.")
@click.pass_context
def command(
    context: click.Context,
    /,
    task: str,
    args_text: str,
    kwargs_text: str,
    wait: float | None,
    expires: str | None,
    **options: Any,
) -> None:
    """Send a call of TASK and print its id."""
    given: Global = context.obj
    app = given.load()
    if expires is not None:
        try:
            options["expires"] = float(expires)
        except ValueError:
            options["expires"] = expires
    chosen = {name: value for name, value in options.items() if value is not None}
    args, kwargs = _json(args_text, list, "--args"), _json(kwargs_text, dict, "--kwargs")
    try:
        result = app.tasks[task].apply_async(args, kwargs, **chosen)
    except (TypeError, ValueError) as error:  # what does not fit the task, or is no such time
        raise click.ClickException(f"{task}: {error}") from error
    click.echo(result.id)
    if wait is not None:
        value = result.get(timeout=wait, propagate=False)
        click.echo(repr(value), err=not result.successful())
        context.exit(0 if result.successful() else 1)
