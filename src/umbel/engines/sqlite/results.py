"""Results on SQLite: one row a task, and bells for those who wait."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from umbel.engines.sql import statements
from umbel.engines.sqlite import rows
from umbel.engines.sqlite.bell import RENEWAL, SLOW_CHECK, Bell, Ringer, sweep_listeners
from umbel.engines.sqlite.database import Database
from umbel.exceptions import OperationalError
from umbel.ports import ResultStore
from umbel.records import ResultRecord

_SQL = statements(__package__, "results.sql")

#: Seconds that asking to be woken may take: who waits can do without.
REGISTERING = 0.5


def store_results(
    connection: sqlite3.Connection, ringer: Ringer, records: Sequence[ResultRecord], now: int
) -> list[int]:
    """Store results within a transaction; return the ports of those who wait for them."""
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
    ids = json.dumps([record.task_id for record in records])
    return list(ringer.result_waiters(connection, ids))


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

    def get(self, task_ids: Collection[str]) -> dict[str, ResultRecord]:
        """Read them with one statement."""
        with self._database.read() as connection:
            return self._get(connection, task_ids)

    def _get(
        self, connection: sqlite3.Connection, task_ids: Collection[str]
    ) -> dict[str, ResultRecord]:
        values = (json.dumps(list(task_ids)), self._database.now)
        return {
            task_id: ResultRecord(task_id, state, document, rows.seconds(expires))
            for task_id, state, document, expires in connection.execute(_SQL["get"], values)
        }

    def wait(self, task_ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        """Look; then listen, look again, and wait for the bell.

        A file that cannot be written to costs no more than the bell: this looks every second then.
        """
        found = _ready(self.get(task_ids).values())
        if found or timeout <= 0:
            return found
        clock = self._database.clock
        deadline = clock.monotonic() + timeout
        bell = Bell()
        renewal = clock.monotonic()
        try:
            while not found and (left := deadline - clock.monotonic()) > 0:
                if clock.monotonic() >= renewal and self._listen(bell, task_ids, left):
                    renewal = clock.monotonic() + RENEWAL
                    found = _ready(self.get(task_ids).values())
                if not found:
                    bell.wait(min(left, SLOW_CHECK))
                    found = _ready(self.get(task_ids).values())
        finally:
            self._stop_listening(bell)
        return found

    def _listen(self, bell: Bell, task_ids: Collection[str], left: float) -> bool:
        """Ask to be woken; False when the file cannot be written to."""
        try:
            with self._database.write(durable=False, timeout=min(left, REGISTERING)) as connection:
                topics = [f"result:{task_id}" for task_id in task_ids]
                bell.listen(connection, topics, self._database.now)
        except OperationalError:
            return False
        return True

    def _stop_listening(self, bell: Bell) -> None:
        """Leave the file, if that works; else the row is swept away in time."""
        try:
            with (
                suppress(OperationalError),
                self._database.write(durable=False, timeout=REGISTERING) as connection,
            ):
                bell.stop_listening(connection)
        finally:
            bell.close()

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

    def cleanup(self) -> int:
        """Delete up to some thousand rows that expired, and waiters that are gone."""
        now = self._database.now
        with self._database.write(durable=False) as connection:
            results = connection.execute(_SQL["cleanup_results"], (now,)).rowcount
            dead = connection.execute(_SQL["cleanup_dead"], (now,)).rowcount
            sweep_listeners(connection, now)
        return results + dead

    def close(self) -> None:
        """Close the sockets; the file is the engine's to close."""
        self._ringer.close()


def _ready(records: Iterable[ResultRecord]) -> dict[str, ResultRecord]:
    return {record.task_id: record for record in records if record.ready}
