"""What a consumer holds at the server, by key and by the server's own numbers, and how it is acknowledged."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from umbel.engines.rabbitmq import wire
from umbel.engines.rabbitmq.wire import method


@dataclass(slots=True)
class Held:
    """A delivery that is held: the number by which the server knows it, and since when.

    `apart` says that it lies in a queue of this consumer's own, to which it does not go back (claims.py), and
    `said` what it says there for as long as it is held.
    """

    number: int
    queue: str
    since: float
    delivery: Any = None
    apart: bool = False
    said: Mapping[str, Any] | None = None


class Holdings:
    """What is held on one channel. Numbers go up, and one acknowledgement may stand for all up to one."""

    def __init__(self) -> None:
        self.by_key: dict[str, Held] = {}
        #: All that is not acknowledged, in the order of its numbers.
        self._open: dict[int, None] = {}
        #: All up to this one are acknowledged.
        self._together = 0

    def opened(self, number: int) -> None:
        """Note that the server has handed something over, unless it is acknowledged with others already."""
        if number > self._together:
            self._open[number] = None

    def settled(self, numbers: Collection[int]) -> bytes:
        """Return what acknowledges these: one word for all before the first that stays."""
        gone = set(numbers) & self._open.keys()
        together = 0
        for number in self._open:
            if number not in gone:
                break
            together = number
        frames = []
        if together:
            self._together = together
            frames.append(method(wire.ACK, "Lb", together, True))
        frames += [
            method(wire.ACK, "Lb", number, False) for number in sorted(gone) if number > together
        ]
        for number in gone:
            del self._open[number]
        return b"".join(frames)

    def returned(self, numbers: Collection[int]) -> bytes:
        """Return what gives these back to their queues."""
        gone = [number for number in sorted(numbers) if number in self._open]
        for number in gone:
            del self._open[number]
        return b"".join(method(wire.REJECT, "Lb", number, True) for number in gone)

    def clear(self) -> None:
        """Forget all: the channel is gone, and its server has given everything back."""
        self.by_key.clear()
        self._open.clear()
        self._together = 0
