"""The broker of a spread cluster: publishing by queue, and the owners of leases in all places."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from umbel.engines.redis.broker import features
from umbel.engines.redis.envelope import write
from umbel.engines.redis.keys import Names
from umbel.engines.redis.link import Argument
from umbel.engines.redis.order import Cycle, RoundRobin
from umbel.engines.redis.spread.consumer import SpreadConsumer
from umbel.engines.redis.spread.places import Place, Places
from umbel.engines.texts import check_text
from umbel.exceptions import OperationalError
from umbel.failpoints import fail_point
from umbel.message import Publication
from umbel.ports import Broker, Features, Owner, ResultStore

#: Seconds that one look into one place may take, and all of them together: leases of others end meanwhile.
CALL, LOOK = 1.0, 2.0
#: Places without an owner of ours that one look sees, by turns.
OTHERS = 20
#: Most owners that are remembered as seen without a home.
MOST_STRAYS = 1000


def spread_features(names: Names) -> Features:
    """Return what a spread broker offers: several places never change together."""
    return replace(
        features(names),
        joint_results=False,
        atomic_settle=False,
        joint_state=False,
        tells_revocations=False,
    )


class SpreadBroker(Broker):
    """See `umbel.ports.Broker`; the places are described in places.py."""

    def __init__(self, places: Places, order: Callable[[], Cycle] = RoundRobin) -> None:
        self.features = spread_features(places.home.names)
        self._places = places
        self._order = order
        self._clock = places.clock
        #: Queues that owners of our node lease from, as its last renewal found.
        self._ours: set[str] = set()
        #: What the one before found: a server that was emptied since knows nothing of it.
        self._before: set[str] = set()
        self._turn = self._slice = 0
        #: Owners that were seen in a place and not in the home, at least once.
        self._strays: set[str] = set()

    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        """Publish to one queue after the other, each with one call; what is wrong is found before."""
        by_queue: dict[str, list[Publication]] = {}
        for item in publications:
            by_queue.setdefault(item.queue, []).append(item)
        check_text(*by_queue)
        if len(by_queue) > 1:
            for item in publications:
                write(item, self._places.home.names)
        deadline = self._clock.monotonic() + timeout
        self._places.note(by_queue, timeout)
        for number, (queue, items) in enumerate(by_queue.items()):
            if number:
                fail_point("spread.publish.between")
            left = max(deadline - self._clock.monotonic(), 0.001)
            self._places.of(queue).broker.publish(items, left)

    def consumer(self, owner: Owner, ttl: float) -> SpreadConsumer:
        """Write the owner down in the home; it goes to places when it fetches from them."""
        home = self._places.home.broker.consumer(owner, ttl)
        return SpreadConsumer(self._places, self.publish, owner, home, self._order(), ttl)

    def shares(self, results: ResultStore) -> bool:
        """No: results are in other slots than most queues."""
        return False

    def join(self, results: ResultStore) -> None:
        """Refuse: see `shares`."""
        raise ValueError("A broker that is spread over a cluster stores no results.")

    def renew(self, node: str, ttl: float) -> frozenset[str]:
        """Move the ends in the home, which decides, and then in the places, where nothing ends later.

        A place that does not answer is left to the next renewal.
        """
        begun = self._clock.monotonic()
        alive = self._places.home.broker.renew(node, ttl)
        ids = sorted(alive)
        by_queue: dict[str, list[str]] = {}
        for owner, queues in zip(ids, self._places.queues_of(ids), strict=True):
            for queue in queues:
                by_queue.setdefault(queue, []).append(owner)
        self._ours, self._before = set(by_queue), self._ours

        def renew(place: Place) -> None:
            left = ttl - (self._clock.monotonic() - begun)
            values: tuple[Argument, ...] = (node, max(int(left * 1000), 1), *by_queue[place.queue])
            _, waiting, is_known = place.calls.run("renew", *values, timeout=CALL)
            place.calls.look_after(waiting, bool(is_known))

        self._each(by_queue, renew)
        return alive

    def _each(self, queues: Iterable[str], act: Callable[[Place], None]) -> None:
        """Act in the places of queues while there is time, in another order each time.

        A place that does not answer is passed over: who works there meets the same server.
        """
        deadline = self._clock.monotonic() + LOOK
        self._turn += 1
        for queue in _from(sorted(queues), self._turn):
            if self._clock.monotonic() >= deadline:
                return
            with suppress(OperationalError):
                act(self._places.of(queue))

    def expired(self) -> list[Owner]:
        """Read who is gone by the home, and who is somewhere without being there; look after who waits.

        Every node asks once a second. Of the places of others it sees some each time.
        """
        places, ours = self._places, self._ours | self._before
        others = _from(sorted(set(places.known()) - ours), self._slice)[:OTHERS]
        self._slice += OTHERS
        found: dict[str, set[str]] = {}

        def look(place: Place) -> None:
            if place.queue in ours:
                suffixes = place.names.suffixes()
                _, waiting, is_known, _ = place.calls.run("expired", *suffixes, timeout=CALL)
                place.calls.look_after(waiting, bool(is_known))
            for owner in place.owners(CALL):
                found.setdefault(owner, set()).add(place.queue)

        self._each((*ours, *others), look)
        gone = places.home.broker.expired()
        known = places.home.owners(CALL)
        strays = {owner for owner in found if owner not in known}
        # Who leaves is out of the places first, but may have been seen there just before: not again, then.
        for owner in strays & self._strays:
            stray = places.stray(owner, found[owner])
            gone += [] if stray is None else [stray]
        if len(self._strays) > MOST_STRAYS:
            self._strays.clear()
        self._strays |= strays
        return gone

    def take_back(self, owner: str, keys: Collection[str]) -> int:
        """Put envelopes back in all places of the owner: keys do not tell where they are from."""
        if not keys:
            return 0
        [queues] = self._places.queues_of([owner])
        return sum(self._places.of(queue).broker.take_back(owner, keys) for queue in sorted(queues))

    def ever_consumed(self) -> bool:
        """Look for the mark in the home."""
        return self._places.home.broker.ever_consumed()

    def close(self) -> None:
        """Nothing: connections are the engine's to close."""


def _from(names: list[str], start: int) -> list[str]:
    """Return names from a place on, and then those before it."""
    at = start % max(len(names), 1)
    return names[at:] + names[:at]
