"""Queues of a consumer's own, in which lies what must say more of itself if its process dies.

A message on RabbitMQ cannot be changed, and what a dead process held goes back as it was. So a delivery that
is to count its process's death is published once more, with the count that it will have then, to a queue from
which only this consumer takes; then the first copy is acknowledged. The queue keeps nothing: its time to live
is 0, so what is not in its consumer's hands is passed on at once, back to the queue it came from.

The same serves what runs for long: the copy is a new delivery, so that the server's consumer_timeout begins
anew. And what may run only once: the copy says that it has begun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from umbel.clock import unique_id
from umbel.engines.rabbitmq import envelope, wire
from umbel.engines.rabbitmq.channel import Channel
from umbel.engines.rabbitmq.errors import NotFound
from umbel.engines.rabbitmq.publisher import Outgoing, Publisher
from umbel.engines.rabbitmq.topology import Topology, declare_queue, refuses_when_full
from umbel.engines.rabbitmq.wire import Event, method
from umbel.exceptions import OperationalError
from umbel.failpoints import fail_point
from umbel.message import Delivery

#: Says in a copy for which claim of its consumer it was made.
CLAIM = "claim"
#: Milliseconds after which a queue of a consumer that is gone goes, too.
LEFT_OVER = 600_000


class Claims:
    """The queues of one consumer's channel."""

    def __init__(self, topology: Topology, publisher: Publisher, channel: Channel) -> None:
        self._topology = topology
        self._publisher = publisher
        self._channel = channel
        self._own: dict[str, str] = {}
        self._id = unique_id()[-12:]
        self._count = self._made = 0
        #: Copies of claims that had failed by the time they came.
        self._late: list[Event] = []

    def claim(
        self, deliveries: Sequence[Delivery], more: Sequence[Mapping[str, Any]], timeout: float
    ) -> list[Event]:
        """Publish copies, each of which says `more` of itself; return them as they were delivered here."""
        self._count += 1
        known = {CLAIM: self._count}
        written = [
            envelope.write(envelope.again(one), self._publisher.frame_max, more={**says, **known})
            for one, says in zip(deliveries, more, strict=True)
        ]
        own = [self._queue(one.queue) for one in deliveries]
        fail_point("rabbitmq.claim.before")
        copies = [Outgoing(one, "", name, "") for one, name in zip(written, own, strict=True)]
        try:
            self._publisher.publish(copies, timeout)
        except NotFound:  # somebody has deleted one: the next claim has others
            self._own.clear()
            raise
        # Of different queues they may come in another order; of one tag one is as good as the other.
        found: dict[str | None, list[Event]] = {}
        left = len(deliveries)
        while left:
            event = self._channel.receive_lasting(timeout)
            if event is None:
                self._late += chain.from_iterable(found.values())
                raise OperationalError(
                    f"{self._topology.address.place} did not hand over what was put into {own[0]!r}."
                )
            if _own(event).get(CLAIM) == self._count:
                found.setdefault(envelope.own_tag(event), []).append(event)
                left -= 1
            else:
                self._late.append(event)
        fail_point("rabbitmq.claim.after")
        return [found[one.tag].pop(0) for one in deliveries]

    def late(self) -> list[Event]:
        """Return copies whose claim has failed: what they are copies of is held, or was settled."""
        late = [*self._late, *(event for event, _ in self._channel.for_lasting)]
        self._late.clear()
        self._channel.for_lasting.clear()
        return late

    def _queue(self, queue: str) -> str:
        """Return the queue of our own from which messages go back to `queue`."""
        own = self._own.get(queue)
        if own is None or own not in self._channel.lasting.values():  # the server has ended that
            self._made += 1
            own = self._topology.name(f"umbel.claim.{self._id}.{self._made}")
            exchange, key = self._way_back(queue)
            with self._topology.admin() as link:
                declare_queue(
                    link,
                    own,
                    {
                        "x-message-ttl": 0,
                        "x-dead-letter-exchange": exchange,
                        "x-dead-letter-routing-key": key,
                        "x-expires": LEFT_OVER,
                    },
                )
            self._own[queue] = own
            self._channel.consume_lastingly(own)
        return own

    def _way_back(self, queue: str) -> tuple[str, str]:
        """Return the exchange and the key by which messages go back to `queue`.

        A queue that is full refuses them, and the server drops what is refused so. But what comes by a delay
        queue stays there until it is taken, if that is a quorum queue.
        """
        name = self._topology.name(queue)
        if not refuses_when_full(self._topology.declared(queue)):
            return "", name
        self._topology.ensure_parking([queue])
        return self._topology.delays.place(name, 0.0)

    def delete(self) -> None:
        """Delete the queues, which are empty once their consumer is gone."""
        if not self._own:
            return
        with self._topology.admin() as link:
            for own in self._own.values():
                link.call(
                    method(wire.QUEUE_DELETE, "Bsbbb", 0, own, True, True, False),
                    wire.QUEUE_DELETE_OK,
                )


def is_suspect(event: Event) -> bool:
    """Tell whether a message was lost before by somebody who may have been running it."""
    if event.arguments[2 if event.name == wire.DELIVER else 1]:
        return True
    headers: Mapping[str, Any] = event.properties.get("application_headers") or {}
    if headers.get("x-delivery-count"):
        return True
    own = headers.get(envelope.OURS)
    if type(own) is not dict:
        return False
    return any([own.get(envelope.CRASHES), own.get(envelope.OVER_TIME), own.get(envelope.EARLY)])


def _own(event: Event) -> Mapping[str, Any]:
    """Return what a message says in our header."""
    own = (event.properties.get("application_headers") or {}).get(envelope.OURS)
    return own if isinstance(own, dict) else {}
