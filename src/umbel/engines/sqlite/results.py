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
from umbel.ports import GroupPart, ResultStore, ResultSubscription
from umbel.records import ResultRecord

_SQL = statements(__package__, "results.sql")
#: Milliseconds that a closed group is remembered.
CLOSED = 86_400_000
#: The place of a part that has none: behind all others.
LAST = 2**62


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

    def open_group(self, group: str, size: int, expires: float | None) -> None:
        """Write its row."""
        ends = rows.milliseconds(expires)
        with self._database.write() as connection:
            connection.execute(_SQL["open_group"], {"group": group, "size": size, "expires": ends})

    def restart_groups(self, groups: Collection[str]) -> None:
        """Delete their rows."""
        with self._database.write() as connection:
            for statement in ("forget_parts", "forget_more", "forget_part_group"):
                connection.executemany(_SQL[statement], [(group,) for group in groups])

    def extend_group(self, group: str, part: str) -> None:
        """Change its row, unless the call has one of its own already."""
        values = {"group": group, "part": part}
        with self._database.write() as connection:
            if connection.execute(_SQL["add_more"], values).rowcount == 1:
                connection.execute(_SQL["extend_group"], {"group": group})

    def add_parts(self, parts: Sequence[GroupPart]) -> list[bool]:
        """Record, count and claim in one transaction."""
        if not parts:
            return []
        with self._database.write() as connection:
            return [_add_part(connection, part) for part in parts]

    def parts(self, group: str) -> list[str | bytes]:
        """Read the rows."""
        with self._database.read() as connection:
            return [document for (document,) in connection.execute(_SQL["parts"], (group,))]

    def close_group(self, group: str, claimant: str) -> bool:
        """Delete the parts and mark the group in one transaction."""
        values = {"group": group, "claimant": claimant, "expires": self._database.now + CLOSED}
        with self._database.write() as connection:
            closed = connection.execute(_SQL["close_group"], values).rowcount == 1
            if closed:
                connection.execute(_SQL["forget_parts"], (group,))
                connection.execute(_SQL["forget_more"], (group,))
        return closed

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
            given_up = connection.execute(_SQL["old_part_groups"], (now,)).fetchall()
            for statement in ("forget_parts", "forget_more", "forget_part_group"):
                connection.executemany(_SQL[statement], given_up)
            sweep_listeners(connection, now)
        return results + groups + dead + len(given_up)

    def close(self) -> None:
        """Close the sockets; the file is the engine's to close."""
        self._ringer.close()


def _add_part(connection: sqlite3.Connection, part: GroupPart) -> bool:
    """Record one part; tell whether its group is complete and the claim is its claimant's."""
    group = {"group": part.group, "expires": rows.milliseconds(part.expires)}
    found = connection.execute(_SQL["touch_group"], group).fetchone()
    if found is None:
        return False
    count, total, claimant = found
    place = LAST if part.index is None else part.index
    values = {**group, "place": place, "part": part.part, "document": part.document}
    if connection.execute(_SQL["add_part"], values).rowcount == 1:
        connection.execute(_SQL["count_part"], (part.group,))
        count += 1
    if total is None or count < total:
        return False
    if claimant is None:
        connection.execute(_SQL["claim_group"], (part.claimant, part.group))
    return claimant in (None, part.claimant)
