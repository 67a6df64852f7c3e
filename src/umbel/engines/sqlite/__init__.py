"""SQLite: the embedded engine. Many processes on one machine, durable, with nothing to install or start.

URLs: ``sqlite:////absolute/path/umbel.db``, ``sqlite:///relative/path.db`` (to the working
directory). ``?durability=normal`` is faster and survives the death of any process, but not of the
machine's power.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from umbel.engines.sqlite.broadcast import SqliteBroadcast
from umbel.engines.sqlite.broker import FEATURES, SqliteBroker
from umbel.engines.sqlite.database import Database
from umbel.engines.sqlite.queues import SqliteQueues
from umbel.engines.sqlite.results import SqliteResults
from umbel.engines.sqlite.state import SqliteState
from umbel.exceptions import ImproperlyConfigured
from umbel.lazy import lazy
from umbel.ports import Engine, EngineOptions


class SqliteEngine(Engine):
    """See `umbel.ports.Engine`."""

    features = FEATURES

    def __init__(self, url: str, options: EngineOptions) -> None:
        self.url = url
        parts = urlsplit(url)
        if parts.netloc or len(parts.path) < 2:
            raise ImproperlyConfigured(
                f"{url!r} names no file. Write sqlite:////absolute/path.db or sqlite:///relative/path.db."
            )
        if ";" in url and "://" in url.partition(";")[2]:
            raise ImproperlyConfigured(f"{url!r} names several files. A queue is in one: name one.")
        self.path = Path(unquote(parts.path[1:])).expanduser().absolute()
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        durability = str({**options, **query}.get("durability", "full")).lower()
        if durability not in ("full", "normal"):
            raise ImproperlyConfigured(f"durability is {durability!r}, but must be full or normal.")
        self._database = Database(self.path, durable=durability == "full")

    @lazy
    def broker(self) -> SqliteBroker:
        """The broker."""
        return SqliteBroker(self._database)

    @lazy
    def queues(self) -> SqliteQueues:
        """The queue administration."""
        return SqliteQueues(self._database)

    @lazy
    def results(self) -> SqliteResults:
        """The result store."""
        return SqliteResults(self._database)

    @lazy
    def state(self) -> SqliteState:
        """The state store."""
        return SqliteState(self._database)

    @lazy
    def broadcast(self) -> SqliteBroadcast:
        """The broadcast."""
        return SqliteBroadcast(self._database)

    def problem(self) -> str | None:
        """Return why the file cannot be used, if that can be seen."""
        return self._database.problem()

    def close(self) -> None:
        """Close the connection and all sockets that were opened."""
        for name in ("broker", "queues", "results", "state", "broadcast"):
            port = self.__dict__.get(name)
            if port is not None:
                port.close()
        self._database.close()


ENGINE = SqliteEngine
