"""A consumer in memory: everything it does is one piece under the lock of the space."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from umbel.clock import Clock
from umbel.engines.memory.messages import LEFT, Dead, Handle, Holder, Stored, stored
from umbel.engines.memory.results import store_results
from umbel.engines.memory.space import Space
from umbel.engines.memory.waiting import Waiter
from umbel.engines.texts import escaped
from umbel.exceptions import LeaseLost
from umbel.message import Delivery
from umbel.ports import REVOKED, Action, Consumer, FetchRequest, Settled, Settlement

#: Most messages that one fetch gives.
BATCH = 10_000


class MemoryConsumer(Consumer):
    """See `umbel.ports.Consumer`."""

    def __init__(self, space: Space, clock: Clock, holder: Holder) -> None:
        self.owner = holder.owner
        self._space = space
        self._messages = space.messages
        self._clock = clock
        self._holder = holder
        self._waiter: Waiter | None = None
        self._interrupted = False

    # Fetching

    def fetch(self, request: FetchRequest, wait: float) -> list[Delivery]:
        """Claim what is there; else sleep until something may be."""
        deadline = self._clock.monotonic() + wait
        with self._space.lock:
            while True:
                fetched = self._claim(request)
                if fetched or wait <= 0 or not self._sleep(request, deadline):
                    return fetched

    def _claim(self, request: FetchRequest) -> list[Delivery]:
        self._check_attached()
        self._messages.return_due(self._clock.time())
        fetched: list[Delivery] = []
        for queue in request.queues:
            left = min(request.limit, BATCH) - len(fetched)
            fetched += self._messages.claim(self._holder, queue, left)
        self.revocations = self._space.versions.get(REVOKED, 0)
        return fetched

    def _check_attached(self) -> None:
        listed = self._messages.holders.get(self.owner.id)
        if listed is not self._holder or listed.expires == LEFT:
            raise LeaseLost(
                f"The consumer {self.owner.id} was taken for dead and its leases were taken over."
            )

    def _sleep(self, request: FetchRequest, deadline: float) -> bool:
        """Wait until there may be something to claim (True), or it is time to give up (False)."""
        if self._interrupted:
            self._interrupted = False
            return False
        left = deadline - self._clock.monotonic()
        due = self._messages.next_due()
        pause = left if due is None else min(left, max(due - self._clock.time(), 0.0))
        if left <= 0:
            return False
        self._waiter = self._space.waiters.listen(f"queue:{queue}" for queue in request.queues)
        try:
            return self._waiter.wait(pause) or pause < left
        finally:
            self._space.waiters.stop(self._waiter)
            self._waiter = None

    def interrupt(self) -> None:
        """Wake the waiting fetch."""
        with self._space.lock:
            self._interrupted = True
            if self._waiter is not None:
                self._waiter.wake()

    # Settling

    def settle(
        self, settlements: Sequence[Settlement], fetch: FetchRequest | None = None
    ) -> Settled:
        """Settle and claim under the lock, once it is clear that all messages can be kept."""
        now = self._clock.time()
        prepared = [(item, stored(item.publish, now)) for item in settlements]
        with self._space.lock:
            self._check_attached()
            refused = []
            for item, follow_ups in prepared:
                found = self._holder.held.pop(item.delivery.handle, None)
                if found is None:
                    refused.append(item.delivery)
                    continue
                if item.result is not None:
                    store_results(self._space, [item.result], now)
                self._messages.insert(follow_ups)
                self._settle(found, item, now)
            fetched = self._claim(fetch) if fetch is not None else []
        return Settled(tuple(refused), tuple(fetched))

    def _settle(self, found: Stored, item: Settlement, now: float) -> None:
        found.crashes += item.crashed
        match item.action:
            case Action.ACK:
                self._messages.remove(found)
            case Action.REQUEUE:
                self._messages.make_ready(found)
            case Action.PARK:
                self._messages.schedule(found, now if item.due is None else item.due)
            case Action.DEAD_LETTER:
                self._messages.remove(found)
                number = self._messages.next_number()
                reason = escaped(item.reason or "")
                self._messages.dead[number] = Dead(found, reason, now, item.expires)

    def mark_early(self, deliveries: Sequence[Delivery]) -> None:
        """Mark the messages."""
        with self._space.lock:
            self._check_attached()
            for delivery in deliveries:
                found = self._holder.held.get(delivery.handle)
                if found is not None:
                    found.early = True

    # Giving back and taking over

    def release(self, keys: Collection[str]) -> int:
        """Make the messages ready again."""
        with self._space.lock:
            self._check_attached()
            return self._messages.release(self._holder, handles(keys))

    def reclaim(
        self, owner: str, unstarted: Collection[str] | None, only_expired: bool = False
    ) -> list[Delivery]:
        """Give back and take over, and strike the owner off the list: that is its fence."""
        with self._space.lock:
            self._check_attached()
            other = self._messages.holders.get(owner)
            if other is None or (only_expired and other.expires >= self._clock.time()):
                return []
            del self._messages.holders[owner]
            if unstarted is None:
                self._give_back_unmarked(other)
            else:
                self._messages.release(other, handles(unstarted))
            rest = sorted(other.held.values(), key=lambda item: (-item.priority, item.number))
            for item in rest:
                self._holder.take(item)
            return [item.delivery() for item in rest]

    def _give_back_unmarked(self, other: Holder) -> None:
        """Make ready what was not marked early. It may have started, so it counts as delivered."""
        for handle, item in list(other.held.items()):
            if not item.early:
                del other.held[handle]
                self._messages.make_ready(item)

    def close(self) -> None:
        """Give back what is held, and leave the list unless something may not be given back."""
        with self._space.lock:
            if self._messages.holders.get(self.owner.id) is self._holder:
                self._messages.release_unmarked(self._holder, list(self._holder.held))
                self._holder.expires = LEFT
                if not self._holder.held:
                    del self._messages.holders[self.owner.id]


def handles(keys: Iterable[str]) -> list[Handle]:
    """Return what keys of deliveries name; what is no key of this engine is passed over."""
    found = []
    for one in keys:
        number, _, lease = one.partition(".")
        if one.isascii() and number.isdigit() and lease.isdigit():
            found.append((int(number), int(lease)))
    return found


def numbers(keys: Iterable[str]) -> list[int]:
    """Return the numbers of dead letters that keys stand for; what is no key is passed over."""
    return [int(key) for key in keys if key.isascii() and key.isdigit()]
