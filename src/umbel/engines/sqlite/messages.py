"""The table of messages: inserting, and whom to wake for it. Shared by publishing and settling."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from umbel.engines.sql import statements
from umbel.engines.sqlite import rows
from umbel.engines.sqlite.bell import Ringer
from umbel.engines.sqlite.database import LOCK_TIMEOUT, Database
from umbel.engines.sqlite.rows import Handle
from umbel.engines.texts import check_text
from umbel.message import Publication

SQL = statements(__package__, "broker.sql")

#: States of leased messages: those marked early may not be delivered again.
LEASED, MARKED = 2, 3

Row = tuple[str, tuple[Any, ...]]


class Messages:
    """Queues by number, and messages as rows."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ringer = Ringer()
        self.queues: dict[str, int] = {}
        self._last_lease = 0

    def number_queues(self, names: Iterable[str], timeout: float = LOCK_TIMEOUT) -> None:
        """Learn the numbers of queues, in a transaction of its own so that only committed ones are kept."""
        unknown = [name for name in names if name not in self.queues]
        if unknown:
            check_text(*unknown)
            with self.database.write(timeout=timeout) as connection:
                connection.executemany(SQL["add_queue"], [(name,) for name in unknown])
                found = connection.execute(SQL["all_queues"]).fetchall()
            self.queues.update(found)

    def rows(self, publications: Iterable[Publication]) -> list[Row]:
        """Return publications as (queue, row). Raises EncodeError for what cannot be written."""
        now = self.database.now
        return [(item.queue, rows.publication_row(item, now)) for item in publications]

    def next_lease(self) -> int:
        """Return the number of the handings-over that a claim begins; its transaction is open."""
        self._last_lease = max(self.database.now * 1000, self._last_lease + 1)
        return self._last_lease

    def held(
        self,
        connection: sqlite3.Connection,
        owner: int,
        wanted: Sequence[Handle],
        most: int = MARKED,
    ) -> set[Handle]:
        """Return which of these handings-over an owner still holds, in a state of at `most`."""
        numbers = json.dumps([seq for seq, _ in wanted])
        found = connection.execute(SQL["held"], (numbers, owner, most)).fetchall()
        return set(found).intersection(wanted)

    def release(
        self, connection: sqlite3.Connection, owner: int, handles: Iterable[Handle]
    ) -> list[int]:
        """Make rows ready again that `held` found; return the queue of each."""
        numbers = json.dumps([seq for seq, _ in handles])
        found = connection.execute(SQL["release"], (numbers, owner)).fetchall()
        return [queue for (queue,) in found]

    def insert(self, connection: sqlite3.Connection, values: Iterable[Row]) -> list[int]:
        """Insert rows of numbered queues; return the ports of the waiters to wake."""
        numbered = []
        ready: dict[int, int] = {}
        (last,) = connection.execute(SQL["last_seq"]).fetchone()
        first = max(self.database.now * 1000, last + 1)
        for seq, (name, row) in enumerate(values, first):
            queue = self.queues[name]
            numbered.append((seq, queue, *row))
            ready[queue] = ready.get(queue, 0) + 1
        connection.executemany(SQL["publish"], numbered)
        return self.waiters(connection, ready)

    def waiters(self, connection: sqlite3.Connection, ready: dict[int, int]) -> list[int]:
        """Return the ports of as many waiters of each queue as it has new messages."""
        return [
            port
            for queue, messages in ready.items()
            for port in self.ringer.queue_waiters(connection, queue, messages)
        ]


def counted(found: Iterable[tuple[int]]) -> dict[int, int]:
    """Count rows of queue numbers."""
    counts: dict[int, int] = {}
    for (queue,) in found:
        counts[queue] = counts.get(queue, 0) + 1
    return counts
