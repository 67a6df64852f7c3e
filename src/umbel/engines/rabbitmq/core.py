"""What all ports of one engine share: the address, what is declared, and who publishes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from umbel.clock import Clock
from umbel.engines.forks import tell_of_forks
from umbel.engines.rabbitmq import envelope
from umbel.engines.rabbitmq.address import Address
from umbel.engines.rabbitmq.link import MOST_CHANNELS, Link
from umbel.engines.rabbitmq.publisher import Heard, Outgoing, Publisher
from umbel.engines.rabbitmq.pulse import Pulse
from umbel.engines.rabbitmq.topology import Topology
from umbel.engines.rabbitmq.unheard import Tags
from umbel.engines.texts import escaped
from umbel.exceptions import OperationalError
from umbel.message import Delivery, Publication
from umbel.ports import Settlement

logger = logging.getLogger("umbel.rabbitmq")

#: The keys of a dead letter's own, in our header.
DEAD, REASON, QUEUE, DIED, KEY = "dead", "reason", "queue", "died_at", "key"
#: Seconds by which what is due later may be late since queues had to be declared.
DECLARED = 0.005


class Core:
    """One engine's share of its process. Threads may share it; forks are safe."""

    def __init__(
        self,
        address: Address,
        topology: Topology,
        clock: Clock,
        message_max_bytes: int,
        hold_after: float,
    ) -> None:
        self.address = address
        self.topology = topology
        self.clock = clock
        self.message_max_bytes = message_max_bytes
        #: Seconds after which what is held moves (claims.py).
        self.hold_after = hold_after
        #: Most channels of one connection that the server is asked for.
        self.most_channels = MOST_CHANNELS
        self.unheard = Tags()
        #: Of publications that the server took while it refused others of their batch.
        self.taken = Tags()
        #: Of what ended here after it had come back (returned.py).
        self.ended = Tags()
        self.pulse = Pulse()
        self.publisher = Publisher(topology, self.pulse)
        tell_of_forks(self)

    def open(
        self,
        purpose: str,
        timeout: float | None = None,
        is_patient: Callable[[], bool] = lambda: False,
    ) -> Link:
        """Open a connection that is kept alive; see `Link.is_patient`."""
        link = Link(self.address, timeout or self.address.timeout, purpose)
        link.is_patient = is_patient
        link.most_channels = min(link.most_channels, self.most_channels)
        self.pulse.add(link)
        return link

    def queue_gone(
        self, queues: Sequence[str], error: OperationalError, raises: bool = True
    ) -> None:
        """Declare queues again when they are next needed. With `raises` it is an error if nobody may."""
        self.topology.forget(queues)
        for queue in queues:
            if f"'{self.topology.name(queue)}'" in str(error):
                undeclared = self.topology.undeclared(queue)
                if undeclared is not None:
                    if raises:
                        raise undeclared from error
                    return
        logger.warning("A queue was deleted, and is declared again. %s", error)

    def too_many_channels(self, error: OperationalError) -> None:
        """Ask for one channel from now on."""
        if self.most_channels > 1:
            logger.warning("Quorum queues are asked on one channel now, which is slower. %s", error)
            self.most_channels = 1

    # Messages on their way

    def outgoing(
        self, publication: Publication, crashes: int = 0, more: Mapping[str, Any] | None = None
    ) -> Outgoing:
        """Return a publication as it is sent: to its queue, or to where it waits until it is due."""
        written = envelope.write(publication, self.publisher.frame_max, crashes, more)
        return Outgoing(written, *self._place(publication), publication.queue)

    def _place(self, publication: Publication) -> tuple[str, str]:
        """Return the exchange and the routing key that bring a publication there when it is due."""
        name, due = self.topology.name(publication.queue), publication.due
        left = 0.0 if due is None else due - self.clock.time()
        return ("", name) if left <= 0 else self.topology.delays.place(name, left)

    def parked(self, delivery: Delivery, due: float, crashes: int) -> Outgoing:
        """Return a delivery as a message that is due later."""
        one = envelope.again(delivery)
        return self.outgoing(
            Publication(one.queue, one.message, one.tag, one.priority, due), crashes
        )

    def back(self, delivery: Delivery, crashes: int) -> Outgoing:
        """Return a delivery as a message for the queue it came from."""
        return self.outgoing(envelope.again(delivery), crashes, {envelope.AGAIN: True})

    def dead(self, item: Settlement, crashes: int) -> Outgoing:
        """Return a delivery as a dead letter."""
        now = self.clock.time()
        more = {
            DEAD: {
                REASON: escaped(item.reason or ""),
                QUEUE: item.delivery.queue,
                DIED: now,
                KEY: item.delivery.key,
            }
        }
        expiration = None
        if item.expires is not None:
            expiration = str(max(int((item.expires - now) * 1000), 0))
        written = envelope.write(
            envelope.again(item.delivery), self.publisher.frame_max, crashes, more, expiration
        )
        self.topology.ensure_dead()
        return Outgoing(written, "", self.topology.dead, self.topology.dead)

    def send(
        self, messages: Sequence[Outgoing], timeout: float, taken: Heard | None = None
    ) -> None:
        """Publish messages, with what has to exist for them.

        `taken` hears of those that the server has while it refuses others.
        """
        begun = monotonic()
        deadline = begun + timeout
        own = self.topology.dead
        self.topology.ensure([one.queue for one in messages if one.queue not in ("", own)], timeout)
        parked = [one.queue for one in messages if one.exchange]
        if parked:
            self.topology.ensure_parking(parked, max(deadline - monotonic(), 0.1))
            if monotonic() - begun > DECLARED:
                for one in messages:
                    if one.exchange:  # of whose delay so much is over
                        one.exchange, one.routing_key = self._place(one.written.publication)
        left = deadline - monotonic()
        if left <= 0:
            # Sent now, it could not be known what arrives; and it is declared when it is tried again.
            raise OperationalError(
                f"{self.address.place} took more than {timeout:.1f} s to declare queues. Nothing was sent."
            )
        self.publisher.publish(messages, left, taken)

    def close(self) -> None:
        """Close what this engine has open; the next use opens it again."""
        self.publisher.close()
        self.pulse.stop()

    # Forks

    def before_fork(self) -> None:
        """Wait until nothing is under way."""
        self.publisher.before_fork()
        self.topology.before_fork()
        self.pulse.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.pulse.after_fork_in_parent()
        self.topology.after_fork_in_parent()
        self.publisher.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Begin anew, with connections of its own."""
        self.unheard, self.taken, self.ended = Tags(), Tags(), Tags()
        self.pulse.after_fork_in_child()
        self.topology.after_fork_in_child()
        self.publisher.after_fork_in_child()
