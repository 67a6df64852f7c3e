"""Looking into the queues of a space."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from umbel.clock import Clock
from umbel.engines.memory.consumer import numbers
from umbel.engines.memory.messages import Stored, Where
from umbel.engines.memory.space import Space
from umbel.ports import DeadLetter, Holding, QueueAdmin, QueueDepth, StoredMessage


class MemoryQueues(QueueAdmin):
    """See `umbel.ports.QueueAdmin`."""

    def __init__(self, space: Space, clock: Clock) -> None:
        self._space = space
        self._clock = clock
        self._messages = space.messages

    def depths(self) -> dict[str, QueueDepth]:
        """Count by queue."""
        with self._space.lock:
            return {queue: self._depth(queue) for queue in self._messages.queues}

    def _depth(self, queue: str) -> QueueDepth:
        here = [item for item in self._messages.by_number.values() if item.queue == queue]
        ready = self._messages.waiting(queue)
        return QueueDepth(
            ready=len(ready),
            scheduled=sum(item.where is Where.SCHEDULED for item in here),
            leased=sum(item.where is Where.LEASED for item in here),
            dead=sum(dead.stored.queue == queue for dead in self._messages.dead.values()),
            oldest=min((item.published for item in ready), default=None),
        )

    def peek(self, queue: str, limit: int, offset: int = 0) -> list[StoredMessage]:
        """Sort the heap."""
        with self._space.lock:
            return [_found(item) for item in self._messages.waiting(queue)[offset : offset + limit]]

    def find(self, task_id: str) -> list[StoredMessage]:
        """Look at all messages and dead letters."""
        with self._space.lock:
            found = [
                _found(item)
                for item in self._messages.by_number.values()
                if item.task_id == task_id
            ]
            found += [
                StoredMessage(str(number), dead.stored.queue, "dead", dead.stored.message())
                for number, dead in self._messages.dead.items()
                if dead.stored.task_id == task_id
            ]
        return found

    def holdings(self) -> list[Holding]:
        """List the holders."""
        with self._space.lock:
            now = self._clock.time()
            holders = sorted(self._messages.holders.values(), key=lambda holder: holder.expires)
            return [
                Holding(holder.owner, len(holder.held), max(holder.expires - now, 0.0))
                for holder in holders
            ]

    def purge(self, queue: str) -> int:
        """Delete what waits."""
        with self._space.lock:
            return self._messages.purge(queue)

    def dead_letters(self, limit: int, offset: int = 0) -> list[DeadLetter]:
        """List them from the end, where the latest are."""
        with self._space.lock:
            return [
                DeadLetter(
                    str(number),
                    dead.stored.queue,
                    dead.stored.message(),
                    dead.reason,
                    dead.died,
                    dead.stored.crashes,
                )
                for number, dead in list(reversed(self._messages.dead.items()))[
                    offset : offset + limit
                ]
            ]

    def retry_dead(self, keys: Collection[str]) -> int:
        """Move them back, as messages that arrive now."""
        with self._space.lock:
            found = [
                replace(self._messages.dead.pop(number).stored, count=0, crashes=0, due=None)
                for number in sorted(numbers(keys))
                if number in self._messages.dead
            ]
            return self._messages.insert(found)

    def drop_dead(self, keys: Collection[str]) -> int:
        """Delete them."""
        with self._space.lock:
            return sum(
                self._messages.dead.pop(number, None) is not None for number in numbers(keys)
            )


def _found(item: Stored) -> StoredMessage:
    return StoredMessage(
        str(item.number), item.queue, item.where.value, item.message(), item.due, item.owner
    )
