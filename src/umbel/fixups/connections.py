"""Django's connections in a process that runs tasks: around each task as around a request.

Django keeps connections for each thread. What plain tasks use is of the thread that runs them; what ``async
def`` tasks do with the database is done on a thread of asgiref's (`sync_to_async`), one for all of them, so
its connections are looked after there.
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

    With `reuse_max` they live for so many tasks of their thread, as in Celery, and not as CONN_MAX_AGE says.

    Coroutines share the connections of asgiref's thread, where each may be in the middle of reading rows
    while another ends. So these are closed for their age when no coroutine runs, and else only when they
    are broken.
    """

    def __init__(self, reuse_max: int | None) -> None:
        self._reuse_max = reuse_max or 0
        self._here = _Ran()
        self._thread = threading.get_ident()
        self._elsewhere = False
        self._coroutines = 0
        self._lock = threading.Lock()

    def look_after(self) -> None:
        """Begin, in the thread that runs the tasks."""
        connection_created.connect(self._created)
        signals.task_prerun.connect(self._before)
        signals.task_postrun.connect(self._after)

    def _created(self, **_: Any) -> None:
        self._elsewhere = self._elsewhere or threading.get_ident() != self._thread

    def _before(self, sender: Any, **_: Any) -> None:
        # What runs where it was called, in a request or a transaction perhaps, uses its caller's connections.
        if sender.request.is_eager:
            return
        self._begin(alone=True)
        if sender.is_async:
            self._where_coroutines_are(self._begin, alone=self._count(1) == 1)

    def _after(self, sender: Any, **_: Any) -> None:
        if sender.request.is_eager:
            return
        self._end(alone=True)
        if sender.is_async:
            self._where_coroutines_are(self._end, alone=self._count(-1) == 0)

    def _count(self, change: int) -> int:
        """Return how many coroutines run from now on."""
        with self._lock:
            self._coroutines += change
            return self._coroutines

    def _where_coroutines_are(self, work: Callable[[bool], None], alone: bool) -> None:
        """Do something on the thread on which coroutines use the database, if they do."""
        if self._elsewhere:
            # Nobody waits: what the next task does there comes after it.
            SyncToAsync.single_thread_executor.submit(work, alone)

    def _begin(self, alone: bool) -> None:
        reset_queries()
        self._close_old(alone)

    def _end(self, alone: bool) -> None:
        self._here.tasks += 1
        if alone and self._reuse_max and self._here.tasks >= self._reuse_max:
            self._here.tasks = 0
            close_all()
            return
        self._close_old(alone)
        if alone:
            close_caches()

    def _close_old(self, alone: bool) -> None:
        """Close this thread's connections that are broken and, if nobody else uses them, too old."""
        for connection in _outside_of_transactions():
            due = connection.close_at
            if self._reuse_max or not alone:
                connection.close_at = None  # its age does not count
            with _complaining(connection):
                connection.close_if_unusable_or_obsolete()
            connection.close_at = due


class _Ran(threading.local):
    """How many tasks have run on this thread since its connections were closed."""

    tasks = 0


def close_all() -> None:
    """Close all connections of this thread and those of caches; but for one that is in a transaction."""
    for connection in _outside_of_transactions():
        # On the thread of an event loop none is open, and Django forbids even to close it.
        if connection.connection is not None:
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
