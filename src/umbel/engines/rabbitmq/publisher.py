"""Publishing with confirms, on a connection of its own: an alarm that blocks it must not hold up settling.

A batch is sent in one go and confirmed by the server when each message is as safe as its queue makes it. What
reaches no queue, because somebody has deleted it, comes back and is sent again once it is declared anew.
What was sent to an exchange that is gone, for which the server closes the channel, is sent again, too.

What the server refuses, and nothing else, is sent again for as long as that may help (refusals.py), each time
by a new connection: the channel of one whose quorum queue has lost its leader may refuse for ever.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from umbel.clock import SYSTEM, Clock
from umbel.engines.rabbitmq import wire
from umbel.engines.rabbitmq.envelope import Written, own_tag
from umbel.engines.rabbitmq.errors import NotFound
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.pulse import Pulse
from umbel.engines.rabbitmq.refusals import Patience
from umbel.engines.rabbitmq.topology import Topology, depth
from umbel.engines.rabbitmq.wire import FRAME_MAX, Event, method
from umbel.exceptions import BrokerFull, OperationalError
from umbel.failpoints import fail_point

logger = logging.getLogger("umbel.rabbitmq")

#: Messages that may be unconfirmed while more are sent.
WINDOW = 500
#: Seconds after which a server that takes no messages is asked whether it does again.
BLOCKED = 0.2


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message, and the exchange and key that it goes to, which may change until it is sent.

    `queue` is declared again if it comes back, which it does unless it may reach nobody.
    """

    written: Written
    exchange: str
    routing_key: str
    queue: str
    mandatory: bool = True


#: Is told of messages that the server has taken where it refused others: they need not be sent again.
Heard = Callable[[Sequence[Outgoing]], None]


@dataclass(slots=True)
class _Left:
    """What the server has not taken: what it refused, and what was not sent because of that."""

    refused: list[Outgoing] = field(default_factory=list)
    unsent: list[Outgoing] = field(default_factory=list)

    @property
    def all(self) -> list[Outgoing]:
        return self.refused + self.unsent


