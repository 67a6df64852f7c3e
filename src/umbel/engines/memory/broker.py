"""The broker in memory: publishing, and the owners of leases."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from umbel.clock import Clock
from umbel.engines.memory.consumer import BATCH, MemoryConsumer, handles
from umbel.engines.memory.messages import LEFT, Holder, stored
from umbel.engines.memory.results import MemoryResults
from umbel.engines.memory.space import Space
from umbel.message import Publication
from umbel.ports import Broker, Consumer, Features, Owner, ResultStore

FEATURES = Features(
    shared=False,
    joint_results=True,
    atomic_settle=True,
    scheduling=True,
    fencing=True,
    leases=True,
    dedupes=True,
    remembers=0.0,
    counts=True,
    batch=BATCH,
    priorities=256,
    peek=True,
    find=True,
    joint_state=True,
    tells_revocations=True,
)


class MemoryBroker(Broker):
    """See `umbel.ports.Broker`."""

    features = FEATURES

    def __init__(self, space: Space, clock: Clock) -> None:
        self._space = space
        self._clock = clock

    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        """Insert under the lock, which nobody keeps for long enough to need `timeout`."""
        items = stored(publications, self._clock.time())
        with self._space.lock:
            self._space.messages.insert(items)

    def consumer(self, owner: Owner, ttl: float) -> Consumer:
        """List the owner, or prolong its leases when it is listed."""
        messages = self._space.messages
        with self._space.lock:
            expires = self._clock.time() + ttl
            holder = messages.holders.setdefault(owner.id, Holder(owner, expires))
            holder.expires = expires
            messages.ever_consumed = True
        return MemoryConsumer(self._space, self._clock, holder)

    def shares(self, results: ResultStore) -> bool:
        """Results of the same space are stored under the same lock."""
        return isinstance(results, MemoryResults) and results.space is self._space

    def join(self, results: ResultStore) -> None:
        """Do nothing: a store that it shares is in the same place, where settling finds it."""

    def renew(self, node: str, ttl: float) -> frozenset[str]:
        """Move the end of the leases."""
        with self._space.lock:
            found = [
                holder
                for holder in self._space.messages.holders.values()
                if holder.owner.node == node and holder.expires != LEFT
            ]
            expires = self._clock.time() + ttl
            for holder in found:
                holder.expires = expires
        return frozenset(holder.owner.id for holder in found)

    def expired(self) -> list[Owner]:
        """List the owners whose time is over."""
        with self._space.lock:
            now = self._clock.time()
            return [
                holder.owner
                for holder in self._space.messages.holders.values()
                if holder.expires < now
            ]

    def take_back(self, owner: str, keys: Collection[str]) -> int:
        """Make the messages ready again."""
        with self._space.lock:
            messages = self._space.messages
            holder = messages.holders.get(owner)
            return messages.release_unmarked(holder, handles(keys)) if holder else 0

    def ever_consumed(self) -> bool:
        """Look at the note that the first consumer made."""
        return self._space.messages.ever_consumed

    def close(self) -> None:
        """Nothing to give back."""
