"""How many messages a child takes at a time, and how often it settles meanwhile.

As many as it can run in a few tens of milliseconds, and often enough that little runs again if it dies.
"""

from __future__ import annotations

from umbel.worker.page import CAPACITY

#: Seconds of work that a child holds.
TARGET = 0.03
#: Weight of the latest batch in the running mean.
WEIGHT = 0.3
#: Seconds that an outcome waits for others to be settled with, at least.
SETTLE_WITHIN = 0.01
#: How many times as long as the last settle took tasks run before the next: so a child does not wait for its
#: broker for most of its time.
SHARE = 4.0
#: Seconds of a start after the one before it, or after the batch began, by which the process has slept: the
#: helper of one that is awake gives back what waits behind a task that turns out long.
OVERSLEPT = 1.0


class Prefetch:
    """Grows from 1 by doubling while tasks are short; falls at once when they turn out long."""

    def __init__(self, bound: int = 0) -> None:
        self._bound = min(bound or CAPACITY, CAPACITY)
        self._mean = TARGET
        self.limit = 1

    def observe(self, tasks: int, seconds: float) -> None:
        """Learn from a batch of `tasks` that took `seconds` in all."""
        latest, mean = seconds / tasks, self._mean
        self._mean = mean = latest if latest > mean else mean + (latest - mean) * WEIGHT
        affordable = int(TARGET / max(mean, 1e-6))
        self.limit = max(1, min(self.limit * 2, affordable, self._bound))


class Pace:
    """When a child settles within a batch, and how long the batch's tasks took. Times are seconds."""

    def __init__(self) -> None:
        #: When something was last settled, or a batch began.
        self.settled_at = 0.0
        self._started_at = self._begun = self._took = self._waiting = 0.0

    def begin(self, now: float) -> None:
        """Take note that a batch begins."""
        self._begun = self._started_at = self.settled_at = now
        self._waiting = 0.0

    def starts(self, now: float) -> bool:
        """Take note that a task starts; False when others may have it by now, so that it must not."""
        since, self._started_at = now - self._started_at, now
        return since <= OVERSLEPT

    def is_due(self, now: float) -> bool:
        """Tell whether what is finished has waited long enough, by what settling costs."""
        return now - self.settled_at > max(SETTLE_WITHIN, self._took * SHARE)

    def settled(self, begun: float, now: float) -> None:
        """Learn from a settle how long one takes."""
        self.settled_at, self._took = now, now - begun

    def waited(self, seconds: float) -> None:
        """Take note that no task ran meanwhile."""
        self._waiting += seconds

    def worked(self, now: float) -> float:
        """Return for how long tasks have run in this batch.

        Settling is no part of it: else a broker whose disk is slow would be asked for ever smaller batches,
        and each costs a wait for its disk.
        """
        return max(now - self._begun - self._waiting, 0.0)


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
