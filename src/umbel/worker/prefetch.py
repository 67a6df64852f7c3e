"""How many messages a child takes at a time.

As many as it can run in a few tens of milliseconds.
"""

from __future__ import annotations

from umbel.worker.page import CAPACITY

#: Seconds of work that a child holds.
TARGET = 0.03
#: Weight of the latest batch in the running mean.
WEIGHT = 0.3


class Prefetch:
    """Grows from 1 by doubling while tasks are short; falls at once when they turn out long."""

    def __init__(self, bound: int = 0) -> None:
        self._bound = min(bound or CAPACITY, CAPACITY)
        self._mean = TARGET
        self.limit = 1

    def observe(self, tasks: int, seconds: float) -> None:
        """Learn from a batch of `tasks` that took `seconds` in all."""
        latest = seconds / tasks
        self._mean += (latest - self._mean) * (1.0 if latest > self._mean else WEIGHT)
        affordable = int(TARGET / max(self._mean, 1e-6))
        self.limit = max(1, min(self.limit * 2, affordable, self._bound))


class SlotPrefetch:
    """The same for a child with `slots`: as many as these, and more only while tasks are short.

    `bound` is the most for each slot; 0: none.
    """

    def __init__(self, slots: int, bound: int = 0) -> None:
        self._slots = slots
        self._most = min(slots * bound, slots + CAPACITY) if bound else slots + CAPACITY
        self._mean = TARGET
        self.limit = slots

    def observe(self, tasks: int, seconds: float) -> None:
        """Learn from `tasks` that took `seconds` in all."""
        latest = seconds / tasks
        self._mean += (latest - self._mean) * (1.0 if latest > self._mean else WEIGHT)
        affordable = int(self._slots * TARGET / max(self._mean, 1e-6))
        self.limit = max(self._slots, min(self.limit * 2, affordable, self._most))
