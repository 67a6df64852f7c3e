"""Hearing of results on Redis: each is told on the channel that has its key's name, as Celery tells it.

It is listened first and looked then, in one packet, so nothing falls in between, also when a connection was
lost. Where a document does not show its state, a look at the store says it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import inf
from random import random

from umbel.engines.redis import documents
from umbel.engines.redis.listening import LEAST, Ear
from umbel.engines.redis.server import Server
from umbel.exceptions import OperationalError
from umbel.ports import ResultSubscription
from umbel.records import ResultRecord

Get = Callable[[Collection[str], float], dict[str, ResultRecord]]

#: Channels that are left together: nobody tells anything on them any more.
LEAVING = 100
#: Seconds after which a look that failed is repeated: the first time, and at most.
PAUSE, LONGEST_PAUSE = 0.05, 1.0


def within(timeout: float | None, longest: float) -> float:
    """Return how long a call may take for somebody who has so many seconds: a moment at least."""
    return longest if timeout is None else min(max(timeout, LEAST), longest)


class RedisResultSubscription(ResultSubscription):
    """See `umbel.ports.ResultSubscription`."""

    def __init__(self, server: Server, prefix: str, get: Get) -> None:
        self._server = server
        self._now = server.clock.monotonic
        self._timeout = server.timeout
        self._prefix = prefix.encode()
        self._get = get
        # Nothing has the key of a task without an id.
        self._ear = Ear(server, self._heard, self._found, self._prefix)
        #: What is listened for, with the document that was handed out last.
        self._wanted: dict[str, str | bytes] = {}
        self._news: dict[str, ResultRecord] = {}
        #: What to look for next.
        self._due: set[str] = set()
        self._pause = PAUSE
        self._next_look = 0.0
        #: Channels that may be left.
        self._left: set[bytes] = set()

    def add(self, task_ids: Collection[str], timeout: float | None = None) -> None:
        """Subscribe, and look."""
        limit, began = within(timeout, self._timeout), self._now()
        channels = []
        for task_id in task_ids:
            if task_id not in self._wanted:
                self._wanted[task_id] = ""
                channels.append(self._prefix + task_id.encode())
        self._left.difference_update(channels)
        self._ear.listen(channels, timeout=limit)
        if self._due:
            self._look(max(began + limit - self._now(), LEAST))

    def discard(self, task_ids: Collection[str]) -> None:
        """Unsubscribe, sooner or later."""
        for task_id in task_ids:
            self._news.pop(task_id, None)
            if self._wanted.pop(task_id, None) is not None:
                self._left.add(self._prefix + task_id.encode())
        self._leave()

    def receive(self, timeout: float) -> dict[str, ResultRecord]:
        """Wait for what is told; look where that does not say all."""
        if self._news and not self._due:  # found when it was added
            return self._handed_out()
        now = self._now()
        deadline = now + timeout
        while True:
            left = 0.0 if self._news else max(deadline - now, 0.0)
            interrupted = self._ear.wait(min(left, self._until_look()) if self._due else left)
            if self._due:
                self._look(max(min(left, self._timeout), LEAST))
            now = self._now()
            if self._news or interrupted or now >= deadline:
                return self._handed_out()

    def _handed_out(self) -> dict[str, ResultRecord]:
        news, self._news = self._news, {}
        for task_id, record in news.items():
            if record.ready:
                del self._wanted[task_id]
                self._left.add(self._prefix + task_id.encode())
            else:
                self._wanted[task_id] = record.document
        self._leave()
        return news

    def _heard(self, _: bytes, channel: bytes, document: bytes) -> None:
        self._found(channel, document)

    def _found(self, channel: bytes, document: bytes | None) -> None:
        task_id = channel[len(self._prefix) :].decode()
        if task_id not in self._wanted:
            return
        state = None if document is None else documents.shown_state(document)
        if document is None or state is None:
            self._due.add(task_id)  # its state is beside it
        else:
            self._tell(ResultRecord(task_id, state, documents.as_written(document)))

    def _tell(self, record: ResultRecord) -> None:
        task_id = record.task_id
        before = self._news.get(task_id)
        if before is None:
            is_new = self._wanted.get(task_id, record.document) != record.document
        else:
            # What is heard may have been said before what was looked up.
            is_new = record.ready or not before.ready
        if is_new:
            self._news[task_id] = record

    def _until_look(self) -> float:
        """Return in how many seconds to look; while the connection is lost, when it is back."""
        if not self._due or not self._ear.connected:
            return inf
        return max(self._next_look - self._now(), 0.0)

    def _look(self, timeout: float) -> None:
        """Look for what is due, if that works; else soon again."""
        self._due &= self._wanted.keys()
        if not self._due or self._until_look() > 0:
            return
        try:
            found = self._get(self._due, timeout)
        except OperationalError:
            self._next_look = self._now() + self._pause * (0.5 + random() / 2)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            return
        self._pause, self._next_look = PAUSE, 0.0
        self._due.clear()
        for record in found.values():
            self._tell(record)

    def _leave(self) -> None:
        """Listen no more where nobody tells anything, for many at a time."""
        if len(self._left) >= LEAVING:
            self._ear.leave(list(self._left))
            self._left.clear()

    def interrupt(self) -> None:
        """Wake the one who waits."""
        self._ear.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._ear.close()
