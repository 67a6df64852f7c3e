"""Looking into the queues of an SQLite file."""

from __future__ import annotations

from collections.abc import Collection

from umbel.engines.sql import statements
from umbel.engines.sqlite import rows
from umbel.engines.sqlite.bell import Ringer
from umbel.engines.sqlite.database import Database
from umbel.ports import DeadLetter, Holding, Owner, QueueAdmin, QueueDepth, StoredMessage

_SQL = statements(__package__, "queues.sql")
_WHERE = ("ready", "scheduled", "leased", "leased", "dead")


class SqliteQueues(QueueAdmin):
    """See `umbel.ports.QueueAdmin`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ringer = Ringer()

    def depths(self) -> dict[str, QueueDepth]:
        """Count by queue."""
        with self._database.read() as connection:
            return {
                name: QueueDepth(
                    ready, scheduled, leased, dead, None if oldest is None else oldest / 1e6
                )
                for name, ready, scheduled, leased, dead, oldest in connection.execute(
                    _SQL["depths"]
                )
            }

    def peek(self, queue: str, limit: int, offset: int = 0) -> list[StoredMessage]:
        """Read in the order of delivery."""
        with self._database.read() as connection:
            found = connection.execute(_SQL["peek"], (queue, limit, offset)).fetchall()
        return [
            StoredMessage(str(row[0]), queue, _WHERE[row[1]], rows.message(row[3:8]))
            for row in found
        ]

    def find(self, task_id: str) -> list[StoredMessage]:
        """Look in messages and dead letters."""
        with self._database.read() as connection:
            found = connection.execute(_SQL["find"], (task_id, task_id)).fetchall()
            found += connection.execute(_SQL["find_dead"], (task_id, task_id)).fetchall()
        return [
            StoredMessage(
                str(row[0]),
                row[8],
                _WHERE[row[1]],
                rows.message(row[3:8]),
                rows.seconds(row[2]),
                row[9],
            )
            for row in found
            if rows.message(row[3:8]).task_id == task_id  # ids may contain spaces
        ]

    def holdings(self) -> list[Holding]:
        """Count by owner."""
        with self._database.read() as connection:
            found = connection.execute(_SQL["holdings"]).fetchall()
        now = self._database.now
        return [
            Holding(Owner(*owner), held, max(expires - now, 0) / 1000)
            for *owner, held, expires in found
        ]

    def purge(self, queue: str) -> int:
        """Delete what waits."""
        with self._database.write() as connection:
            return connection.execute(_SQL["purge"], (queue,)).rowcount

    def dead_letters(self, limit: int, offset: int = 0) -> list[DeadLetter]:
        """Read the latest."""
        with self._database.read() as connection:
            found = connection.execute(_SQL["dead_letters"], (limit, offset)).fetchall()
        return [
            DeadLetter(str(key), queue, rows.message(tuple(message)), reason, died / 1000, crashes)
            for key, queue, reason, died, crashes, *message in found
        ]

    def retry_dead(self, keys: Collection[str]) -> int:
        """Move them back."""
        wanted = rows.numbers(keys)
        with self._database.write() as connection:
            found = connection.execute(
                _SQL["revive"], (self._database.now * 1000, wanted)
            ).fetchall()
            connection.execute(_SQL["drop_dead"], (wanted,))
            ports = [
                port
                for (queue,) in found
                for port in self._ringer.queue_waiters(connection, queue, 1)
            ]
        self._ringer.ring(ports)
        return len(found)

    def close(self) -> None:
        """Close the sending socket."""
        self._ringer.close()

    def drop_dead(self, keys: Collection[str]) -> int:
        """Delete them."""
        with self._database.write() as connection:
            return connection.execute(_SQL["drop_dead"], (rows.numbers(keys),)).rowcount
