"""Who waits for what: threads asleep on conditions of one lock, woken no more than needed.

Topics: ``queue:<name>``, of whose waiters as many are woken as there are messages.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable


class Waiter:
    """One waiting thread. All its methods want the lock to be held."""

    def __init__(self, lock: threading.RLock, topics: Iterable[str]) -> None:
        self.topics = tuple(topics)
        self._condition = threading.Condition(lock)
        self._woken = False

    def wait(self, seconds: float) -> bool:
        """Let go of the lock until woken; False when `seconds` passed instead."""
        return self._condition.wait_for(lambda: self._woken, seconds)

    def wake(self) -> None:
        """Make `wait` return, now or at its next call."""
        self._woken = True
        self._condition.notify()


class Waiters:
    """The waiting threads by topic, those who came first in front."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._by_topic: dict[str, dict[Waiter, None]] = {}

    def listen(self, topics: Iterable[str]) -> Waiter:
        """Return a waiter that is woken once for any of the topics."""
        waiter = Waiter(self._lock, topics)
        for topic in waiter.topics:
            self._by_topic.setdefault(topic, {})[waiter] = None
        return waiter

    def stop(self, waiter: Waiter) -> None:
        """Forget a waiter."""
        for topic in waiter.topics:
            waiters = self._by_topic.get(topic)
            if waiters is not None:
                waiters.pop(waiter, None)
                if not waiters:
                    del self._by_topic[topic]

    def wake(self, topic: str, most: int | None = None) -> None:
        """Wake all waiters of a topic, or at `most` so many; they are no longer listed."""
        for waiter in list(self._by_topic.get(topic, ()))[:most]:
            self.stop(waiter)
            waiter.wake()

    def forget_all(self) -> None:
        """Forget every waiter, without waking it."""
        self._by_topic.clear()
