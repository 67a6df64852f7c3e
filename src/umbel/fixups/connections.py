"""Django's connections in a process that runs tasks: around each task as around a request.

Django keeps connections for each thread. Tasks run on one thread; what ``async def`` tasks do with the
database is done on a thread of asgiref's (`sync_to_async`), so its connections are looked after there.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
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
            self._everywhere(self._begin)

    def _after(self, sender: Any, **_: Any) -> None:
        if sender.request.is_eager:
            return
        self._ran += 1
        if self._reuse_max and self._ran >= self._reuse_max:
            self._ran = 0
            self._everywhere(close_all)
        else:
            self._everywhere(self._end)

    def _everywhere(self, work: Callable[[], None]) -> None:
        """Do something in each thread that has connections."""
        work()
        if self._elsewhere:
            # Nobody waits: what the next task does there comes after it.
            SyncToAsync.single_thread_executor.submit(work)

    def _begin(self) -> None:
        reset_queries()
        self._close_old()

    def _end(self) -> None:
        self._close_old()
        close_caches()

    def _close_old(self) -> None:
        """Close this thread's connections that are too old or broken."""
        for connection in _outside_of_transactions():
            if self._reuse_max:
                connection.close_at = None  # their age does not count
            with _complaining(connection):
                connection.close_if_unusable_or_obsolete()


def close_all() -> None:
    """Close all connections of this thread and those of caches; but for one that is in a transaction."""
    for connection in _outside_of_transactions():
        with _complaining(connection):
            connection.close()
    close_caches()


def close_pools() -> None:
    """Close what Django keeps of connections that are closed, which has threads of its own."""
    for connection in _outside_of_transactions():
        if hasattr(connection, "close_pool"):
            with _complaining(connection):
                connection.close_pool()


def _outside_of_transactions() -> list[Any]:
    """Return this thread's connections; one in a transaction, of a test perhaps, is not ours to close."""
    return [found for found in connections.all(initialized_only=True) if not found.in_atomic_block]


@contextlib.contextmanager
def _complaining(connection: Any) -> Iterator[None]:
    """Log an error: the server has closed the connection first, perhaps."""
    try:
        yield
    except Error as error:
        logger.warning("Closing the connection %r: %s", connection.alias, error)
