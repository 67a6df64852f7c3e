"""What a shell offers where a task or a setting is to be named."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from umbel.app import Umbel
from umbel.cli.given import Global
from umbel.settings import TABLE

Items = list[CompletionItem]


def task_names(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Return the app's tasks whose names begin so; none when the app cannot be imported."""
    app = _app(context)
    return [] if app is None else _beginning(begun, app.tasks)


def queue_names(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Return the queues whose names complete the last one of a list separated by commas."""
    app = _app(context)
    if app is None:
        return []
    before, comma, last = begun.rpartition(",")
    return _beginning(last, app.queues.depths(), before + comma)


def setting_names(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Return the settings whose names begin so, with what they mean."""
    return [
        CompletionItem(name, help=row.doc) for name, row in TABLE.items() if name.startswith(begun)
    ]


def _beginning(begun: str, names: Iterable[str], before: str = "") -> Items:
    return [CompletionItem(before + name) for name in names if name.startswith(begun)]


def _app(context: click.Context) -> Umbel | None:
    """Return the app, or None: a shell that waits for words is no place for errors."""
    options = context.find_root().params
    silent = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(silent),
            contextlib.redirect_stderr(silent),
            context.find_root().scope(cleanup=False),  # click enters none while it completes
        ):
            if options.get("workdir"):
                os.chdir(options["workdir"])
            named = {name: options.get(name) for name in ("broker", "result_backend", "config")}
            return Global.of(options.get("app"), **named).load()
    except Exception:  # noqa: BLE001 - importing runs code of users, and may raise anything
        return None
