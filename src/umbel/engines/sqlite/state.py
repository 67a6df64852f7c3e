"""What processes on one SQLite file must agree on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence

from umbel.engines.sql import statements
from umbel.engines.sqlite.database import Database
from umbel.engines.sqlite.messages import Messages, Row
from umbel.failpoints import fail_point
from umbel.ports import Change, Changes, StateStore

_SQL = statements(__package__, "state.sql")


class SqliteState(StateStore):
    """See `umbel.ports.StateStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._messages = Messages(database)

    def hold(self, name: str, owner: str, ttl: float) -> int | None:
        """Read and write the row in one transaction."""
        with self._database.write() as connection:
            now = self._database.now  # the lock may have been waited for
            found = connection.execute(_SQL["holder"], (name,)).fetchone()
            holder, term, expires = found or (None, 0, 0)
            if holder != owner and expires > now:
                return None
            # An owner whose lease ran out may have been replaced for a moment: that is a new term.
            if holder != owner or expires <= now:
                term += 1
            connection.execute(_SQL["hold"], (name, owner, term, now + int(ttl * 1000)))
        return int(term)

    def let_go(self, name: str, owner: str) -> bool:
        """End the lease in its row."""
        with self._database.write() as connection:
            values = (name, owner, self._database.now)
            return connection.execute(_SQL["let_go"], values).rowcount > 0

    def put(self, kind: str, key: str, value: str, ttl: float | None = None) -> None:
        """Write the row."""
        self.put_all(kind, {key: value}, ttl)

    def put_all(self, kind: str, values: Mapping[str, str], ttl: float | None = None) -> None:
        """Write the rows."""
        with self._database.write() as connection:
            self._put(connection, kind, values, ttl)

    def put_new(self, kind: str, key: str, value: str, ttl: float | None = None) -> bool:
        """Look and write in one transaction."""
        with self._database.write() as connection:
            if connection.execute(_SQL["get"], (kind, key, self._database.now)).fetchone():
                return False
            self._put(connection, kind, {key: value}, ttl)
        return True

    def _put(
        self,
        connection: sqlite3.Connection,
        kind: str,
        values: Mapping[str, str],
        ttl: float | None,
    ) -> None:
        now = self._database.now
        connection.execute(_SQL["forget_expired"], (kind, now))
        expires = None if ttl is None else now + int(ttl * 1000)
        connection.execute(_SQL["next_version"], (kind,))
        rows = [(key, value, expires, kind) for key, value in values.items()]
        connection.executemany(_SQL["put"], rows)

    def get(self, kind: str, key: str) -> str | None:
        """Read the row."""
        with self._database.read() as connection:
            found = connection.execute(_SQL["get"], (kind, key, self._database.now)).fetchone()
        return found[0] if found else None

    def items(self, kind: str) -> dict[str, str]:
        """Read the rows."""
        with self._database.read() as connection:
            return dict(connection.execute(_SQL["items"], (kind, self._database.now)))

    def pick(self, kind: str, keys: Collection[str]) -> dict[str, str]:
        """Read the rows."""
        values = (kind, json.dumps(list(keys)), self._database.now)
        with self._database.read() as connection:
            return dict(connection.execute(_SQL["pick"], values))

    def delete(self, kind: str, keys: Collection[str]) -> int:
        """Delete the rows; those that had expired do not count."""
        with self._database.write() as connection:
            values = (kind, json.dumps(list(keys)), self._database.now)
            found = connection.execute(_SQL["delete"], values).fetchall()
            if found:
                connection.execute(_SQL["next_version"], (kind,))
        return sum(alive for (alive,) in found)

    def version(self, kind: str) -> int:
        """Read the counter."""
        with self._database.read() as connection:
            found = connection.execute(_SQL["version"], (kind,)).fetchone()
        return int(found[0]) if found else 0

    def changes(self, kind: str, since: int, most: int) -> Changes:
        """Read the counter, and then the rows: what is stored in between is told of twice."""
        version = self.version(kind)
        values = (kind, 0 if since > version else since, self._database.now, most + 1)
        with self._database.read() as connection:
            found = dict(connection.execute(_SQL["changes"], values))
        return Changes(version, found if len(found) <= most else None)

    def change(self, changes: Sequence[Change], timeout: float) -> list[bool]:
        """Look, write and publish in one transaction."""
        publications = [item for change in changes for item in change.publish]
        self._messages.number_queues((item.queue for item in publications), timeout)
        rows: list[Row] = []
        of_each = [self._messages.rows(change.publish) for change in changes]
        with self._database.write(timeout=timeout) as connection:
            made = []
            for change, published in zip(changes, of_each, strict=True):
                is_made, is_new = self._change(connection, change)
                made.append(is_made)
                rows += published if is_new else ()
            ports = self._messages.insert(connection, rows)
            fail_point("sqlite.change.before_commit")
        fail_point("sqlite.change.after_commit")
        self._messages.ringer.ring(ports)
        return made

    def _change(self, connection: sqlite3.Connection, change: Change) -> tuple[bool, bool]:
        """Return whether a change is made, and whether it is made only now."""
        values = (change.kind, change.key, self._database.now)
        row = connection.execute(_SQL["get"], values).fetchone()
        found = row[0] if row else None
        if found == change.value or found != change.was:
            return found == change.value, False
        if change.value is None:
            values = (change.kind, json.dumps([change.key]), self._database.now)
            connection.execute(_SQL["delete"], values).fetchall()
            connection.execute(_SQL["next_version"], (change.kind,))
        else:
            self._write(connection, change.kind, change.key, change.value)
        for one in change.puts:
            self._write(connection, one.kind, one.key, one.value)
        return True, True

    def _write(self, connection: sqlite3.Connection, kind: str, key: str, value: str) -> None:
        # What has expired is left to `put`: looking for it takes as long as there are values of the kind.
        connection.execute(_SQL["next_version"], (kind,))
        connection.execute(_SQL["put"], (key, value, None, kind))

    def take(self, bucket: str, amount: float, rate: float, burst: float) -> float:
        """Fill the bucket up to now, then take or tell how long the rest needs."""
        with self._database.write(durable=False) as connection:
            now = self._database.now  # the lock may have been waited for
            found = connection.execute(_SQL["bucket"], (bucket,)).fetchone()
            tokens, filled = found or (burst, now)
            tokens = min(burst, tokens + max(now - filled, 0) / 1000 * rate)
            missing = amount - tokens
            if missing <= 0:
                tokens -= amount
            connection.execute(_SQL["fill_bucket"], (bucket, tokens, now))
        return 0.0 if missing <= 0 else missing / rate

    def close(self) -> None:
        """Close the sending socket; the file is the engine's to close."""
        self._messages.ringer.close()
