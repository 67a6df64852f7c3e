"""The port of remote control and events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence


class Subscription(ABC):
    """A place where broadcasts arrive, from its creation until `close`."""

    @abstractmethod
    def receive(self, wait: float) -> list[tuple[str, bytes]]:
        """Return (topic, payload) pairs in the order of sending.

        Wait up to `wait` seconds for the first.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop listening."""

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        while True:
            yield from self.receive(1.0)


class Broadcast(ABC):
    """Messages to everyone who listens now: remote control and events. Lossy for slow listeners."""

    @abstractmethod
    def send(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Send to all present subscriptions of a topic."""

    @abstractmethod
    def listen(self, topics: Collection[str]) -> Subscription:
        """Listen from now on. A topic that ends in ``*`` stands for all that begin so."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections."""
