"""Broadcasts on PostgreSQL: rows that live for a minute, and a notification that there are some."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from contextlib import suppress

from umbel.clock import unique_id
from umbel.engines.postgres import rows
from umbel.engines.postgres.ear import Ear
from umbel.engines.postgres.link import Row
from umbel.engines.postgres.server import Server
from umbel.exceptions import OperationalError
from umbel.ports import Broadcast, Subscription

#: Seconds after which who listens says so again.
RENEWAL = 60.0


class PostgresBroadcast(Broadcast):
    """See `umbel.ports.Broadcast`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sql = server.statements("state.sql")
        # Channels are the database's, so that of each schema has a name of its own.
        digest = hashlib.sha256(server.address.schema.encode()).hexdigest()[:20]
        self._channel = f"umbel_broadcast_{digest}"

    def send(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Insert the rows, if anybody listens, and notify."""
        rows.check_texts(topic)
        if payloads:
            self._server.call(self._sql["send"], self._channel, topic, list(payloads))

    def listen(self, topics: Collection[str]) -> Subscription:
        """Start behind the newest row."""
        return PostgresSubscription(self._server, self._channel, topics)

    def close(self) -> None:
        """Do nothing: the connections are the engine's to close."""


class PostgresSubscription(Subscription):
    """See `umbel.ports.Subscription`."""

    def __init__(self, server: Server, channel: str, topics: Collection[str]) -> None:
        self._server = server
        self._sql = server.statements("state.sql")
        self._names = frozenset(topic for topic in topics if not topic.endswith("*"))
        self._prefixes = tuple(topic[:-1] for topic in topics if topic.endswith("*"))
        self._name = unique_id()
        self._pid = os.getpid()
        self._ear = Ear(server, channel)
        link, _ = self._ear.link()
        try:
            [(self._last,)] = server.run_again(link, self._sql["listen"], (self._name,))
        except BaseException:
            self._ear.close()
            raise
        self._renewal = server.clock.monotonic() + RENEWAL

    def receive(self, wait: float) -> list[tuple[str, bytes]]:
        """Read what came; else wait to be notified."""
        clock = self._server.clock
        deadline = clock.monotonic() + wait
        pauses = self._ear.pauses()
        while True:
            found = self._read()
            if found:
                self._last = found[-1][0]
            wanted = [(topic, bytes(payload)) for _, topic, payload in found if self._wants(topic)]
            if wanted or (clock.monotonic() >= deadline and not found):
                return wanted
            if not found:
                self._ear.hear(min(deadline, clock.monotonic() + next(pauses)))
                self._ear.prove()

    def _read(self) -> list[Row]:
        link, is_new = self._ear.link()
        now = self._server.clock.monotonic()
        if is_new or now >= self._renewal:
            self._renewal = now + RENEWAL
            # Rows go with a crash of the server, and their numbers begin anew.
            [(last,)] = self._server.run_again(link, self._sql["listen"], (self._name,))
            self._last = min(self._last, last)
        try:
            return self._server.run_again(link, self._sql["received"], (self._last,))
        finally:
            self._ear.drop_broken()

    def _wants(self, topic: str) -> bool:
        return topic in self._names or topic.startswith(self._prefixes)

    def close(self) -> None:
        """Stop listening."""
        if self._pid == os.getpid():
            with suppress(OperationalError):
                self._server.call(self._sql["leave"], self._name)
        self._ear.close()
