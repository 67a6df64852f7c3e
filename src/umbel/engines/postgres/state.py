"""What processes on one PostgreSQL database must agree on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from umbel.engines.postgres import rows
from umbel.engines.postgres.messages import Messages
from umbel.engines.postgres.server import Server
from umbel.failpoints import fail_point
from umbel.ports import Change, Changes, StateStore


class PostgresState(StateStore):
    """See `umbel.ports.StateStore`. Each call is one statement."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sql = server.statements("state.sql")
        self._messages = Messages(server)

    def hold(self, name: str, owner: str, ttl: float) -> int | None:
        """Write the row unless it is another's."""
        rows.check_texts(name, owner)
        found = self._server.call(self._sql["hold"], name, owner, ttl, repeat=True)
        return int(found[0][0]) if found else None

    def let_go(self, name: str, owner: str) -> bool:
        """End the lease in its row."""
        return bool(self._server.call(self._sql["let_go"], name, owner))

    def put(self, kind: str, key: str, value: str, ttl: float | None = None) -> None:
        """Write the row."""
        self.put_all(kind, {key: value}, ttl)

    def put_all(self, kind: str, values: Mapping[str, str], ttl: float | None = None) -> None:
        """Write the rows, in one order, so that two who do so do not wait for each other."""
        rows.check_texts(kind, *values, *values.values())
        keys = sorted(values)
        columns = rows.texts(keys), rows.texts([values[key] for key in keys])
        self._server.call(self._sql["put_values"], kind, *columns, ttl, repeat=True)

    def put_new(self, kind: str, key: str, value: str, ttl: float | None = None) -> bool:
        """Write the row unless there is one that counts."""
        rows.check_texts(kind, key, value)
        [(is_new,)] = self._server.call(self._sql["put_new"], kind, key, value, ttl)
        return bool(is_new)

    def get(self, kind: str, key: str) -> str | None:
        """Read the row."""
        found = self._server.call(self._sql["get"], kind, key, repeat=True)
        return found[0][0] if found else None

    def items(self, kind: str) -> dict[str, str]:
        """Read the rows."""
        found = self._server.call(self._sql["items"], kind, repeat=True)
        return {key: value for key, value in found}

    def pick(self, kind: str, keys: Collection[str]) -> dict[str, str]:
        """Read the rows."""
        given = rows.texts(rows.readable(keys))
        return dict(self._server.call(self._sql["pick"], kind, given, repeat=True))

    def changes(self, kind: str, since: int, most: int) -> Changes:
        """Read the counter and the rows by one statement."""
        values = (kind, kind, since, since, most + 1)
        (_, _, version), *found = self._server.call(self._sql["changes"], *values, repeat=True)
        told = {key: value for key, value, _ in found}
        return Changes(int(version), told if len(told) <= most else None)

    def delete(self, kind: str, keys: Collection[str]) -> int:
        """Delete the rows."""
        [(count,)] = self._server.call(self._sql["delete"], kind, rows.texts(rows.readable(keys)))
        return int(count)

    def version(self, kind: str) -> int:
        """Read the counter."""
        found = self._server.call(self._sql["version"], kind, repeat=True)
        return int(found[0][0]) if found else 0

    def take(self, bucket: str, amount: float, rate: float, burst: float) -> float:
        """Fill the bucket up to now, then take, or tell how long the rest needs."""
        rows.check_texts(bucket)
        values = (bucket, float(amount), float(rate), float(burst))
        [(wait,)] = self._server.call(self._sql["take"], *values)
        return float(wait)

    def change(self, changes: Sequence[Change], timeout: float) -> list[bool]:
        """Look, write and publish by one function."""
        if not changes:
            return []
        for one in changes:
            rows.check_texts(one.kind, one.key, one.was or "", one.value or "")
        puts = [(n, put) for n, one in enumerate(changes, 1) for put in one.puts]
        for _, put in puts:
            rows.check_texts(put.kind, put.key, put.value)
        written = {
            item.tag: (n, rows.publication_row(item))
            for n, one in enumerate(changes, 1)
            for item in one.publish
        }
        published = [row for _, row in written.values()]
        self._messages.number_queues((row[0] for row in published), timeout)
        values = [
            *rows.change_columns(changes),
            rows.numbers([n for n, _ in puts]),
            *rows.put_columns([put for _, put in puts]),
            rows.numbers([n for n, _ in written.values()]),
            *rows.columns_or_none(published, self._messages.queues),
        ]
        fail_point("postgres.change.before")
        [(made,)] = self._server.call(self._sql["change"], *values, timeout=timeout, repeat=True)
        fail_point("postgres.change.after")
        return list(made)

    def close(self) -> None:
        """Do nothing: the connections are the engine's to close."""
