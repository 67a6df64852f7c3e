"""Django's connections in a process that runs tasks: around each task as around a request.

Django keeps connections for each thread. Tasks run on one thread; what ``async def`` tasks do with the
database is done on a thread of asgiref's (`sync_to_async`), so its connections are looked after there.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from asgiref.sync import SyncToAsync
from django.core.cache import close_caches
from django.db import Error, connections, reset_queries
from django.db.backends.signals import connection_created

from umbel import signals

logger = logging.getLogger("umbel.django")


class Connections:
    """What happens to Django's connections before and after each task.

    With `reuse_max` they live for so many tasks, as in Celery, and not as CONN_MAX_AGE says.
    """

    def __init__(self, reuse_max: int | None) -> None:
        self._reuse_max = reuse_max or 0
        self._ran = 0
        self._thread = threading.get_ident()
        self._elsewhere = False

    def look_after(self) -> None:
        """Begin, in the thread that runs the tasks."""
        connection_created.connect(self._created)
        signals.task_prerun.connect(self._before)
        signals.task_postrun.connect(self._after)

    def _created(self, **_: Any) -> None:
        self._elsewhere = self._elsewhere or threading.get_ident() != self._thread

    def _before(self, sender: Any, **_: Any) -> None:
        # What runs where it was called, in a request or a transaction perhaps, uses its caller's connections.
        if not sender.request.is_eager:
            reset_queries()
            self._tend(all_of_them=False)

    def _after(self, sender: Any, **_: Any) -> None:
        if sender.request.is_eager:
            return
        self._ran += 1
        enough = bool(self._reuse_max) and self._ran >= self._reuse_max
        if enough:
            self._ran = 0
        self._tend(enough)
        close_caches()

    def _tend(self, all_of_them: bool) -> None:
        self._close(all_of_them)
        if self._elsewhere:
            # Nobody waits: what the next task does there comes after it.
            SyncToAsync.single_thread_executor.submit(self._close, all_of_them)

    def _close(self, all_of_them: bool) -> None:
        """Close this thread's connections that are too old or broken, or all of them."""
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                continue
            try:
                if all_of_them:
                    connection.close()
                if self._reuse_max:
                    connection.close_at = None  # their age does not count
                connection.close_if_unusable_or_obsolete()
            except Error as error:  # the server closed it first, perhaps
                logger.warning("Closing the connection %r: %s", connection.alias, error)


def close_all() -> None:
    """Close all connections of this thread, their pools and the caches'."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            continue
        try:
            connection.close()
            if hasattr(connection, "close_pool"):
                connection.close_pool()
        except Error as error:
            logger.warning("Closing the connection %r: %s", connection.alias, error)
    close_caches()
