"""Which app and which task are current: the only global state beside signal receivers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar, Token
from importlib import import_module
from typing import TYPE_CHECKING, Any

from umbel.request import Request

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.task import Task

_app: ContextVar[Umbel | None] = ContextVar("umbel.app", default=None)
_default_app: list[Umbel] = []

#: The call that runs now, in this thread or coroutine; None outside of tasks.
running: ContextVar[Request | None] = ContextVar("umbel.request", default=None)

#: What takes the broker's place for what is sent here; None: nothing does.
outbox: ContextVar[Any] = ContextVar("umbel.outbox", default=None)


def set_default_app(app: Umbel) -> None:
    """Make an app current for the whole process; the latest one wins."""
    _default_app[:] = [app]


def set_current_app(app: Umbel | None) -> None:
    """Make an app current for this thread or coroutine."""
    _app.set(app)


def current_app_or_none() -> Umbel | None:
    """Return the current app; None when no app was ever made."""
    app = _app.get()
    if app is not None:
        return app
    return _default_app[0] if _default_app else None


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Make current again, at the end of the block, what was so at its beginning."""
    here, everywhere = _app.get(), _default_app[:]
    try:
        yield
    finally:
        _app.set(here)
        _default_app[:] = everywhere


def get_current_app() -> Umbel:
    """Return the current app. Raises RuntimeError when no app was ever made."""
    app = current_app_or_none()
    if app is not None:
        return app
    raise RuntimeError(
        "There is no app yet. Make one first, for example: from umbel import Umbel; app = Umbel()"
    )


def enter(request: Request) -> Token[Request | None]:
    """Make a call the running one, within the one that runs; give what this returns to `leave`."""
    outer = running.get()
    if outer is not None:
        request.__dict__["outer"] = outer
    return running.set(request)


def leave(token: Token[Request | None]) -> None:
    """Let the call end that `enter` began."""
    running.reset(token)


def parent_call() -> Request | None:
    """Return the call that is the parent of calls made here: not one of a task that was called directly."""
    request = running.get()
    while request is not None and request.called_directly:
        request = request.outer
    return request


def within_a_worker() -> bool:
    """Tell whether a task that a worker runs is what runs here, or what called it."""
    request = running.get()
    while request is not None and (request.called_directly or request.is_eager):
        request = request.outer
    return request is not None


def running_task() -> Task[Any, Any] | None:
    """Return the task that runs here, the innermost one; None outside of tasks."""
    request = running.get()
    if request is None or request.task is None:
        return None
    found: Task[Any, Any] = request.running_task or get_current_app().tasks[request.task]
    return found


def task_named(name: str, module: str | None = None) -> Task[Any, Any]:
    """Return the current app's task of a name, importing its module first: what unpickling a task does."""
    if module:
        import_module(module)
    found: Task[Any, Any] = get_current_app().tasks[name]
    return found


class CurrentApp:
    """`current_app`: passes everything on to the app that is current at that moment."""

    def _get_current_object(self) -> Umbel:
        return get_current_app()

    def __getattr__(self, name: str) -> Any:
        return getattr(get_current_app(), name)

    def __repr__(self) -> str:
        return f"<current app: {get_current_app()!r}>"


class CurrentTask:
    """`current_task`: passes everything on to the task that runs now; false when none does."""

    def _get_current_object(self) -> Any:
        return running_task()

    def __bool__(self) -> bool:
        return running_task() is not None

    def __getattr__(self, name: str) -> Any:
        task = running_task()
        if task is None:
            raise AttributeError(f"No task runs here, so current_task has no {name!r}.")
        return getattr(task, name)


current_app = CurrentApp()
current_task = CurrentTask()
