"""Which app and which task are current: the only global state beside signal receivers."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from umbel.request import Request

if TYPE_CHECKING:
    from umbel.app import Umbel

_app: ContextVar[Umbel | None] = ContextVar("umbel.app", default=None)
_default_app: list[Umbel] = []

#: The call that runs now, in this thread or coroutine; None outside of tasks.
running: ContextVar[Request | None] = ContextVar("umbel.request", default=None)


def set_default_app(app: Umbel) -> None:
    """Make an app current for the whole process; the latest one wins."""
    _default_app[:] = [app]


def set_current_app(app: Umbel | None) -> None:
    """Make an app current for this thread or coroutine."""
    _app.set(app)


def get_current_app() -> Umbel:
    """Return the current app. Raises RuntimeError when no app was ever made."""
    app = _app.get()
    if app is not None:
        return app
    if _default_app:
        return _default_app[0]
    raise RuntimeError(
        "There is no app yet. Make one first, for example: from umbel import Umbel; app = Umbel()"
    )


class CurrentApp:
    """`current_app`: passes everything on to the app that is current at that moment."""

    def __getattr__(self, name: str) -> Any:
        return getattr(get_current_app(), name)

    def __repr__(self) -> str:
        return f"<current app: {get_current_app()!r}>"


class CurrentTask:
    """`current_task`: passes everything on to the task that runs now; false when none does."""

    def _get(self) -> Any:
        request = running.get()
        if request is None or request.task is None:
            return None
        return get_current_app().tasks[request.task]

    def __bool__(self) -> bool:
        return self._get() is not None

    def __getattr__(self, name: str) -> Any:
        task = self._get()
        if task is None:
            raise AttributeError(f"No task runs here, so current_task has no {name!r}.")
        return getattr(task, name)


current_app = CurrentApp()
current_task = CurrentTask()
