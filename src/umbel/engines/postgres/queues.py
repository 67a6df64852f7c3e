"""Looking into the queues of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Collection

from umbel.engines.postgres import rows
from umbel.engines.postgres.server import Server
from umbel.ports import DeadLetter, Holding, Owner, QueueAdmin, QueueDepth, StoredMessage

_WHERE = ("ready", "scheduled", "leased", "leased", "dead")
#: Seconds that looking at large queues may take.
PATIENCE = 60.0


class PostgresQueues(QueueAdmin):
    """See `umbel.ports.QueueAdmin`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sql = server.statements("queues.sql")

    def depths(self) -> dict[str, QueueDepth]:
        """Count by queue."""
        found = self._server.call(self._sql["depths"], timeout=PATIENCE, repeat=True)
        return {name: QueueDepth(*counts) for name, *counts in found}

    def peek(self, queue: str, limit: int, offset: int = 0) -> list[StoredMessage]:
        """Read in the order of delivery."""
        rows.check_texts(queue)
        values = (queue, limit, offset)
        found = self._server.call(self._sql["peek"], *values, timeout=PATIENCE, repeat=True)
        return [StoredMessage(str(row[0]), queue, "ready", rows.message(row[1:])) for row in found]

    def find(self, task_id: str) -> list[StoredMessage]:
        """Look in messages and dead letters."""
        rows.check_texts(task_id)
        found = self._server.call(self._sql["find"], task_id, timeout=PATIENCE, repeat=True)
        found += self._server.call(self._sql["find_dead"], task_id, timeout=PATIENCE, repeat=True)
        return [
            StoredMessage(str(seq), queue, _WHERE[state], rows.message(parts), due, consumer)
            for seq, *parts, queue, state, due, consumer in found
        ]

    def holdings(self) -> list[Holding]:
        """Count by owner."""
        found = self._server.call(self._sql["holdings"], timeout=PATIENCE, repeat=True)
        return [Holding(Owner(*owner), held, left) for *owner, held, left in found]

    def purge(self, queue: str) -> int:
        """Delete what waits."""
        rows.check_texts(queue)
        return len(self._server.call(self._sql["purge"], queue, timeout=PATIENCE))

    def dead_letters(self, limit: int, offset: int = 0) -> list[DeadLetter]:
        """Read the latest."""
        values = (limit, offset)
        found = self._server.call(self._sql["dead_letters"], *values, timeout=PATIENCE, repeat=True)
        return [
            DeadLetter(str(key), queue, rows.message(message), reason, died, crashes)
            for key, queue, reason, died, crashes, *message in found
        ]

    def retry_dead(self, keys: Collection[str]) -> int:
        """Move them back."""
        [(count,)] = self._server.call(self._sql["revive"], rows.dead_keys(keys), timeout=PATIENCE)
        return int(count)

    def drop_dead(self, keys: Collection[str]) -> int:
        """Delete them."""
        found = self._server.call(self._sql["drop_dead"], rows.dead_keys(keys), timeout=PATIENCE)
        return len(found)

    def close(self) -> None:
        """Do nothing: the connections are the engine's to close."""
