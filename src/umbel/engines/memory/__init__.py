"""Memory: an engine within one process, for tests and for trying things out.

URLs: ``memory://name``. Everyone in the process who opens the same name shares the same queues,
results and state; ``memory://`` alone is the name "". Nothing survives the process.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from umbel.clock import SYSTEM, Clock
from umbel.engines.memory.broadcast import MemoryBroadcast
from umbel.engines.memory.broker import FEATURES, MemoryBroker
from umbel.engines.memory.queues import MemoryQueues
from umbel.engines.memory.results import MemoryResults
from umbel.engines.memory.space import named_space
from umbel.engines.memory.state import MemoryState
from umbel.exceptions import ImproperlyConfigured
from umbel.lazy import lazy
from umbel.ports import Engine, EngineOptions


class MemoryEngine(Engine):
    """See `umbel.ports.Engine`. `clock` is the time of what is done through this object."""

    features = FEATURES

    def __init__(self, url: str, options: EngineOptions, clock: Clock = SYSTEM) -> None:
        self.url = url
        parts = urlsplit(url)
        if parts.path.strip("/"):
            raise ImproperlyConfigured(
                f"{url!r} has a path. Write memory://name, or just memory://."
            )
        self._space = named_space(unquote(parts.netloc))
        self._clock = clock

    @lazy
    def broker(self) -> MemoryBroker:
        """The broker."""
        return MemoryBroker(self._space, self._clock)

    @lazy
    def queues(self) -> MemoryQueues:
        """The queue administration."""
        return MemoryQueues(self._space, self._clock)

    @lazy
    def results(self) -> MemoryResults:
        """The result store."""
        return MemoryResults(self._space, self._clock)

    @lazy
    def state(self) -> MemoryState:
        """The state store."""
        return MemoryState(self._space, self._clock)

    @lazy
    def broadcast(self) -> MemoryBroadcast:
        """The broadcast."""
        return MemoryBroadcast(self._space, self._clock)

    def close(self) -> None:
        """Nothing to give back; what was stored stays with the name."""


ENGINE = MemoryEngine
