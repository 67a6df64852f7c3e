"""Options that an app adds to umbel's commands: ``app.user_options["worker"]`` and ``"preload"``.

To know them the app has to be imported. That is done only where a command is given an option that it does
not have, or asked for its help; so nobody else waits for it.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import click

from umbel.cli.given import PRELOAD, Global
from umbel.worker.preload import added

#: Where the context of a command has the values of the options that the app adds to it alone.
_OWN = "umbel.own"


def asks_for_more(command: click.Command, words: Iterable[str], context: click.Context) -> bool:
    """Tell whether the words of a command have an option that it does not know, or ask for its help."""
    words = list(words)
    if {"-h", "--help"} & set(words):
        return True
    parser = command.make_parser(click.Context(command, parent=context))
    try:
        parser.parse_args(words)
    except click.NoSuchOption:
        return True
    except click.UsageError:  # the command itself will say so
        pass
    return False


def extended(command: click.Command, given: Global, *, optional: bool) -> click.Command:
    """Return a command with the options that the app adds to it.

    With `optional` an app that cannot be imported adds none.
    """
    if not given.app:
        return command
    try:
        app = given.found()
    except Exception:
        if optional:
            return command
        raise
    own, preload = added(app, command.name or ""), added(app, "preload")
    if not own and not preload:
        return command
    made = copy.copy(command)
    made.params = [*command.params, *own, *preload]
    run = command.callback

    def callback(**values: Any) -> Any:
        meta = click.get_current_context().meta
        meta[PRELOAD] = {option.name: values.pop(option.name or "") for option in preload}
        meta[_OWN] = {option.name: values.pop(option.name or "") for option in own}
        return run(**values) if run is not None else None

    made.callback = callback
    return made


def preload_values() -> dict[str, Any] | None:
    """Return the values of the options that the app adds to all commands; None if none was asked for."""
    found: dict[str, Any] | None = click.get_current_context().meta.get(PRELOAD)
    return found


def own_values() -> dict[str, Any]:
    """Return the values of the options that the app adds to this command."""
    found: dict[str, Any] = click.get_current_context().meta.get(_OWN, {})
    return found


def travelling(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as a worker's other processes get them, through JSON.

    Raises UsageError for one that JSON does not have.
    """
    found = {}
    for name, value in values.items():
        try:
            found[name] = json.loads(json.dumps(value, default=os.fspath))
        except TypeError:
            raise click.UsageError(
                f"The option {name} of this app has the value {value!r}, which cannot be handed to the"
                " worker's processes. Let it be a text, a number, a path or a list of those."
            ) from None
    return found
