"""Hearing of results on PostgreSQL: a row for each task that is waited for, one channel for them all.

Whoever stores a result sees who waits for it, and notifies them in the same transaction; with a final one
the rows go. As with messages (waiting.py), who waits looks again by itself, soon at first.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from random import random
from typing import Any

from umbel.clock import unique_id
from umbel.engines.postgres import rows
from umbel.engines.postgres.ear import Ear
from umbel.engines.postgres.server import Server
from umbel.exceptions import OperationalError
from umbel.ports import ResultSubscription
from umbel.records import ResultRecord

logger = logging.getLogger("umbel.postgres")

Get = Callable[[Collection[str]], dict[str, ResultRecord]]

#: Looking after everything takes at most this part of the time.
LOOKING = 0.05
#: Rows that nobody needs any more are deleted so many at a time.
LEAVING = 100
#: Seconds after which the rows of who still waits are written again.
RENEWAL = 1800.0
#: Seconds between two tries to connect: the first, and the longest.
PAUSE, LONGEST_PAUSE = 0.05, 2.0
#: Seconds that connecting may take at least.
LEAST = 0.5
#: Says that there is news, but not what.
NEWS = "*"


def record(row: Sequence[Any]) -> ResultRecord:
    """Return the result of (task_id, state, document, data, expires)."""
    task_id, state, document, data, expires = row
    return ResultRecord(task_id, state, bytes(data) if document is None else document, expires)


class PostgresResultSubscription(ResultSubscription):
    """See `umbel.ports.ResultSubscription`."""

    def __init__(self, server: Server, get: Get) -> None:
        self._server = server
        self._clock = server.clock
        self._get = get
        self._sql = server.statements("results.sql")
        self._pid = os.getpid()
        self._channel = f"umbel_{unique_id()}"
        self._ear = Ear(server, self._channel)
        #: What is listened for, with the document that was handed out last.
        self._wanted: dict[str, str | bytes] = {}
        self._news: dict[str, ResultRecord] = {}
        #: Rows that may be deleted.
        self._left: set[str] = set()
        self._pauses = self._ear.pauses()
        self._next_look = 0.0
        #: Seconds that the last look after everything took.
        self._taken = 0.0
        self._renewal = self._clock.monotonic() + RENEWAL
        self._was_lost = False
        self._pause, self._next_try = PAUSE, 0.0

    def add(self, task_ids: Collection[str], timeout: float | None = None) -> None:
        """Write the rows and look, in one statement."""
        new = [task_id for task_id in task_ids if task_id not in self._wanted]
        self._wanted.update(dict.fromkeys(new, ""))
        self._left.difference_update(new)
        if self._ear.is_open or not self._was_lost:
            limit = self._server.timeout if timeout is None else max(timeout, LEAST)
            try:
                self._list(new, limit)
            except OperationalError as error:
                if not self._was_lost and not self._ear.is_open:
                    self._forget(new)
                    raise
                self._lost(error)

    def _forget(self, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            self._wanted.pop(task_id, None)

    def _list(self, task_ids: Collection[str], timeout: float) -> None:
        """Write rows for these, or for all if the connection is a new one; and take what there is."""
        link, is_new = self._ear.link(timeout)
        chosen = rows.readable(self._wanted if is_new else task_ids)
        values = (rows.texts(chosen), self._channel)
        if chosen:
            statement = self._sql["get" if link.pooled else "listen"]
            found = self._server.run_again(
                link, statement, values[: 1 if link.pooled else 2], timeout
            )
            self._tell(map(record, found))
        self._look_soon()

    def _look_soon(self) -> None:
        self._pauses = self._ear.pauses()
        self._next_look = self._clock.monotonic() + next(self._pauses)

    def discard(self, task_ids: Collection[str]) -> None:
        """Leave the rows to be deleted, sooner or later."""
        for task_id in task_ids:
            self._news.pop(task_id, None)
            if self._wanted.pop(task_id, None) is not None:
                self._left.add(task_id)
        self._leave(LEAVING)

    def receive(self, timeout: float) -> dict[str, ResultRecord]:
        """Look at what is told; and from time to time at everything."""
        deadline = self._clock.monotonic() + timeout
        while True:
            interrupted = self._ear.interrupted.is_set()
            if not (interrupted or self._news):
                self._take_news(deadline)
                interrupted = self._ear.interrupted.is_set()
            if self._news or interrupted or self._clock.monotonic() >= deadline:
                self._ear.interrupted.clear()
                return self._handed_out()

    def _take_news(self, deadline: float) -> None:
        try:
            if self._was_lost or not self._ear.is_open:
                self._come_back(deadline)
            else:
                self._hear(deadline)
        except OperationalError as error:
            self._lost(error)

    def _hear(self, deadline: float) -> None:
        if not self._wanted:
            self._ear.hear(deadline)
            return
        heard = self._ear.hear(min(deadline, self._next_look)) or self._ear.prove()
        now = self._clock.monotonic()
        if now >= self._renewal:
            self._renewal = now + RENEWAL
            self._list(list(self._wanted), self._server.timeout)
        elif NEWS in heard or (not heard and now >= self._next_look):
            self._look(list(self._wanted))
            taken, before = self._clock.monotonic() - now, self._taken
            # Of two: one that was held up says nothing of the next.
            pause = max(next(self._pauses), min(taken, before) / LOOKING)
            self._taken = taken
            self._next_look = self._clock.monotonic() + pause
        elif heard:
            named = {task_id for one in heard for task_id in one.split("\n")}
            self._look(named & self._wanted.keys())

    def _look(self, task_ids: Collection[str]) -> None:
        if task_ids:
            link, is_new = self._ear.link()
            if is_new:
                self._list((), self._server.timeout)
                return
            wanted = rows.texts(rows.readable(task_ids))
            self._tell(map(record, self._server.run_again(link, self._sql["get"], (wanted,))))

    def _tell(self, records: Iterable[ResultRecord]) -> None:
        for one in records:
            if self._wanted.get(one.task_id, one.document) != one.document:
                self._news[one.task_id] = one

    def _handed_out(self) -> dict[str, ResultRecord]:
        news, self._news = self._news, {}
        for task_id, one in news.items():
            if one.ready:
                del self._wanted[task_id]
                # Its row went with it, unless it was there already.
                self._left.add(task_id)
            else:
                self._wanted[task_id] = one.document
        self._leave(LEAVING)
        return news

    def _leave(self, least: int) -> None:
        """Delete rows, when there are enough of them; if that fails they go in time."""
        self._left.difference_update(self._wanted)
        if len(self._left) < least or not self._ear.is_open or self._server.pooled:
            return
        left, self._left = rows.readable(self._left), set()
        with suppress(OperationalError):
            self._server.call(self._sql["leave"], self._channel, rows.texts(left))

    # Being lost

    def _lost(self, error: OperationalError) -> None:
        """Let go of a connection, and say so once."""
        self._ear.close()
        if not self._was_lost:
            self._was_lost = True
            self._pause, self._next_try = PAUSE, self._clock.monotonic()
            logger.warning("%s It is connected to again as soon as that works.", error)

    def _come_back(self, deadline: float) -> None:
        """Wait for the next try to connect, or `deadline`; then try."""
        now = self._clock.monotonic()
        left = min(self._next_try, deadline) - now
        if left > 0 and self._ear.interrupted.wait(left):
            return
        if self._clock.monotonic() < self._next_try:
            return
        try:
            limit = max(min(deadline - self._clock.monotonic(), self._server.timeout), LEAST)
            self._list((), limit)
        except OperationalError as error:
            self._lost(error)
            self._next_try = self._clock.monotonic() + self._pause * (0.5 + random() / 2)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            return
        if self._was_lost:
            logger.info("PostgreSQL at %s is connected to again.", self._server.shown)
        self._was_lost = False

    def interrupt(self) -> None:
        """Wake the one who waits."""
        self._ear.interrupt()

    def close(self) -> None:
        """Delete the rows, if that works, and close the connection."""
        if self._pid == os.getpid():
            self._left.update(self._wanted)
            self._wanted.clear()
            self._leave(1)
        self._ear.close()
