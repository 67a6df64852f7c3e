"""A fleet whose broker and results are on a PostgreSQL server that the experiment started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults.fleet import Fleet
from tests.postgres_servers import PrivateServer

#: Where messages are: in a place of their own, or in the row of a batch.
_PLACED = """
SELECT seq, state, NULL::bigint AS owner FROM SCHEMA.place
UNION ALL
SELECT unnest(seqs), state, owner FROM SCHEMA.lease
"""
_IN_BROKER = f"""
SELECT headers::json ->> 'id', (ARRAY['ready', 'scheduled', 'leased', 'leased'])[state + 1]
FROM SCHEMA.message JOIN ({_PLACED}) AS placed USING (seq)
"""
#: Also what the rows of a message do not agree on.
_LEFT = f"""
WITH placed AS ({_PLACED})
SELECT 'held by nobody', seq FROM placed
WHERE state >= 2 AND owner NOT IN (SELECT id FROM SCHEMA.owner)
UNION ALL
SELECT 'in no place', seq FROM SCHEMA.message WHERE seq NOT IN (SELECT seq FROM placed)
UNION ALL
SELECT 'without a message', seq FROM placed WHERE seq NOT IN (SELECT seq FROM SCHEMA.message)
UNION ALL
SELECT 'in several places', seq FROM placed GROUP BY seq HAVING count(*) > 1
UNION ALL
SELECT 'in a row without messages', number FROM SCHEMA.lease WHERE cardinality(seqs) = 0
"""


class PostgresFleet(Fleet):
    """A fleet on a server, into which it looks by itself."""

    def __init__(self, directory: Path, server: PrivateServer, url: str, **settings: Any) -> None:
        at = {"broker_url": url, "result_backend": url}
        super().__init__(directory, **at | settings)
        self.server = server
        self._schema = url.partition("schema=")[2].partition("&")[0] or "umbel"

    def _ask(self, statement: str) -> list[tuple[Any, ...]]:
        return self.server.ask(statement.replace("SCHEMA", f'"{self._schema}"'))

    def stored(self) -> dict[str, int]:
        """Return how many rows each table has, but for tags, which are kept for a minute."""
        tables = self.server.ask(
            f"SELECT tablename FROM pg_tables WHERE schemaname = '{self._schema}'"
        )
        return {
            name: self._ask(f"SELECT count(*) FROM SCHEMA.{name}")[0][0]
            for (name,) in tables
            if name != "tag"
        }

    def _owners(self) -> list[tuple[str, int]]:
        return [(node, pid) for node, pid in self._ask("SELECT node, pid FROM SCHEMA.owner")]

    def _leased_by_nobody(self) -> list[str]:
        return [f"{what}: {seq}" for what, seq in self._ask(_LEFT)]

    def _in_broker(self) -> dict[str, str]:
        return dict(self._ask(_IN_BROKER))
