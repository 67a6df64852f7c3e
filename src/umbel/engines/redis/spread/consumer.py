"""A consumer of a spread cluster: one owner in many places, which settles and fetches place by place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from umbel.engines.redis.consumer import BATCH, RedisConsumer
from umbel.engines.redis.order import Cycle, Turns
from umbel.engines.redis.spread.places import Places
from umbel.engines.redis.spread.waiting import Asked, wait_for_any
from umbel.exceptions import LeaseLost, OperationalError
from umbel.failpoints import fail_point
from umbel.message import Delivery, Publication
from umbel.ports import Consumer, FetchRequest, Owner, Settled, Settlement

#: Seconds that publishing to other places may take.
PUBLISH_TIMEOUT = 30.0


class SpreadConsumer(Consumer):
    """See `umbel.ports.Consumer`; the places are described in places.py.

    What is lost in one place is lost in all: the owner leaves them, and somebody starts over as another one.
    """

    def __init__(
        self,
        places: Places,
        publish: Callable[[Sequence[Publication], float], None],
        owner: Owner,
        home: RedisConsumer,
        cycle: Cycle,
        ttl: float,
    ) -> None:
        self.owner = owner
        self._places = places
        self._publish = publish
        self._home = home
        self._ttl = ttl
        #: The consumers of places, by queue.
        self._there: dict[str, RedisConsumer] = {}
        self._turns = Turns(cycle)
        #: What the last settling found nothing for, and how each place was asked.
        self._looked: tuple[FetchRequest | None, list[Asked]] = (None, [])
        self._interrupted = threading.Event()

    def _at(self, queue: str) -> RedisConsumer:
        """Return the consumer of a queue, which is attached when it is first needed."""
        found = self._there.get(queue)
        if found is None:
            attached = self._places.attach(self.owner, queue, self._ttl)
            found = self._there.setdefault(queue, attached)  # another thread may have been quicker
        return found

    @contextmanager
    def _leaving_when_lost(self) -> Iterator[None]:
        try:
            yield
        except LeaseLost:
            with suppress(OperationalError):
                self._leave()
            raise

    # Fetching

    def fetch(self, request: FetchRequest, wait: float) -> list[Delivery]:
        """Look from place to place; where nothing is, wait in all of them at once."""
        looked_for, asked = self._looked
        fetched: Sequence[Delivery] = ()
        if looked_for is not request:
            fetched = self.settle((), request).fetched
            asked = self._looked[1]
        self._looked = (None, [])
        if fetched or wait <= 0:
            return list(fetched)
        with self._leaving_when_lost():
            found = self._wait(asked, wait)
        self._turns.gave(delivery.queue for delivery in found)
        if len(found) > request.limit:
            self.release([delivery.key for delivery in found[request.limit :]])
        return found[: request.limit]

    def _wait(self, asked: Sequence[Asked], seconds: float) -> list[Delivery]:
        if self._interrupted.is_set():
            self._interrupted.clear()
            return []
        if not asked:
            self._interrupted.wait(seconds)
            return []
        try:
            return wait_for_any(asked, seconds)
        finally:
            self._interrupted.clear()

    def interrupt(self) -> None:
        """End the wait in all places."""
        self._interrupted.set()
        for consumer in list(self._there.values()):
            consumer.interrupt()

    # Settling

    def settle(
        self, settlements: Sequence[Settlement], fetch: FetchRequest | None = None
    ) -> Settled:
        """Publish what goes to other places, then settle and fetch in one after the other.

        What a settlement publishes to its own queue becomes true together with it.
        """
        self._looked = (None, [])
        with self._leaving_when_lost():
            by_queue = self._by_queue(self._published(settlements))
            refused: list[Delivery] = []
            fetched: list[Delivery] = []
            asked: list[Asked] = []
            queues = [] if fetch is None else self._turns.next(fetch.queues)
            if fetch is not None:
                self._places.note(fetch.queues)
            for queue in (*queues, *(one for one in by_queue if one not in queues)):
                request = None
                if fetch is not None and queue in queues and len(fetched) < fetch.limit:
                    request = FetchRequest((queue,), min(fetch.limit, BATCH) - len(fetched))
                mine = by_queue.get(queue, ())
                if not mine and request is None:
                    continue
                consumer = self._at(queue)
                settled = consumer.settle(mine, request)
                fail_point("spread.settle.between")
                refused += settled.refused
                fetched += settled.fetched
                if request is not None:
                    asked.append((consumer, request))
            if not by_queue and not queues:
                self._home.settle(())
        self._turns.gave(delivery.queue for delivery in fetched)
        if fetch is not None and not fetched:
            self._looked = (fetch, asked)
        return Settled(tuple(refused), tuple(fetched))

    def _published(self, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
        """Publish what goes to other places than its settlement; return what is left."""
        others = [
            one for item in settlements for one in item.publish if one.queue != item.delivery.queue
        ]
        if not others:
            return settlements
        self._publish(others, PUBLISH_TIMEOUT)
        return [
            replace(
                item,
                publish=tuple(one for one in item.publish if one.queue == item.delivery.queue),
            )
            for item in settlements
        ]

    def _by_queue(self, settlements: Sequence[Settlement]) -> dict[str, list[Settlement]]:
        found: dict[str, list[Settlement]] = {}
        for item in settlements:
            found.setdefault(item.delivery.queue, []).append(item)
        return found

    def mark_early(self, deliveries: Sequence[Delivery]) -> None:
        """Mark what is held, place by place."""
        by_queue: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_queue.setdefault(delivery.queue, []).append(delivery)
        with self._leaving_when_lost():
            for queue, some in by_queue.items():
                self._at(queue).mark_early(some)

    # Giving back and taking over

    def release(self, keys: Collection[str]) -> int:
        """Give back where each key is from; one that was taken over may be from anywhere."""
        consumers = list(self._there.values())
        taken_over = [key for key in keys if not any(one.has(key) for one in consumers)]
        count = 0
        with self._leaving_when_lost():
            for consumer in consumers or [self._home]:
                mine = [key for key in keys if consumer.has(key)] + taken_over
                if mine or len(consumers) < 2:
                    count += consumer.release(mine)
        return count

    def reclaim(
        self, owner: str, unstarted: Collection[str] | None, only_expired: bool = False
    ) -> list[Delivery]:
        """Take the owner out of the home, then out of each of its places."""
        with self._leaving_when_lost():
            self._home.reclaim(owner, unstarted, only_expired)
            if self._places.lives(owner):
                return []
            handed: list[Delivery] = []
            [queues] = self._places.queues_of([owner])
            for queue in sorted(queues):
                fail_point("spread.reclaim.between")
                handed += self._at(queue).reclaim(owner, unstarted)
            self._places.forget(owner)
        return handed

    def close(self) -> None:
        """Give back what is held in all places; the home is left last."""
        self._leave()

    def _leave(self) -> None:
        places, owner = self._places, self.owner.id
        [queues] = places.queues_of([owner])
        stays = False
        for queue in sorted(queues):
            stays = places.of(queue).calls.end(owner) or stays
            fail_point("spread.close.between")
        places.home.calls.end(owner, stays)
        if not stays:
            places.forget(owner)
