"""Results on PostgreSQL: one row a task. How to wait for them is in subscription.py."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from umbel.engines.postgres import rows
from umbel.engines.postgres.server import Server
from umbel.engines.postgres.subscription import PostgresResultSubscription, record
from umbel.ports import GroupPart, ResultStore, ResultSubscription
from umbel.records import ResultRecord

#: Ids that one statement names.
CHUNK = 10_000


class PostgresResults(ResultStore):
    """See `umbel.ports.ResultStore`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sql = server.statements("results.sql")

    @property
    def location(self) -> tuple[str, ...]:
        """The database and schema; a broker there stores results with its acknowledgements."""
        return self._server.address.location

    def put(self, records: Sequence[ResultRecord]) -> None:
        """Store in one transaction."""
        if records:
            self._server.call(self._sql["put"], *rows.result_columns(records), repeat=True)

    def get(
        self, task_ids: Collection[str], timeout: float | None = None
    ) -> dict[str, ResultRecord]:
        """Read them with one statement."""
        wanted = rows.texts(rows.readable(task_ids))
        found = self._server.call(self._sql["get"], wanted, timeout=timeout, repeat=True)
        return {row[0]: record(row) for row in found}

    def subscribe(self) -> ResultSubscription:
        """Listen on a connection of its own."""
        return PostgresResultSubscription(self._server, self.get)

    def forget(self, task_ids: Collection[str]) -> None:
        """Delete the rows."""
        self._server.call(self._sql["forget"], rows.texts(rows.readable(task_ids)), repeat=True)

    def open_group(self, group: str, size: int, expires: float | None) -> None:
        """Write its row."""
        rows.check_texts(group)
        self._server.call(self._sql["open_group"], group, size, expires, repeat=True)

    def restart_groups(self, groups: Collection[str]) -> None:
        """Delete their rows, in one statement."""
        self._server.call(self._sql["restart_groups"], list(groups), repeat=True)

    def extend_group(self, group: str, part: str) -> None:
        """Change its row, unless the call has one of its own already."""
        rows.check_texts(group, part)
        self._server.call(self._sql["extend_group"], group, part, repeat=True)

    def add_parts(self, parts: Sequence[GroupPart]) -> list[bool]:
        """Record, count and claim by one function."""
        if not parts:
            return []
        columns = rows.part_columns(parts)
        [(found,)] = self._server.call(self._sql["add_parts"], *columns, repeat=True)
        return list(found)

    def parts(self, group: str) -> list[str | bytes]:
        """Read the rows."""
        found = self._server.call(self._sql["parts"], group, repeat=True)
        return [bytes(data) if text is None else text for text, data in found]

    def close_group(self, group: str, claimant: str) -> bool:
        """Delete rows and claim by one function."""
        [(found,)] = self._server.call(self._sql["close_group"], group, claimant)
        return bool(found)

    def save_group(self, group: str, document: str | bytes, expires: float | None) -> None:
        """Write its row."""
        text, data = (document, None) if isinstance(document, str) else (None, document)
        rows.check_texts(group, text or "")
        self._server.call(self._sql["save_group"], group, text, data, expires, repeat=True)

    def saved_group(self, group: str) -> str | bytes | None:
        """Read its row."""
        found = self._server.call(self._sql["saved_group"], group, repeat=True)
        if not found:
            return None
        [(text, data)] = found
        return str(text) if text is not None else bytes(data)

    def forget_group(self, group: str) -> None:
        """Delete its row."""
        self._server.call(self._sql["forget_group"], group, repeat=True)

    def cleanup(self) -> int:
        """Delete up to some thousand rows that expired, and who is not waiting any more."""
        [(count,)] = self._server.call(self._sql["cleanup"])
        return int(count)

    def close(self) -> None:
        """Do nothing: the connections are the engine's to close."""
