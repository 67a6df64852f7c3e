"""PostgreSQL: the engine for whom a database is enough. Many machines, and everything in one transaction.

URLs: ``postgresql://[user:password@]host[:port]/database``, or ``postgres://``, with libpq's parameters and
our own in the query. PostgreSQL 13 or later. docs/postgres.md has the options.
"""

from __future__ import annotations

from umbel.engines.postgres.broadcast import PostgresBroadcast
from umbel.engines.postgres.broker import FEATURES, PostgresBroker
from umbel.engines.postgres.queues import PostgresQueues
from umbel.engines.postgres.results import PostgresResults
from umbel.engines.postgres.server import Server
from umbel.engines.postgres.state import PostgresState
from umbel.lazy import lazy
from umbel.ports import Engine, EngineOptions, Spare


class PostgresEngine(Engine):
    """See `umbel.ports.Engine`."""

    features = FEATURES

    def __init__(self, url: str, options: EngineOptions) -> None:
        self.url = url
        self._server = Server(url, options)

    @lazy
    def broker(self) -> PostgresBroker:
        """The broker."""
        return PostgresBroker(self._server)

    @lazy
    def queues(self) -> PostgresQueues:
        """The queue administration."""
        return PostgresQueues(self._server)

    @lazy
    def results(self) -> PostgresResults:
        """The result store."""
        return PostgresResults(self._server)

    @lazy
    def state(self) -> PostgresState:
        """The state store."""
        return PostgresState(self._server)

    @lazy
    def broadcast(self) -> PostgresBroadcast:
        """The broadcast."""
        return PostgresBroadcast(self._server)

    def problem(self) -> str | None:
        """Return why the tables cannot be used, if that can be seen."""
        return self._server.problem()

    def warnings(self) -> list[str]:
        """Say what endangers tasks and results there."""
        return self._server.warnings()

    def spare_connections(self) -> Spare | None:
        """Say how many connections more the server takes."""
        return self._server.spare_connections()

    def migrate(self) -> list[str]:
        """Bring the tables up to date, in one transaction."""
        address = self._server.address
        return [
            f"Made version {version} of the tables in the schema {address.schema!r} of {address.shown}."
            for version in self._server.migrate()
        ]

    def close(self) -> None:
        """Close all idle connections; the next use opens them again."""
        self._server.close()


ENGINE = PostgresEngine
