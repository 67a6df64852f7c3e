"""A consumer on Redis: settles, follows up and fetches by one script, and waits by moving lists."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from umbel.engines.redis import envelope
from umbel.engines.redis.calls import Calls
from umbel.engines.redis.order import Cycle, Turns
from umbel.engines.redis.server import Argument
from umbel.engines.redis.settling import Sent, chain_step, counted, finished, labelled, settling
from umbel.engines.redis.waiting import LONGEST, Waiter
from umbel.exceptions import LeaseLost, OperationalError
from umbel.failpoints import fail_point
from umbel.message import Delivery
from umbel.ports import Consumer, FetchRequest, Owner, Settled, Settlement

#: Most messages that one call fetches or settles: the server does nothing else meanwhile.
BATCH = 1000
#: Most lists that the script looks at by one command which settles what a wait brought.
LOOKED_AT = 1000

_NOTHING_GIVEN = (0, "")
#: To the script that settles what a wait brought: no connection is about to wait.
_NO_WAIT = ("", "", 0)


class RedisConsumer(Consumer):
    """See `umbel.ports.Consumer`."""

    def __init__(self, calls: Calls, owner: Owner, prefix: str, cycle: Cycle, ttl: float) -> None:
        self.owner = owner
        self._calls = calls
        self._names = calls.names
        self._clock = calls.clock
        self._prefix = prefix
        self._waiter = Waiter(calls, owner)
        #: Longest wait, in seconds: what comes later may come to somebody who was taken for dead.
        self._longest = min(ttl * 2 / 3, LONGEST)
        self._lists: dict[Sequence[str], list[str]] = {}
        #: What the last settling found nothing for, and in how many seconds more is due there.
        self._looked: tuple[FetchRequest | None, float | None] = (None, None)
        self._turns = Turns(cycle)
        self._waits = 0
        #: The queue that was waited for last, and its list.
        self._waited_for = "", ""
        #: The number of the last key, None while that is not known; and the last that was.
        self._last: int | None = None
        self._highest = 0
        #: What a wait brought and no script has seen: the number of its key, and the list it came from.
        self._given = _NOTHING_GIVEN
        #: The last settling fetched what follows it and nothing else, so there was nothing else.
        self._only_follows = False

    # Fetching

    def fetch(self, request: FetchRequest, wait: float) -> list[Delivery]:
        """Take what is there; else wait for a list of one of the queues, and look again."""
        deadline = self._clock.monotonic() + wait
        looked_for, next_due = self._looked
        self._looked = (None, None)
        # Who settles first has looked already; and the wait begins with a look of its own.
        look = looked_for is not request
        if self._waiter.waits and not look:
            left = wait if next_due is None else min(wait, next_due)
            given = self._given_within(min(left, self._longest))
            if given is not None:
                return [given]
            look = True
        while True:
            fetched: list[Delivery] = []
            if look:
                _, fetched, next_due = self._call((), request)
            look = True
            left = deadline - self._clock.monotonic()
            if fetched or left <= 0:
                return fetched
            if self._waiter.was_interrupted():
                return []
            if next_due is not None:
                left = min(left, next_due)
            if left > 0:  # else there is more to be done there at once
                given = self._wait(request, min(left, self._longest))
                if given is not None:
                    return [given]

    def _wait(self, request: FetchRequest, seconds: float) -> Delivery | None:
        """Wait for the first list of one of the queues, another one each time."""
        queues = self._turns.next(request.queues)
        if not queues:
            self._waiter.rest(seconds)
            return None
        self._waiter.begin(self._next_of(queues), self._lists_of(queues), seconds)
        return self._given_within(seconds)

    def _next_of(self, queues: Sequence[str]) -> str:
        """Choose what to wait for, and return its list."""
        self._waits += 1
        queue = queues[self._waits % len(queues)]
        base = self._names.base(queue)
        self._waited_for = queue, base
        return base

    def _given_within(self, seconds: float) -> Delivery | None:
        """End the wait that was begun, after `seconds` if nothing comes.

        What comes is leased by that and can be run at once, where it is certain what a script would do
        with it: those that have our numbers in front may not be due.
        """
        raw = self._waiter.end(seconds)
        if raw is None or self._last is None or raw[2:3] == b"u":
            return None
        self._last = self._highest = last = self._last + 1
        self.revocations = self._waiter.revocations
        queue, base = self._waited_for
        self._given = (last, base)
        names, key = self._names, f"{self._prefix}.{last}"
        return envelope.read(raw, queue, names.steps[0], key, names=names)

    def interrupt(self) -> None:
        """Unblock the connection that waits."""
        self._waiter.interrupt()

    def uninterrupt(self) -> None:
        """Forget an interrupt that came when nobody waited any more."""
        self._waiter.was_interrupted()

    def has(self, key: str) -> bool:
        """Tell whether a key may be one of those that this consumer was the first to get."""
        return key.startswith(f"{self._prefix}.")

    def _lists_of(self, queues: Sequence[str]) -> list[str]:
        """Return the lists of queues as kombu reads them: the most urgent of all come first."""
        found = self._lists.get(queues := tuple(queues))
        if found is None:
            if len(self._lists) > 100:
                self._lists.clear()
            by_queue = [self._names.lists(queue) for queue in queues]
            found = self._lists[queues] = list(chain(*zip(*by_queue, strict=True)))
        return found

    def _places(self, queues: Sequence[str]) -> Iterator[tuple[str, int]]:
        """Give queue and priority of each of the lists of `queues`, in their order."""
        return ((queue, step) for step in self._names.steps for queue in queues)

    # Settling

    def settle(
        self, settlements: Sequence[Settlement], fetch: FetchRequest | None = None
    ) -> Settled:
        """Settle and fetch by one call of one script, which may begin to wait."""
        self._looked = (None, None)
        if self._only_follows and fetch is not None:
            next_one = self._follow(settlements, fetch)
            if next_one is not None:
                return Settled((), (next_one,))
        finished = self._finish(settlements, fetch)
        if finished is not None:
            there, next_due = finished
            fetched: list[Delivery] = []
            if there:
                try:
                    self._waiter.give_up()
                    _, fetched, next_due = self._call((), fetch)
                except LeaseLost:
                    return Settled()  # what was settled is; the next fetch finds it out
            if not fetched:
                self._looked = (fetch, next_due)
            return Settled((), tuple(fetched))
        refused, fetched, next_due = self._call(settlements, fetch)
        if not fetched:
            self._looked = (fetch, next_due)
        return Settled(tuple(refused), tuple(fetched))

    def _finish(
        self, settlements: Sequence[Settlement], request: FetchRequest | None
    ) -> tuple[bool, float | None] | None:
        """Settle what a wait brought, by a script that takes less time; None where nothing was done.

        Tell whether there is more, and in how many seconds more is due.
        """
        given = self._given
        result = self._finishing(settlements)
        if result is None:
            return None
        queues = () if request is None else self._turns.next(request.queues)
        lists = self._lists_of(queues)
        if len(lists) > LOOKED_AT or (request is not None and not lists):
            return None
        notes = self._calls.unnoted(() if request is None else request.queues)
        if notes:
            self._calls.forget_noted(notes)
            return None
        fail_point("redis.settle.before")
        values = (self.owner.id, *given, *result)
        if request is not None and request.waits:
            answer = self._waiter.finish(values, self._next_of(queues), lists, self._longest)
        else:
            answer = self._calls.run("finish", *values, *_NO_WAIT, *lists)
        if answer is None:
            return None
        fail_point("redis.settle.after")
        self._given = _NOTHING_GIVEN
        if lists and not self._waiter.waits:
            self._waiter.emptied([given[1]])
        there, _, due = answer
        return bool(there), None if due < 0 else due / 1000

    def _finishing(self, settlements: Sequence[Settlement]) -> tuple[Argument, ...] | None:
        """Return the result of what a wait brought as arguments; None if that is not all that is settled."""
        number, chosen = self._given
        if not number or len(settlements) != 1:
            return None
        [item] = settlements
        if item.delivery.key != f"{self._prefix}.{number}" or not self._waiter.holds_only(chosen):
            return None
        return finished(self._calls, item)

    def _follow(self, settlements: Sequence[Settlement], request: FetchRequest) -> Delivery | None:
        """Settle a step of a chain and lease the next by a script that takes less time; None if not done."""
        self._only_follows = False
        last, found = self._last, chain_step(self._calls, settlements)
        queues = self._turns.next(request.queues)
        lists = self._lists_of(queues)
        if last is None or found is None or len(lists) > LOOKED_AT or request.limit < 1:
            return None
        item, one, result = found
        if one.queue not in queues or self._given[0] or self._waiter.inboxes():
            return None
        notes = self._calls.unnoted(request.queues)
        if notes:
            self._calls.forget_noted(notes)
            return None
        name, base, tag, _, text = self._calls.publication(one)
        key, said = f"{self._prefix}.{last + 1}", labelled(name, base, text)
        fail_point("redis.settle.before")
        self._last = None  # until there is an answer
        values = (self.owner.id, last, item.delivery.key, *result, tag, key, said, *lists)
        done = self._calls.follow(values)
        self._last = last
        if done is None:
            return None
        fail_point("redis.settle.after")
        self.revocations = int(done)
        self._last = self._highest = last + 1
        self._only_follows = True
        if len(queues) > 1:
            self._turns.gave((one.queue,))
        step = self._calls.step(one.priority)
        return envelope.read_back(text, one.message.body, one.queue, step, key, self._names)

    def _call(
        self, settlements: Sequence[Settlement], request: FetchRequest | None
    ) -> tuple[list[Delivery], list[Delivery], float | None]:
        """Return what was refused, what was fetched, and in how many seconds more is due."""
        said, follow_ups, twice = settling(self._calls, settlements)
        lists, inboxes = list[str](), list[str]()
        queues: Sequence[str] = ()
        named = [one.queue for item in settlements for one in item.publish]
        limit = 0
        if request is not None:
            self._waiter.give_up()
            queues = self._turns.next(request.queues)
            lists, limit = self._lists_of(queues), min(request.limit, BATCH)
            named += request.queues
            inboxes = self._waiter.inboxes()
        notes = self._calls.unnoted(named)
        given = self._given
        fail_point("redis.settle.before")
        try:
            answer = self._calls.run(
                "settle",
                self.owner.id,
                *self._told(given),
                limit,
                *counted(lists),
                *counted(inboxes),
                *counted(notes),
                *said,
            )
        except BaseException:
            self._calls.forget_noted(notes)
            if limit:
                self._last = None
            raise
        fail_point("redis.settle.after")
        self._taken_in(given)
        if answer[0] is None:
            self._calls.forget_noted(notes)  # nothing was done for a consumer that is none any more
            self._calls.wake(answer[1])
            raise lost(self.owner)
        due, refused, waiting = answer[1:4]
        self._calls.wake(waiting)
        if limit:
            self._waiter.emptied(inboxes)
            self._last = self._highest = int(answer[0]) + len(answer) - 6
            self.revocations = int(answer[5])
        fetched = self._fetched(answer, queues, inboxes, follow_ups)
        unheld = {key.decode() for key in refused}
        turned_down = [item.delivery for item in settlements if item.delivery.key in unheld]
        return turned_down + twice, fetched, None if due == b"-1" else int(due) / 1000

    def _fetched(
        self,
        answer: Sequence[Any],
        queues: Sequence[str],
        inboxes: Sequence[str],
        follow_ups: Sequence[Sent],
    ) -> list[Delivery]:
        """Read what a script leased (lua/broker_settle.lua)."""
        self._only_follows = len(answer) == 7 and isinstance(answer[6], int)
        # Who waits does so for a queue's first list.
        prefix = len(self._names.prefix)
        places = [(name[prefix:], self._names.steps[0]) for name in inboxes]
        places += self._places(queues)
        fetched = self._deliveries(int(answer[0]), places, answer[4], answer[6:], follow_ups)
        if len(queues) > 1:
            self._turns.gave(delivery.queue for delivery in fetched)
        return fetched

    def _told(self, given: tuple[int, str]) -> tuple[int, str]:
        """Return what a script is told of numbers (`take_in` in lua/broker_common.lua)."""
        return given if given[0] else (self._highest, "")

    def _taken_in(self, given: tuple[int, str]) -> None:
        """Note that a script has seen what a wait brought."""
        if self._given is given:
            self._given = _NOTHING_GIVEN

    def _deliveries(
        self,
        first: int,
        places: Sequence[tuple[str, int]],
        counts: Sequence[int],
        raws: Sequence[bytes | int],
        follow_ups: Sequence[Sent],
    ) -> list[Delivery]:
        """Read what a script leased: its keys go up from the first. Places are queues and priorities.

        What came with the call and is leased at once does not come back, but its number among the follow-ups.
        """
        deliveries = []
        at = 0
        for (queue, step), count in zip(places, counts, strict=True) if counts else ():
            for raw in raws[at : at + count]:
                at += 1
                key = f"{self._prefix}.{first + at}"
                if isinstance(raw, bytes):
                    deliveries.append(envelope.read(raw, queue, step, key, names=self._names))
                else:
                    one, text = follow_ups[raw - 1]
                    body = one.message.body
                    deliveries.append(envelope.read_back(text, body, queue, step, key, self._names))
        return deliveries

    def mark_early(self, deliveries: Sequence[Delivery]) -> None:
        """Mark what is held."""
        fail_point("redis.mark_early.before")
        keys = [delivery.key for delivery in deliveries]
        given = self._given
        answer = self._calls.run("mark", self.owner.id, *self._told(given), *keys)
        self._taken_in(given)
        if answer is None:
            raise lost(self.owner)
        fail_point("redis.mark_early.after")

    # Giving back and taking over

    def release(self, keys: Collection[str]) -> int:
        """Put envelopes back in front of their lists."""
        fail_point("redis.release.before")
        given = self._given
        count, waiting = self._calls.run("release", self.owner.id, 1, *self._told(given), *keys)
        fail_point("redis.release.after")
        self._taken_in(given)
        self._calls.wake(waiting)
        if count is None:
            raise lost(self.owner)
        return int(count)

    def reclaim(
        self, owner: str, unstarted: Collection[str] | None, only_expired: bool = False
    ) -> list[Delivery]:
        """Take everything over by one script, which deletes the owner: that is its fence."""
        fail_point("redis.reclaim.before")
        handed, waiting = self._calls.run(
            "reclaim",
            self.owner.id,
            owner,
            int(only_expired),
            int(unstarted is not None),
            *(unstarted or ()),
        )
        fail_point("redis.reclaim.after")
        self._calls.wake(waiting)
        if handed is None:
            raise lost(self.owner)
        deliveries = []
        for key, name, base, raw, early in handed:
            queue, step = self._names.split(name, int(base))
            deliveries.append(
                envelope.read(raw, queue, step, key.decode(), bool(early), self._names)
            )
        return deliveries

    def close(self) -> None:
        """Give back what is held, and delete the owner unless it holds what it may not give back."""
        with suppress(OperationalError):
            self._waiter.give_up()
        fail_point("redis.close.before")
        self._calls.end(self.owner.id)
        fail_point("redis.close.after")
        with suppress(OperationalError):
            for name in self._calls.ghosts.names():
                self._calls.end(name)


def lost(owner: Owner) -> LeaseLost:
    """Return the error for an owner that was taken for dead."""
    return LeaseLost(
        f"The process {owner.pid} was taken for dead (frozen for longer than worker_lease_ttl?)"
        " and its leases were taken over, or the server has lost its data."
    )
