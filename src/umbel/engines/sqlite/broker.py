"""The broker on SQLite: publishing, and the owners of leases."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from umbel.engines.sqlite import rows
from umbel.engines.sqlite.consumer import BATCH, SqliteConsumer
from umbel.engines.sqlite.database import Database
from umbel.engines.sqlite.messages import LEASED, SQL, Messages, Row
from umbel.engines.sqlite.results import SqliteResults
from umbel.exceptions import OperationalError
from umbel.failpoints import fail_point
from umbel.message import Publication
from umbel.ports import Broker, Consumer, Features, Owner, ResultStore

FEATURES = Features(
    shared=True,
    joint_results=True,
    atomic_settle=True,
    scheduling=True,
    fencing=True,
    leases=True,
    dedupes=True,
    remembers=0.0,
    counts=True,
    batch=BATCH,
    priorities=256,
    peek=True,
    find=True,
    joint_state=True,
    tells_revocations=True,
)


@dataclass(slots=True, eq=False)
class _PublishRequest:
    """What one thread wants published; `done` when another thread did it."""

    rows: Sequence[Row]
    done: bool = False


class SqliteBroker(Broker):
    """See `umbel.ports.Broker`."""

    features = FEATURES

    def __init__(self, database: Database) -> None:
        self._database = database
        self._messages = Messages(database)
        self._start_over()
        database.after_fork.append(self._start_over)

    def _start_over(self) -> None:
        """Begin with no thread that publishes; after a fork those of the parent are not here."""
        self._waiting: list[_PublishRequest] = []
        self._publishing = threading.Lock()

    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        """Publish in one transaction; threads that publish at the same time share one."""
        clock = self._database.clock
        deadline = clock.monotonic() + timeout
        request = _PublishRequest(self._messages.rows(publications))
        self._messages.number_queues((item.queue for item in publications), timeout)
        self._waiting.append(request)
        if not self._publishing.acquire(timeout=max(deadline - clock.monotonic(), 0.001)):
            with suppress(ValueError):  # else it is being published now
                self._waiting.remove(request)
            raise OperationalError(f"{self._database.path} was busy for more than {timeout:g} s.")
        try:
            if not request.done:
                self._publish_waiting(request, max(deadline - clock.monotonic(), 0.0))
        finally:
            self._publishing.release()

    def _publish_waiting(self, own: _PublishRequest, timeout: float) -> None:
        """Commit what this thread and all that queued up behind it want to publish.

        If that fails the others try for themselves: the reason, or the timeout, may be this
        thread's alone.
        """
        others = [request for request in self._waiting[:] if request is not own]
        for request in (own, *others):
            with suppress(ValueError):
                self._waiting.remove(request)
        with self._database.write(timeout=timeout) as connection:
            values = [row for request in (own, *others) for row in request.rows]
            ports = self._messages.insert(connection, values)
            fail_point("sqlite.publish.before_commit")
        for request in others:
            request.done = True
        fail_point("sqlite.publish.after_commit")
        self._messages.ringer.ring(ports)

    def consumer(self, owner: Owner, ttl: float) -> Consumer:
        """Insert the owner; its number in the file is its fence."""
        with self._database.write(durable=False) as connection:
            expires = self._database.now + int(ttl * 1000)
            values = (owner.id, owner.node, owner.host, owner.pid, expires)
            (number,) = connection.execute(SQL["attach"], values).fetchone()
        return SqliteConsumer(self._messages, owner, number)

    def shares(self, results: ResultStore) -> bool:
        """Results in the same file are stored in the same transaction."""
        return isinstance(results, SqliteResults) and results.path == self._database.path

    def join(self, results: ResultStore) -> None:
        """Do nothing: a store that it shares is in the same place, where settling finds it."""

    def renew(self, node: str, ttl: float) -> frozenset[str]:
        """Move the end of the leases; not worth a write to the disk itself."""
        with self._database.write(durable=False) as connection:
            expires = self._database.now + int(ttl * 1000)
            found = connection.execute(SQL["renew"], (expires, node)).fetchall()
        return frozenset(name for (name,) in found)

    def expired(self) -> list[Owner]:
        """Read the owners whose time is over."""
        with self._database.read() as connection:
            found = connection.execute(SQL["expired"], (self._database.now,)).fetchall()
        return [Owner(*row) for row in found]

    def take_back(self, owner: str, keys: Collection[str]) -> int:
        """Make rows ready again."""
        with self._database.write(durable=False) as connection:
            row = connection.execute(SQL["owner_number"], (owner,)).fetchone()
            if row is None:
                return 0
            held = self._messages.held(connection, row[0], rows.handles(keys), LEASED)
            found = self._messages.release(connection, row[0], held)
            ports = self._messages.waiters(connection, Counter(found))
            fail_point("sqlite.take_back.before_commit")
        fail_point("sqlite.take_back.after_commit")
        self._messages.ringer.ring(ports)
        return len(found)

    def ever_consumed(self) -> bool:
        """Look at the counter of owners, which never goes back."""
        with self._database.read() as connection:
            return connection.execute(SQL["ever_consumed"]).fetchone() is not None

    def close(self) -> None:
        """Close the sending socket; the file is the engine's to close."""
        self._messages.ringer.close()
