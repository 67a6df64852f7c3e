"""Redis and Valkey: the engine for many machines, on one queue with Celery's workers and clients.

URLs: ``redis://[user:password@]host:port/db``, ``rediss://`` (TLS), ``unix:///path?db=1``,
``sentinel://host:26379/db``, ``valkey://`` and ``valkeys://``. Redis 6.2 or later. The options have the
names of Celery's ``broker_transport_options``; docs/redis.md has them all.
"""

from __future__ import annotations

from umbel.engines.redis.broadcast import RedisBroadcast
from umbel.engines.redis.broker import RedisBroker, features
from umbel.engines.redis.checks import server_warnings, spare_connections
from umbel.engines.redis.cluster import slot_of
from umbel.engines.redis.keys import names
from umbel.engines.redis.order import strategy
from umbel.engines.redis.queues import RedisQueues
from umbel.engines.redis.results import RedisResults
from umbel.engines.redis.server import Server
from umbel.engines.redis.spread.engine import SpreadEngine
from umbel.engines.redis.spread.places import is_spread
from umbel.engines.redis.state import RedisState
from umbel.lazy import lazy
from umbel.ports import Engine, EngineOptions, Spare


class RedisEngine(Engine):
    """See `umbel.ports.Engine`."""

    def __init__(self, url: str, options: EngineOptions) -> None:
        self.url = url
        self._options = options
        self._server = Server(url, options)
        self._servers = [self._server]
        # The query of the URL may have a prefix, too.
        self._names = names({**options, "global_keyprefix": self._server.prefix})
        self._order = strategy(options)
        self.features = features(self._names)

    @lazy
    def broker(self) -> RedisBroker:
        """The broker."""
        return RedisBroker(self._server, self._names, self._order)

    @lazy
    def queues(self) -> RedisQueues:
        """The queue administration."""
        return RedisQueues(self._server, self._names)

    @lazy
    def results(self) -> RedisResults:
        """The result store."""
        server = self._server
        if slot_of(server.address.result_prefix) != slot_of(server.prefix):
            # Of a cluster, another server may have them.
            prefix = self._options.get("result_keyprefix")
            server = Server(self.url, {**self._options, "global_keyprefix": prefix})
            self._servers.append(server)
        return RedisResults(server)

    @lazy
    def state(self) -> RedisState:
        """The state store."""
        return RedisState(self._server, lambda: self.broker)

    @lazy
    def broadcast(self) -> RedisBroadcast:
        """The broadcast."""
        return RedisBroadcast(self._server)

    def warnings(self) -> list[str]:
        """Say what endangers tasks and results there."""
        return server_warnings(self._server)

    def spare_connections(self) -> Spare | None:
        """Say how many connections more the server takes."""
        return spare_connections(self._server)

    def close(self) -> None:
        """Close all connections; the next use opens them again."""
        for server in self._servers:
            server.close()


def open_redis(url: str, options: EngineOptions) -> Engine:
    """Return the engine for a URL: all is in one place, or, by the prefix, each queue in its own."""
    if is_spread(Server(url, options).prefix):
        return SpreadEngine(url, options)
    return RedisEngine(url, options)


ENGINE = open_redis
