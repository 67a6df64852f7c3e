"""Options that an app adds to all commands, and the signal that tells them.

The command line hands over what it read of them. Where none was asked for it has not imported the app, and so
does not know them: then whoever has imported it asks them for their defaults. Only for that click is needed
here, which an app with such options has imported already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.app import Umbel

if TYPE_CHECKING:
    from click import Option


def added(app: Umbel, kind: str) -> list[Option]:
    """Return the options that an app adds to a command or, as "preload", to all; sorted by name."""
    found: Any = app.user_options.get(kind, ())
    return sorted(found, key=lambda option: str(option.name))


def values(app: Umbel, command: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the options that an app adds to a command: those `given`, else their defaults."""
    return _defaults(command, added(app, command)) | dict(given) if added(app, command) else {}


def announce(app: Umbel, command: str, given: Mapping[str, Any] | None) -> None:
    """Send ``user_preload_options`` where the app has such options.

    `given` is None where the command line has none of them: then they have their defaults.
    """
    options = added(app, "preload")
    if options:
        values = _defaults(command, options) if given is None else dict(given)
        signals.user_preload_options.send(command, app=app, options=values)


def _defaults(command: str, options: list[Option]) -> dict[str, Any]:
    from click import Command  # noqa: PLC0415 - slow to import, and rarely needed

    return Command(command, params=[*options]).make_context(command, []).params
