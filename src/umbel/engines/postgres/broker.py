"""The broker on PostgreSQL: publishing, and the owners of leases."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from umbel.engines.postgres import rows
from umbel.engines.postgres.cleaning import Cleaner
from umbel.engines.postgres.consumer import BATCH, PostgresConsumer
from umbel.engines.postgres.messages import Messages
from umbel.engines.postgres.results import PostgresResults
from umbel.engines.postgres.server import Server
from umbel.exceptions import OperationalError
from umbel.failpoints import fail_point
from umbel.message import Publication
from umbel.ports import Broker, Consumer, Features, Owner, ResultStore

logger = logging.getLogger("umbel.postgres")

#: Seconds for which a publish is recognized.
REMEMBERED = 60.0

FEATURES = Features(
    shared=True,
    joint_results=True,
    joint_state=True,
    tells_revocations=True,
    atomic_settle=True,
    scheduling=True,
    fencing=True,
    leases=True,
    dedupes=True,
    remembers=REMEMBERED,
    counts=True,
    batch=BATCH,
    priorities=256,
    peek=True,
    find=True,
)

#: Messages that one statement publishes; more are several in one transaction, sent in one go.
CHUNK = 1000


class PostgresBroker(Broker):
    """See `umbel.ports.Broker`."""

    features = FEATURES

    def __init__(self, server: Server) -> None:
        self._server = server
        self._messages = Messages(server)
        self._sql = self._messages.sql
        self._cleaner = Cleaner(server)

    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        """Publish in one transaction; what was published before by the same tag is recognized."""
        written = [rows.publication_row(item) for item in publications]
        if not written:
            return
        deadline = self._server.clock.monotonic() + timeout
        self._messages.number_queues({row[0] for row in written}, timeout)
        queues = self._messages.queues
        parts = [
            rows.publication_columns(written[start : start + CHUNK], queues)
            for start in range(0, len(written), CHUNK)
        ]
        left = max(deadline - self._server.clock.monotonic(), 0.001)
        fail_point("postgres.publish.before")
        if len(parts) == 1:
            self._server.call(self._sql["publish"], *parts[0], timeout=left, repeat=True)
        else:
            statements = [(self._sql["publish"], part) for part in parts]
            self._server.transaction(statements, timeout=left, repeat=True)
        fail_point("postgres.publish.after")

    def consumer(self, owner: Owner, ttl: float) -> Consumer:
        """Insert the owner; its number is its fence."""
        rows.check_texts(owner.id, owner.node, owner.host)
        values = (owner.id, owner.node, owner.host, owner.pid, ttl)
        with self._messages.ghosts.attaching(owner.id) as ghosts:
            parts = [(self._sql["forget"], (ghosts,))] if ghosts else []
            [(number,)] = self._server.transaction(
                [*parts, (self._sql["attach"], values)], repeat=True
            )
        return PostgresConsumer(self._messages, owner, number)

    def shares(self, results: ResultStore) -> bool:
        """Results in the same schema are stored in the same transaction."""
        return (
            isinstance(results, PostgresResults)
            and results.location == self._server.address.location
        )

    def join(self, results: ResultStore) -> None:
        """Do nothing: a store that it shares is in the same place, where settling finds it."""

    def renew(self, node: str, ttl: float) -> frozenset[str]:
        """Move the end of the leases; and do now and then what one of all nodes has to do."""
        found = self._server.call(self._sql["renew"], node, ttl, repeat=True)
        try:
            self._server.call(self._sql["tidy"], REMEMBERED)
            self._cleaner.look()
        except OperationalError as error:  # the leases are renewed all the same
            logger.debug("What is to be done from time to time is left to others: %s", error)
        return frozenset(name for (name,) in found)

    def expired(self) -> list[Owner]:
        """Read the owners whose time is over."""
        return [Owner(*row) for row in self._server.call(self._sql["expired"], repeat=True)]

    def take_back(self, owner: str, keys: Collection[str]) -> int:
        """Make rows ready again."""
        columns = rows.handle_columns(rows.handles(keys))
        fail_point("postgres.take_back.before")
        [(count,)] = self._server.call(self._sql["take_back"], owner, *columns)
        fail_point("postgres.take_back.after")
        return int(count)

    def ever_consumed(self) -> bool:
        """Ask the counter of owners, which never goes back."""
        [(found,)] = self._server.call(self._sql["ever_consumed"], repeat=True)
        return bool(found)

    def close(self) -> None:
        """Do nothing: the connections are the engine's to close."""
