"""Taking messages from queues by one link: exactly as many as are wanted, and none in advance.

RabbitMQ pushes to whoever consumes, up to a prefetch that holds for as long as one consumes. So each batch
is a consumer of its own that is cancelled again: ``qos(limit)``, ``consume`` and ``cancel`` in one packet. A
classic queue hands over what it has before it heeds the cancel. Measured, that is as fast as consuming all
the time, and nothing waits at a busy process.

Of a quorum queue nothing may be held for a consumer that is cancelled: when the server to which it was
connected dies, the others give that to nobody, not even when the dead one is back (rabbit_fifo.erl
returns what consumers hold that are up). So a batch is as many ``get``. Each is a command in the queue's log,
for which a channel waits until it is on the disk. So they are asked on many channels at once, round by
round, and the log is written once for each. Who waits consumes with a prefetch of 1, and that consumer ends
just before its message is settled (held.py). What comes just when a wait ends goes back. It may come after
the server's answer to the cancel, but has reached the server's end of the channel by then, so it is there
before the answer to another question.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from time import monotonic

from umbel.engines.rabbitmq import wire
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.wire import Event, method

#: A message, and the queue it comes from.
Taken = tuple[Event, str]


class Channel:
    """The channels of one link, for one thread at a time. All but `get` goes by the first."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._tags = 0
        #: How many messages queues had left when they were last asked for one.
        self._left: dict[str, int] = {}
        #: Channels that have answered the last `take`, and so have heard what was said on them before.
        self.heard: set[int] = set()
        #: Queues whose consumers stay, by the consumer's tag (claims.py), and what came for them.
        self.lasting: dict[str, str] = {}
        self.for_lasting: list[tuple[Event, str]] = []
        #: Queues that were deleted while they were consumed from.
        self.gone: set[str] = set()

    def take(
        self, queue: str, limit: int, before: bytes = b"", quorum: bool = False
    ) -> list[Taken]:
        """Take what is there, up to `limit` messages, in order. `before` is sent in front."""
        if quorum or limit == 1:
            return self._get(queue, limit, before)
        tag = self._next_tag()
        cancel = method(wire.CANCEL, "sb", tag, False)
        taken: list[Taken] = []
        with self.link.reading:
            self.link.send(before + _qos(limit) + _consume(queue, tag) + cancel)
            self._expect(wire.CANCEL_OK, into=taken, queues={tag: queue})
        self.heard = {1}
        return taken

    def _get(self, queue: str, limit: int, before: bytes) -> list[Taken]:
        """Ask for one message, or as many as there were left, and for as many more as there are then."""
        taken: list[Taken] = []
        self.heard = set()
        left = max(self._left.pop(queue, 0), 1)
        with self.link.reading:
            while left and len(taken) < limit:
                asked = self.link.open_channels(min(left, limit - len(taken)), self._others)
                some = self._round(queue, asked, before)
                before = b""
                taken += [(event, queue) for event in some]
                left = some[-1].arguments[4] if len(some) == asked else 0
        if left:
            self._left[queue] = left
        return taken

    def _round(self, queue: str, count: int, before: bytes) -> list[Event]:
        """Ask for one message on each of so many channels; return them in the order of the queue.

        The server may answer in another. Each answer tells how many messages are left.
        """
        self.link.send(before, *(_get(queue, one) for one in range(1, count + 1)))
        answers = [self._expect(wire.GET_OK, wire.GET_EMPTY) for _ in range(count)]
        self.heard.update(range(1, count + 1))
        found = [one for one in answers if one.name == wire.GET_OK]
        return sorted(found, key=lambda one: -one.arguments[4])

    def wait(
        self, queues: Sequence[str], seconds: float, quorum: Collection[str] = ()
    ) -> list[Taken]:
        """Wait for the first message of any of these; where more come at once, one of each queue.

        Those that `quorum` names are quorum queues.
        """
        link = self.link
        deadline = monotonic() + seconds
        tags = {self._next_tag(): queue for queue in queues}
        taken: list[Taken] = []
        with link.reading:
            link.send(_qos(1), *(_consume(queue, tag) for tag, queue in tags.items()))
            link.refresh()
            ended = set[str]()
            while not taken and not ended:
                event = link.receive(max(deadline - monotonic(), 0))
                if event is None:
                    break
                if event.name == wire.CANCEL:
                    ended.add(event.arguments[0])
                self._heed(event, taken, tags)
            stay = {event.arguments[0] for event, queue in taken if queue in quorum}
            self._end([tag for tag in tags if tag not in ended | stay], tags, taken, quorum)
        return taken

    def _end(
        self,
        tags: Collection[str],
        queues: dict[str, str],
        taken: list[Taken],
        quorum: Collection[str],
    ) -> None:
        """Cancel consumers, take what came for them meanwhile, and give back what is of quorum queues."""
        late: list[Taken] = []
        if tags:
            self.link.send(*(method(wire.CANCEL, "sb", tag, False) for tag in tags))
            for _ in tags:
                self._expect(wire.CANCEL_OK, into=late, queues=queues)
            if any(queues[tag] in quorum for tag in tags):
                self._hear_all(late, queues)
        taken += [one for one in late if one[1] not in quorum]
        back = [event.arguments[1] for event, queue in late if queue in quorum]
        if back:
            self.link.send(*(method(wire.REJECT, "Lb", number, True) for number in back))

    def consume_lastingly(self, queue: str) -> None:
        """Consume from a queue of our own for as long as the channel is open; see `for_lasting`."""
        tag = self._next_tag()
        self.lasting[tag] = queue
        with self.link.reading:
            self.link.send(_qos(0) + _consume(queue, tag))
        self.confirm_settled((1,))

    def receive_lasting(self, timeout: float) -> Event | None:
        """Return what comes next for a lasting consumer."""
        deadline = monotonic() + timeout
        with self.link.reading:
            self.link.refresh()
            while not self.for_lasting:
                event = self.link.receive(max(deadline - monotonic(), 0))
                if event is not None:
                    self._heed(event, [], {})
                elif monotonic() >= deadline:
                    return None
            return self.for_lasting.pop(0)[0]

    def confirm_settled(self, channels: Collection[int]) -> None:
        """Return once the server has dealt with all that was sent on these channels."""
        with self.link.reading:
            self._hear_all([], {}, channels)

    def _hear_all(
        self, taken: list[Taken], queues: dict[str, str], channels: Collection[int] = (1,)
    ) -> None:
        """Ask the server something, and take what comes before its answer."""
        self.link.send(*(method(wire.FLOW, "b", True, channel=one) for one in channels))
        for _ in channels:
            self._expect(wire.FLOW_OK, into=taken, queues=queues)

    def _expect(
        self,
        *names: wire.Name,
        into: list[Taken] | None = None,
        queues: dict[str, str] | None = None,
    ) -> Event:
        def other(event: Event) -> None:
            self._heed(event, [] if into is None else into, queues or {})

        return self.link.expect(names, self.link.address.timeout, other)

    def _others(self, event: Event) -> None:
        self._heed(event, [], {})

    def _heed(self, event: Event, taken: list[Taken], queues: dict[str, str]) -> None:
        if event.name == wire.DELIVER:
            tag = event.arguments[0]
            if tag in queues:
                taken.append((event, queues[tag]))
            elif tag in self.lasting:
                self.for_lasting.append((event, self.lasting[tag]))
        elif event.name == wire.CANCEL:
            tag = event.arguments[0]
            queue = queues.get(tag) or self.lasting.pop(tag, None)
            if queue is not None:
                self.gone.add(queue)

    def _next_tag(self) -> str:
        self._tags += 1
        return f"u{self._tags}"  # a quorum queue takes a number for that of a get


def consumer_of(event: Event) -> str:
    """Return the tag of the consumer to which a message was pushed; it is "" of one that was asked for."""
    return str(event.arguments[0]) if event.name == wire.DELIVER else ""


def _qos(count: int) -> bytes:
    return method(wire.QOS, "lBb", 0, count, False)


def _get(queue: str, channel: int) -> bytes:
    return method(wire.GET, "Bsb", 0, queue, False, channel=channel)


def _consume(queue: str, tag: str) -> bytes:
    """Consume without being told that one does: errors are told all the same."""
    return method(wire.CONSUME, "BssbbbbF", 0, queue, tag, False, False, False, True, {})
