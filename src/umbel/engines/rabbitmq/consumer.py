"""A consumer on RabbitMQ: takes a batch, settles it, and holds in between no more than it was asked for.

The connection is the claim: when it ends, the server gives back all that is held, and marks it. What is
marked may have killed its process, so it is given alone, and runs from a queue of this consumer's own
(claims.py), from which it comes back with a crash more if its process dies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from time import monotonic
from typing import Any

from umbel.clock import unique_id
from umbel.engines.rabbitmq import envelope
from umbel.engines.rabbitmq.channel import Channel, Taken, consumer_of
from umbel.engines.rabbitmq.claims import Claims, is_suspect
from umbel.engines.rabbitmq.core import Core
from umbel.engines.rabbitmq.errors import NoChannel, NotFound
from umbel.engines.rabbitmq.held import ITSELF, Held, Holdings
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.returned import CANNOT_COUNT, Returned, one_death_more
from umbel.engines.rabbitmq.settling import is_copied, messages_of, moved, struck_off
from umbel.engines.rabbitmq.unheard import is_done
from umbel.engines.rabbitmq.wire import Event
from umbel.exceptions import LeaseLost, OperationalError
from umbel.failpoints import fail_point
from umbel.message import Delivery
from umbel.ports import Action, Consumer, FetchRequest, Owner, Settled, Settlement, WentBack

#: Most messages of one batch: a classic queue hands over no more before it has heard that they went out.
BATCH = 200
#: Seconds that may pass before a message says what its process is killed for, in a second.
ENDING = 0.2


class RabbitConsumer(Consumer):
    """See `umbel.ports.Consumer`."""

    def __init__(self, core: Core, owner: Owner) -> None:
        self.owner = owner
        self._core = core
        #: Held by who fetches, and by who moves what is held for long.
        self._fetching = threading.RLock()
        #: Held for moments, around the books and what is sent by them.
        self._lock = threading.RLock()
        self._link: Link | None = None
        self._channel: Channel | None = None
        self._claims: Claims | None = None
        self._prefix = ""
        self._held = Holdings()
        #: The tags of what was acknowledged since the server last answered, by channels (unheard.py).
        self._told: dict[int, list[str]] = {}
        self._returned = Returned(core.ended)
        self._turn = -1
        self._interrupted = threading.Event()
        self._closed = False
        core.pulse.look_after(self)

    # Fetching

    def fetch(self, request: FetchRequest, wait: float) -> list[Delivery]:
        """Take what is there; else consume from all queues until something comes."""
        deadline = monotonic() + wait
        with self._fetching:
            self._check_open()
            if not request.queues or request.limit < 1:
                self._interrupted.wait(wait)
                self._interrupted.clear()
                return []
            try:
                fetched = self._take(request)
                while not fetched:
                    left = deadline - monotonic()
                    if left <= 0 or self._was_interrupted():
                        return []
                    fetched = self._given(self._wait(request, left), request.limit)
            except NotFound as error:
                self._core.queue_gone(request.queues, error)
                return []
            except NoChannel as error:
                self._core.too_many_channels(error)
                raise
            return fetched

    def _take(self, request: FetchRequest, before: bytes = b"") -> list[Delivery]:
        """Take what is there of the queues, beginning with another one each time."""
        _, channel = self._connected(request.queues)
        if self._returned:
            self._send(before)
            return self._come_back(min(request.limit, BATCH))
        self._move_old(monotonic())
        limit = min(request.limit, BATCH)
        taken: list[Taken] = []
        topology = self._core.topology
        self._turn += 1
        for place in range(len(request.queues)):
            queue = request.queues[(self._turn + place) % len(request.queues)]
            name, quorum = topology.name(queue), queue in topology.quorum
            some = channel.take(name, limit - len(taken), before, quorum)
            with self._lock:
                for number in channel.heard:  # what was said before the question, too
                    self._told.pop(number, None)
            before = b""
            taken += self._noted(some, queue)
            if len(taken) >= limit:
                break
        return self._given(taken, limit)

    def _wait(self, request: FetchRequest, seconds: float) -> list[Taken]:
        _, channel = self._connected(request.queues)
        names = {self._core.topology.name(queue): queue for queue in request.queues}
        quorum = [name for name in names if names[name] in self._core.topology.quorum]
        found = channel.wait(list(names), seconds, quorum)
        taken = [one for event, name in found for one in self._noted([(event, name)], names[name])]
        if channel.gone:
            self._core.topology.forget([names.get(name, name) for name in channel.gone])
            channel.gone.clear()
        return taken

    def _noted(self, taken: Sequence[Taken], queue: str) -> list[Taken]:
        """Note that these are held, by the name that the caller gave to the queue."""
        quorum = queue in self._core.topology.quorum
        opened = sorted((event.number, consumer_of(event) if quorum else "") for event, _ in taken)
        with self._lock:
            for one in opened:
                self._held.opened(*one)
        return [(event, queue) for event, _ in taken]

    def _given(self, taken: Sequence[Taken], limit: int) -> list[Delivery]:
        """Return what may run together, else one of those that run alone."""
        plain: list[Taken] = []
        now = monotonic()
        spare, done, back = [], [], []
        for event, queue in taken:
            if not is_suspect(event):
                if len(plain) < limit:
                    plain.append((event, queue))
                else:
                    spare.append(event.number)
                continue
            tag = envelope.own_tag(event)
            if self._core.unheard.has(tag, now):
                done.append(event.number)
                continue
            with self._lock:
                adopted = self._held.adopt(tag, event.number, now)
            if not adopted:
                one = envelope.read(event, queue, key := self._key(event), self._core)
                back.append(Held(event.number, queue, now, envelope.as_before(one, key)))
        if spare or done or back:
            with self._lock:
                done += self._returned.take_in(back, self._held.by_key.values(), now)
                self._send(self._held.settled(done) + self._held.returned(spare))
        given = [self._delivery(*one) for one in plain]
        if given and not self.adopts:
            return given
        return given + self._come_back(limit - len(given))

    def _delivery(self, event: Event, queue: str) -> Delivery:
        delivery = envelope.read(event, queue, self._key(event), self._core)
        with self._lock:
            self._held.given(event.number, queue, delivery)
        return delivery

    def _key(self, event: Event) -> str:
        channel, number = event.number
        return f"{self._prefix}.{channel}.{number}"

    def _come_back(self, most: int) -> list[Delivery]:
        """Give what came back: all together to who says before it starts any, else one by one."""
        if not self.adopts:
            return self._one_suspect()
        with self._lock:
            given = self._returned.some(most)
            self._held.by_key.update((one.delivery.key, one) for one in given)
        return [one.delivery for one in given]

    def _one_suspect(self) -> list[Delivery]:
        """Give what may have killed its process, from a queue of our own."""
        if not self._returned:
            return []
        suspect = self._returned.next()
        first: Delivery = suspect.delivery
        if not first.early and first.over_time is None:  # else it does not run any more
            try:
                return [self._apart(suspect)]
            except CANNOT_COUNT as error:
                self._returned.not_counted(error)
            except OperationalError:
                self._returned.put_back(suspect)
                raise
        with self._lock:
            suspect.since = monotonic()
            self._held.by_key[first.key] = suspect
        return [first]

    def _apart(self, suspect: Held) -> Delivery:
        """Move what came back into a queue of our own, where it counts one death more."""
        [copy] = self._copies([suspect.delivery], [one_death_more(suspect.delivery)])
        given = envelope.as_before(suspect.delivery, self._key(copy))
        with self._lock:
            self._send(self._held.settled([suspect.number]))
            self._held.given(copy.number, suspect.queue, given, said={})
        return given

    def _copies(
        self, deliveries: Sequence[Delivery], more: Sequence[Mapping[str, Any]]
    ) -> list[Event]:
        """Put copies of deliveries into a queue of our own; return them as they came from there."""
        assert self._claims is not None  # noqa: S101 - there is a connection
        if self._link is not None and self._link.broken is not None:
            raise self._link.broken  # they have gone back: a copy would be one more
        patience = self._core.publisher.patience(self._core.address.timeout)
        copies = self._claims.claim(deliveries, more, patience)
        self._settle_late(copies)
        return copies

    def _settle_late(self, copies: Sequence[Event] = ()) -> None:
        """Acknowledge copies of claims that have failed; open those of one that has not."""
        late = [copy.number for copy in self._claims.late()] if self._claims else []
        with self._lock:
            for number in sorted([*late, *(copy.number for copy in copies)]):
                self._held.opened(number)
            self._send(self._held.settled(late))

    def _was_interrupted(self) -> bool:
        found = self._interrupted.is_set()
        self._interrupted.clear()
        return found

    def interrupt(self) -> None:
        """Wake the connection that waits."""
        self._interrupted.set()
        if (link := self._link) is not None:
            link.interrupt()

    # The connection

    def _connected(self, queues: Collection[str]) -> tuple[Link, Channel]:
        """Return the channel; what was held on one that is lost, the server has given back."""
        self._core.topology.ensure(queues)
        link, channel = self._link, self._channel
        if link is not None and channel is not None and link.broken is None:
            return link, channel
        self._core.topology.ensure_celerys(queues)
        link = self._core.open("consumes", is_patient=lambda: self.patient)
        with self._lock:
            self._forget()
            self._link, self._channel = link, (channel := Channel(link))
            self._claims = Claims(self._core.topology, self._core.publisher, channel)
            self._prefix = unique_id()[-12:]
        return link, channel

    def _forget_lost(self) -> None:
        if self._link is not None and self._link.broken is not None:
            self._forget()

    def _forget(self) -> None:
        self._core.unheard.add(chain.from_iterable(self._told.values()), monotonic())
        self._told.clear()
        self._held.clear(self.adopts)
        self._returned.clear()

    def _send(self, data: bytes) -> None:
        """Send what settles; a connection that is lost has settled everything in its own way."""
        if data and self._link is not None:
            self._link.send(data)

    def _check_open(self) -> None:
        if self._closed:
            raise LeaseLost(f"The consumer {self.owner.id} was closed.")

    # Settling

    def settle(
        self, settlements: Sequence[Settlement], fetch: FetchRequest | None = None
    ) -> Settled:
        """Publish what is to be published, then acknowledge, and take the next in the same packet."""
        self._check_open()
        known, refused = self._known(settlements)
        # Found out once: what is moved from now on has no copy, and goes back from where it lies then.
        back = [item for item in known if item.action is Action.REQUEUE]
        copied = {item.delivery.key for item in back if is_copied(self._held, item)}
        messages = {
            item.delivery.key: messages_of(self._core, item, copied)
            for item in known
            if not is_done(item)
        }
        self._held.publish(messages, self._core)
        fail_point("rabbitmq.settle.before")
        if fetch is None or not self._fetching.acquire(blocking=False):
            with self._lock:
                self._send(self._acknowledged(known, copied))
            return Settled(tuple(refused))
        try:
            with self._lock:
                before = self._acknowledged(known, copied)
            fetched = self._settle_and_take(before, fetch)
            fail_point("rabbitmq.settle.after")
            return Settled(tuple(refused), tuple(fetched))
        finally:
            self._fetching.release()

    def _settle_and_take(self, before: bytes, fetch: FetchRequest) -> list[Delivery]:
        link = self._link
        if before and link is not None and link.broken is not None:
            raise link.broken
        if not fetch.queues or fetch.limit < 1:
            self._send(before)
            return []
        try:
            return self._take(fetch, before)
        except NotFound as error:
            self._core.queue_gone(fetch.queues, error, raises=not before)
            return []
        except NoChannel as error:
            self._core.too_many_channels(error)
            raise

    def _known(self, settlements: Sequence[Settlement]) -> tuple[list[Settlement], list[Delivery]]:
        """Return what is held, and what is not (any more) or is settled twice."""
        known, refused, seen = [], [], set()
        with self._lock:
            self._forget_lost()
            for item in settlements:
                key = item.delivery.key
                if key in seen or key not in self._held.by_key:
                    refused.append(item.delivery)
                    if is_done(item):
                        self._core.unheard.add([item.delivery.tag], monotonic())
                else:
                    known.append(item)
                seen.add(key)
            self._held.let_go([delivery.key for delivery in refused])
        return known, refused

    def _acknowledged(self, known: Sequence[Settlement], copied: Collection[str]) -> bytes:
        """Strike settled deliveries off the books; return what tells the server."""
        done, back = struck_off(self._held, known, copied)
        for item, number in done:
            if is_done(item):
                self._told.setdefault(number[0], []).append(item.delivery.tag)
        self._returned.ended(item.delivery for item, _ in done if item.action is Action.ACK)
        return self._held.settled([number for _, number in done]) + self._held.returned(back)

    def mark_early(self, deliveries: Sequence[Delivery]) -> None:
        """Let them lie in a queue of our own, saying that they have begun."""
        self._check_open()
        fail_point("rabbitmq.mark_early.before")
        self._say(deliveries, lambda one: {envelope.EARLY: True})
        fail_point("rabbitmq.mark_early.after")

    def expect_start(self, deliveries: Sequence[Delivery]) -> None:
        """Let those that do not yet lie in a queue of our own, where they count one death more."""
        self._check_open()
        try:
            self._say(deliveries, one_death_more, again=True)
        except CANNOT_COUNT as error:
            self._returned.not_counted(error)

    def _say(
        self,
        deliveries: Sequence[Delivery],
        more: Callable[[Delivery], Mapping[str, Any]],
        again: bool = False,
    ) -> None:
        """Let deliveries say more before they start; with `again` only those that say nothing yet."""
        with self._fetching:
            with self._lock:
                self._forget_lost()
                found = [self._held.by_key.get(delivery.key) for delivery in deliveries]
                held = [
                    one for one in found if one is not None and not (again and one.said is not None)
                ]
            if None in found:
                self._held.let_go([delivery.key for delivery in deliveries])
                raise WentBack("The connection to RabbitMQ was lost before tasks had started.")
            channels = {one.number[0] for one in held}
            self._move(held, [more(one.delivery) for one in held])
            if held and self._channel is not None:
                # Nothing may run before it is certain that it will not be delivered as it was.
                self._channel.confirm_settled(channels)

    # Giving back

    def release(self, keys: Collection[str]) -> int:
        """Reject them: they go to the place they came from, with the mark that they were handed over."""
        self._check_open()
        fail_point("rabbitmq.release.before")
        with self._lock:
            self._forget_lost()
            held = [self._held.by_key[key] for key in set(keys) if key in self._held.by_key]
            self._held.let_go(keys)
            apart = {one.delivery.key for one in held if one.apart}
        self._publish_copies([one.delivery for one in held if one.delivery.key in apart])
        with self._lock:
            gone = [one for one in held if self._held.by_key.pop(one.delivery.key, None) is one]
            # What was moved meanwhile has no copy.
            numbers = [one.number for one in gone if one.delivery.key not in apart]
            moved = [one.number for one in gone if one.delivery.key in apart]
            self._send(self._held.settled(moved) + self._held.returned(numbers))
        fail_point("rabbitmq.release.after")
        return len(numbers) + len(moved)

    def _publish_copies(self, deliveries: Sequence[Delivery]) -> None:
        core = self._core
        copies = {one.key: [(ITSELF, core.back(one, one.crashes))] for one in deliveries}
        self._held.publish(copies, core)

    def look_after(self, now: float) -> None:
        """Give back what waits too long to run alone, and move what has been held for long."""
        if self._closed or not self._fetching.acquire(blocking=False):
            return
        try:
            if self._link is None or self._link.broken is not None:
                return
            back = self._returned.late(now)
            if back:
                with self._lock:
                    self._send(self._held.returned(back))
            self._settle_late()
            self._move_old(now)
        except OperationalError:
            pass  # who uses it next meets the same
        finally:
            self._fetching.release()

    def _move_old(self, now: float) -> None:
        """Move what runs for long into a queue of our own, before the server takes it back."""
        with self._lock:
            held = list(self._held.by_key.values())
        for one in (one for one in held if now - one.since > self._core.hold_after):
            self._move([one], [{**one_death_more(one.delivery), **(one.said or {})}])

    def _move(self, held: Sequence[Held], more: Sequence[Mapping[str, Any]]) -> None:
        """Let what is held lie in a queue of our own from now on, where it says more of itself."""
        if not held:
            return
        copies = self._copies([one.delivery for one in held], more)
        with self._lock:
            # In one step: what goes back is either what it was or the copy.
            done = moved(self._held, held, [copy.number for copy in copies], more)
            self._send(self._held.settled(done))

    def expect_end(self, delivery: Delivery, limit: float) -> None:
        """Let the message say what its process is killed for, if it is."""
        # Who looks after what is held for long has it for moments; who fetches, for as long as that waits.
        if not self._fetching.acquire(timeout=ENDING):
            return
        try:
            held = self._held.by_key.get(delivery.key)
            if held is not None and self._link is not None and self._link.broken is None:
                self._move([held], [{envelope.OVER_TIME: limit, **(held.said or {})}])
        finally:
            self._fetching.release()

    def reclaim(
        self, owner: str, unstarted: Collection[str] | None, only_expired: bool = False
    ) -> list[Delivery]:
        """Return nothing: what a dead owner held, the server has given back."""
        self._check_open()
        return []

    def close(self) -> None:
        """Close the channels, which gives back what they hold."""
        fail_point("rabbitmq.close.before")
        with self._lock:
            if self._closed:
                return
            self._closed = True
            link, claims = self._link, self._claims
            # What began and may run only once is left as it is: it comes back, and says so.
            left = [one for one in self._held.by_key.values() if one.apart and not one.said]
            apart = [one.delivery for one in left]
        if link is None:
            return
        if link.broken is not None:
            self._forget()
        else:
            with suppress(OperationalError):
                self._settle_late()
                # As they are: they did not kill this process.
                self._publish_copies(apart)
                with self._lock:
                    self._send(self._held.settled([one.number for one in left]))
        link.close()
        if claims is not None:
            with suppress(OperationalError):
                claims.delete()
        fail_point("rabbitmq.close.after")
