"""Hearing of results on SQLite: a row for each task, one port for them all.

The rows are written and taken out in batches, and whoever stores a final result takes its rows out
with it, so that waiting for one costs a single transaction more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import suppress

from umbel.engines.sqlite.bell import NEWS, RENEWAL, SLOW_CHECK, Bell, Ringer, result_topics
from umbel.engines.sqlite.database import Database
from umbel.exceptions import OperationalError
from umbel.ports import ResultSubscription
from umbel.records import ResultRecord

Get = Callable[[Collection[str]], dict[str, ResultRecord]]

#: Seconds that asking to be woken may take: who waits can do without.
REGISTERING = 0.5
#: So many datagrams at once may be all that found room, so everything is looked for.
MANY = 64
#: Looking after everything takes at most this part of the time.
LOOKING = 0.05
_STOP = b""


class SqliteResultSubscription(ResultSubscription):
    """See `umbel.ports.ResultSubscription`.

    A file that cannot be written to costs no more than the bell: this looks every second then.
    """

    def __init__(self, database: Database, get: Get) -> None:
        self._database = database
        self._get = get
        self._bell = Bell()
        self._ringer = Ringer()
        self._pid = os.getpid()
        #: What is listened for, with the document that was handed out last.
        self._wanted: dict[str, str | bytes] = {}
        #: What to look for next.
        self._due: set[str] = set()
        #: Rows that are to be written, and rows that may be left.
        self._unlisted: set[str] = set()
        self._left: set[str] = set()
        #: Rows written since the last look: what is final by then may have been stored before them.
        self._fresh: set[str] = set()
        self._interrupted = False
        now = database.clock.monotonic()
        self._next_look, self._renewal = now + SLOW_CHECK, now + RENEWAL
        #: Seconds that the last look took.
        self._taken = 0.0
        self._news: dict[str, ResultRecord] = {}

    def add(self, task_ids: Collection[str], timeout: float | None = None) -> None:
        """Look, so that nothing is written for what is there; then write the rows, and look again."""
        new = [task_id for task_id in task_ids if task_id not in self._wanted]
        self._wanted.update(dict.fromkeys(new, ""))
        self._due.update(new)
        self._news |= self._look()
        self._unlisted.update(task_id for task_id in new if task_id in self._wanted)
        self._register()

    def discard(self, task_ids: Collection[str]) -> None:
        """Take the rows out."""
        for task_id in task_ids:
            self._news.pop(task_id, None)
            self._unlisted.discard(task_id)
            if self._wanted.pop(task_id, None) is not None:
                self._left.add(task_id)
        self._register()

    def _register(self) -> None:
        """Bring the rows up to date, if that works; else at a later look. Then look for what they are for."""
        if not (self._unlisted or self._left):
            return
        with (
            suppress(OperationalError),
            self._database.write(durable=False, timeout=REGISTERING) as connection,
        ):
            left = result_topics(self._left - self._wanted.keys())
            self._bell.stop_listening_for(connection, left)
            self._bell.listen(connection, result_topics(self._unlisted), self._database.now)
            self._due |= self._unlisted
            self._fresh |= self._unlisted
            self._left, self._unlisted = set(), set()

    def receive(self, timeout: float) -> dict[str, ResultRecord]:
        """Look when the bell rings, and from time to time."""
        clock = self._database.clock
        deadline = clock.monotonic() + timeout
        while True:
            if not (self._due or self._news):
                self._hear(min(deadline, self._next_look) - clock.monotonic())
            news, self._news = self._news | self._look(), {}
            if news or self._interrupted or clock.monotonic() >= deadline:
                self._interrupted = False
                return news

    def _hear(self, seconds: float) -> None:
        """Wait for the bell, and note what is to be looked for."""
        heard = self._bell.hear(seconds)
        now = self._database.clock.monotonic()
        if now >= self._renewal:
            self._renewal = now + RENEWAL
            self._unlisted.update(self._wanted)
        if now >= self._next_look:
            self._register()
        if now >= self._next_look or len(heard) >= MANY or NEWS in heard:
            self._due.update(self._wanted)
            self._next_look = now + SLOW_CHECK
            return
        for word in heard:
            named = word.decode("utf-8", "replace").split("\n")
            self._due.update(task_id for task_id in named if task_id in self._wanted)

    def _look(self) -> dict[str, ResultRecord]:
        """Return what there is new of what is due."""
        due, self._due = self._due & self._wanted.keys(), set()
        fresh, self._fresh = self._fresh, set()
        if not due:
            return {}
        clock = self._database.clock
        started = clock.monotonic()
        news = {}
        for task_id, record in self._get(due).items():
            if record.document == self._wanted[task_id]:
                continue
            news[task_id] = record
            if record.ready:
                del self._wanted[task_id]
                self._unlisted.discard(task_id)
                if task_id in fresh:
                    self._left.add(task_id)
            else:
                self._wanted[task_id] = record.document
        now = clock.monotonic()
        taken, before = now - started, self._taken
        # Of two: one that was held up says nothing of the next.
        self._next_look = max(self._next_look, now + min(taken, before) / LOOKING)
        self._taken = taken
        return news

    def interrupt(self) -> None:
        """Ring the own bell."""
        self._interrupted = True
        self._ringer.ring([(self._bell.port, _STOP)])

    def close(self) -> None:
        """Leave the file, if that works; else the rows are swept away in time."""
        try:
            if self._pid == os.getpid() and (self._wanted or self._left):
                with (
                    suppress(OperationalError),
                    self._database.write(durable=False, timeout=REGISTERING) as connection,
                ):
                    self._bell.stop_listening(connection)
        finally:
            self._bell.close()
            self._ringer.close()
