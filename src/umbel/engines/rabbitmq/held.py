"""What a consumer holds at the server, by key and by the server's own numbers, and how it is acknowledged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from umbel.engines.rabbitmq import wire
from umbel.engines.rabbitmq.core import Core
from umbel.engines.rabbitmq.publisher import Outgoing
from umbel.engines.rabbitmq.wire import Number, method
from umbel.message import Delivery

#: A message that goes with a delivery, and which of those it is.
Named = tuple[str, Outgoing]
#: The delivery itself, as the message that it is put somewhere else by.
ITSELF = "itself"


@dataclass(slots=True)
class Held:
    """A delivery that is held: the number by which the server knows it, and since when.

    `apart` says that it lies in a queue of this consumer's own, to which it does not go back (claims.py), and
    `said` what it says there for as long as it is held; None where it was never put there. `sent` are the
    messages that went with it already.
    """

    number: Number
    queue: str
    since: float
    delivery: Any = None
    apart: bool = False
    said: Mapping[str, Any] | None = None
    sent: set[str] = field(default_factory=set)


class Book:
    """What one channel holds. Its numbers go up, and one acknowledgement may stand for all up to one."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        #: All that is not acknowledged, in the order of its numbers, and the consumer that ends with it.
        self._open: dict[int, str] = {}
        #: All up to this one are acknowledged.
        self._together = 0

    def opened(self, number: int, consumer: str) -> None:
        """See `Holdings.opened`."""
        if number > self._together:
            self._open[number] = consumer

    def settled(self, numbers: Collection[int]) -> list[bytes]:
        """Return what acknowledges these: one word for all before the first that stays."""
        gone = set(numbers) & self._open.keys()
        together = 0
        for number in self._open:
            if number not in gone:
                break
            together = number
        frames = self._ended(gone)
        if together:
            self._together = together
            frames.append(self._method(wire.ACK, "Lb", together, True))
        frames += [
            self._method(wire.ACK, "Lb", number, False)
            for number in sorted(gone)
            if number > together
        ]
        for number in gone:
            del self._open[number]
        return frames

    def returned(self, numbers: Collection[int]) -> list[bytes]:
        """Return what gives these back to their queues."""
        gone = [number for number in sorted(numbers) if number in self._open]
        frames = self._ended(gone)
        for number in gone:
            del self._open[number]
        return [*frames, *(self._method(wire.REJECT, "Lb", one, True) for one in gone)]

    def _ended(self, numbers: Iterable[int]) -> list[bytes]:
        """Return what ends the consumers of these, in front of what would let them have more."""
        tags = [tag for number in numbers if (tag := self._open[number])]
        return [self._method(wire.CANCEL, "sb", tag, True) for tag in tags]

    def _method(self, name: wire.Name, arguments: str, *values: Any) -> bytes:
        return method(name, arguments, *values, channel=self._channel)


class Holdings:
    """What is held on the channels of one connection.

    What was held on channels that are gone may still be worked on, until somebody settles it. If it comes
    back before, it is held under the key that it had, and does not run a second time beside itself.
    """

    def __init__(self) -> None:
        self.by_key: dict[str, Held] = {}
        self._books: dict[int, Book] = {}
        #: What is worked on and was held on channels that are gone, by the tag of its publish.
        self._lost: dict[str, Held] = {}

    def publish(self, messages: Mapping[str, Sequence[Named]], core: Core) -> None:
        """Publish what goes with deliveries, by their keys.

        Where the server refuses some of it, all is tried again later: what it took is not sent again then.
        """
        left = [
            (held, name, message)
            for key, some in messages.items()
            for name, message in some
            if (held := self.by_key.get(key)) is None or name not in held.sent
        ]

        def taken(some: Sequence[Outgoing]) -> None:
            found = {id(one) for one in some}
            for held, name, message in left:
                if held is not None and id(message) in found:
                    held.sent.add(name)

        if left:
            core.send([message for _, _, message in left], core.address.timeout, taken)

    def opened(self, number: Number, consumer: str = "") -> None:
        """Note that the server has handed something over, unless it is acknowledged with others already.

        A `consumer` that is named has a prefetch of 1 and is cancelled together with that.
        """
        self._book(number[0]).opened(number[1], consumer)

    def given(
        self, number: Number, queue: str, delivery: Delivery, said: Mapping[str, Any] | None = None
    ) -> None:
        """Note that a delivery is worked on; with `said` it lies in a queue of its consumer's own."""
        one = Held(number, queue, monotonic(), delivery, said is not None, said)
        self.by_key[delivery.key] = one

    def _book(self, channel: int) -> Book:
        if channel not in self._books:
            self._books[channel] = Book(channel)
        return self._books[channel]

    def adopt(self, tag: str | None, number: Number, now: float) -> bool:
        """Hold what came back if it is still worked on; tell whether it is.

        It goes back as a copy only, since the server's own counts what did not happen to it.
        """
        held = None if tag is None else self._lost.pop(tag, None)
        if held is None:
            return False
        held.number, held.since, held.apart = number, now, True
        self.by_key[held.delivery.key] = held
        return True

    def let_go(self, keys: Collection[str]) -> None:
        """Note that nobody works on these any more: if they come back, they are as good as new."""
        if self._lost:
            left = self._lost.items()
            self._lost = {tag: one for tag, one in left if one.delivery.key not in keys}

    def settled(self, numbers: Iterable[Number]) -> bytes:
        """Return what acknowledges these."""
        parts = _by_channel(numbers).items()
        return b"".join(frame for one, some in parts for frame in self._book(one).settled(some))

    def returned(self, numbers: Iterable[Number]) -> bytes:
        """Return what gives these back to their queues."""
        parts = _by_channel(numbers).items()
        return b"".join(frame for one, some in parts for frame in self._book(one).returned(some))

    def clear(self, keeps: bool = False) -> None:
        """Forget all: the channels are gone, and the server has given everything back.

        With `keeps` all of it is still worked on.
        """
        if keeps:
            self._lost.update({one.delivery.tag: one for one in self.by_key.values()})
        self.by_key.clear()
        self._books.clear()


def _by_channel(numbers: Iterable[Number]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for channel, number in numbers:
        found.setdefault(channel, []).append(number)
    return found
