"""How an app becomes complete: settings read, tasks annotated, and told to all who want to hear of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from umbel.registry import Tasks

if TYPE_CHECKING:
    from umbel.app import Umbel


class Finalization:
    """What happens once for each app, before its first call or when a worker has imported its modules."""

    def __init__(self, app: Umbel, tasks: Tasks) -> None:
        self._app = app
        self._tasks = tasks
        #: True when the tasks are annotated; handlers may still be hearing of it.
        self.done = False
        self._threads: set[int] = set()
        self._lock = threading.Lock()
        self._configure = _Once()
        self._after_configure = _Once()

    def run(self) -> None:
        """Complete the app, unless it is. Handlers of the signals sent here may ask for it in vain."""
        thread = threading.get_ident()
        if self.done or thread in self._threads:
            return
        self._threads.add(thread)
        try:
            self._have_settings()
            with self._lock:
                if self.done:
                    return
                self._tasks.annotate()
                self.done = True
            self._app.on_after_finalize.send(self._app)
        finally:
            self._threads.discard(thread)

    def _have_settings(self) -> None:
        """Return when the settings are loaded and all have heard the signals around that.

        Handlers of both may write settings, so no other thread goes on before they have.
        """
        app = self._app
        self._configure.run(lambda: app.on_configure.send(app))
        # Without a lock: other threads may import the module of the settings just now, and wait for this
        # app in it.
        _ = app.conf.snapshot
        app.integrations.require_ready()
        app.periodic.loaded()
        self._after_configure.run(lambda: app.on_after_configure.send(app, source=app.conf))


class _Once:
    """Lets one thread do something for all; the others wait for it. What was broken off is done again."""

    def __init__(self) -> None:
        self._done = False
        self._lock = threading.Lock()

    def run(self, action: Callable[[], object]) -> None:
        with self._lock:
            if not self._done:
                action()
                self._done = True
