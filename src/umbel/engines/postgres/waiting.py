"""How a consumer waits for messages: on a channel of its own, by a connection that it has for itself.

Who finds nothing is listed as waiting, by the same call. Who publishes sees that, and notifies as many as
there are messages. A publish that looked before the list was written, and commits after the claim, notifies
nobody: so who waits looks again after some milliseconds, a few times, and then every second. That costs less
than a lock which all who publish would have to take.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from umbel.clock import unique_id
from umbel.engines.postgres.ear import Ear
from umbel.engines.postgres.link import Link, Row
from umbel.engines.postgres.messages import Messages


class Waiter:
    """The connection of one consumer, and its place on the list of those who wait."""

    def __init__(self, messages: Messages, owner: int) -> None:
        self._server = messages.server
        self._sql = messages.sql
        self._owner = owner
        self._channel = f"umbel_{unique_id()}"
        self._lock = threading.Lock()
        self._ear = Ear(self._server, self._channel)
        self._listed = False

    def run(self, statement: str, values: Sequence[Any]) -> list[Row]:
        """Run a statement on the own connection, or on another while it waits in another thread."""
        if not self._lock.acquire(blocking=False):
            return self._server.call(statement, *values)
        try:
            return self._server.run_again(self._open(), statement, values)
        finally:
            self._ear.drop_broken()
            self._lock.release()

    def claim(self, queues: str, limit: int) -> list[Row]:
        """Claim what is there."""
        return self.run(self._sql["claim"], (self._owner, queues, limit, None, False))

    def wait_and_claim(self, queues: str, limit: int, deadline: float) -> list[Row]:
        """Claim, waiting for something to claim; nothing at the deadline, or after an interrupt."""
        with self._lock:
            try:
                found = self._wait(self._open(), queues, limit, deadline)
            finally:
                self._ear.drop_broken()
        if not found:
            self._ear.interrupted.clear()
        return found

    def _wait(self, link: Link, queues: str, limit: int, deadline: float) -> list[Row]:
        clock = self._server.clock
        channel = None if link.pooled else self._channel
        while not self._ear.interrupted.is_set():
            values = (self._owner, queues, limit, channel, self._listed)
            found = self._server.run_again(link, self._sql["claim"], values)
            due = None
            if not found or found[0][:2] == (None, None):  # nothing, but when the next is due
                self._listed = channel is not None
                if found and found[0][-1] is not None:
                    due = clock.monotonic() + found[0][-1]
            else:
                self._listed = False
                return found
            if clock.monotonic() >= deadline or not self._rest(link, queues, deadline, due):
                break
        return self._give_up(link, queues, limit)

    def _rest(self, link: Link, queues: str, deadline: float, due: float | None) -> bool:
        """Rest until there may be something to claim (True), or it is time to give up (False)."""
        clock, ear = self._server.clock, self._ear
        for pause in ear.pauses():
            until = min(clock.monotonic() + pause, deadline)
            if ear.hear(until if due is None else min(until, due)):
                self._listed = False
                return True
            now = clock.monotonic()
            if ear.interrupted.is_set() or now >= deadline:
                return False
            if due is not None and now >= due:
                return True
            if ear.prove():
                self._listed = False
                return True
            [(found,)] = self._server.run_again(link, self._sql["look"], (queues,))
            if found:
                return True
        raise AssertionError("pauses never end")

    def _give_up(self, link: Link, queues: str, limit: int) -> list[Row]:
        """Wait no more. Who is not listed any more was notified for a message, and claims it."""
        if not self._listed:
            return []
        self._listed = False
        values = (self._owner, queues, limit, self._channel)
        return self._server.run_again(link, self._sql["stop_waiting"], values)

    def interrupt(self) -> None:
        """Let who waits return soon."""
        self._ear.interrupt()

    def _open(self) -> Link:
        link, is_new = self._ear.link()
        if is_new:
            self._listed = False
        return link

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._ear.close()