class Publisher:
    """Publishes for all threads of a process, one batch at a time."""

    def __init__(self, topology: Topology, pulse: Pulse, clock: Clock = SYSTEM) -> None:
        self._topology = topology
        self._pulse = pulse
        self._clock = clock
        self._lock = threading.RLock()
        self._link: Link | None = None
        #: How many messages were sent on this connection, and which of them are not confirmed.
        self._sent = 0
        self._unconfirmed: dict[int, Outgoing] = {}
        self._returned: list[str] = []
        #: What the server refused of what is being sent, by its number.
        self._refused: dict[int, Outgoing] = {}

    @property
    def frame_max(self) -> int:
        """Most bytes of a frame."""
        return FRAME_MAX if self._link is None else self._link.frame_max

    def patience(self, timeout: float) -> float:
        """Return the seconds to wait for what need not be sent: few while the server takes no messages."""
        link = self._link
        return timeout if link is None or link.blocked is None else min(timeout, BLOCKED)

    def publish(
        self, messages: Sequence[Outgoing], timeout: float, taken: Heard | None = None
    ) -> None:
        """Send messages and return when all are confirmed.

        Raises OperationalError after `timeout` seconds, and BrokerFull where a queue is full.
        """
        begun = monotonic()
        deadline = begun + timeout
        with self._turn(deadline, timeout):
            left = self._publish(messages, deadline, timeout, "Nothing was sent")
        if left.refused:
            patience = Patience(deadline, monotonic() - begun)
            self._insist(messages, left, patience, timeout, taken)

    @contextmanager
    def _turn(self, deadline: float, timeout: float) -> Iterator[None]:
        if not self._lock.acquire(timeout=max(deadline - monotonic(), 0)):
            raise OperationalError(
                f"Other threads' messages took more than {timeout:.1f} s to be sent."
            )
        try:
            yield
        finally:
            self._lock.release()

    def _insist(
        self,
        messages: Sequence[Outgoing],
        left: _Left,
        patience: Patience,
        timeout: float,
        taken: Heard | None,
    ) -> None:
        """Send again what was refused, until it is taken. Other threads have their turns in between."""
        deadline = patience.deadline
        error: OperationalError | None = None
        before = messages
        while left.refused:
            missing = {id(one) for one in left.all}
            some = [one for one in before if id(one) not in missing]
            if taken is not None:
                taken(some)
            before = left.all
            patience.heard(self._ready(left.refused[0], deadline), bool(some))
            pause = patience.pause()
            if pause is None:
                raise self._refusal(left, len(messages), timeout, patience.ready) from error
            self._clock.sleep(pause)
            begun = monotonic()
            with self._turn(deadline, timeout):
                try:
                    self._open(deadline)
                except OperationalError as found:  # nothing of it was sent
                    error = found
                    continue
                error = None
                left = self._publish(
                    before, deadline, timeout, "What was refused was not sent again"
                )
            patience.lasted = monotonic() - begun

    def _ready(self, refused: Outgoing, deadline: float) -> int:
        """Return how many messages the queue has that refused one; 0, too, of one that does not answer."""
        try:
            with self._topology.admin(max(deadline - monotonic(), 0.1)) as link:
                # What is due later goes to the queue that is called like its exchange.
                return depth(link, refused.exchange or refused.routing_key) or 0
        except OperationalError:
            return 0

    def _refusal(self, left: _Left, total: int, timeout: float, ready: int) -> OperationalError:
        what = f"{self._topology.address.place} did not take {len(left.all)} of {total} messages"
        queues = _queues_of(left.refused)
        if ready:
            return BrokerFull(
                f"{what}: it refuses those for {queues}, where {ready} are ready. The queue is full"
                " (x-max-length or x-max-length-bytes with x-overflow: reject-publish)."
            )
        return OperationalError(
            f"{what} within {timeout:.1f} s: it refuses those for {queues}. If that is a quorum queue, it has"
            " no leader: look whether enough of its servers run."
        )

    def _publish(
        self, messages: Sequence[Outgoing], deadline: float, timeout: float, unsent: str
    ) -> _Left:
        """Send messages; return those that the server has not taken."""
        left: Sequence[Outgoing] = messages
        refused = _Left()
        for _ in range(3):
            link = self._open(deadline)
            self._wait_for_room(link, deadline, timeout, unsent)
            left = self._send(link, left, deadline, timeout, refused)
            if not left:
                return refused
            self._topology.forget([one.queue for one in left])
            self._declare(left, max(deadline - monotonic(), 0.1))
        raise OperationalError(
            f"No queue takes messages for {left[0].queue!r} at {self._topology.address.place} although it was"
            " declared."
        )

    def _declare(self, messages: Sequence[Outgoing], timeout: float) -> None:
        queues = [one.queue for one in messages]
        self._topology.ensure(queues, timeout)
        parked = [one.queue for one in messages if one.exchange]
        if parked:
            self._topology.ensure_parking(parked, timeout)

    def _open(self, deadline: float) -> Link:
        link = self._link
        if link is not None and link.broken is None:
            return link
        left = max(deadline - monotonic(), 0.01)
        link = Link(self._topology.address, left, "publishes")
        try:
            link.call(method(wire.CONFIRM_SELECT, "b", False), wire.CONFIRM_SELECT_OK)
        except BaseException:
            link.drop()
            raise
        self._link = link
        self._sent = 0
        self._unconfirmed = {}
        self._pulse.add(link)
        return link

    def _wait_for_room(self, link: Link, deadline: float, timeout: float, unsent: str) -> None:
        """Wait while the server takes no messages; what has not been sent by then, `unsent` says."""
        with link.reading:
            link.refresh()
            self._drain(link, 0.0)
            while link.blocked is not None:
                left = deadline - monotonic()
                if left <= 0:
                    raise self._full(link, timeout, unsent)
                self._drain(link, left)

    def _full(self, link: Link, timeout: float, what: str) -> BrokerFull:
        return BrokerFull(
            f"{self._topology.address.place} takes no messages: blocked by {link.blocked!r}. {what} within"
            f" {timeout:.1f} s. Look at its memory and disk (rabbitmqctl status)."
        )

    def _send(
        self,
        link: Link,
        messages: Sequence[Outgoing],
        deadline: float,
        timeout: float,
        refused: _Left,
    ) -> list[Outgoing]:
        """Send and wait for confirms; return what has to be sent again once it has somewhere to go.

        What the server refuses, and what then is not sent any more, goes into `refused`.
        """
        self._returned = []
        self._refused = {}
        before = self._sent
        fail_point("rabbitmq.publish.before")
        for start in range(0, len(messages), WINDOW):
            some = messages[start : start + WINDOW]
            for number, one in enumerate(some, self._sent + 1):
                self._unconfirmed[number] = one
            self._sent += len(some)
            last = self._sent
            try:
                link.send(
                    *(
                        one.written.frames(
                            one.exchange, one.routing_key, link.frame_max, one.mandatory
                        )
                        for one in some
                    )
                )
                self._wait_for_confirms(link, last, deadline, timeout)
            except NotFound as error:
                missed = [one for number, one in self._unconfirmed.items() if number > before]
                refused.refused += self._in_order()
                return self._again([*missed, *messages[start + WINDOW :]], messages, error)
            if self._refused:
                refused.refused += self._in_order()
                refused.unsent += messages[start + WINDOW :]
                self._leave(link, deadline)
                break
        fail_point("rabbitmq.publish.after")
        return self._again([], messages, None)

    def _in_order(self) -> list[Outgoing]:
        return [self._refused[number] for number in sorted(self._refused)]

    def _leave(self, link: Link, deadline: float) -> None:
        """Close a connection on which the server refused something."""
        self._link = None
        link.close(max(deadline - monotonic(), 0.1))

    def _again(
        self, missed: list[Outgoing], messages: Sequence[Outgoing], error: NotFound | None
    ) -> list[Outgoing]:
        """Return what did not get there, and what came back; raise where nothing of it can be declared."""
        returned = set(self._returned)
        left = missed + [
            one
            for one in messages
            if one.written.publication.tag in returned and not any(one is other for other in missed)
        ]
        for one in left:
            if not one.queue:  # it is its publisher who knows what has to be there
                raise error or NotFound(
                    f"{self._topology.address.place} has no queue {one.routing_key!r} any more."
                )
            if not one.exchange and (undeclared := self._topology.undeclared(one.queue)):
                raise undeclared
        if left:
            logger.warning(
                "Messages for %s had nowhere to go, so that is declared again.", _queues_of(left)
            )
        return left

    def _wait_for_confirms(self, link: Link, last: int, deadline: float, timeout: float) -> None:
        with link.reading:
            link.refresh()
            while any(number <= last for number in self._unconfirmed):
                left = deadline - monotonic()
                if left > 0:
                    self._drain(link, left)
                    continue
                if link.blocked is not None:
                    # They are in its hands, and it reads them when the alarm is over.
                    raise self._full(
                        link, timeout, "It is unknown what it will take of what was sent"
                    )
                link.drop()
                raise OperationalError(
                    f"{self._topology.address.place} did not confirm within {timeout:.1f} s. It is unknown"
                    " what arrived."
                )

    def _drain(self, link: Link, wait: float) -> None:
        """Take what has come, waiting for the first of it."""
        event = link.receive(wait)
        while event is not None:
            self._heed(event)
            event = link.receive(0.0)

    def _heed(self, event: Event) -> None:
        if event.name == wire.RETURN:
            self._returned.append(own_tag(event) or "")
        elif event.name in (wire.ACK, wire.NACK):
            number, multiple = event.arguments[:2]
            numbers = [number]
            if multiple:
                numbers = [one for one in self._unconfirmed if one <= number]
            for one in numbers:
                message = self._unconfirmed.pop(one, None)
                if event.name == wire.NACK and message is not None:
                    self._refused[one] = message

    def close(self) -> None:
        """Close the connection; the next message opens another."""
        with self._lock:
            link, self._link = self._link, None
        if link is not None:
            link.close()

    # Forks

    def before_fork(self) -> None:
        """Wait until nothing is being published."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Close the copy of the parent's connection, without a word."""
        self._lock = threading.RLock()
        link, self._link = self._link, None
        if link is not None:
            link.drop()


def _queues_of(messages: Sequence[Outgoing]) -> str:
    return ", ".join(sorted({one.queue or one.routing_key for one in messages}))
