"""``umbel list``: what an app has."""

from __future__ import annotations

import inspect
import os
from typing import Any

import click

from umbel.cli.given import Global
from umbel.cli.groups import Group, examples
from umbel.cli.output import json_option, show_json, show_table
from umbel.functions import code_of
from umbel.task import Task


@click.group("list", cls=Group, epilog=examples("umbel -A tasks list tasks"))
def command() -> None:
    """List tasks, queues or bindings."""


@command.command("tasks", epilog=examples("umbel -A tasks list tasks --json"))
@json_option
@click.pass_obj
def tasks(given: Global, as_json: bool) -> None:
    """List the app's tasks, with their parameters and where they are."""
    found = [_as_data(task) for task in given.load().tasks.values()]
    if as_json:
        show_json(found)
        return
    show_table(
        ("task", "parameters", "where", "about"),
        [(row["name"], row["parameters"], _near(row["where"]), row["about"]) for row in found],
        empty="The app has no tasks.",
    )


@command.command("queues", epilog=examples("umbel -A tasks list queues"))
@json_option
@click.pass_obj
def queues(given: Global, as_json: bool) -> None:
    """List the names of the broker's queues, one a line. What waits in them: umbel queues."""
    names = list(given.load().queues.depths())
    if as_json:
        show_json(names)
        return
    for name in names:
        click.echo(name)


@command.command("bindings", epilog=examples("umbel -A tasks list bindings"))
@json_option
@click.pass_obj
def bindings(given: Global, as_json: bool) -> None:
    """List which exchange and routing key lead to which queue.

    First what the app declares; then other queues of the broker, which are reached by their own names.
    """
    app = given.load()
    declared = [
        {
            "queue": queue.name,
            "exchange": found.exchange.name,
            "type": found.exchange.type,
            "routing_key": found.routing_key,
        }
        for queue in app.amqp.queues.values()
        for found in (queue.bindings or (queue,))
        if found.exchange is not None
    ]
    known = {row["queue"] for row in declared}
    others = [name for name in app.queues.depths() if name not in known]
    rows = declared + [
        {"queue": name, "exchange": name, "type": "direct", "routing_key": name} for name in others
    ]
    if as_json:
        show_json(rows)
        return
    show_table(
        ("queue", "exchange", "type", "routing key"),
        [(row["queue"], row["exchange"], row["type"], row["routing_key"]) for row in rows],
        empty="There are no queues.",
    )


def _as_data(task: Task[Any, Any]) -> dict[str, str]:
    code = code_of(task.function)
    about = inspect.getdoc(task.function) or ""
    return {
        "name": task.name,
        "parameters": str(task.call_signature()),
        "where": f"{code.co_filename}:{code.co_firstlineno}" if code else "",
        "about": about.partition("\n")[0],
    }


def _near(place: str) -> str:
    """Return a place without the working directory, if it is in there."""
    return place.removeprefix(os.path.join(os.getcwd(), ""))
