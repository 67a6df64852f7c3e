"""Cleaning tables more often than autovacuum does, which comes once a minute at most.

Until what was deleted is cleaned up its room cannot be used again, and at thousands of tasks a second a
minute is much. So a node looks whenever it renews its leases, and where enough is dead it has PostgreSQL
vacuum that table: in a thread, because leases cannot wait for it; one node of all at a time; and for a tenth
of the time at most, also where an open transaction of somebody else lets nothing be cleaned up. A VACUUM
locks nobody out; a table that is just being changed by a migration is passed over.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from umbel.engines.postgres.server import Server
from umbel.exceptions import OperationalError

logger = logging.getLogger("umbel.postgres")

#: Seconds that cleaning one table may take.
PATIENCE = 3600.0
#: How many times as long as it took nobody cleans again.
REST = 10.0


class Cleaner:
    """Cleans the tables of one schema, from one process at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sql = server.statements("broker.sql")
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin to clean where that is worth it, and nobody else does. Raises OperationalError."""
        if self._thread is not None and self._thread.is_alive():
            return
        tables = self._server.call(self._sql["worn"])
        if tables:
            self._thread = threading.Thread(
                target=self._clean, args=(tables,), name="umbel-cleaner", daemon=True
            )
            self._thread.start()

    def wait(self) -> None:
        """Wait until what was begun is over."""
        if self._thread is not None:
            self._thread.join()

    def _clean(self, tables: Sequence[tuple[str, bool]]) -> None:
        begun = self._server.clock.monotonic()
        try:
            for name, shrink in tables:
                how = "TRUNCATE" if shrink else "TRUNCATE off"
                table = f"{self._server.address.quoted}.{name}"
                self._server.alone(f"VACUUM (SKIP_LOCKED, {how}) {table}", PATIENCE)
            took = self._server.clock.monotonic() - begun
            self._server.call(self._sql["rest"], took * REST, repeat=True)
        except OperationalError as error:
            logger.debug("Tables could not be cleaned, and will be later: %s", error)
