"""Who listens to broadcasts now: each worker's own queues, told to all through the broker's state store.

A worker's `Broadcast` queue has a name that nobody else knows. So each node says which queues it has and to
which exchanges they are bound, and says it again for as long as it lives; who publishes asks. What a dead
node's queues still hold is deleted by the others, as a broker deletes queues with ``auto_delete``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from umbel.entities import Broadcast, Queue
from umbel.exceptions import ImproperlyConfigured
from umbel.ports import QueueAdmin, StateStore

#: Queues by the exchange that they are bound to, for as long as a node says so.
_LIVE = "broadcast"
#: The same, until somebody has swept up behind them.
_KNOWN = "broadcast-queue"


def listeners(state: StateStore | None, exchange: str) -> list[str]:
    """Return the queues that get what is sent to an exchange."""
    if state is None:
        return []
    return [queue for queue, bound_to in state.items(_LIVE).items() if bound_to == exchange]


class _Engines(Protocol):
    def state_store(self) -> StateStore:
        """Return what keeps what all processes agree on, or raise an error that says what to set."""


class _App(Protocol):
    @property
    def engines(self) -> _Engines:
        """The engines of an app."""


def listeners_of(app: _App) -> Callable[[str], list[str]]:
    """Return what asks an app's state store for the queues that get what is sent to an exchange."""
    return lambda exchange: listeners(app.engines.state_store(), exchange)


class Listening:
    """What one node says of its queues: names, and the exchange of each."""

    def __init__(
        self,
        state: StateStore,
        admin: QueueAdmin | None,
        queues: Mapping[str, str],
        ttl: float,
    ) -> None:
        self._state = state
        self._admin = admin
        self._queues = queues
        self._ttl = ttl

    def renew(self) -> None:
        """Say for `ttl` more seconds that the queues are listened to; sweep up behind nodes that died."""
        for queue, exchange in self._queues.items():
            self._state.put(_KNOWN, queue, exchange)
            self._state.put(_LIVE, queue, exchange, self._ttl)
        live = self._state.items(_LIVE)
        self._forget([queue for queue in self._state.items(_KNOWN) if queue not in live])

    def leave(self) -> None:
        """Say that the queues are no longer listened to, and delete what is left in them."""
        self._state.delete(_LIVE, list(self._queues))
        self._forget(list(self._queues))

    def _forget(self, queues: list[str]) -> None:
        if self._admin is not None:
            for queue in queues:
                self._admin.purge(queue)
        if queues:
            self._state.delete(_KNOWN, queues)


def listening(
    queues: Iterable[Queue],
    state: Callable[[], StateStore | None],
    admin: QueueAdmin | None,
    ttl: float,
) -> Listening | None:
    """Return what tells the publishers of broadcasts about a node's own queues, if it has any.

    `state` returns what keeps that; it is asked only then. Raises ImproperlyConfigured without one.
    """
    own = {
        queue.name: queue.exchange.name
        for queue in queues
        if isinstance(queue, Broadcast) and queue.is_unique and queue.exchange
    }
    if not own:
        return None
    found = state()
    if found is None:
        raise ImproperlyConfigured(f"Nothing can broadcast to {', '.join(own.values())}.")
    return Listening(found, admin, own, ttl)
