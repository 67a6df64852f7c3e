"""Broadcasts on SQLite: rows that live for a minute, read by everyone who was listening when they came."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

from umbel.engines.sql import statements
from umbel.engines.sqlite.bell import RENEWAL, SLOW_CHECK, Bell, Ringer
from umbel.engines.sqlite.database import Database
from umbel.exceptions import OperationalError
from umbel.ports import Broadcast, Subscription

_SQL = statements(__package__, "state.sql")

#: Milliseconds that a slow listener may lag behind before it misses something.
KEPT = 60_000


class SqliteBroadcast(Broadcast):
    """See `umbel.ports.Broadcast`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ringer = Ringer()

    def send(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Insert the rows and wake the listeners."""
        now = self._database.now
        with self._database.write(durable=False) as connection:
            connection.execute(_SQL["forget_sent"], (now - KEPT,))
            connection.executemany(_SQL["send"], [(topic, payload, now) for payload in payloads])
            ports = self._ringer.broadcast_waiters(connection)
        self._ringer.ring(ports)

    def listen(self, topics: Collection[str]) -> Subscription:
        """Start behind the newest row."""
        return SqliteSubscription(self._database, topics)

    def close(self) -> None:
        """Close the sending socket."""
        self._ringer.close()


class SqliteSubscription(Subscription):
    """See `umbel.ports.Subscription`."""

    def __init__(self, database: Database, topics: Collection[str]) -> None:
        self._database = database
        self._names = frozenset(topic for topic in topics if not topic.endswith("*"))
        self._prefixes = tuple(topic[:-1] for topic in topics if topic.endswith("*"))
        self._bell = Bell()
        try:
            with database.write(durable=False) as connection:
                self._bell.listen(connection, ["broadcast"], database.now)
                (self._last,) = connection.execute(_SQL["last_sent"]).fetchone()
        except BaseException:
            self._bell.close()
            raise
        self._renewal = database.clock.monotonic() + RENEWAL

    def receive(self, wait: float) -> list[tuple[str, bytes]]:
        """Read what came; else wait for the bell."""
        clock = self._database.clock
        deadline = clock.monotonic() + wait
        while True:
            with self._database.read() as connection:
                found = connection.execute(_SQL["received"], (self._last,)).fetchall()
            if found:
                self._last = found[-1][0]
            wanted = [(topic, payload) for _, topic, payload in found if self._wants(topic)]
            left = deadline - clock.monotonic()
            if wanted or (left <= 0 and not found):
                return wanted
            if not found:
                self._renew()
                self._bell.wait(min(left, SLOW_CHECK))

    def _renew(self) -> None:
        """Say from time to time that somebody listens here, if that works: else it looks by itself."""
        now = self._database.clock.monotonic()
        if now >= self._renewal:
            self._renewal = now + RENEWAL
            with (
                suppress(OperationalError),
                self._database.write(durable=False, timeout=SLOW_CHECK) as connection,
            ):
                self._bell.listen(connection, ["broadcast"], self._database.now)

    def _wants(self, topic: str) -> bool:
        return topic in self._names or topic.startswith(self._prefixes)

    def close(self) -> None:
        """Stop listening."""
        try:
            with self._database.write(durable=False) as connection:
                self._bell.stop_listening(connection)
        finally:
            self._bell.close()
