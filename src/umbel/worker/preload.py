"""Options that an app adds to all commands, and the signal that tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from umbel import signals
from umbel.app import Umbel


def added(app: Umbel, kind: str) -> list[click.Option]:
    """Return the options that an app adds to a command or, as "preload", to all; sorted by name."""
    found: Any = app.user_options.get(kind, ())
    return sorted(found, key=lambda option: str(option.name))


def announce(app: Umbel, command: str, given: Mapping[str, Any] | None) -> None:
    """Send ``user_preload_options`` where the app has such options.

    `given` is None where the command line has none of them: then they have their defaults.
    """
    options = added(app, "preload")
    if options:
        if given is None:
            given = click.Command(command, params=[*options]).make_context(command, []).params
        signals.user_preload_options.send(command, app=app, options=dict(given))
