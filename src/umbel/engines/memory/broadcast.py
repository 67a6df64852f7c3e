"""Broadcasts in memory: each subscription keeps what it has not yet read, the newest of it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Sequence

from umbel.clock import Clock
from umbel.engines.memory.space import Space
from umbel.ports import Broadcast, Subscription

#: Payloads that a slow listener may lag behind before it misses the oldest.
KEPT = 10_000


class MemoryBroadcast(Broadcast):
    """See `umbel.ports.Broadcast`."""

    def __init__(self, space: Space, clock: Clock) -> None:
        self._space = space
        self._clock = clock

    def send(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Append to each subscription that wants the topic."""
        with self._space.lock:
            for subscription in list(self._space.subscriptions):
                if subscription.wants(topic):
                    subscription.append([(topic, payload) for payload in payloads])

    def listen(self, topics: Collection[str]) -> Subscription:
        """List a subscription; one that nobody refers to any more leaves the list by itself."""
        with self._space.lock:
            subscription = MemorySubscription(self._space, self._clock, topics)
            self._space.subscriptions.add(subscription)
        return subscription

    def close(self) -> None:
        """Nothing to give back."""


class MemorySubscription(Subscription):
    """See `umbel.ports.Subscription`."""

    def __init__(self, space: Space, clock: Clock, topics: Collection[str]) -> None:
        self._space = space
        self._clock = clock
        self._names = frozenset(topic for topic in topics if not topic.endswith("*"))
        self._prefixes = tuple(topic[:-1] for topic in topics if topic.endswith("*"))
        self._arrived = threading.Condition(space.lock)
        self._unread: deque[tuple[str, bytes]] = deque(maxlen=KEPT)

    def wants(self, topic: str) -> bool:
        """Tell whether this subscription listens to a topic."""
        return topic in self._names or topic.startswith(self._prefixes)

    def append(self, broadcasts: Sequence[tuple[str, bytes]]) -> None:
        """Keep broadcasts until they are received; the lock is held by the caller."""
        self._unread.extend(broadcasts)
        self._arrived.notify()

    def receive(self, wait: float) -> list[tuple[str, bytes]]:
        """Take what is there; else sleep until something comes."""
        with self._space.lock:
            self._arrived.wait_for(lambda: self._unread, max(wait, 0.0))
            received = list(self._unread)
            self._unread.clear()
        return received

    def close(self) -> None:
        """Leave the list."""
        with self._space.lock:
            self._space.subscriptions.discard(self)
            self._unread.clear()
