"""What an app has of the frameworks around it: Celery calls it fixups.

A fixup is a function that gets the app and returns an object, or None where its framework is not in use.
These methods of the object are called, where it has them: `set_up` before a worker or a command imports the
app's modules, `require_ready` before the app is complete, `autodiscover_tasks` for the packages to look in,
and `drive` to run the coroutine of a task that runs where it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from umbel.dotted import named

if TYPE_CHECKING:
    from umbel.app import Umbel

Fixup = str | Callable[["Umbel"], Any]


class Integrations:
    """The objects that the fixups of an app have returned."""

    def __init__(self, app: Umbel, fixups: Iterable[Fixup]) -> None:
        functions = (named(fixup) if isinstance(fixup, str) else fixup for fixup in fixups)
        self._made = [made for function in functions if (made := function(app)) is not None]

    def set_up(self) -> None:
        """Set up the frameworks, before modules are imported that need them."""
        for method in self._methods("set_up"):
            method()

    def require_ready(self) -> None:
        """Raise what a framework raises that must be set up before the app can be used."""
        for method in self._methods("require_ready"):
            method()

    def packages(self) -> list[str] | None:
        """Return the packages that the frameworks know of; None where none of them does."""
        methods = self._methods("autodiscover_tasks")
        return [name for method in methods for name in method()] if methods else None

    def driver(self, default: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return what runs a coroutine to its end where a task is called: a framework's way, or `default`."""
        return next(iter(self._methods("drive")), default)

    def _methods(self, name: str) -> list[Callable[..., Any]]:
        return [getattr(made, name) for made in self._made if hasattr(made, name)]
