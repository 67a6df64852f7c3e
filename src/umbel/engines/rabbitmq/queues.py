"""Looking into queues on RabbitMQ, as far as AMQP lets one: how much is ready, and what is dead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from umbel.engines.rabbitmq import envelope, wire
from umbel.engines.rabbitmq.channel import Channel
from umbel.engines.rabbitmq.consumer import BATCH
from umbel.engines.rabbitmq.core import DEAD, DIED, KEY, QUEUE, REASON, Core
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.topology import depth
from umbel.engines.rabbitmq.wire import Event, method
from umbel.exceptions import OperationalError
from umbel.message import Publication
from umbel.ports import DeadLetter, Holding, QueueAdmin, QueueDepth, StoredMessage

#: A dead letter and the server's number of it.
_Found = tuple[DeadLetter, int]


class RabbitQueues(QueueAdmin):
    """See `umbel.ports.QueueAdmin`. `names` are the queues that the app declares."""

    def __init__(self, core: Core, names: Callable[[], Iterable[str]] = tuple) -> None:
        self._core = core
        self._topology = core.topology
        self._names = names

    def depths(self) -> dict[str, QueueDepth]:
        """Ask for each queue that is known here; AMQP has no list of them."""
        known = [*self._names(), *sorted(self._topology.known - {self._topology.dead})]
        dead: dict[str, int] = {}
        for letter in self._letters():
            dead[letter.queue] = dead.get(letter.queue, 0) + 1
        found = {}
        for queue in dict.fromkeys([*known, *dead]):
            ready = self._ready(queue)
            if ready is not None:
                found[queue] = QueueDepth(ready=ready, dead=dead.get(queue, 0))
        return found

    def _ready(self, queue: str) -> int | None:
        with self._topology.admin() as link:
            return depth(link, self._topology.name(queue))

    def peek(self, queue: str, limit: int, offset: int = 0) -> list[StoredMessage]:
        """Refuse: see `_unseen`."""
        raise _unseen()

    def find(self, task_id: str) -> list[StoredMessage]:
        """Refuse: see `_unseen`."""
        raise _unseen()

    def holdings(self) -> list[Holding]:
        """Nobody knows who holds what."""
        return []

    def purge(self, queue: str) -> int:
        """Delete what is ready. What waits until it is due stays: it lies with that of all queues."""
        name = self._topology.name(queue)
        with self._topology.admin() as link:
            if depth(link, name) is None:
                return 0
            answer = link.call(method(wire.QUEUE_PURGE, "Bsb", 0, name, False), wire.QUEUE_PURGE_OK)
            return int(answer.arguments[0])

    # Dead letters

    def dead_letters(self, limit: int, offset: int = 0) -> list[DeadLetter]:
        """Take all and give them back."""
        return self._letters()[::-1][offset : offset + limit]

    def _letters(self) -> list[DeadLetter]:
        with self._taken() as (_, letters):
            return [letter for letter, _ in letters]

    def retry_dead(self, keys: Collection[str]) -> int:
        """Publish them anew, and acknowledge the dead letters after that."""
        with self._taken() as (link, letters):
            found = [one for one in letters if one[0].key in set(keys)]
            messages = [
                self._core.outgoing(
                    Publication(letter.queue, letter.message, letter.key, _priority(letter))
                )
                for letter, _ in found
            ]
            taken: set[int] = set()
            try:
                if messages:
                    self._core.send(
                        messages,
                        self._core.address.timeout,
                        lambda some: taken.update(id(one) for one in some),
                    )
            except OperationalError:
                pairs = zip(found, messages, strict=True)
                _acknowledge(link, [one for one, message in pairs if id(message) in taken])
                raise
            return _acknowledge(link, found)

    def drop_dead(self, keys: Collection[str]) -> int:
        """Acknowledge them."""
        with self._taken() as (link, letters):
            return _acknowledge(link, [one for one in letters if one[0].key in set(keys)])

    @contextmanager
    def _taken(self) -> Iterator[tuple[Link, list[_Found]]]:
        """Lend all dead letters; those that are not acknowledged go back to their places."""
        self._topology.ensure_dead()
        with self._topology.admin() as link:
            link.most_channels = 1  # a user who may have no more sees dead letters all the same
            channel, quorum = Channel(link), self._topology.dead in self._topology.quorum
            letters: list[_Found] = []
            while taken := channel.take(self._topology.dead, BATCH, quorum=quorum):
                letters += [self._letter(event) for event, _ in taken]
            yield link, letters

    def _letter(self, event: Event) -> _Found:
        _, number = event.number
        headers: dict[str, Any] = event.properties.get("application_headers") or {}
        own = headers.get(envelope.OURS)
        said = own.get(DEAD) if isinstance(own, dict) else None
        said = said if isinstance(said, dict) else {}
        event.properties.pop("expiration", None)
        delivery = envelope.read(event, str(said.get(QUEUE, "")), "", self._core)
        letter = DeadLetter(
            str(said.get(KEY, "")),
            delivery.queue,
            delivery.message,
            str(said.get(REASON, "")),
            float(said.get(DIED, 0.0)),
            delivery.crashes,
        )
        return letter, number


def _priority(letter: DeadLetter) -> int:
    found = letter.message.properties.get("priority")
    return found if type(found) is int else 0


def _acknowledge(link: Link, letters: Iterable[_Found]) -> int:
    numbers = [number for _, number in letters]
    if numbers:
        link.send(*(method(wire.ACK, "Lb", number, False) for number in numbers))
        Channel(link).confirm_settled((1,))
    return len(numbers)


def _unseen() -> OperationalError:
    return OperationalError(
        "RabbitMQ shows messages only to who takes them, and finds none by its task. Its management page"
        " shows what is in a queue."
    )
