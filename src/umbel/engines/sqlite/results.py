"""Results on SQLite: one row a task. How to wait for them is in subscription.py."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from umbel.engines.sql import statements
from umbel.engines.sqlite import rows
from umbel.engines.sqlite.bell import Ring, Ringer, sweep_listeners
from umbel.engines.sqlite.database import Database
from umbel.engines.sqlite.subscription import SqliteResultSubscription
from umbel.ports import ResultStore, ResultSubscription
from umbel.records import ResultRecord

_SQL = statements(__package__, "results.sql")


def store_results(
    connection: sqlite3.Connection, ringer: Ringer, records: Sequence[ResultRecord], now: int
) -> list[Ring]:
    """Store results within a transaction; return those who wait for them."""
    connection.executemany(
        _SQL["put"],
        [
            {
                "task_id": record.task_id,
                "state": record.state,
                "document": record.document,
                "expires": rows.milliseconds(record.expires),
                "now": now,
            }
            for record in records
        ],
    )
    return ringer.result_waiters(connection, records)


def stored_results(database: Database, task_ids: Collection[str]) -> dict[str, ResultRecord]:
    """Read results that have not expired."""
    values = (json.dumps(list(task_ids)), database.now)
    with database.read() as connection:
        return {
            task_id: ResultRecord(task_id, state, document, rows.seconds(expires))
            for task_id, state, document, expires in connection.execute(_SQL["get"], values)
        }


class SqliteResults(ResultStore):
    """See `umbel.ports.ResultStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ringer = Ringer()

    @property
    def path(self) -> Path:
        """The file; a broker on the same file stores results with its acknowledgements."""
        return self._database.path

    def put(self, records: Sequence[ResultRecord]) -> None:
        """Store in one transaction."""
        if not records:
            return
        with self._database.write() as connection:
            ports = store_results(connection, self._ringer, records, self._database.now)
        self._ringer.ring(ports)

    def get(
        self, task_ids: Collection[str], timeout: float | None = None
    ) -> dict[str, ResultRecord]:
        """Read them with one statement, which waits for nobody."""
        return stored_results(self._database, task_ids)

    def subscribe(self) -> ResultSubscription:
        """Listen on a port of its own."""
        return SqliteResultSubscription(self._database, partial(stored_results, self._database))

    def forget(self, task_ids: Collection[str]) -> None:
        """Delete the rows."""
        with self._database.write() as connection:
            connection.execute(_SQL["forget"], (json.dumps(list(task_ids)),))

    def add_part(self, group: str, part: str, document: str, size: int, claimant: str) -> bool:
        """Record, count and claim in one transaction."""
        with self._database.write() as connection:
            connection.execute(_SQL["add_part"], (group, part, document))
            (count,) = connection.execute(_SQL["count_parts"], (group,)).fetchone()
            if count < size:
                return False
            connection.execute(_SQL["claim_group"], (group, claimant))
            (holder,) = connection.execute(_SQL["claimant"], (group,)).fetchone()
        return bool(holder == claimant)

    def parts(self, group: str) -> dict[str, str]:
        """Read the rows."""
        with self._database.read() as connection:
            return dict(connection.execute(_SQL["parts"], (group,)))

    def close_group(self, group: str, claimant: str) -> bool:
        """Delete rows and claim in one transaction."""
        with self._database.write() as connection:
            found = connection.execute(_SQL["claimant"], (group,)).fetchone()
            if found != (claimant,):
                return False
            connection.execute(_SQL["forget_parts"], (group,))
            connection.execute(_SQL["forget_claim"], (group,))
        return True

    def save_group(self, group: str, document: str | bytes, expires: float | None) -> None:
        """Write its row."""
        with self._database.write() as connection:
            connection.execute(_SQL["save_group"], (group, document, rows.milliseconds(expires)))

    def saved_group(self, group: str) -> str | bytes | None:
        """Read its row."""
        with self._database.read() as connection:
            found = connection.execute(_SQL["saved_group"], (group, self._database.now)).fetchone()
        return None if found is None else found[0]

    def forget_group(self, group: str) -> None:
        """Delete its row."""
        with self._database.write() as connection:
            connection.execute(_SQL["forget_group"], (group,))

    def cleanup(self) -> int:
        """Delete up to some thousand rows that expired, and waiters that are gone."""
        now = self._database.now
        with self._database.write(durable=False) as connection:
            results = connection.execute(_SQL["cleanup_results"], (now,)).rowcount
            groups = connection.execute(_SQL["cleanup_groups"], (now,)).rowcount
            dead = connection.execute(_SQL["cleanup_dead"], (now,)).rowcount
            sweep_listeners(connection, now)
        return results + groups + dead

    def close(self) -> None:
        """Close the sockets; the file is the engine's to close."""
        self._ringer.close()
