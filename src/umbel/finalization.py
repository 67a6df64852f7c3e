"""How an app becomes complete: settings read, tasks annotated, and told to all who want to hear of it."""

from __future__ import annotations

import threading
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
        self._configured = False
        self._threads: set[int] = set()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Complete the app, unless it is. Handlers of the signals sent here may ask for it in vain."""
        thread = threading.get_ident()
        if self.done or thread in self._threads:
            return
        self._threads.add(thread)
        try:
            # Without the lock: other threads may import the module of the settings just now, and wait for
            # this app in it.
            self._configure()
            with self._lock:
                if self.done:
                    return
                self._tasks.annotate()
                self.done = True
            self._app.on_after_finalize.send(self._app)
        finally:
            self._threads.discard(thread)

    def _configure(self) -> None:
        """Have the settings loaded, with the signals around it, which are sent once."""
        app = self._app
        with self._lock:
            first, self._configured = not self._configured, True
        try:
            if first:
                app.on_configure.send(app)
            _ = app.conf.snapshot
        except BaseException:
            self._configured = False
            raise
        if first:
            app.on_after_configure.send(app, source=app.conf)
