"""Looking into the queues of a spread cluster, place by place."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import lru_cache

from umbel.engines.redis.queues import RedisQueues
from umbel.engines.redis.spread.places import KEPT, Place, Places
from umbel.ports import DeadLetter, Holding, QueueAdmin, QueueDepth, StoredMessage


class PlaceQueues(RedisQueues):
    """One place, where there is one queue."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.server, place.names)
        self._queue = place.queue

    def _known(self) -> set[str]:
        return {self._queue}


class SpreadQueues(QueueAdmin):
    """See `umbel.ports.QueueAdmin`. What is looked at is not stopped: it may move meanwhile."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._at = lru_cache(KEPT)(lambda queue: PlaceQueues(places.of(queue)))

    def _all(self) -> Iterator[PlaceQueues]:
        return map(self._at, sorted(self._places.known()))

    def depths(self) -> dict[str, QueueDepth]:
        """Count in each place."""
        return {queue: self._at(queue).depths()[queue] for queue in sorted(self._places.known())}

    def peek(self, queue: str, limit: int, offset: int = 0) -> list[StoredMessage]:
        """Read the lists of the queue."""
        return self._at(queue).peek(queue, limit, offset)

    def find(self, task_id: str) -> list[StoredMessage]:
        """Look at all messages of all places."""
        return [item for one in self._all() for item in one.find(task_id)]

    def holdings(self) -> list[Holding]:
        """Count by owner in all places; the home says when leases end, and has lost who is only elsewhere."""
        found = {one.owner.id: one for one in self._at_home()}
        for queue in sorted(self._places.known()):
            for one in self._at(queue).holdings():
                before = found.get(one.owner.id)
                if before is None:
                    before = replace(one, held=0, left=0.0)
                    self._places.seen.setdefault(one.owner.id, set()).add(queue)
                found[one.owner.id] = replace(before, held=before.held + one.held)
        return sorted(found.values(), key=lambda one: one.left)

    def _at_home(self) -> list[Holding]:
        return PlaceQueues(self._places.home).holdings()

    def purge(self, queue: str) -> int:
        """Delete the lists of the queue, and what of it is parked."""
        return self._at(queue).purge(queue)

    def dead_letters(self, limit: int, offset: int = 0) -> list[DeadLetter]:
        """Read the latest of each place, and return the latest of them."""
        wanted = max(limit, 0) + offset
        found = [one.dead_letters(wanted) for one in self._all()] if wanted else []
        latest = heapq.merge(*found, key=lambda letter: letter.died_at, reverse=True)
        return list(latest)[offset:wanted]

    def retry_dead(self, keys: Collection[str]) -> int:
        """Move them back, wherever they are."""
        return sum(one.retry_dead(keys) for one in self._all()) if keys else 0

    def drop_dead(self, keys: Collection[str]) -> int:
        """Delete them, wherever they are."""
        return sum(one.drop_dead(keys) for one in self._all()) if keys else 0
