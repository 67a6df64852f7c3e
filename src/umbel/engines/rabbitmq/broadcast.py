"""Broadcasts on RabbitMQ: a topic exchange, and a queue for each listener that goes when it does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from time import monotonic

from umbel.clock import unique_id
from umbel.engines.rabbitmq import wire
from umbel.engines.rabbitmq.core import Core
from umbel.engines.rabbitmq.envelope import Written
from umbel.engines.rabbitmq.errors import NotFound
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.publisher import Outgoing
from umbel.engines.rabbitmq.topology import bind, declare_exchange
from umbel.engines.rabbitmq.wire import method
from umbel.entities import Exchange
from umbel.exceptions import OperationalError
from umbel.message import Message, Publication
from umbel.ports import Broadcast, Subscription

#: Most that waits at the server for a listener that does not read: messages and bytes. The oldest go first.
MOST, MOST_BYTES = 100_000, 32 * 2**20
#: Payloads that are with a listener and not acknowledged.
WINDOW = 1000
#: Bytes of a topic.
LONGEST = 255


class RabbitBroadcast(Broadcast):
    """See `umbel.ports.Broadcast`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._exchange = f"{core.topology.prefix}umbel.broadcast"
        self._declared = False

    def send(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Publish payloads that need not outlive the server."""
        properties = wire.written({"delivery_mode": 1})
        messages = [
            Outgoing(
                Written(Publication("", Message({}, {}, payload), ""), properties, payload),
                self._exchange,
                topic,
                "",
                mandatory=False,
            )
            for payload in payloads
        ]
        self._ensure()
        try:
            self._core.publisher.publish(messages, self._core.address.timeout)
        except NotFound:  # somebody has deleted the exchange
            self._declared = False
            self._ensure()
            self._core.publisher.publish(messages, self._core.address.timeout)

    def listen(self, topics: Collection[str]) -> Subscription:
        """Listen with a queue and a connection of its own."""
        return RabbitSubscription(self._core, self._exchange, topics)

    def _ensure(self) -> None:
        if not self._declared:
            with self._core.topology.admin() as link:
                _declare(link, self._exchange)
            self._declared = True

    def close(self) -> None:
        """Nothing is this port's own; the connections are the engine's to close."""


class RabbitSubscription(Subscription):
    """See `umbel.ports.Subscription`. What is sent while its connection is lost is not heard."""

    def __init__(self, core: Core, exchange: str, topics: Collection[str]) -> None:
        self._core = core
        self._exchange = exchange
        self._names = frozenset(topic for topic in topics if not topic.endswith("*"))
        self._begins = tuple(topic[:-1] for topic in topics if topic.endswith("*"))
        self._link = self._listen()

    def _listen(self) -> Link:
        link = self._core.open("listens")
        queue = f"{self._core.topology.prefix}umbel.listener.{unique_id()}"
        arguments = {"x-max-length": MOST, "x-max-length-bytes": MOST_BYTES}
        link.call(
            method(
                wire.QUEUE_DECLARE, "BsbbbbbF", 0, queue, False, False, True, True, False, arguments
            ),
            wire.QUEUE_DECLARE_OK,
        )
        _declare(link, self._exchange)  # each time: the server may be a new one
        for key in self._keys():
            bind(link, queue, self._exchange, key)
        link.send(method(wire.QOS, "lBb", 0, WINDOW, False))
        link.call(
            method(wire.CONSUME, "BssbbbbF", 0, queue, "1", False, False, True, False, {}),
            wire.CONSUME_OK,
        )
        return link

    def _keys(self) -> set[str]:
        """Return binding keys: a pattern ends with a word, so more may come than is wanted."""
        keys = set(self._names)
        for begin in self._begins:
            words, dot, _ = begin.rpartition(".")
            keys.add(f"{words}.#" if dot else "#")
        return keys

    def receive(self, wait: float) -> list[tuple[str, bytes]]:
        """Wait for a payload, and take all that have come."""
        deadline = monotonic() + wait
        if self._link.broken is not None:
            self._link = self._listen()
        link = self._link
        heard: list[tuple[str, bytes]] = []
        with link.reading:
            link.refresh()
            while True:
                left = 0.0 if heard else max(deadline - monotonic(), 0.0)
                event = link.receive(left)
                if event is None:
                    if heard or monotonic() >= deadline:
                        return heard
                elif event.name == wire.DELIVER:
                    self._take(link, event.arguments, event.body, heard)
                elif event.name == wire.CANCEL:
                    link.drop()
                    raise OperationalError("The queue of a listener was deleted.")

    def _take(
        self, link: Link, arguments: list[object], body: bytes, heard: list[tuple[str, bytes]]
    ) -> None:
        number, topic = arguments[1], str(arguments[4])
        if isinstance(number, int) and number % (WINDOW // 4) == 0:
            link.send(method(wire.ACK, "Lb", number, True))
        if topic in self._names or topic.startswith(self._begins):
            heard.append((topic, body))

    def close(self) -> None:
        """Stop listening; the queue goes with its connection."""
        self._link.close()


def _declare(link: Link, exchange: str) -> None:
    declare_exchange(link, exchange, Exchange(exchange, "topic"))
