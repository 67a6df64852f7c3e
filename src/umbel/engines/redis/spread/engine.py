"""The engine whose queues are spread over a Redis Cluster, each in a slot of its own."""

from __future__ import annotations

from umbel.engines.redis.broadcast import RedisBroadcast
from umbel.engines.redis.checks import server_warnings
from umbel.engines.redis.order import strategy
from umbel.engines.redis.results import RedisResults
from umbel.engines.redis.server import Server
from umbel.engines.redis.spread.broker import SpreadBroker, spread_features
from umbel.engines.redis.spread.places import Places
from umbel.engines.redis.spread.queues import SpreadQueues
from umbel.engines.redis.spread.state import SpreadState
from umbel.lazy import lazy
from umbel.ports import Engine, EngineOptions


class SpreadEngine(Engine):
    """See `umbel.ports.Engine`. Messages are where their queues are, all else in the home or with results."""

    def __init__(self, url: str, options: EngineOptions) -> None:
        self.url = url
        server = Server(url, options)
        self._places = Places(server, options)
        self._home = self._places.home.server
        self._results = server.beside(server.address.result_prefix)
        self._order = strategy(options)
        self.features = spread_features(self._places.home.names)

    @lazy
    def broker(self) -> SpreadBroker:
        """The broker."""
        return SpreadBroker(self._places, self._order)

    @lazy
    def queues(self) -> SpreadQueues:
        """The queue administration."""
        return SpreadQueues(self._places)

    @lazy
    def results(self) -> RedisResults:
        """The result store, which is in one slot by its own prefix."""
        return RedisResults(self._results)

    @lazy
    def state(self) -> SpreadState:
        """The state store."""
        return SpreadState(self._places.home)

    @lazy
    def broadcast(self) -> RedisBroadcast:
        """The broadcast."""
        return RedisBroadcast(self._home)

    def warnings(self) -> list[str]:
        """Say what endangers tasks and results there."""
        return server_warnings(self._home)

    def close(self) -> None:
        """Close all connections; the next use opens them again."""
        self._results.close()
        self._places.close()
