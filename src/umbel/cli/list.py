"""``umbel list``: what an app has."""

from __future__ import annotations

import inspect
import os
from typing import Any

import click

from umbel.cli.given import Global
from umbel.cli.groups import Group, examples
from umbel.cli.output import json_option, show_json, show_table
from umbel.task import Task, code_of


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

    A queue that nobody declared otherwise is reached by an exchange and a key of its own name.
    """
    names = list(given.load().queues.depths())
    if as_json:
        show_json([{"queue": name, "exchange": name, "routing_key": name} for name in names])
        return
    show_table(
        ("queue", "exchange", "routing key"),
        [(name, name, name) for name in names],
        empty="No queue has been used yet.",
    )


def _as_data(task: Task[Any, Any]) -> dict[str, str]:
    code = code_of(task.function)
    about = inspect.getdoc(task.function) or ""
    return {
        "name": task.name,
        "parameters": _parameters(task),
        "where": f"{code.co_filename}:{code.co_firstlineno}" if code else "",
        "about": about.partition("\n")[0],
    }


def _parameters(task: Task[Any, Any]) -> str:
    """Return what a call may give: a bound task gives itself."""
    signature = inspect.signature(task.function)
    given = list(signature.parameters.values())
    if given and given[0].name == "self":
        signature = signature.replace(parameters=given[1:])
    return str(signature)


def _near(place: str) -> str:
    """Return a place without the working directory, if it is in there."""
    return place.removeprefix(os.path.join(os.getcwd(), ""))
