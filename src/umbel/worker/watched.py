"""A task's coroutine, taken from one wait to the next: so it is known when code of its own runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol


class Watcher(Protocol):
    """Who may raise errors in a coroutine: at once while its own code runs, else at what it waits for."""

    def enter(self) -> None:
        """Note that code of its own runs from here on; what this raises is raised there."""

    def leave(self) -> None:
        """Note that it waits, or has ended."""

    def meant(self, error: BaseException) -> BaseException:
        """Return what it is to get where it waited and got an error."""


class Watched:
    """Awaits a coroutine. What is raised around its steps is raised within, while it has not ended."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], watcher: Watcher) -> None:
        self._coroutine = coroutine
        self._watcher = watcher

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, watcher = self._coroutine, self._watcher
        step: Callable[[Any], Any] = coroutine.send
        value: Any = None
        while True:
            try:
                watcher.enter()
                try:
                    waited_for = step(value)
                finally:
                    watcher.leave()
            except StopIteration as end:
                return end.value
            except BaseException as error:
                if coroutine.cr_frame is None:  # type: ignore[attr-defined]  # it is a native one
                    raise
                value, step = error, coroutine.throw
                continue
            try:
                value = yield waited_for
                step = coroutine.send
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the coroutine's
                value, step = watcher.meant(error), coroutine.throw
